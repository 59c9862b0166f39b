//! What a proxy wants done, and what goes from domain to domain.

use crate::engine::mapping::{Command, Event};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Token};
use crate::engine::queue::DeliveryId;
use crate::engine::refusal::{IgnoreReason, Refusal};
use crate::engine::store::MessageRecord;
use crate::engine::tap::Crossing;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a proxy wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Publish this in the domain's session.
    Publish(Publish),
    /// Put this into the store alone, for there is no room in memory.
    Store(Token, Box<MessageRecord>),
    /// Put this into the store too. It is published later, with this token.
    Hold(Token, Box<MessageRecord>),
    /// The call that was published with this token, or was to be, is over.
    Over(Token),
    /// From now on subscribe to these, and to nothing else.
    Subscribe(BTreeSet<String>),
    /// Forget a publish that has not been sent.
    Withdraw(Token),
    /// Tell the broker that a received message is in good hands.
    Acknowledge(DeliveryId),
    /// One more line waits to be written: see [`Proxy::chunk`](super::Proxy::chunk).
    Queued,
    /// Give this to another legacy domain.
    Pass(DomainName, Forwarded),
    /// Give this to every legacy domain, this one included.
    PassAll(Forwarded),
    /// Publish this call for whoever handles it now, in the gateway's own session.
    HandOver(Box<HandedOver>),
    /// Publish this in the gateway's own session, if it has room: a request came to nothing, and too much
    /// waits in the domain's. Behind a flood of requests the broker says for long not what it has taken.
    Tell(Box<Publish>),
    /// Log and publish a refusal.
    Refused(Refusal),
    /// Log that nothing had to be done.
    Ignored(IgnoreReason, DomainName),
    /// Tell whoever watches. If it was refused, what follows is that refusal.
    Crossed(Box<Crossing>),
    /// The domain has been away for too long: its proxy is to be ended.
    Retire,
}

/// A call from MQTT that its handler was never given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Its row's name.
    pub row: Arc<str>,
    /// The request, as it came.
    pub request: Publish,
    /// What its requester is told if nobody takes it, where there is a way to say so.
    pub failure: Option<Publish>,
    /// The requester.
    pub from: DomainName,
    /// The domain that was to carry it out.
    pub to: DomainName,
}

/// A call that a legacy domain made on MQTT, and whose handler is a legacy domain here by now.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnCall {
    /// Its correlation data.
    pub correlation: Bytes,
    /// Its handler.
    pub to: DomainName,
    /// The command, as the handler is to read it.
    pub line: Bytes,
    /// Its row.
    pub row: Arc<Command>,
}

/// What goes from domain to domain. It carries its row: the one that it goes to may have another
/// table by then, or not yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Forwarded {
    /// A line, word for word, from a domain to another.
    Line {
        /// Its sender.
        from: DomainName,
        /// With its `\n`.
        line: Bytes,
        /// The row, if it is a command that is mapped.
        command: Option<Arc<Command>>,
        /// Whether it is a command.
        is_command: bool,
    },
    /// A line to everyone, which its sender's proxy has counted.
    Copy(Bytes),
    /// A notification from MQTT, translated once.
    Event {
        /// The line for those whom it tells nothing more.
        line: Bytes,
        /// The row.
        row: Arc<Event>,
        /// The notification.
        payload: Bytes,
        /// The sender on the legacy wire.
        source: DomainName,
        /// The mapping has it no more, or the policy forbids it: it is only for those whose pending call
        /// it belongs to.
        late: bool,
    },
    /// What a requester is told.
    Notice(Bytes),
    /// A line that could not be given: its sender's proxy finds another way.
    Returned(Bytes),
    /// A call of the domain's on MQTT has come to the proxy of its handler.
    Own(OwnCall),
}
