//! What goes in and out of a session: what the broker's side did, what is to be done, what its owner is
//! told.

use super::code;
use super::settings::{Filter, Will};
use crate::engine::password::Credentials;
use crate::engine::publish::{Publish, Qos, Received, Token};
use crate::engine::refusal::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEffect {
    /// Open a connection to the broker, and send this CONNECT.
    Dial(Box<ConnectPacket>),
    /// Send a packet on it.
    Send(Packet),
    /// Drop the connection, or the attempt to make one: nothing of it matters any more.
    HangUp,
    /// Write to disk that the broker's session may have these topic filters: what [`super::Settings::held`]
    /// is to be when the session is made anew. It goes on with [`super::Session::remembered`].
    Remember {
        /// The session's client id.
        client_id: String,
        /// The topic filters.
        held: BTreeSet<String>,
    },
    /// Log a warning.
    Warn(String),
}

/// A CONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectPacket {
    /// The client id.
    pub client_id: String,
    /// Whether the broker is to forget what it has kept for the client.
    pub clean_start: bool,
    /// In seconds.
    pub keep_alive: u16,
    /// For how many seconds the broker keeps the session.
    pub session_expiry: u32,
    /// The largest packet that the broker may send, in bytes.
    pub max_packet: u32,
    /// What to log in with.
    pub credentials: Option<Credentials>,
    /// The will, and its quality of service.
    pub will: Option<(Will, Qos)>,
}

/// A packet to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet {
    /// SUBSCRIBE.
    Subscribe {
        /// The packet id.
        id: u16,
        /// One or more.
        filters: Vec<Filter>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// The packet id.
        id: u16,
        /// One or more topic filters.
        topics: Vec<String>,
    },
    /// PUBLISH.
    Publish {
        /// The packet id; 0 for QoS 0, whose writing has to be told with [`super::Session::written`].
        id: u16,
        /// Whether the broker may have it under this id.
        dup: bool,
        /// Its `expiry` is what is left of it, and its quality of service what the broker takes.
        publish: Box<Publish>,
    },
    /// PUBACK, or for QoS 2 PUBREC.
    Acknowledge {
        /// The message's packet id.
        id: u16,
        /// Its quality of service.
        qos: u8,
    },
    /// PINGREQ.
    Ping,
    /// DISCONNECT: the last packet. The broker then closes the connection.
    Disconnect {
        /// For how many seconds the broker keeps the session, if that has changed.
        session_expiry: Option<u32>,
    },
}

/// A CONNACK that accepts the connection: what the broker can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connack {
    /// Whether the broker has kept the session.
    pub session_present: bool,
    /// How many publishes may be in flight to it.
    pub receive_maximum: u16,
    /// The highest quality of service that it takes.
    pub maximum_qos: u8,
    /// Whether it keeps messages.
    pub retain_available: bool,
    /// Its largest packet, in bytes.
    pub maximum_packet: u32,
    /// In seconds, if it wants another than the client's; 0 for none.
    pub server_keep_alive: Option<u16>,
    /// A client id that it has chosen instead of the client's.
    pub assigned_client_id: Option<String>,
}

impl Default for Connack {
    /// What holds if a broker says nothing (MQTT 5, 3.2.2.3).
    fn default() -> Self {
        Self {
            session_present: false,
            receive_maximum: u16::MAX,
            maximum_qos: 2,
            retain_available: true,
            maximum_packet: u32::MAX,
            server_keep_alive: None,
            assigned_client_id: None,
        }
    }
}

/// Why a connection is lost, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Cause {
    /// Nobody answers where the broker should be.
    #[error("{0}")]
    Unreachable(String),
    /// The broker's CONNACK refuses the connection with this reason code.
    #[error("the broker refuses the connection: {}", code::named(*.0))]
    Refused(u8),
    /// The broker's CONNACK is of MQTT 3.1.1 or before, with this return code.
    #[error("the broker does not speak MQTT 5, but an older version (its return code is {0})")]
    Old(u8),
    /// The broker closed it without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker said DISCONNECT with this reason code.
    #[error("the broker ended the connection: {}", code::named(*.0))]
    Disconnected(u8),
    /// It was read, written or understood no more.
    #[error("{0}")]
    Broken(String),
}

/// Names one received message for its acknowledgement. Worthless once its connection is gone: the
/// broker sends the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delivery {
    /// The number of the connection that it came over.
    pub(super) connection: u64,
    /// Its packet id there.
    pub(super) id: u16,
    /// Its quality of service: at 0 there is nothing to acknowledge.
    pub(super) qos: u8,
}

impl Delivery {
    /// The same in one number.
    #[must_use]
    pub fn number(self) -> u64 {
        (self.connection << 24) | (u64::from(self.id) << 8) | u64::from(self.qos)
    }

    /// What such a number names.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let [qos, low, high, ..] = number.to_le_bytes();
        Self { connection: number >> 24, id: u16::from_le_bytes([low, high]), qos }
    }
}

/// What has happened to a session's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionInput {
    /// The broker has accepted it.
    Connected(Box<Connack>),
    /// It is lost, or could not be made.
    Lost(Cause),
    /// A SUBACK with these reason codes.
    Suback(u16, Vec<u8>),
    /// An UNSUBACK.
    Unsuback(u16),
    /// A PUBACK with this reason code.
    Puback(u16, u8),
    /// A PUBLISH, with its packet id and its quality of service.
    Received(Box<Received>, u16, u8),
    /// The oldest publish of QoS 0 is being written.
    Written,
    /// A PINGRESP.
    Pong,
    /// What [`SessionEffect::Remember`] asked for is on disk, or cannot be written.
    Remembered,
}

/// What a session tells its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEvent {
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
        /// [`Reason::NotAllowed`] where the broker's ACL forbids it, [`Reason::Expired`] where it came back
        /// after it was withdrawn.
        reason: Reason,
        /// For people to read.
        why: String,
    },
    /// The connection is lost, or could not be made. The session tries again by itself.
    Lost {
        /// What was tried, what came of it, and what to do: for people to read.
        why: String,
        /// Whether another client seems to use the same client id. The session then tries once a minute.
        contested: bool,
        /// How often this same reason has come in a row: the first is worth a line in the log.
        times: u64,
    },
}
