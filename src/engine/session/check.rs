//! What a broker would never take: sending it anyway would cost the connection, and the next one again.

use crate::engine::publish::{ID_PROPERTY, MARK_PROPERTY, Publish, Qos, SOURCE_PROPERTY};

/// The longest string or binary field of MQTT, in bytes.
const LONGEST_FIELD: usize = u16::MAX as usize;
/// The largest packet of MQTT, in bytes: a remaining length of four bytes, and the header.
const LARGEST_PACKET: usize = 268_435_455;

/// Why a broker whose largest packet has so many bytes would never take a publish.
pub(super) fn refusal(publish: &Publish, largest: u32) -> Option<String> {
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
    let most = usize::try_from(largest).unwrap_or(usize::MAX).min(LARGEST_PACKET);
    let size = packet_size(publish);
    (size > most).then(|| format!("the packet has {size} bytes, the broker takes {most}"))
}

/// How many bytes the PUBLISH of a message has (MQTT 5, 3.3).
#[must_use]
pub fn packet_size(publish: &Publish) -> usize {
    /// What stands before a string: its length in two bytes.
    const LENGTH: usize = 2;
    let user = |name: &str, text: Option<&str>| {
        text.map_or(0, |text| 1 + LENGTH + name.len() + LENGTH + text.len())
    };
    let properties = publish.expiry.map_or(0, |_| 1 + 4)
        + publish.response_topic.as_ref().map_or(0, |topic| 1 + LENGTH + topic.len())
        + publish.correlation.as_ref().map_or(0, |data| 1 + LENGTH + data.len())
        + user(SOURCE_PROPERTY, publish.source.as_ref().map(|source| source.as_str()))
        + user(MARK_PROPERTY, publish.mark.as_deref())
        + user(ID_PROPERTY, publish.id.as_deref());
    let id = if publish.qos == Qos::AtMostOnce { 0 } else { 2 };
    let rest = LENGTH
        + publish.topic.len()
        + id
        + integer_size(properties)
        + properties
        + publish.payload.len();
    1 + integer_size(rest) + rest
}

/// How many bytes a variable byte integer has (MQTT 5, 1.5.5).
fn integer_size(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
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
