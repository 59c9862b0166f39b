//! Messages in the client library's words and back, and what a broker would never take.

use super::settings::whole_seconds;
use crate::translate::publish::{
    ID_PROPERTY, MARK_PROPERTY, Publish, Qos, Received, SOURCE_PROPERTY,
};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::{QoS, v5 as wire};
use std::time::Duration;

/// The longest string or binary field of MQTT, in bytes. The library cuts the length of a longer
/// one to 16 bits, and the rest of it would be read as something else.
const LONGEST_FIELD: usize = u16::MAX as usize;
/// The largest packet of MQTT, in bytes: a remaining length of four bytes, and the header.
const LARGEST_PACKET: usize = 268_435_455;

/// What the broker said in its CONNACK that it can take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Its largest packet, in bytes.
    pub packet: usize,
    /// Whether it keeps messages.
    pub retain: bool,
    /// How many publishes may be under way to it.
    pub window: usize,
}

impl Limits {
    /// Reads them; `most` bounds the window.
    pub fn of(connack: &wire::ConnAck, most: u16) -> Self {
        let said = connack.properties.as_ref();
        let packet = said.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX);
        let window = said.and_then(|p| p.receive_max).unwrap_or(most).min(most);
        Self {
            packet: usize::try_from(packet).map_or(LARGEST_PACKET, |p| p.min(LARGEST_PACKET)),
            retain: said.and_then(|p| p.retain_available) != Some(0),
            // With its window full the library reads no request at all, so acknowledgements would
            // wait behind publishes: one less keeps the way free.
            window: usize::from(window.saturating_sub(1).max(1)),
        }
    }
}

/// The library's properties of a publish; `left` is what remains of its expiry.
pub(super) fn properties(publish: &Publish, left: Option<Duration>) -> wire::PublishProperties {
    let source = publish.source.as_ref().map(|name| (SOURCE_PROPERTY, name.as_str()));
    let mark = publish.mark.as_ref().map(|mark| (MARK_PROPERTY, &**mark));
    let id = publish.id.as_ref().map(|id| (ID_PROPERTY, &**id));
    let named = source.into_iter().chain(mark).chain(id);
    wire::PublishProperties {
        message_expiry_interval: left.map(whole_seconds),
        response_topic: publish.response_topic.clone(),
        correlation_data: publish.correlation.clone(),
        user_properties: named.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        ..Default::default()
    }
}

/// The library's word for a quality of service.
pub(super) fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// Why a broker with these limits would never take a publish. Sending it anyway would cost the
/// connection, and the next one again.
pub(super) fn refusal(
    publish: &Publish,
    properties: &wire::PublishProperties,
    limits: &Limits,
) -> Option<String> {
    if let Some(why) = bad_topic(&publish.topic) {
        return Some(format!("the topic {why}"));
    }
    if let Some(why) = publish.response_topic.as_deref().and_then(bad_topic) {
        return Some(format!("the response topic {why}"));
    }
    if publish.correlation.as_ref().is_some_and(|data| data.len() > LONGEST_FIELD) {
        return Some(format!("the correlation data is longer than {LONGEST_FIELD} bytes"));
    }
    for (name, text) in [(MARK_PROPERTY, &publish.mark), (ID_PROPERTY, &publish.id)] {
        if text.as_deref().is_some_and(|text| bad_text(text).is_some()) {
            return Some(format!("the user property `{name}` is no text for MQTT"));
        }
    }
    if publish.retain && !limits.retain {
        return Some("the broker keeps no retained messages".to_owned());
    }
    let payload = publish.payload.clone();
    let topic = publish.topic.as_str();
    let mut packet = wire::Publish::new(topic, qos(publish.qos), payload, Some(properties.clone()));
    packet.pkid = 1;
    let (size, most) = (packet.size(), limits.packet);
    (size > most).then(|| format!("the packet has {size} bytes, the broker takes {most}"))
}

/// Why a text is no topic to publish to.
fn bad_topic(topic: &str) -> Option<&'static str> {
    match topic {
        "" => Some("is empty"),
        _ if topic.contains(['+', '#']) => Some("has a wildcard"),
        _ => bad_text(topic),
    }
}

/// Why a text cannot stand in an MQTT packet (MQTT 5, 1.5.4): Mosquitto closes the connection on
/// what the standard only advises against, control characters and noncharacters.
fn bad_text(text: &str) -> Option<&'static str> {
    let noncharacter =
        |c: char| matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE;
    if text.len() > LONGEST_FIELD {
        Some("is longer than MQTT allows")
    } else if text.contains(|c: char| c.is_control() || noncharacter(c)) {
        Some("has characters that MQTT forbids")
    } else {
        None
    }
}

/// A received message, without the library's types. A topic that is not UTF-8 does not get here:
/// the broker refuses it.
pub(super) fn received(publish: wire::Publish) -> Received {
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    let properties = publish.properties.unwrap_or_default();
    let user = |name: &str| {
        let mut found = properties.user_properties.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.clone())
    };
    Received {
        topic,
        payload: publish.payload,
        retain: publish.retain,
        dup: publish.dup,
        source: user(SOURCE_PROPERTY),
        mark: user(MARK_PROPERTY),
        response_topic: properties.response_topic,
        // A part of the packet would keep all of it in memory for as long as the call is remembered.
        correlation: properties.correlation_data.map(|data| Bytes::copy_from_slice(&data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_would_cost_the_connection_are_found() {
        let long = "x".repeat(65_536);
        for topic in ["", "a/+", "#", "a\0b", "a\u{85}", "a\u{ffff}", "\u{fdd0}", &long] {
            assert!(bad_topic(topic).is_some(), "{topic:.20?}");
        }
        for topic in ["system/é", "a//b", "$SYS/x", "\u{fffd}"] {
            assert!(bad_topic(topic).is_none(), "{topic}");
        }
    }
}
