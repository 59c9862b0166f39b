//! Calls, as a proxy remembers them: what its domain asks, what it is asked, and what is over.

use crate::engine::mapping::Command;
use crate::engine::mapping::shape::{Side, Values};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Received, Token};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A call that a legacy domain makes on MQTT.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutgoingCall {
    pub id: u64,
    /// The row that it began with.
    pub row: Arc<Command>,
    pub requester: DomainName,
    /// Who answers if the answer does not say.
    pub handler: DomainName,
    pub values: Values,
    pub correlation: Bytes,
    pub token: Token,
    /// Not published yet, for another call of its row goes first.
    pub held: Option<Publish>,
    pub deadline: Duration,
    pub answers: u32,
    /// Its notification has come.
    pub announced: bool,
    /// It is a copy for another dialect of a call that is counted already.
    pub extra: bool,
    /// The domain that it is addressed to; `None` is everyone.
    pub to: Option<DomainName>,
    pub head: String,
}

/// Something of which there may be a thousand.
pub(super) trait Pending {
    /// How many bytes it has to remember.
    fn size(&self) -> usize;
    /// Whether it counts as a call.
    fn counts(&self) -> bool;
}

/// Pending calls in their order. Nothing that is asked with each message is added up anew.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Calls<T> {
    calls: Vec<T>,
    counted: usize,
    size: usize,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self { calls: Vec::new(), counted: 0, size: 0 }
    }
}

impl<T: Pending> Calls<T> {
    /// How many of them count.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// How many bytes they have to remember, together.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn push(&mut self, call: T) {
        self.counted += usize::from(call.counts());
        self.size += call.size();
        self.calls.push(call);
    }

    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.calls.len()).then_some(())?;
        let call = self.calls.remove(at);
        self.counted -= usize::from(call.counts());
        self.size -= call.size();
        Some(call)
    }

    /// Changes one so that it may have more or less to remember.
    pub fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let call = self.calls.get_mut(at)?;
        self.size -= call.size();
        let result = change(call);
        self.size += call.size();
        Some(result)
    }

    /// All of them; none is left.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(self).calls
    }
}

impl<T> Deref for Calls<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.calls
    }
}

/// For what changes nothing of their size.
impl<T> DerefMut for Calls<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.calls
    }
}

impl Pending for OutgoingCall {
    fn size(&self) -> usize {
        size_of_values(&self.values)
    }

    fn counts(&self) -> bool {
        !self.extra
    }
}

/// Where a call to a legacy domain comes from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Origin {
    /// From MQTT; the request itself is kept until it has been given.
    Mqtt(Option<Box<Received>>),
    /// From another legacy domain, word for word.
    Direct,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CallStage {
    /// Waits until the handler has answered another.
    Held(Bytes),
    /// Its line waits to be written.
    Queued,
    /// Written.
    Open {
        /// When.
        since: Duration,
        /// When it is over; later, while a long line is on its way.
        deadline: Duration,
    },
}

/// A call to a legacy domain.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IncomingCall {
    pub id: u64,
    /// The row that it began with.
    pub row: Arc<Command>,
    /// `None`: a requester on MQTT that did not say its name.
    pub requester: Option<DomainName>,
    pub handler: DomainName,
    pub origin: Origin,
    pub reply: String,
    pub correlation: Option<Bytes>,
    pub values: Values,
    pub state: CallStage,
    pub answers: u32,
    pub head: String,
}

impl Pending for IncomingCall {
    /// Beside a line in the queue. The requester chooses its correlation data as it likes.
    fn size(&self) -> usize {
        let payload = match &self.origin {
            Origin::Mqtt(Some(message)) => message.payload.len(),
            Origin::Mqtt(None) | Origin::Direct => 0,
        };
        let correlation = self.correlation.as_ref().map_or(0, Bytes::len);
        self.waiting().max(payload) + size_of_values(&self.values) + correlation + self.reply.len()
    }

    fn counts(&self) -> bool {
        true
    }
}

impl IncomingCall {
    /// How many bytes of its line wait for its handler.
    pub fn waiting(&self) -> usize {
        match &self.state {
            CallStage::Held(line) => line.len(),
            CallStage::Queued | CallStage::Open { .. } => 0,
        }
    }

    /// The requester's name on the legacy wire.
    pub fn name(&self) -> DomainName {
        self.requester.clone().unwrap_or_else(DomainName::anonymous)
    }

    /// Since when its handler has had it.
    pub fn since(&self) -> Option<Duration> {
        match self.state {
            CallStage::Open { since, .. } => Some(since),
            CallStage::Held(_) | CallStage::Queued => None,
        }
    }

    /// Whether that is its requester's name.
    pub fn is_from(&self, name: &DomainName) -> bool {
        match &self.requester {
            Some(requester) => requester == name,
            None => *name == DomainName::anonymous(),
        }
    }
}

/// A call that was answered, for a while: one more answer is none.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecentCall {
    pub row: Arc<Command>,
    /// Which side asked.
    pub asked_by: Side,
    pub requester: DomainName,
    pub values: Values,
    pub correlation: Option<Bytes>,
    /// Its notification has come.
    pub announced: bool,
    /// It ran out without an answer, which may still come.
    pub unanswered: bool,
    /// Its server is known to answer once more.
    pub owes: bool,
    pub until: Duration,
}

impl RecentCall {
    /// A call that the domain has made, and that was answered or ran out.
    pub fn of_outgoing(call: OutgoingCall, is_answered: bool, until: Duration) -> Self {
        Self {
            owes: is_answered && call.row.answered_twice && call.row.can_mix_up(),
            row: call.row,
            asked_by: Side::Legacy,
            requester: call.requester,
            values: call.values,
            correlation: Some(call.correlation),
            announced: call.announced,
            unanswered: !is_answered,
            until,
        }
    }

    /// A call that the domain has answered.
    pub fn of_incoming(call: IncomingCall, until: Duration) -> Self {
        Self {
            requester: call.name(),
            row: call.row,
            asked_by: Side::Mqtt,
            values: call.values,
            correlation: call.correlation,
            announced: false,
            unanswered: false,
            owes: false,
            until,
        }
    }

    /// How many bytes it holds of its request.
    pub fn size(&self) -> usize {
        size_of_values(&self.values) + self.correlation.as_ref().map_or(0, Bytes::len)
    }
}

/// How many bytes a call keeps of its request.
fn size_of_values(values: &Values) -> usize {
    values.iter().map(|(name, value)| name.len() + value.len()).sum()
}
