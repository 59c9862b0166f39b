//! The packets of one connection to the broker.
//!
//! The client library's codec is used, and neither its state machine nor its event loop: it writes each
//! packet with a system call of its own, gives a connection up over reason codes that it does not know, and
//! must not be cancelled while it writes. What is meant by the packets is
//! [`crate::engine::session`]'s.

use super::input::{Arrived, Incoming, Input, LARGE, ReadRoom, Reserved, broken};
use super::output::Output;
use super::wire;
use crate::edge::broker::{Attempt, Broker, Dialer};
use crate::engine::session::{
    Cause, ConnectPacket, Packet, SessionInput as Happened, takes_nobody,
};
use futures_util::FutureExt as _;
use rumqttc::v5::mqttbytes::v5::{Packet as WirePacket, PubComp};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, WriteHalf, split};
use tokio::time::timeout;

/// How long a good-bye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// While so many bytes wait to be written, no more are made; and when so many have been read, it is the turn
/// of who waits for them.
const WAITING: usize = 64 * 1024;
const _: () = assert!(LARGE >= WAITING, "what has a share is the last that is read at a time");
/// What a packet takes in memory besides its bytes, about.
const PACKET: usize = 256;
/// What has come together is seldom more than so many events: the room for more of them is not kept.
const EVENTS: usize = 16;

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    /// A packet has come.
    Incoming(Incoming),
    /// The oldest publish of QoS 0 is being written.
    Written,
}

/// A connection, or the attempt to make one. Dropping it ends it.
pub struct Connection {
    packets: VecDeque<WirePacket>,
    stage: ConnectionStage,
}

/// A connection that is being made.
type Opening = Pin<Box<dyn Future<Output = io::Result<(Broker, Attempt)>> + Send>>;

enum ConnectionStage {
    Opening(Opening, u32, ReadRoom),
    Open(Box<Open>),
    /// What it read together with its end, PUBACKs say, is still there.
    Ended(VecDeque<ConnectionEvent>, Option<Cause>),
}

impl Connection {
    /// Starts to connect, and sends a CONNECT.
    pub fn open(connect: ConnectPacket, broker: &Dialer, room: ReadRoom) -> Self {
        let broker = broker.clone();
        let most = connect.max_packet;
        let opening = async move { broker.connect().await };
        let packets = VecDeque::from([wire::connect(connect)]);
        Self { packets, stage: ConnectionStage::Opening(Box::pin(opening), most, room) }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: Packet) {
        self.packets.push_back(wire::packet(packet));
    }

    /// Subscribes at QoS 0, where no window of unacknowledged messages can hold anything up: to what is
    /// retained and what is published from then on, or to the latter `again`.
    pub(super) fn look(&mut self, id: u16, topics: &[String], again: bool) {
        self.packets.push_back(wire::look(id, topics, again));
    }

    /// What happens next. Nothing comes after [`Happened::Lost`]. Cancel-safe.
    pub async fn next(&mut self) -> Happened {
        loop {
            let event = self.event().await;
            tracing::trace!(
                is_packet = matches!(event, Some(Ok(ConnectionEvent::Incoming(_)))),
                "from the broker"
            );
            return match event {
                Some(Ok(ConnectionEvent::Written)) => Happened::Written,
                Some(Ok(ConnectionEvent::Incoming(packet))) => match packet {
                    Incoming::Connack(connack) => Happened::Connected(connack),
                    Incoming::Publish(message, id, qos) => Happened::Received(message, id, qos),
                    Incoming::Puback(id, code) => Happened::Puback(id, code),
                    Incoming::Suback(id, codes) => Happened::Suback(id, codes.to_vec()),
                    Incoming::Unsuback(id) => Happened::Unsuback(id),
                    Incoming::Pong => Happened::Pong,
                    // The connection has dealt with these.
                    Incoming::Pubrel(_) | Incoming::Ended(_) => continue,
                },
                Some(Err(cause)) => Happened::Lost(cause),
                None => Happened::Lost(Cause::Closed),
            };
        }
    }

    /// Waits, within about a second, until the broker has closed the connection after a DISCONNECT: then it
    /// has read it, and sends no will.
    pub async fn end(mut self) {
        let closed = async { while let Some(Ok(_)) = self.event().await {} };
        if timeout(GOODBYE, closed).await.is_err() {
            tracing::debug!("the broker has not closed the connection in time");
        }
    }

    /// The next event; `None` once the connection has ended and its cause was given. Cancel-safe.
    pub(super) async fn event(&mut self) -> Option<Result<ConnectionEvent, Cause>> {
        loop {
            match &mut self.stage {
                ConnectionStage::Opening(opening, most, room) => {
                    self.stage = match opening.as_mut().await {
                        Ok((broker, attempt)) => {
                            let (reader, writer) = split(broker);
                            let input = Input::new(Box::new(reader), *most, room.clone());
                            ConnectionStage::Open(Box::new(Open::new(input, writer, attempt)))
                        }
                        Err(error) => {
                            let cause = Cause::Unreachable(error.to_string());
                            ConnectionStage::Ended(VecDeque::new(), Some(cause))
                        }
                    };
                }
                ConnectionStage::Open(open) => {
                    if let Some(event) = open.events.pop_front() {
                        return Some(Ok(event));
                    }
                    if let Err(cause) = open.go_on(&mut self.packets).await {
                        open.ends(&cause);
                        self.stage =
                            ConnectionStage::Ended(std::mem::take(&mut open.events), Some(cause));
                    }
                }
                ConnectionStage::Ended(events, cause) => {
                    let event = events.pop_front().map(Ok);
                    return event.or_else(|| cause.take().map(Err));
                }
            }
        }
    }
}

struct Open {
    input: Input,
    /// Of what the caller was given last.
    share: Option<Reserved>,
    writer: WriteHalf<Broker>,
    output: Output,
    /// What was written may not be on its way yet.
    flushes: bool,
    events: VecDeque<ConnectionEvent>,
    /// Until the broker has answered the CONNECT.
    attempt: Option<Attempt>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.given_up();
        }
    }
}

impl Open {
    fn new(input: Input, writer: WriteHalf<Broker>, attempt: Attempt) -> Self {
        let (share, output, events) = (None, Output::default(), VecDeque::new());
        Self { input, share, writer, output, flushes: false, events, attempt: Some(attempt) }
    }

    /// Does what can be done next. What waits is written at once, however many packets it is, and so is read
    /// what has come. The caller is done with what was read before. Cancel-safe.
    async fn go_on(&mut self, packets: &mut VecDeque<WirePacket>) -> Result<(), Cause> {
        self.share = None;
        if self.events.capacity() > EVENTS {
            self.events = VecDeque::new();
        }
        while self.output.waiting() < WAITING
            && let Some(packet) = packets.pop_front()
        {
            self.push(packet)?;
        }
        tokio::select! {
            biased;
            written = write(&mut self.writer, self.output.chunk()), if self.flushes || !self.output.is_empty() => {
                let written = written.map_err(broken)?;
                self.flushes = written.is_some();
                if let Some(count) = written {
                    self.output.written(count).map_err(broken)?;
                }
            }
            read = self.input.next() => {
                let (mut read, mut taken) = (Some(read), 0);
                while let Some(next) = read.take() {
                    let Arrived { packet, size, share } = next?;
                    taken += PACKET + size;
                    self.share = share;
                    self.take(packet)?;
                    if taken < WAITING {
                        read = self.input.next().now_or_never();
                    } else {
                        self.input.let_go();
                    }
                }
            }
        }
        Ok(())
    }

    /// The connection is lost, for this reason.
    fn ends(&mut self, cause: &Cause) {
        let Some(attempt) = self.attempt.take() else { return };
        match cause {
            Cause::Refused(code) if !takes_nobody(*code) => {}
            _ => attempt.fails(),
        }
    }

    fn push(&mut self, packet: WirePacket) -> Result<(), Cause> {
        if matches!(&packet, WirePacket::Publish(publish) if publish.pkid == 0) {
            self.events.push_back(ConnectionEvent::Written);
        }
        let pushed = self.output.push(packet);
        pushed.map_err(|error| Cause::Broken(format!("a packet cannot be written: {error}")))
    }

    fn take(&mut self, packet: Incoming) -> Result<(), Cause> {
        match packet {
            Incoming::Connack(connack) => {
                self.attempt = None;
                self.events.push_back(ConnectionEvent::Incoming(Incoming::Connack(connack)));
            }
            Incoming::Ended(cause) => return Err(cause),
            Incoming::Pubrel(id) => self.push(WirePacket::PubComp(PubComp::new(id, None)))?,
            packet => self.events.push_back(ConnectionEvent::Incoming(packet)),
        }
        Ok(())
    }
}

/// Writes some of this; if there is nothing, has what was written before go out. Cancel-safe.
async fn write(to: &mut WriteHalf<Broker>, bytes: &[u8]) -> io::Result<Option<usize>> {
    match bytes {
        [] => to.flush().await.map(|()| None),
        bytes => to.write(bytes).await.map(Some),
    }
}
