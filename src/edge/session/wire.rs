//! Packets in the client library's words and back.
//!
//! The library writes packets, and reads PUBLISH and the properties of CONNACK. The other packets of a
//! broker are read here: the library refuses reason codes of the standard, and takes a CONNACK of
//! MQTT 3.1.1 for the beginning of a longer one.

use super::input::Incoming;
use crate::engine::password::Credentials;
use crate::engine::publish::{ID_PROPERTY, MARK_PROPERTY, Publish, Qos, Received, SOURCE_PROPERTY};
use crate::engine::session::{Cause, Connack, ConnectPacket, Filter, Packet, Replay};
use crate::engine::session::{WINDOW, whole_seconds};
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{Error, QoS, v5 as wire};

/// Kinds of packets: the high half of their first byte (MQTT 5, 2.1.2).
mod kind {
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREL: u8 = 6;
    pub const SUBACK: u8 = 9;
    pub const UNSUBACK: u8 = 11;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// Takes a packet of the broker's out of what has come.
///
/// # Errors
/// [`Error::InsufficientBytes`], with the number that is missing; or what is wrong with it.
pub(super) fn read(from: &mut BytesMut, most: u32) -> Result<Incoming, Error> {
    let first = from.first().copied();
    // Flags that are not a PUBLISH's do not change (MQTT 5, 2.1.3): what is no MQTT is seen at once.
    if !matches!(first, None | Some(0x20 | 0x30..=0x3F | 0x40 | 0x62 | 0x90 | 0xB0 | 0xD0 | 0xE0)) {
        return Err(Error::MalformedPacket);
    }
    let header = wire::check(from.iter(), Some(most))?;
    let kind = first.map_or(0, |first| first >> 4);
    if kind == kind::PUBLISH {
        return publish(from, most);
    }
    let packet = from.split_to(header.frame_length()).freeze();
    let length = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let body = packet.get(1 + length..).unwrap_or_default();
    let read = match (kind, body) {
        (kind::CONNACK, [_, 0]) => return Err(Error::InvalidProtocol),
        (kind::CONNACK, [_, code]) => Some(Incoming::Ended(Cause::Old(*code))),
        (kind::CONNACK, [_, 0, ..]) => return connack(&packet, most),
        (kind::CONNACK, [_, code, ..]) => Some(Incoming::Ended(Cause::Refused(*code))),
        (kind::PUBACK, [high, low]) => Some(Incoming::Puback(u16::from_be_bytes([*high, *low]), 0)),
        (kind::PUBACK, [high, low, code, ..]) => {
            Some(Incoming::Puback(u16::from_be_bytes([*high, *low]), *code))
        }
        (kind::PUBREL, [high, low, ..]) => {
            Some(Incoming::Pubrel(u16::from_be_bytes([*high, *low])))
        }
        (kind::SUBACK, body) => codes(body).map(|(id, codes)| Incoming::Suback(id, codes)),
        (kind::UNSUBACK, body) => codes(body).map(|(id, _)| Incoming::Unsuback(id)),
        (kind::PINGRESP, []) => Some(Incoming::Pong),
        (kind::DISCONNECT, []) => Some(Incoming::Ended(Cause::Disconnected(0))),
        (kind::DISCONNECT, [code, ..]) => Some(Incoming::Ended(Cause::Disconnected(*code))),
        _ => None,
    };
    read.ok_or(Error::MalformedPacket)
}

/// The packet id of a SUBACK or UNSUBACK, and its reason codes behind the properties.
fn codes(body: &[u8]) -> Option<(u16, Bytes)> {
    let (id, rest) = body.split_first_chunk::<2>()?;
    let (mut length, mut bits, mut at) = (0_usize, 0, 0);
    loop {
        let byte = *rest.get(at)?;
        length |= usize::from(byte & 0x7F) << bits;
        (bits, at) = (bits + 7, at + 1);
        match byte & 0x80 {
            0 => break,
            _ if bits > 21 => return None,
            _ => {}
        }
    }
    let codes = rest.get(at..)?.get(length..)?;
    Some((u16::from_be_bytes(*id), Bytes::copy_from_slice(codes)))
}

/// A whole packet, as the library reads it.
fn whole(from: &mut BytesMut, most: u32) -> Result<wire::Packet, Error> {
    wire::Packet::read(from, Some(most)).map_err(|error| match error {
        // All that there is of it has come.
        Error::InsufficientBytes(_) => Error::MalformedPacket,
        error => error,
    })
}

fn connack(packet: &[u8], most: u32) -> Result<Incoming, Error> {
    let wire::Packet::ConnAck(connack) = whole(&mut packet.into(), most)? else {
        return Err(Error::MalformedPacket);
    };
    let silent = Connack { session_present: connack.session_present, ..Connack::default() };
    Ok(Incoming::Connack(Box::new(match connack.properties {
        None => silent,
        Some(said) => Connack {
            receive_maximum: said.receive_max.unwrap_or(silent.receive_maximum),
            maximum_qos: said.max_qos.unwrap_or(silent.maximum_qos),
            retain_available: said.retain_available != Some(0),
            maximum_packet: said.max_packet_size.unwrap_or(silent.maximum_packet),
            server_keep_alive: said.server_keep_alive,
            assigned_client_id: said.assigned_client_identifier,
            ..silent
        },
    })))
}

/// A message without the library's types. A topic that is not UTF-8 does not get here: the broker
/// refuses it.
fn publish(from: &mut BytesMut, most: u32) -> Result<Incoming, Error> {
    let wire::Packet::Publish(publish) = whole(from, most)? else {
        return Err(Error::MalformedPacket);
    };
    let (id, qos) = (publish.pkid, publish.qos as u8);
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    let properties = publish.properties.unwrap_or_default();
    let user = |name: &str| {
        let mut found = properties.user_properties.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.clone())
    };
    let message = Received {
        topic,
        payload: publish.payload,
        retain: publish.retain,
        dup: publish.dup,
        source: user(SOURCE_PROPERTY),
        mark: user(MARK_PROPERTY),
        response_topic: properties.response_topic,
        // A part of the packet would keep all of it in memory for as long as the call is remembered.
        correlation: properties.correlation_data.map(|data| Bytes::copy_from_slice(&data)),
    };
    Ok(Incoming::Publish(Box::new(message), id, qos))
}

/// A CONNECT.
pub(super) fn connect(connect: ConnectPacket) -> wire::Packet {
    let packet = wire::Connect {
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        clean_start: connect.clean_start,
        properties: Some(wire::ConnectProperties {
            session_expiry_interval: Some(connect.session_expiry),
            receive_maximum: Some(WINDOW),
            max_packet_size: Some(connect.max_packet),
            ..wire::ConnectProperties::new()
        }),
    };
    let will = connect.will.map(|(will, qos)| {
        wire::LastWill::new(will.topic, will.payload.to_vec(), level(qos), will.retain, None)
    });
    let login = connect.credentials.map(|Credentials { user, password }| {
        // The library writes no password where this is empty, as it must be.
        wire::Login::new(user, password.as_ref().map_or("", |password| password.reveal()))
    });
    wire::Packet::Connect(packet, will, login)
}

/// A SUBSCRIBE of QoS 0, to what is retained and what is published from then on, or to the latter `again`.
pub(super) fn look(id: u16, topics: &[String], again: bool) -> wire::Packet {
    let rule = match again {
        true => wire::RetainForwardRule::Never,
        false => wire::RetainForwardRule::OnEverySubscribe,
    };
    let filter = |topic: &String| wire::Filter {
        path: topic.clone(),
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: true,
        retain_forward_rule: rule.clone(),
    };
    let mut subscribe = wire::Subscribe::new_many(topics.iter().map(filter), None);
    subscribe.pkid = id;
    wire::Packet::Subscribe(subscribe)
}

/// A packet of the session's.
pub(super) fn packet(packet: Packet) -> wire::Packet {
    match packet {
        Packet::Subscribe { id, filters } => {
            let filters = filters.into_iter().map(filter);
            let mut subscribe = wire::Subscribe::new_many(filters, None);
            subscribe.pkid = id;
            wire::Packet::Subscribe(subscribe)
        }
        Packet::Unsubscribe { id, topics } => {
            let properties = None;
            wire::Packet::Unsubscribe(wire::Unsubscribe { pkid: id, filters: topics, properties })
        }
        Packet::Publish { id, dup, publish } => wire::Packet::Publish(outgoing(id, dup, *publish)),
        Packet::Acknowledge { id, qos: 1 } => wire::Packet::PubAck(wire::PubAck::new(id, None)),
        // QoS 2 never comes, with subscriptions of QoS 1. If it does, PUBREC is the answer.
        Packet::Acknowledge { id, .. } => wire::Packet::PubRec(wire::PubRec::new(id, None)),
        Packet::Ping => wire::Packet::PingReq(wire::PingReq),
        Packet::Disconnect { session_expiry } => wire::Packet::Disconnect(wire::Disconnect {
            reason_code: wire::DisconnectReasonCode::NormalDisconnection,
            properties: session_expiry.map(|seconds| wire::DisconnectProperties {
                session_expiry_interval: Some(seconds),
                reason_string: None,
                user_properties: Vec::new(),
                server_reference: None,
            }),
        }),
    }
}

fn filter(filter: Filter) -> wire::Filter {
    wire::Filter {
        path: filter.topic,
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

fn outgoing(id: u16, dup: bool, publish: Publish) -> wire::Publish {
    let source = publish.source.as_ref().map(|name| (SOURCE_PROPERTY, name.as_str()));
    let mark = publish.mark.as_ref().map(|mark| (MARK_PROPERTY, &**mark));
    let own = publish.id.as_ref().map(|id| (ID_PROPERTY, &**id));
    let named = source.into_iter().chain(mark).chain(own);
    let properties = wire::PublishProperties {
        message_expiry_interval: publish.expiry.map(whole_seconds),
        response_topic: publish.response_topic,
        correlation_data: publish.correlation,
        user_properties: named.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        ..Default::default()
    };
    wire::Publish {
        dup,
        retain: publish.retain,
        pkid: id,
        ..wire::Publish::new(publish.topic, level(publish.qos), publish.payload, Some(properties))
    }
}

/// The library's word for a quality of service.
fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::DomainName;
    use crate::engine::publish::Token;
    use crate::engine::session::packet_size;
    use std::time::Duration;

    #[test]
    fn a_publish_has_the_size_that_it_was_said_to_have() {
        for size in [0, 80, 127, 128, 16_383, 16_384, 2_097_152] {
            for id in [0, 7] {
                let qos = if id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let bare = Publish::new(Token(1), "a/b".into(), vec![0; size], qos);
                let full = Publish {
                    response_topic: Some("a/response/é".into()),
                    correlation: Some(Bytes::from_static(&[0; 130])),
                    source: DomainName::parse("vm-gui").ok(),
                    mark: Some("dom0".into()),
                    id: Some("x".into()),
                    expiry: Some(Duration::from_secs(1)),
                    ..bare.clone()
                };
                for publish in [bare, full] {
                    let said = packet_size(&publish);
                    let publish = Box::new(publish);
                    let mut out = BytesMut::new();
                    let packet = packet(Packet::Publish { id, dup: false, publish });
                    packet.write(&mut out, None).unwrap();
                    assert_eq!(said, out.len(), "{size}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_packet_of_a_broker_is_seen_at_once() {
        for bytes in [&b"HTTP/1.1 400"[..], &[0x10, 2, 0, 0], &[0x40, 1, 0], &[0x90, 3, 0, 1, 9]] {
            let read = read(&mut bytes.into(), 1 << 20);
            assert!(matches!(read, Err(Error::MalformedPacket)), "{bytes:?}: {read:?}");
        }
        let cut = read(&mut (&[0x40, 2, 0][..]).into(), 1 << 20);
        assert!(matches!(cut, Err(Error::InsufficientBytes(1))));
    }
}
