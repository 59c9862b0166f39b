//! Time: calls that run out, a domain that does not read, a domain that is away.

use super::call::{CallStage, IncomingCall, Origin, OutgoingCall};
use super::{Action, Forwarded, Proxy};
use crate::engine::clock::Now;
use crate::engine::legacy;
use crate::engine::mapping::Command;
use crate::engine::name::DomainName;
use crate::engine::queue::{Purpose, QueuedLine};
use crate::engine::refusal::{IgnoreReason, Reason, head, of};
use std::sync::Arc;
use std::time::Duration;

impl Proxy {
    /// When [`Proxy::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let limits = &self.rules.limits;
        let stuck = match self.presence.away_since {
            None => self.queue.waiting_since().map(|since| since.saturating_add(limits.stuck)),
            Some(since) => Some(since.saturating_add(limits.away)),
        };
        let closed = self.queue.earliest();
        let deadlines = [self.calls.deadline(), stuck, closed, self.unacked.next_retry()];
        deadlines.into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Now) {
        self.calls.forget_recent(now.monotonic);
        self.expire_outgoing(now);
        self.expire_incoming(now);
        self.expire_ways(now);
        self.ask_again(now);
        self.ask_those_held(now);
        self.calls.expected(now.monotonic);
        match self.presence.away_since {
            Some(since) if since.saturating_add(self.rules.limits.away) <= now.monotonic => {
                self.actions.push(Action::Retire);
            }
            Some(_) => {}
            None => self.watch_progress(now),
        }
    }

    /// Calls that waited for a late answer to another.
    fn ask_those_held(&mut self, now: Now) {
        let held = self.calls.outgoing.iter().filter(|a| a.held.is_some());
        let waiting: Vec<_> = held.map(|a| (Arc::clone(&a.row), a.requester.clone())).collect();
        for (row, requester) in waiting {
            self.ask_next(&row, &requester, now);
        }
    }

    fn expire_outgoing(&mut self, now: Now) {
        let over = |a: &OutgoingCall| a.held.is_none() && a.deadline <= now.monotonic;
        while let Some(at) = self.calls.outgoing.iter().position(over) {
            let Some(call) = self.withdraw_outgoing(at) else { return };
            let row = &call.row;
            if ends_by_time(row) {
                self.count_ended(call.answers, call.extra);
            } else if !call.extra {
                let detail = unanswered(row, call.to.as_ref().unwrap_or(&call.handler));
                self.refuse(
                    Reason::Expired,
                    detail.clone(),
                    call.requester.clone(),
                    call.head.clone(),
                );
                let told = of(&row.legacy, &detail);
                self.tell_legacy(&call.requester, Reason::Expired, &told, now);
                self.answer_failure(&call, now);
            }
            self.remember_outgoing(call, false, now);
        }
    }

    fn expire_incoming(&mut self, now: Now) {
        let clock = now.monotonic;
        let over = |g: &IncomingCall| matches!(g.state, CallStage::Open { deadline, .. } if deadline <= clock);
        while let Some(at) = self.calls.incoming.iter().position(over) {
            let Some(call) = self.calls.incoming.remove(at) else { return };
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
        if since.saturating_add(self.rules.limits.stuck) > now.monotonic {
            return;
        }
        for entry in self.queue.give_up_stuck(now.monotonic) {
            self.give_up_entry(entry, Reason::DomainStuck, now);
        }
    }

    /// A line will not be written.
    pub(super) fn give_up_entry(&mut self, entry: QueuedLine, reason: Reason, now: Now) {
        let detail = match reason {
            Reason::DomainStuck => format!("{} does not read what is written to it", self.name()),
            _ => format!("{} has been away for too long", self.name()),
        };
        self.give_up_entry_for(entry, reason, &detail, now);
    }

    /// The same, and why.
    pub(super) fn give_up_entry_for(
        &mut self,
        entry: QueuedLine,
        reason: Reason,
        detail: &str,
        now: Now,
    ) {
        match entry.purpose {
            Purpose::Call(id) => {
                let at = self.calls.incoming_at(id);
                if let Some(call) = at.and_then(|at| self.calls.incoming.remove(at)) {
                    self.give_up(&call, reason, detail, now);
                    self.give_next(&call.handler, now);
                }
            }
            Purpose::Message { from, command } => {
                let line = legacy::parse(&entry.line, self.rules.limits.depth);
                let detail = line.map_or_else(
                    |_| detail.to_owned(),
                    |message| self.rules.named(&message, detail),
                );
                self.refuse(reason, &*detail, from.clone(), head(&entry.line));
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
        let given = self.calls.incoming.take();
        let (open, waiting): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|g| matches!(g.state, CallStage::Open { .. }));
        let mut direct = Vec::new();
        let mut rest = Vec::new();
        for entry in self.queue.give_up() {
            match entry.purpose {
                Purpose::Call(id) => direct.push((id, entry.line)),
                Purpose::Message { from, .. } if resumed && entry.delivery.is_some() => {
                    self.ignore(IgnoreReason::LeftToBroker, &Some(from.as_str().to_owned()));
                }
                _ => rest.push(entry),
            }
        }
        for call in waiting {
            let queued = direct.iter().position(|(id, _)| *id == call.id);
            let line = match &call.state {
                CallStage::Held(line) => Some(line.clone()),
                _ => queued.map(|at| direct.swap_remove(at).1),
            };
            match (self.hand_over(call, now), line) {
                (Some(call), Some(line))
                    if matches!(call.origin, Origin::Direct)
                        && self.rules.is_legacy(&call.name()) =>
                {
                    self.actions.push(Action::Pass(call.name(), Forwarded::Returned(line)));
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
                Purpose::Message { from, command: true } if self.rules.is_legacy(from) => {
                    let back = Action::Pass(from.clone(), Forwarded::Returned(entry.line));
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
        while let Some(call) = self.take_outgoing(0) {
            if !call.extra {
                let detail = format!("{} went away before the answer came", call.requester);
                let detail = of(&call.row.name, &detail);
                self.refuse(Reason::Expired, detail, call.requester, call.head);
            }
        }
    }
}

/// Whether nothing but its timeout ends a call, since several domains answer.
pub(super) fn ends_by_time(row: &Command) -> bool {
    row.answers.iter().all(|a| !a.ends) && !row.announced.iter().any(|a| a.ends)
}

pub(super) fn went_away(call: &IncomingCall) -> String {
    format!("{} went away before it answered", call.handler)
}

fn unanswered(row: &Command, handler: &DomainName) -> String {
    let after = humantime::format_duration(row.timeout);
    format!("{handler} has not answered {} in {after}", row.name)
}
