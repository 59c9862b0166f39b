//! What a session tells its owner.

use crate::translate::publish::{Received, Token};
use crate::translate::refusal::Reason;

/// Names one received message for its acknowledgement. Worthless once its connection is gone: the
/// broker sends the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The number of the connection that it came over.
    pub(super) connection: u64,
    /// Its packet id there.
    pub(super) pkid: u16,
    /// Its quality of service: at 0 there is nothing to acknowledge.
    pub(super) qos: u8,
}

/// What a session tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connected, subscriptions acknowledged; the outbox flows. Messages that the broker had kept
    /// for the session may have come before this. It comes again when other subscriptions were wanted
    /// and have been acknowledged.
    Ready,
    /// A message. The broker holds it until it is acknowledged, and sends about
    /// [`WINDOW`](super::WINDOW) of them ahead (Mosquitto 2.0.11 up to twice as many and more).
    Received(Received, Delivery),
    /// The broker has taken a publish. With QoS 0 it means that it is being written.
    Acknowledged {
        /// Of which publish.
        token: Token,
        /// Whether someone subscribes to its topic (always, for QoS 0, which has no answer).
        matched: bool,
    },
    /// The broker will never take a publish. It has left the outbox.
    Refused {
        /// Which publish.
        token: Token,
        /// [`Reason::NotAllowed`] where the broker's ACL forbids it.
        reason: Reason,
        /// For people to read.
        why: String,
    },
    /// The connection is lost, or could not be made. The session tries again by itself.
    Lost {
        /// For people to read.
        why: String,
        /// Whether another client seems to use the same client id: two connections in a row were
        /// closed by the broker within 2 s. The session then tries once a minute.
        contested: bool,
    },
}
