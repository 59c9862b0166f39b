//! The book of a domain's calls: what it asks, what it is asked, and what has just ended.

use super::call::{CallStage, Calls, IncomingCall, Origin, OutgoingCall, RecentCall};
use crate::engine::limits::Limits;
use crate::engine::mapping::Command;
use crate::engine::mapping::shape::{Side, Values};
use crate::engine::name::DomainName;
use crate::engine::publish::{Received, Token};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// All calls of one domain.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CallBook {
    /// What it asks on MQTT.
    pub outgoing: Calls<OutgoingCall>,
    /// What it is asked, and has to answer.
    pub incoming: Calls<IncomingCall>,
    /// Commands of other legacy domains that were written and have no answer yet. Nothing waits for them.
    unanswered: Calls<IncomingCall>,
    recent: VecDeque<RecentCall>,
    /// No call is over before this.
    earliest: Option<Duration>,
    last: u64,
    by_requester: bool,
    /// Since when the call was pending that has been answered last.
    pub answered_since: Option<Duration>,
}

impl CallBook {
    /// No call yet. `by_requester`: the domain has a channel for each requester, and is busy for one alone.
    pub fn new(by_requester: bool) -> Self {
        Self { by_requester, ..Self::default() }
    }

    /// A number that nothing else of this proxy has: of a call, or of a publish.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The last number that was given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A token that no other publish of this proxy has.
    pub fn token(&mut self) -> Token {
        Token(self.number())
    }

    /// How many calls are pending; a copy for another dialect is none.
    pub fn counted(&self) -> usize {
        self.outgoing.counted() + self.incoming.len()
    }

    /// How many bytes of other domains' messages they hold.
    pub fn held(&self) -> usize {
        self.incoming.size() + self.unanswered.size()
    }

    /// Forgets all that is pending: it is in the store.
    pub fn clear(&mut self) {
        self.outgoing.take();
        self.incoming.take();
        self.unanswered.take();
    }

    /// When something is over, if nothing happens until then.
    pub fn deadline(&self) -> Option<Duration> {
        let recent = self.recent.front().map(|call| call.until);
        self.earliest.into_iter().chain(recent).min()
    }

    /// A call is over then, if nothing happens.
    pub fn expect_until(&mut self, deadline: Duration) {
        let earliest = self.earliest.unwrap_or(deadline);
        self.earliest = Some(earliest.min(deadline));
    }

    /// Looks for the next deadline anew once its time has come. Whoever asks for it asks after each message, and
    /// there may be a thousand calls.
    pub fn expected(&mut self, now: Duration) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        let outgoing = self.outgoing.iter().filter(|a| a.held.is_none()).map(|a| a.deadline);
        let incoming = self.incoming.iter().filter_map(|g| match g.state {
            CallStage::Open { deadline, .. } => Some(deadline),
            CallStage::Held(_) | CallStage::Queued => None,
        });
        self.earliest = outgoing.chain(incoming).min();
    }
}

/// What the domain asks.
impl CallBook {
    /// Where the call of this number is.
    pub fn outgoing_at(&self, id: u64) -> Option<usize> {
        self.outgoing.iter().position(|call| call.id == id)
    }

    /// Whether a call waits for those before it, of which there are `before`, or for an answer to one that is
    /// over: it would be taken for its own.
    pub fn waits_for_another(
        &self,
        (row, requester): (&Command, &DomainName),
        values: &Values,
        before: usize,
    ) -> bool {
        let earlier = |a: &OutgoingCall| {
            a.row.is(row) && a.requester == *requester && row.mixes_up(&a.values, values)
        };
        let late = |e: &RecentCall| {
            e.asked_by == Side::Legacy
                && e.row.is(row)
                && e.requester == *requester
                && row.mixes_up(&e.values, values)
                && (e.unanswered || (e.owes && e.values != *values))
        };
        row.can_mix_up()
            && (self.outgoing.iter().take(before).any(earlier) || self.recent.iter().any(late))
    }

    /// The next call of a row that has waited, and need not any more.
    pub fn next_of(&self, row: &Command, requester: &DomainName) -> Option<usize> {
        self.outgoing.iter().enumerate().position(|(at, call)| {
            call.held.is_some()
                && call.row.is(row)
                && call.requester == *requester
                && !self.waits_for_another((row, requester), &call.values, at)
        })
    }
}

/// What the domain is asked.
impl CallBook {
    /// Where the call of this number is.
    pub fn incoming_at(&self, id: u64) -> Option<usize> {
        self.incoming.iter().position(|call| call.id == id)
    }

    /// Whether a request that the broker sends again has been taken in already.
    pub fn knows_request(&self, row: &Command, message: &Received) -> bool {
        let same = |c: &Option<Bytes>| c.is_some() && *c == message.correlation;
        self.incoming.iter().any(|g| g.row.is(row) && same(&g.correlation))
            || self.recent.iter().any(|e| e.row.is(row) && same(&e.correlation))
    }

    /// Whether the same request, by its correlation data and all that it says first, is pending: a session
    /// that the domain's own program had before may have subscriptions that overlap with the proxy's, and
    /// then the broker sends it once for each.
    pub fn is_pending(&self, row: &Command, message: &Received, reply: &str, head: &str) -> bool {
        let same = |c: &Option<Bytes>| c.is_some() && *c == message.correlation;
        let twin = |g: &IncomingCall| same(&g.correlation) && g.reply == reply && g.head == head;
        self.incoming.iter().any(|g| twin(g) && g.row.is(row))
    }

    /// Whether a call waits for those before it, of which there are `before`: for its handler, or for an
    /// answer to the same requester, if nothing would tell the two answers apart.
    pub fn has_to_wait(&self, call: &IncomingCall, before: usize) -> bool {
        let mixed_up = call.row.can_mix_up()
            && call.correlation.is_none()
            && matches!(call.origin, Origin::Mqtt(_));
        let same = |g: &IncomingCall| {
            g.row.is(&call.row)
                && g.requester == call.requester
                && call.row.mixes_up(&g.values, &call.values)
        };
        (call.row.exclusive && self.is_busy(call))
            || (mixed_up && self.incoming.iter().take(before).any(same))
    }

    fn is_busy(&self, call: &IncomingCall) -> bool {
        let beside = |g: &IncomingCall| self.by_requester && g.requester != call.requester;
        let taken = |g: &IncomingCall| {
            g.handler == call.handler && !beside(g) && !matches!(g.state, CallStage::Held(_))
        };
        self.incoming.iter().any(|g| taken(g) && g.row.exclusive)
    }

    /// The next call whose turn it is at a handler.
    pub fn next_for(&self, handler: &DomainName) -> Option<usize> {
        self.incoming.iter().enumerate().position(|(at, g)| {
            matches!(g.state, CallStage::Held(_))
                && g.handler == *handler
                && !self.has_to_wait(g, at)
        })
    }

    /// How many bytes of lines wait for their handlers.
    pub fn waiting(&self) -> usize {
        self.incoming.iter().map(IncomingCall::waiting).sum()
    }

    /// More of a long line has come since `last`: the time that it took is no silence of the handler's, for
    /// calls that it had by then.
    pub fn still_answering(&mut self, last: Duration, now: Duration) {
        for call in self.incoming.iter_mut() {
            if let CallStage::Open { since, deadline } = &mut call.state {
                let begun = last.max(*since);
                *deadline = deadline.saturating_add(now.saturating_sub(begun));
            }
        }
    }

    /// Commands that were written, and that nothing waits for.
    pub fn unanswered(&self) -> &[IncomingCall] {
        &self.unanswered
    }

    /// One more: the oldest of too many are forgotten.
    pub fn remember_unanswered(&mut self, call: IncomingCall, limits: &Limits) {
        self.unanswered.push(call);
        while self.unanswered.len() > limits.calls
            || (self.unanswered.len() > 1 && self.unanswered.size() > limits.queue)
        {
            self.unanswered.remove(0);
        }
    }

    /// One of them has been answered.
    pub fn forget_unanswered(&mut self, at: usize) {
        self.answered_since = self.unanswered.remove(at).and_then(|call| call.since());
    }

    /// All of them; none is left.
    pub fn take_unanswered(&mut self) -> Vec<IncomingCall> {
        self.unanswered.take()
    }
}

/// What has just ended.
impl CallBook {
    /// Calls that have ended, the oldest first.
    pub fn recent(&self) -> &VecDeque<RecentCall> {
        &self.recent
    }

    /// One that owed an answer has given it.
    pub fn owes_no_more(&mut self, at: usize) {
        if let Some(call) = self.recent.get_mut(at) {
            call.owes = false;
        }
    }

    /// The notification of one that has ended has come.
    pub fn announced(&mut self, at: usize) {
        if let Some(call) = self.recent.get_mut(at) {
            call.announced = true;
        }
    }

    /// Remembers one more, so that one more answer is known for what it is.
    pub fn remember(&mut self, call: RecentCall, limits: &Limits) {
        const FEW: usize = 1024;
        let large = call.size() > FEW;
        self.recent.push_back(call);
        while self.recent.len() > limits.calls {
            self.recent.pop_front();
        }
        if large {
            let mut size: usize = self.recent.iter().map(RecentCall::size).sum();
            while size > limits.queue && self.recent.len() > 1 {
                size -= self.recent.pop_front().map_or(0, |call| call.size());
            }
        }
    }

    /// Forgets those whose time is over.
    pub fn forget_recent(&mut self, now: Duration) {
        while self.recent.front().is_some_and(|call| call.until <= now) {
            self.recent.pop_front();
        }
    }
}
