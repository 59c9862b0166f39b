//! What a session is told when it is made, and what of it the client library must know.

use super::input::ReadRoom;
use crate::config::Address;
use crate::translate::password::Password;
use crate::translate::subscriptions;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::{QoS, v5 as wire, valid_filter};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many publishes a session has under way at once, and how many messages the broker may send
/// it ahead of the acknowledgements. The library's default of 65 535 costs 10 MB for each session.
pub const WINDOW: u16 = 100;

/// What the session logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The secret, if there is one.
    pub password: Option<Password>,
}

/// One subscription: QoS 1, the retain flag as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The topic filter.
    pub topic: String,
    /// Whether the session's own publishes are kept from it.
    pub no_local: bool,
    /// What it brings of what the broker has retained.
    pub retained: Replay,
}

/// When a subscription brings what the broker has retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Never: what is said was so once.
    Never,
    /// When it is new.
    WhenNew,
    /// On each connection.
    EachTime,
}

/// What the broker publishes (QoS 1) when the session ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// Everything that a session must know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The client id, under which the broker keeps the session.
    pub client_id: String,
    /// Where the broker is.
    pub address: Address,
    /// What to log in with.
    pub credentials: Option<Credentials>,
    /// After how much silence a PINGREQ is sent; whole seconds, 5 to 65 535.
    pub keep_alive: Duration,
    /// How long the broker keeps the session without a connection; whole seconds.
    pub session_expiry: Duration,
    /// The largest packet that the broker may send, in bytes. It *drops* larger ones.
    pub max_packet: u32,
    /// Where the packets have room that are read at the same time.
    pub read_room: ReadRoom,
    /// The subscriptions, made again on each connection.
    pub filters: Vec<Filter>,
    /// Filters of before, which the broker may still have from an earlier connection: they are
    /// unsubscribed on the next.
    pub gone: BTreeSet<String>,
    /// The will, if there is one.
    pub will: Option<Will>,
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
}

impl Settings {
    /// From now on these subscriptions are wanted. A filter that breaks MQTT's rules is logged and left
    /// out.
    pub fn set_filters(&mut self, filters: Vec<Filter>) {
        self.gone.extend(self.filters.drain(..).map(|filter| filter.topic));
        self.filters = filters;
        self.filters.retain(|filter| {
            let valid = valid_filter(&filter.topic);
            if !valid {
                tracing::error!(filter = filter.topic, "not subscribed: no topic filter");
            }
            valid
        });
        for filter in &self.filters {
            self.gone.remove(&filter.topic);
        }
    }
}

/// After how much silence a PINGREQ is sent.
pub(super) fn keep_alive(settings: &Settings) -> Duration {
    let seconds = settings.keep_alive.as_secs().clamp(5, u64::from(u16::MAX));
    Duration::from_secs(seconds)
}

/// The packet that begins a connection.
pub(super) fn connect(settings: &Settings, clean: bool) -> wire::Packet {
    let connect = wire::Connect {
        keep_alive: u16::try_from(keep_alive(settings).as_secs()).unwrap_or(u16::MAX),
        client_id: settings.client_id.clone(),
        clean_start: clean,
        properties: Some(wire::ConnectProperties {
            session_expiry_interval: Some(whole_seconds(settings.session_expiry)),
            receive_maximum: Some(WINDOW),
            max_packet_size: Some(settings.max_packet),
            ..wire::ConnectProperties::new()
        }),
    };
    let will = settings.will.as_ref().map(|will| {
        let payload = will.payload.to_vec();
        wire::LastWill::new(will.topic.as_str(), payload, QoS::AtLeastOnce, will.retain, None)
    });
    let login = settings.credentials.as_ref().map(|Credentials { user, password }| {
        // The library writes no password where this is empty, as it must be.
        wire::Login::new(user, password.as_ref().map_or("", Password::reveal))
    });
    wire::Packet::Connect(connect, will, login)
}

/// A subscription in the library's words.
pub(super) fn filter(filter: &Filter) -> wire::Filter {
    wire::Filter {
        path: filter.topic.clone(),
        qos: QoS::AtLeastOnce,
        nolocal: filter.no_local,
        preserve_retain: true,
        retain_forward_rule: match filter.retained {
            Replay::Never => wire::RetainForwardRule::Never,
            Replay::WhenNew => wire::RetainForwardRule::OnNewSubscribe,
            Replay::EachTime => wire::RetainForwardRule::OnEverySubscribe,
        },
    }
}

/// Seconds, rounded up, so that nothing short becomes 0.
pub(super) fn whole_seconds(span: Duration) -> u32 {
    let up = u64::from(span.subsec_nanos() > 0);
    u32::try_from(span.as_secs().saturating_add(up)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
