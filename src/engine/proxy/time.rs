//! Time: calls that run out, a domain that does not read, a domain that is away.

use super::calls::{Given, Origin, State};
use super::{Action, Passed, Proxy};
use crate::engine::clock::Now;
use crate::engine::mapping::Command;
use crate::engine::mapping::shape::Side;
use crate::engine::name::DomainName;
use crate::engine::queue::{Entry, Purpose};
use crate::engine::refusal::{Reason, Why, head};
use std::sync::Arc;
use std::time::Duration;

impl Proxy {
    /// More of a long line has come: the time that it took is no silence of the handler's, for calls
    /// that it had by then.
    pub(super) fn still_answering(&mut self, now: Now) {
        for call in self.given.iter_mut() {
            if let State::Open { since, deadline } = &mut call.state {
                let begun = self.last_arrival.max(*since);
                *deadline = deadline.saturating_add(now.monotonic.saturating_sub(begun));
            }
        }
    }

    /// When [`Proxy::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let ended = self.ended.front().map(|e| e.until);
        let stuck = match self.away_since {
            None => self.queue.waiting_since().map(|since| since.saturating_add(self.limits.stuck)),
            Some(since) => Some(since.saturating_add(self.limits.away)),
        };
        let unheard = self.unheard.front().map(|(due, _)| *due);
        self.earliest.into_iter().chain(ended).chain(stuck).chain(unheard).min()
    }

    /// No call is over before this; it is looked for anew when that time has come, for whoever asks for
    /// the next deadline asks after each message, and there may be a thousand calls.
    fn first_call(&self) -> Option<Duration> {
        let asked = self.asked.iter().filter(|a| a.held.is_none()).map(|a| a.deadline);
        let given = self.given.iter().filter_map(|g| match g.state {
            State::Open { deadline, .. } => Some(deadline),
            State::Held(_) | State::Queued => None,
        });
        asked.chain(given).min()
    }

    /// A call is over then, if nothing happens.
    pub(super) fn expect_until(&mut self, deadline: Duration) {
        let earliest = self.earliest.unwrap_or(deadline);
        self.earliest = Some(earliest.min(deadline));
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Now) {
        while self.ended.front().is_some_and(|e| e.until <= now.monotonic) {
            self.ended.pop_front();
        }
        self.expire_asked(now);
        self.expire_given(now);
        self.ask_again(now);
        self.ask_those_held(now);
        if self.earliest.is_some_and(|earliest| earliest <= now.monotonic) {
            self.earliest = self.first_call();
        }
        match self.away_since {
            Some(since) if since.saturating_add(self.limits.away) <= now.monotonic => {
                self.actions.push(Action::Retire);
            }
            Some(_) => {}
            None => self.watch_progress(now),
        }
    }

    /// Calls that waited for a late answer to another.
    fn ask_those_held(&mut self, now: Now) {
        let held = self.asked.iter().filter(|a| a.held.is_some());
        let waiting: Vec<_> = held.map(|a| (Arc::clone(&a.row), a.requester.clone())).collect();
        for (row, requester) in waiting {
            self.ask_next(&row, &requester, now);
        }
    }

    fn expire_asked(&mut self, now: Now) {
        let over = |a: &super::calls::Asked| a.held.is_none() && a.deadline <= now.monotonic;
        while let Some(at) = self.asked.iter().position(over) {
            let Some(call) = self.take_asked(at) else { return };
            if self.sent.contains_key(&call.token) {
                self.actions.push(Action::Withdraw(call.token));
            }
            let row = call.row;
            if ends_by_time(&row) {
                self.count_ended(call.answers, call.extra);
            } else if !call.extra {
                let detail = unanswered(&row, call.to.as_ref().unwrap_or(&call.handler));
                self.refuse(Reason::Expired, detail.clone(), call.requester.clone(), call.head);
                self.tell_legacy(&call.requester, Reason::Expired, &detail, now);
            }
            if row.one_at_a_time {
                let (requester, correlation) = (call.requester.clone(), Some(call.correlation));
                let kept = Arc::clone(&row);
                self.remember(kept, Side::Legacy, requester, call.values, correlation, now);
                if let Some(ended) = self.ended.back_mut() {
                    ended.unanswered = true;
                }
            }
            self.ask_next(&row, &call.requester, now);
        }
    }

    fn expire_given(&mut self, now: Now) {
        let clock = now.monotonic;
        let over = |g: &Given| matches!(g.state, State::Open { deadline, .. } if deadline <= clock);
        while let Some(at) = self.given.iter().position(over) {
            let Some(call) = self.given.remove(at) else { return };
            if ends_by_time(&call.row) {
                self.count_ended(call.answers, false);
            } else {
                let detail = unanswered(&call.row, &call.handler);
                self.give_up(&call, Reason::Expired, &detail, now);
            }
            self.give_next(&call.handler, now);
        }
    }

    /// A call that its timeout ends, as it is meant to.
    fn count_ended(&mut self, answers: u32, extra: bool) {
        match (extra, answers) {
            (true, _) => {}
            (false, 0) => self.counters.delivered += 1,
            (false, _) => self.counters.answered += 1,
        }
    }

    fn watch_progress(&mut self, now: Now) {
        let Some(since) = self.queue.waiting_since() else { return };
        if since.saturating_add(self.limits.stuck) > now.monotonic {
            return;
        }
        self.stuck = true;
        for entry in self.queue.give_up() {
            self.give_up_entry(entry, Reason::DomainStuck, now);
        }
        // A line that was begun stays, and the domain stays stuck until it takes more of it.
        self.queue.wait_again(now.monotonic);
    }

    /// A line will not be written.
    pub(super) fn give_up_entry(&mut self, entry: Entry, reason: Reason, now: Now) {
        let detail = match reason {
            Reason::DomainStuck => format!("{} does not read what is written to it", self.name()),
            _ => format!("{} has been away for too long", self.name()),
        };
        match entry.purpose {
            Purpose::Call(id) => {
                let at = self.given.iter().position(|g| g.id == id);
                if let Some(call) = at.and_then(|at| self.given.remove(at)) {
                    self.give_up(&call, reason, &detail, now);
                    self.give_next(&call.handler, now);
                }
            }
            Purpose::Message { from, command } => {
                self.refuse(reason, detail.clone(), from.clone(), head(&entry.line));
                if command {
                    self.tell_legacy(&from, reason, &detail, now);
                }
            }
            Purpose::Notice => self.not_written(&entry.line, reason),
        }
        if let Some(delivery) = entry.delivery {
            self.actions.push(Action::Acknowledge(delivery));
        }
    }

    /// The proxy ends: calls that the domain was not given go to whoever handles them now, the rest is
    /// given up.
    ///
    /// `resumed` says that the domain comes over to MQTT and takes up the proxy's session: then what the
    /// broker has not been told of yet is its own to receive.
    pub fn retire(&mut self, resumed: bool, now: Now) {
        self.queue.rewind(now.monotonic);
        let given = self.given.take();
        let (open, waiting): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|g| matches!(g.state, State::Open { .. }));
        let mut direct = Vec::new();
        let mut rest = Vec::new();
        for entry in self.queue.give_up() {
            match entry.purpose {
                Purpose::Call(id) => direct.push((id, entry.line)),
                Purpose::Message { from, .. } if resumed && entry.delivery.is_some() => {
                    self.ignore(Why::LeftToBroker, &Some(from.as_str().to_owned()));
                }
                _ => rest.push(entry),
            }
        }
        for call in waiting {
            let queued = direct.iter().position(|(id, _)| *id == call.id);
            let line = match &call.state {
                State::Held(line) => Some(line.clone()),
                _ => queued.map(|at| direct.swap_remove(at).1),
            };
            match (self.hand_over(call, now), line) {
                (Some(call), Some(line))
                    if matches!(call.origin, Origin::Direct) && self.is_legacy(&call.name()) =>
                {
                    self.actions.push(Action::Pass(call.name(), Passed::Returned(line)));
                }
                (Some(call), _) => {
                    let detail = format!("{} has been away for too long", call.handler);
                    self.give_up(&call, Reason::Expired, &detail, now);
                }
                (None, _) => {}
            }
        }
        for entry in rest {
            match &entry.purpose {
                // Whoever sent it may be gone as well: then nobody is left to find another way.
                Purpose::Message { from, command: true } if self.is_legacy(from) => {
                    let back = Action::Pass(from.clone(), Passed::Returned(entry.line));
                    self.actions.push(back);
                }
                _ => self.give_up_entry(entry, Reason::Expired, now),
            }
        }
        for call in open {
            self.give_up(&call, Reason::Expired, &went_away(&call), now);
        }
        self.tell_unanswered(now);
        self.publish_what_waits();
        while let Some(call) = self.take_asked(0) {
            if !call.extra {
                let detail = format!("{} went away before the answer came", call.requester);
                self.refuse(Reason::Expired, detail, call.requester, call.head);
            }
        }
    }
}

/// Whether nothing but its timeout ends a call, since several domains answer.
pub(super) fn ends_by_time(row: &Command) -> bool {
    row.answers.iter().all(|a| !a.ends) && !row.announced.iter().any(|a| a.ends)
}

pub(super) fn went_away(call: &Given) -> String {
    format!("{} went away before it answered", call.handler)
}

fn unanswered(row: &Command, handler: &DomainName) -> String {
    let after = humantime::format_duration(row.timeout);
    format!("{handler} has not answered {} in {after}", row.name)
}
