//! MQTT messages as the engine sees them: no client library, no connection.

use super::name::DomainName;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The user property that names who sent a message.
pub const SOURCE_PROPERTY: &str = "source";
/// The user property of a message that has also gone the direct way; its value is the gateway's instance.
pub const MARK_PROPERTY: &str = "passerelle";

/// The user property that tells a message from all others, when there is a store: one that comes again
/// has the same.
pub const ID_PROPERTY: &str = "passerelle-id";

/// Names one publish of one session, from its making to its PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token(pub u64);

/// MQTT's quality of service, as far as the gateway uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    /// At most once (0).
    AtMostOnce,
    /// At least once (1).
    AtLeastOnce,
}

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Comes back with the PUBACK.
    pub token: Token,
    /// Where to.
    pub topic: String,
    /// What.
    #[serde(with = "crate::engine::snapshot::bytes")]
    pub payload: Bytes,
    /// How surely.
    pub qos: Qos,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// Where the answer goes (MQTT 5, 3.3.2.3.5).
    pub response_topic: Option<String>,
    /// What the answer repeats (MQTT 5, 3.3.2.3.6).
    pub correlation: Option<Bytes>,
    /// Who says it: the user property `source`.
    pub source: Option<DomainName>,
    /// The instance by which it has also gone the direct way: the user property `passerelle`.
    pub mark: Option<Arc<str>>,
    /// What tells it from all others: the user property `passerelle-id`.
    pub id: Option<Arc<str>>,
    /// After how long, from its making, nobody wants it any more (MQTT 5, 3.3.2.3.3).
    pub expiry: Option<Duration>,
}

/// A message that a session received.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Received {
    /// The topic that it was published to.
    pub topic: String,
    /// Its payload, which may be anything.
    #[serde(with = "crate::engine::snapshot::bytes")]
    pub payload: Bytes,
    /// Whether it was kept by the broker, or asked to be.
    pub retain: bool,
    /// Whether the broker may have sent it before (MQTT 5, 3.3.1.1).
    pub dup: bool,
    /// Its response topic, if it had one.
    pub response_topic: Option<String>,
    /// Its correlation data, if it had some.
    pub correlation: Option<Bytes>,
    /// The user property `source`, if it had one. Nothing has checked it.
    pub source: Option<String>,
    /// The user property `passerelle`, if it had one.
    pub mark: Option<String>,
}

impl Received {
    /// Whether it says nothing but that the broker is to forget what it had retained (MQTT 5, 3.3.1.3).
    #[must_use]
    pub fn clears(&self) -> bool {
        self.retain && self.payload.is_empty()
    }
}

impl Publish {
    /// A publish without properties.
    #[must_use]
    pub fn new(token: Token, topic: String, payload: impl Into<Bytes>, qos: Qos) -> Self {
        Self {
            token,
            topic,
            payload: payload.into(),
            qos,
            retain: false,
            response_topic: None,
            correlation: None,
            source: None,
            mark: None,
            id: None,
            expiry: None,
        }
    }

    /// About how many bytes it takes: what counts against a limit.
    #[must_use]
    pub fn size(&self) -> usize {
        /// What it takes besides its texts, here and in the accounts of those who send it.
        const BESIDES: usize = 768;
        self.topic.len()
            + self.payload.len()
            + self.response_topic.as_ref().map_or(0, String::len)
            + self.correlation.as_ref().map_or(0, Bytes::len)
            + BESIDES
    }
}
