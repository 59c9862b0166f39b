//! The packets of one connection to the broker.
//!
//! What is in them and what follows from them is the client library's: its codec and its state machine. Its
//! event loop is not used. It writes each packet with a system call of its own, keeps as much memory as the
//! largest of them took for as long as the connection lasts, and must not be cancelled while it writes.

use super::error::Error;
use super::input::{Arrived, Input, LARGE, Share};
use super::output::Output;
use super::settings::{Settings, WINDOW, connect, keep_alive};
use crate::config::Address;
use crate::edge::broker;
use futures_util::FutureExt as _;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet};
use rumqttc::v5::{ConnectionError, Event, MqttState, Request, StateError};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::either::Either;

/// How long an attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// While so many bytes wait to be written, no more are made; and when so many have been read, it is the turn
/// of who waits for them.
const WAITING: usize = 64 * 1024;
const _: () = assert!(LARGE >= WAITING, "what has a share is the last that is read at a time");
/// What a packet takes in memory besides its bytes, about.
const PACKET: usize = 256;
/// What has come together is seldom so many events, of some 400 bytes each: the room for more of them is not
/// kept, nor are the 100 places that the library begins with.
const EVENTS: usize = 16;

/// A connection, or the attempt to make one. Dropping it ends it.
pub(super) struct Connection {
    requests: VecDeque<Request>,
    stage: Stage,
}

enum Stage {
    Opening(Pin<Box<dyn Future<Output = Result<Open, ConnectionError>> + Send>>),
    Open(Box<Open>),
    /// What it read together with its end, PUBACKs say, is still there.
    Ended(VecDeque<Event>, Option<Error>),
}

impl Connection {
    /// Starts to connect. `clean`: the broker is to forget what it has kept for the client.
    pub fn open(settings: &Settings, clean: bool) -> Self {
        let settings = settings.clone();
        let opening = async move {
            let opened = timeout(CONNECT_TIMEOUT, Open::connect(&settings, clean)).await;
            opened.unwrap_or_else(|elapsed| Err(elapsed.into()))
        };
        Self { requests: VecDeque::new(), stage: Stage::Opening(Box::pin(opening)) }
    }

    /// Sends something as soon as the connection is open.
    pub fn request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// The next event; `None` once the connection has ended and its error was given. Cancel-safe.
    pub async fn event(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match &mut self.stage {
                Stage::Opening(opening) => {
                    self.stage = match opening.as_mut().await {
                        Ok(open) => Stage::Open(Box::new(open)),
                        Err(error) => Stage::Ended(VecDeque::new(), Some(error.into())),
                    };
                }
                Stage::Open(open) => {
                    if let Some(event) = open.state.events.pop_front() {
                        return Some(Ok(event));
                    }
                    if let Err(error) = open.go_on(&mut self.requests).await {
                        let events = std::mem::take(&mut open.state.events);
                        let error = ConnectionError::from(error).into();
                        self.stage = Stage::Ended(events, Some(error));
                    }
                }
                Stage::Ended(events, error) => {
                    let event = events.pop_front().map(Ok);
                    return event.or_else(|| error.take().map(Err));
                }
            }
        }
    }
}

struct Open {
    input: Input,
    /// Of what the caller was given last.
    share: Option<Share>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    state: MqttState,
    output: Output,
    keep_alive: Duration,
    ping: Pin<Box<Sleep>>,
}

impl Open {
    /// Connects, and waits until the broker has accepted that.
    async fn connect(settings: &Settings, clean: bool) -> Result<Self, ConnectionError> {
        let (reader, writer) = dial(&settings.address).await?;
        let keep_alive = keep_alive(settings);
        let mut open = Self {
            input: Input::new(reader, settings.max_packet, settings.read_room.clone()),
            share: None,
            writer,
            state: MqttState::new(WINDOW, true),
            output: Output::default(),
            keep_alive,
            ping: Box::pin(sleep(keep_alive)),
        };
        open.output.push(connect(settings, clean)).map_err(StateError::from)?;
        while !open.output.is_empty() {
            let written = open.writer.write(open.output.chunk()).await?;
            open.output.written(written)?;
        }
        let Arrived { packet, .. } = open.input.next().await?;
        match &packet {
            Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
                let wanted = connack.properties.as_ref().and_then(|said| said.server_keep_alive);
                if let Some(seconds @ 1..) = wanted {
                    open.keep_alive = Duration::from_secs(seconds.into());
                }
            }
            Packet::ConnAck(connack) => {
                return Err(ConnectionError::ConnectionRefused(connack.code));
            }
            _ => return Err(ConnectionError::NotConnAck(Box::new(packet))),
        }
        open.take(packet)?;
        open.ping.as_mut().reset(Instant::now() + open.keep_alive);
        Ok(open)
    }

    /// Does what can be done next. What waits is written at once, however many packets it is, and so is read
    /// what has come. The caller is done with what was read before. Cancel-safe.
    async fn go_on(&mut self, requests: &mut VecDeque<Request>) -> Result<(), StateError> {
        self.share = None;
        if self.state.events.capacity() > EVENTS {
            self.state.events = VecDeque::new();
        }
        while self.output.waiting() < WAITING
            && let Some(request) = requests.pop_front()
        {
            self.send(request)?;
        }
        tokio::select! {
            biased;
            // However much there is to read: the broker counts what it hears.
            () = &mut self.ping => {
                self.ping.as_mut().reset(Instant::now() + self.keep_alive);
                self.send(Request::PingReq)?;
            }
            written = self.writer.write(self.output.chunk()), if !self.output.is_empty() => {
                self.output.written(written?)?;
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

    fn send(&mut self, request: Request) -> Result<(), StateError> {
        let packet = self.state.handle_outgoing_packet(request)?;
        packet.map_or(Ok(()), |packet| self.output.push(packet)).map_err(StateError::from)
    }

    fn take(&mut self, packet: Packet) -> Result<(), StateError> {
        let answer = self.state.handle_incoming_packet(packet)?;
        answer.map_or(Ok(()), |packet| self.output.push(packet)).map_err(StateError::from)
    }
}

type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

async fn dial(address: &Address) -> io::Result<Halves> {
    Ok(match broker::connect(address).await? {
        Either::Left(stream) => {
            let (reader, writer) = stream.into_split();
            (Box::new(reader), Box::new(writer))
        }
        Either::Right(stream) => {
            let (reader, writer) = stream.into_split();
            (Box::new(reader), Box::new(writer))
        }
    })
}
