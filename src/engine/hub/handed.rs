//! Calls whose handler has gone: published until somebody is there for them, or nobody comes.

use super::Hub;
use crate::engine::clock::Now;
use crate::engine::proxy::{Action, HandedOver};
use crate::engine::publish::Token;
use crate::engine::refusal::{Reason, Refusal, head, of};
use crate::engine::roster::nobody_takes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The calls that nobody has taken yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Handed {
    calls: BTreeMap<Token, HandedCall>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedCall {
    call: Box<HandedOver>,
    /// When it was taken over.
    since: Duration,
    /// When nobody waits for it any more.
    deadline: Duration,
    /// When to publish it again; `None`: the broker has it.
    again: Option<Duration>,
}

impl Hub {
    /// Takes over a call that its handler was never given.
    pub fn hand_over(&mut self, call: Box<HandedOver>, now: Now) {
        self.next += 1;
        let token = Token(self.next);
        let expiry = call.request.expiry.unwrap_or_default();
        let deadline = now.monotonic.saturating_add(expiry);
        self.handed
            .calls
            .insert(token, HandedCall { call, since: now.monotonic, deadline, again: None });
        self.publish_call(token, now);
    }

    fn publish_call(&mut self, token: Token, now: Now) {
        let Some(handed) = self.handed.calls.get_mut(&token) else { return };
        handed.again = self.roster.waits_until(&handed.call.to, handed.since, now.monotonic);
        if handed.again.is_some() {
            return;
        }
        let mut request = handed.call.request.clone();
        request.token = token;
        request.expiry = Some(handed.deadline.saturating_sub(now.monotonic));
        self.actions.push(Action::Publish(request));
    }

    /// The broker has acknowledged a publish; `matched` says whether anybody subscribes to its topic.
    pub fn acknowledged(&mut self, token: Token, matched: bool, now: Now) {
        let Some(handed) = self.handed.calls.get_mut(&token) else { return };
        if !matched {
            handed.again = self.roster.again_at(&handed.call.to, handed.since, now.monotonic);
            if handed.again.is_some() {
                return;
            }
        }
        let Some(handed) = self.handed.calls.remove(&token) else { return };
        if matched {
            self.counters.delivered += 1;
        } else {
            let detail = nobody_takes(&handed.call.to);
            self.give_up(handed.call, Reason::NoSuchDomain, detail);
        }
    }

    /// The broker will never take a publish.
    pub fn not_published(&mut self, token: Token, reason: Reason, why: &str) {
        if let Some(handed) = self.handed.calls.remove(&token) {
            self.give_up(handed.call, reason, why.to_owned());
        }
    }

    /// Whether a publish is a call that was handed over.
    #[must_use]
    pub fn has_call(&self, token: Token) -> bool {
        self.handed.calls.contains_key(&token)
    }

    /// How many calls wait.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.handed.calls.len()
    }

    /// How many of them nobody has been there for.
    #[must_use]
    pub fn unheard(&self) -> usize {
        self.handed.calls.values().filter(|call| call.again.is_some()).count()
    }

    pub(super) fn deadline_of_calls(&self) -> Option<Duration> {
        let due = |c: &HandedCall| c.again.unwrap_or(c.deadline).min(c.deadline);
        self.handed.calls.values().map(due).min()
    }

    pub(super) fn wake_calls(&mut self, now: Now) {
        let due = |time: Option<Duration>| time.is_some_and(|time| time <= now.monotonic);
        let over: Vec<Token> = self.those(|c| c.deadline <= now.monotonic);
        for token in over {
            self.actions.push(Action::Withdraw(token));
            if let Some(handed) = self.handed.calls.remove(&token) {
                let detail = format!("nobody takes requests on {:?}", handed.call.request.topic);
                self.give_up(handed.call, Reason::Expired, detail);
            }
        }
        for token in self.those(|c| due(c.again)) {
            self.publish_call(token, now);
        }
    }

    fn those(&self, fit: impl Fn(&HandedCall) -> bool) -> Vec<Token> {
        self.handed.calls.iter().filter(|(_, call)| fit(call)).map(|(token, _)| *token).collect()
    }

    /// Ends a call that came to nothing, and tells its requester.
    fn give_up(&mut self, call: Box<HandedOver>, reason: Reason, detail: String) {
        let HandedOver { row, request, failure, from, to: _ } = *call;
        let detail = of(&row, &detail).into_owned();
        *self.counters.refused.entry(reason).or_default() += 1;
        let head = head(&request.payload);
        self.actions.push(Action::Refused(Refusal { reason, from, detail, head }));
        if let Some(mut failure) = failure {
            self.next += 1;
            failure.token = Token(self.next);
            self.actions.push(Action::Publish(failure));
        }
    }
}
