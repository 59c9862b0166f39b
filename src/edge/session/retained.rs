//! A short look at what the broker has retained, without a session that it would keep.

use super::connection::{Connection, ConnectionEvent};
use super::input::{Incoming, ReadRoom};
use crate::edge::broker::Dialer;
use crate::engine::publish::Received;
use crate::engine::session::{ConnectPacket, Packet, named};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use tokio_util::task::AbortOnDropHandle;

/// How many messages wait to be taken.
const WAITING: usize = 64;

/// The retained messages of some filters, then one `None`, then what is published from then on.
pub struct Retained {
    messages: mpsc::Receiver<Result<Option<Received>, String>>,
    _poller: AbortOnDropHandle<()>,
}

impl Retained {
    /// Begins to connect, with a session that ends with the connection, and asks for what is retained on
    /// these topics.
    #[must_use]
    pub fn open(connect: ConnectPacket, broker: &Dialer, topics: Vec<String>) -> Self {
        let (sender, messages) = mpsc::channel(WAITING);
        let keep_alive = Duration::from_secs(connect.keep_alive.into());
        let room = ReadRoom::new(connect.max_packet);
        let connection = Connection::open(connect, broker, room);
        let poller = tokio::spawn(poll(connection, topics, keep_alive, sender));
        Self { messages, _poller: AbortOnDropHandle::new(poller) }
    }

    /// The next one; `None` once everything that was retained has come. Cancel-safe.
    ///
    /// # Errors
    /// Why there is no connection, or no more. Nothing follows.
    pub async fn next(&mut self) -> Result<Option<Received>, String> {
        self.messages.recv().await.unwrap_or_else(|| Err("the connection has ended".into()))
    }
}

async fn poll(
    mut connection: Connection,
    topics: Vec<String>,
    keep_alive: Duration,
    messages: mpsc::Sender<Result<Option<Received>, String>>,
) {
    let mut ping = interval_at(Instant::now() + keep_alive, keep_alive);
    loop {
        let event = tokio::select! {
            event = connection.event() => event,
            _ = ping.tick() => {
                connection.send(Packet::Ping);
                continue;
            }
        };
        let next = match event {
            Some(Ok(ConnectionEvent::Incoming(packet))) => {
                match take(packet, &topics, &mut connection) {
                    Some(next) => next,
                    None => continue,
                }
            }
            Some(Ok(ConnectionEvent::Written)) => continue,
            Some(Err(cause)) => Err(cause.to_string()),
            None => return,
        };
        let last = next.is_err();
        if messages.send(next).await.is_err() || last {
            return;
        }
    }
}

/// What a packet says, if it says something.
fn take(
    packet: Incoming,
    topics: &[String],
    connection: &mut Connection,
) -> Option<Result<Option<Received>, String>> {
    /// The packet ids of the two subscriptions.
    const ALL: u16 = 1;
    const AGAIN: u16 = 2;
    let mut look = |id, again| {
        connection.look(id, topics, again);
        None
    };
    match packet {
        Incoming::Connack(_) => look(ALL, false),
        Incoming::Suback(id, codes) => match codes.iter().find(|code| **code >= 0x80) {
            Some(code) => Some(Err(format!("it refuses a subscription: {}", named(*code)))),
            // The broker answers in order: the retained messages of the first subscription come before
            // the answer to the second, which asks for none.
            None if id == ALL => look(AGAIN, true),
            None => Some(Ok(None)),
        },
        Incoming::Publish(message, ..) => Some(Ok(Some(*message))),
        _ => None,
    }
}
