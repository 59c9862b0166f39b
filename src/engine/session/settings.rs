//! What a session is told when it is made.

use crate::engine::password::Credentials;
use crate::engine::subscriptions;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many publishes a session has in flight at once, and how many messages the broker may send it
/// ahead of the acknowledgements.
pub const WINDOW: u16 = 100;

/// One subscription: QoS 1, the retain flag as published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The topic filter.
    pub topic: String,
    /// Whether the session's own publishes are kept from it.
    pub no_local: bool,
    /// What it brings of what the broker has retained.
    pub retained: Replay,
}

/// When a subscription brings what the broker has retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replay {
    /// Never: what is said was so once.
    Never,
    /// When it is new.
    WhenNew,
    /// On each connection.
    EachTime,
}

impl Filter {
    /// Subscriptions that keep the session's own publishes from it. A retained request is had, to be refused;
    /// a retained answer or notification is not for whoever begins to listen now.
    pub fn others(topics: BTreeSet<String>) -> Vec<Self> {
        let filter = |topic: String| {
            let asks = subscriptions::has_requests(&topic);
            let retained = if asks { Replay::WhenNew } else { Replay::Never };
            Self { topic, no_local: true, retained }
        };
        topics.into_iter().map(filter).collect()
    }

    /// A subscription for which retained messages come on each connection.
    #[must_use]
    pub fn each_time(topic: String) -> Self {
        Self { topic, no_local: true, retained: Replay::EachTime }
    }

    /// Whether the topic filter keeps to MQTT's rules (MQTT 5, 4.7.1).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut levels = self.topic.split('/').peekable();
        let mut valid = !self.topic.is_empty();
        while let Some(level) = levels.next() {
            valid &= match level {
                "#" => levels.peek().is_none(),
                "+" => true,
                level => !level.contains(['+', '#']),
            };
        }
        valid
    }
}

/// What the broker publishes (QoS 1) when the session ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// Everything that a session must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The client id, under which the broker keeps the session.
    pub client_id: String,
    /// Where the broker is, for people to read.
    pub broker: String,
    /// What to log in with.
    pub credentials: Option<Credentials>,
    /// After how much silence a PINGREQ is sent; whole seconds, 5 to 65 535. 0: never.
    pub keep_alive: Duration,
    /// How long the broker keeps the session without a connection; whole seconds.
    pub session_expiry: Duration,
    /// The largest packet that the broker may send, in bytes. It *drops* larger ones.
    pub max_packet: u32,
    /// The subscriptions that are wanted.
    pub filters: Vec<Filter>,
    /// The topic filters that a session which the broker has kept may have. `None`: nobody knows, so the
    /// first connection begins with a clean start.
    pub held: Option<BTreeSet<String>>,
    /// The will, if there is one.
    pub will: Option<Will>,
    /// After how long without the PUBACK of its oldest publish a connection is given up.
    pub stuck: Duration,
    /// Sets the waits of sessions of one broker apart.
    pub seed: u64,
}

/// Seconds, rounded up, so that nothing short becomes 0.
#[must_use]
pub fn whole_seconds(span: Duration) -> u32 {
    let up = u64::from(span.subsec_nanos() > 0);
    u32::try_from(span.as_secs().saturating_add(up)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::password::Password;

    #[test]
    fn a_password_is_never_printed() {
        let password = Password::parse("s3cret".into()).ok();
        let shown = format!("{:?}", Credentials { user: "gui".into(), password });
        assert!(shown.contains("gui") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn wildcards_stand_for_whole_levels_and_the_last() {
        let valid = |topic: &str| {
            let topic = topic.to_owned();
            Filter { topic, no_local: false, retained: Replay::WhenNew }.is_valid()
        };
        for topic in ["a", "/", "a//b", "+", "#", "+/a/+", "a/#", "é/+"] {
            assert!(valid(topic), "{topic}");
        }
        for topic in ["", "a+", "a/b#", "#/a", "a/#/b", "++"] {
            assert!(!valid(topic), "{topic}");
        }
    }
}
