//! What comes from the broker: packets, and the room that large ones take.

use super::wire;
use crate::edge::tls;
use crate::engine::publish::Received;
use crate::engine::session::{Cause, Connack};
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::Error;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is read of most packets at a time, many of them if they are there.
const CAPACITY: usize = 8 * 1024;
/// A packet of so many bytes waits for its room.
pub(super) const LARGE: usize = 64 * 1024;

/// Room for the large packets that are read at the same time: each domain has a session, and requests and
/// answers of many megabytes may come to all of them at once. A clone is the same room.
#[derive(Debug, Clone)]
pub struct ReadRoom {
    bytes: Arc<Semaphore>,
    all: u32,
}

/// What a packet has of it, until this is dropped.
pub(super) type Reserved = OwnedSemaphorePermit;

impl ReadRoom {
    /// Room for so many bytes, or for one packet, if that is larger.
    #[must_use]
    pub fn new(bytes: u32) -> Self {
        let room = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(room)), all: u32::try_from(room).unwrap_or(bytes) }
    }

    /// Waits until there is room for a packet of so many bytes: `None` if there never is any.
    async fn take(&self, size: usize) -> Option<Reserved> {
        let size = u32::try_from(size).unwrap_or(u32::MAX).min(self.all);
        Arc::clone(&self.bytes).acquire_many_owned(size).await.ok()
    }
}

/// The reading half of a connection.
pub(super) struct Input {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    /// The largest packet that is taken, in bytes.
    most: u32,
    room: ReadRoom,
    /// Of the packet that has begun.
    share: Option<Reserved>,
}

/// A packet of the broker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A CONNACK that accepts the connection.
    Connack(Box<Connack>),
    /// A PUBLISH, its packet id and its quality of service.
    Publish(Box<Received>, u16, u8),
    /// A PUBACK: packet id and reason code.
    Puback(u16, u8),
    /// A PUBREL, of QoS 2.
    Pubrel(u16),
    /// A SUBACK: packet id and reason codes.
    Suback(u16, Bytes),
    /// An UNSUBACK.
    Unsuback(u16),
    /// A PINGRESP.
    Pong,
    /// A CONNACK that refuses the connection, or a DISCONNECT: nothing follows.
    Ended(Cause),
}

/// A packet that has come.
pub(super) struct Arrived {
    pub packet: Incoming,
    /// In bytes.
    pub size: usize,
    /// For as long as somebody has the packet.
    pub share: Option<Reserved>,
}

impl Input {
    pub fn new(reader: Box<dyn AsyncRead + Send + Unpin>, most: u32, room: ReadRoom) -> Self {
        Self { reader, buffer: BytesMut::with_capacity(CAPACITY), most, room, share: None }
    }

    /// The next packet. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended, or carries no MQTT.
    pub async fn next(&mut self) -> Result<Arrived, Cause> {
        loop {
            let before = self.buffer.len();
            let missing = match wire::read(&mut self.buffer, self.most) {
                Ok(packet) => {
                    let size = before - self.buffer.len();
                    return Ok(Arrived { packet, size, share: self.share.take() });
                }
                Err(Error::InsufficientBytes(missing)) => missing,
                Err(error) => {
                    return Err(Cause::Broken(format!("the broker sends no MQTT: {error}")));
                }
            };
            if missing >= LARGE && self.share.is_none() {
                self.share = self.room.take(before + missing).await;
            }
            self.buffer.reserve(missing);
            if self.reader.read_buf(&mut self.buffer).await.map_err(broken)? == 0 {
                return Err(Cause::Closed);
            }
        }
    }

    /// What has come of the next packet no longer keeps the memory of one that it stands behind.
    pub fn let_go(&mut self) {
        let mut rest = BytesMut::with_capacity(CAPACITY.max(self.buffer.len()));
        rest.extend_from_slice(&self.buffer);
        self.buffer = rest;
    }
}

/// How a connection ends that can be read or written no more.
pub(super) fn broken(error: io::Error) -> Cause {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionReset | UnexpectedEof => Cause::Closed,
        _ => Cause::Broken(tls::explain(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PingResp, Publish};
    use tokio::io::AsyncWriteExt as _;

    const MOST: usize = 1 << 20;

    /// A connection on which these payloads have come, and a PINGRESP after each.
    async fn input(payloads: &[usize], room: &ReadRoom) -> Input {
        let mut bytes = BytesMut::new();
        for size in payloads {
            let publish = Publish::new("a", QoS::AtMostOnce, vec![0; *size], None);
            for packet in [Packet::Publish(publish), Packet::PingResp(PingResp)] {
                packet.write(&mut bytes, None).unwrap();
            }
        }
        let (mut broker, reader) = tokio::io::duplex(bytes.len());
        broker.write_all(&bytes).await.unwrap();
        Input::new(Box::new(reader), u32::try_from(MOST).unwrap(), room.clone())
    }

    #[tokio::test]
    async fn large_packets_share_their_room_and_small_ones_pass() {
        let room = ReadRoom::new(u32::try_from(MOST).unwrap());
        let large = MOST * 2 / 3;
        let mut first = input(&[large], &room).await;
        let mut second = input(&[10, large], &room).await;
        let held = first.next().await.unwrap();
        assert!(held.share.is_some() && held.size > large);
        for _ in 0..2 {
            assert!(second.next().await.unwrap().share.is_none());
        }
        assert!(second.next().now_or_never().is_none());
        assert!(second.buffer.len() <= CAPACITY, "{} bytes", second.buffer.len());
        assert!(first.next().await.is_ok(), "what follows has room");
        drop(held);
        assert!(second.next().await.unwrap().size > large);
        assert!(second.next().await.is_ok());
        assert!(matches!(second.next().await, Err(Cause::Closed)));
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_room_takes_all_of_it() {
        let room = ReadRoom::new(1000);
        let mut one = input(&[MOST / 2], &room).await;
        assert!(one.next().await.unwrap().share.is_some());
    }
}
