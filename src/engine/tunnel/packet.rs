//! What is read of a packet beyond where it ends (MQTT 5, 2 and 3).

use crate::engine::steps;
use serde::{Deserialize, Serialize};

/// Kinds of packets: the upper half of their first byte.
pub const CONNECT: u8 = 0x10;
pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x60;
pub const PUBCOMP: u8 = 0x70;
pub const SUBSCRIBE: u8 = 0x80;
pub const SUBACK: u8 = 0x90;
pub const UNSUBSCRIBE: u8 = 0xA0;
pub const UNSUBACK: u8 = 0xB0;
pub const PINGREQ: u8 = 0xC0;
pub const PINGRESP: u8 = 0xD0;
pub const AUTH: u8 = 0xF0;

/// The flag of a PUBLISH that is said again.
const DUP: u8 = 0x08;
/// Reason codes from here on say that something failed.
pub const FAILED: u8 = 0x80;

/// Properties of MQTT 5 (2.2.2.2).
pub const SUBSCRIPTION_ID: u8 = 0x0B;
pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const AUTH_METHOD: u8 = 0x15;
pub const REASON_STRING: u8 = 0x1F;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const USER_PROPERTY: u8 = 0x26;

/// The kind of a packet.
pub fn kind(packet: &[u8]) -> u8 {
    packet.first().map_or(0, |first| first & 0xF0)
}

/// How long a packet is, as soon as its length has come.
pub fn size(packet: &[u8]) -> Option<usize> {
    let (size, digits) = length(packet.get(1..)?)?;
    Some(1 + digits + size)
}

/// Where what follows the length begins.
fn body_at(packet: &[u8]) -> Option<usize> {
    length(packet.get(1..)?).map(|(_, digits)| 1 + digits)
}

/// What follows the length.
pub fn body(packet: &[u8]) -> &[u8] {
    body_at(packet).and_then(|at| packet.get(at..)).unwrap_or_default()
}

/// The identifier of a packet that begins with it: every one but a PUBLISH.
pub fn id(packet: &[u8]) -> Option<u16> {
    body(packet).first_chunk().map(|id| u16::from_be_bytes(*id))
}

/// Gives such a packet another identifier.
pub fn set_id(packet: &mut [u8], id: u16) {
    if let Some(at) = body_at(packet) {
        put(packet, at, id);
    }
}

/// Writes a number into a packet.
pub fn put(packet: &mut [u8], at: usize, number: u16) {
    if let Some(place) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = number.to_be_bytes();
    }
}

/// Whether a PUBREC says that the message is not taken (MQTT 5, 3.5.2.1).
pub fn has_failed(packet: &[u8]) -> bool {
    body(packet).get(2).is_some_and(|reason| *reason >= FAILED)
}

/// An acknowledgement without anything else.
pub fn acknowledgement(kind: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [if kind == PUBREL { kind | 0x02 } else { kind }, 2, high, low]
}

/// Says that a PUBLISH is said again. Of others only MQTT 3.1 has such a mark, and needs none.
pub fn mark_repeated(packet: &mut [u8]) {
    if let Some(first) = packet.first_mut().filter(|first| **first & 0xF0 == PUBLISH) {
        *first |= DUP;
    }
}

/// The head of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishPacket {
    pub qos: u8,
    pub repeated: bool,
    /// Its identifier, and where it stands; 0 for one of QoS 0.
    pub id: u16,
    pub id_at: usize,
    /// Whether it sets or uses a topic alias.
    pub has_alias: bool,
}

/// Reads the head of a PUBLISH; `None` while it is not all there.
pub fn publish(packet: &[u8], is_five: bool) -> Option<PublishPacket> {
    let first = *packet.first()?;
    let at = body_at(packet)?;
    let (topic, rest) = field(packet.get(at..)?)?;
    let id_at = at + 2 + topic.len();
    let qos = first >> 1 & 3;
    let (id, rest) = match qos {
        0 => (0, rest),
        _ => {
            let (id, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*id), rest)
        }
    };
    let has_alias = is_five && properties(rest)?.any(|(key, _)| key == TOPIC_ALIAS);
    Some(PublishPacket { qos, repeated: first & DUP != 0, id, id_at, has_alias })
}

/// The properties that some bytes begin with; `None` if they are not all there.
pub fn properties(bytes: &[u8]) -> Option<Properties<'_>> {
    let (size, digits) = length(bytes)?;
    Some(Properties(bytes.get(digits..digits + size)?))
}

/// Properties, each with its value as it stands there.
pub struct Properties<'p>(&'p [u8]);

impl<'p> Iterator for Properties<'p> {
    type Item = (u8, &'p [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&key, rest) = self.0.split_first()?;
        let size = match key {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => 1,
            0x13 | 0x21..=0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            SUBSCRIPTION_ID => length(rest)?.1,
            USER_PROPERTY => {
                let (key, after) = field(rest)?;
                4 + key.len() + field(after)?.0.len()
            }
            _ => 2 + field(rest)?.0.len(),
        };
        steps::count(size);
        let (value, rest) = rest.split_at_checked(size)?;
        self.0 = rest;
        Some((key, value))
    }
}

/// Reads a remaining length, or any number of MQTT's that is written so, and how many bytes it takes.
pub fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// What follows MQTT 5's properties.
pub fn after_properties(bytes: &[u8]) -> Option<&[u8]> {
    let (properties, size) = length(bytes)?;
    bytes.get(size + properties..)
}

/// Writes a field with its length before it. A name has 64 bytes, and a [`Password`] fits too.
pub fn push_field(out: &mut Vec<u8>, bytes: &[u8]) {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(size)).unwrap_or_default());
}

/// Writes a remaining length (MQTT 5, 1.5.5).
pub fn push_length(out: &mut Vec<u8>, mut size: usize) {
    loop {
        let digit = u8::try_from(size % 128).unwrap_or_default();
        size /= 128;
        out.push(digit | if size > 0 { 0x80 } else { 0 });
        if size == 0 {
            return;
        }
    }
}

/// A field with its length before it, and what follows.
pub fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_publish_is_read_as_soon_as_it_is_there() {
        // A topic, an identifier, an expiry and an alias, a payload.
        let five = b"\x3D\x12\0\x03a/b\0\x07\x08\x02\0\0\0\x09\x23\0\x01x";
        let head = PublishPacket { qos: 2, repeated: true, id: 7, id_at: 7, has_alias: true };
        for end in 0..=five.len() {
            let expected = (end >= five.len() - 1).then_some(head);
            assert_eq!(publish(&five[..end], true), expected, "{end}");
        }
        let four = [0x32, 5, 0, 1, b'a', 1, 0];
        let head = PublishPacket { qos: 1, repeated: false, id: 256, id_at: 5, has_alias: false };
        assert_eq!(publish(&four, false), Some(head));
        let none = PublishPacket { qos: 0, id: 0, ..head };
        assert_eq!(publish(&[0x30, 4, 0, 1, b'a', b'x'], false), Some(none));
    }

    #[test]
    fn every_property_is_passed_over_as_it_is_long() {
        let all = b"\x19\x01\x01\x13\0\x01\x11\0\0\0\x01\x0B\x80\x01\x26\0\x01k\0\x02vv\x1F\0\x01r";
        let found: Vec<_> = properties(all).unwrap().collect();
        let expected: [(u8, &[u8]); 6] = [
            (0x01, b"\x01"),
            (0x13, b"\0\x01"),
            (0x11, b"\0\0\0\x01"),
            (0x0B, b"\x80\x01"),
            (0x26, b"\0\x01k\0\x02vv"),
            (0x1F, b"\0\x01r"),
        ];
        assert_eq!(found, expected);
        assert!(properties(&all[..5]).is_none());
    }
}
