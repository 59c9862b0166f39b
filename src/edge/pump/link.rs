//! A domain's own connection to the broker: its MQTT goes through, byte for byte.

use crate::edge::broker::{self, Broker, Dialer};
use crate::edge::handle::Handle;
use crate::engine::name::DomainName;
use bytes::Bytes;
use std::future::{poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadHalf, WriteHalf, split};
use tokio::task::JoinHandle;

/// The bytes that are read at a time.
const CHUNK: usize = 8 * 1024;

/// A connection that is being made.
type Dialling = Pin<Box<dyn Future<Output = io::Result<Broker>> + Send>>;

/// The connection, and the one before it.
#[derive(Default)]
pub(super) struct Link {
    stage: Stage,
    hanging_up: HangingUp,
}

#[derive(Default)]
pub(super) enum Stage {
    #[default]
    None,
    Opening(Dialling),
    Open(ReadHalf<Broker>, WriteHalf<Broker>),
}

/// The last connection, which is being closed: one at a time.
#[derive(Default)]
pub(super) struct HangingUp(Option<JoinHandle<()>>);

/// What the broker's side does.
pub(super) enum FromBroker {
    Opened,
    NotOpened(io::Error),
    Read(usize),
    Wrote(usize),
    /// What the broker said before is still to be read.
    TakesNoMore,
    Closed,
}

impl Link {
    /// Connects, once the last connection is closed: the same client id may be used again.
    pub fn dial(&mut self, broker: &Dialer) {
        let (broker, before) = (broker.clone(), self.hanging_up.0.take());
        self.stage = Stage::Opening(Box::pin(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            broker.connect().await.map(|(broker, _)| broker)
        }));
    }

    /// Closes the connection, as soon as the broker has these last bytes. Says whether there is one to close.
    pub fn hang_up(&mut self, left: Bytes, name: &DomainName) -> bool {
        let opened: Dialling = match std::mem::take(&mut self.stage) {
            Stage::None => return self.hanging_up.0.is_some(),
            // A program may say all that it has to say without waiting for the broker.
            Stage::Opening(opening) => opening,
            Stage::Open(reader, writer) => Box::pin(ready(Ok(reader.unsplit(writer)))),
        };
        let (before, domain) = (self.hanging_up.0.take(), name.clone());
        self.hanging_up.0 = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            match opened.await {
                Ok(broker) => broker::close(broker, &left).await,
                Err(error) => {
                    let bytes = left.len();
                    tracing::warn!(%domain, bytes, %error, help = "start the broker: the domain connects again", "the broker is out of reach: what the domain said last is dropped");
                }
            }
        }));
        true
    }

    pub fn parts(&mut self) -> (&mut Stage, &mut HangingUp) {
        (&mut self.stage, &mut self.hanging_up)
    }
}

impl HangingUp {
    /// Waits until the last connection is closed, if there is one.
    pub async fn over(&mut self) {
        if self.0.is_some() {
            self.ended().await;
        }
    }

    /// Waits until the last connection is closed. Cancel-safe.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            Some(task) => {
                let _ = task.await;
                self.0 = None;
            }
            None => std::future::pending().await,
        }
    }
}

impl Stage {
    /// Reads from the broker, if there is `room`, and writes to it. Cancel-safe.
    pub async fn next(
        &mut self,
        buffer: &mut Vec<u8>,
        room: bool,
        engine: &Handle,
        name: &DomainName,
    ) -> FromBroker {
        let (reader, writer) = match self {
            Self::None => return std::future::pending().await,
            Self::Opening(opening) => {
                return match opening.await {
                    Ok(broker) => {
                        let (reader, writer) = split(broker);
                        *self = Self::Open(reader, writer);
                        FromBroker::Opened
                    }
                    Err(error) => {
                        *self = Self::None;
                        FromBroker::NotOpened(error)
                    }
                };
            }
            Self::Open(reader, writer) => (reader, writer),
        };
        buffer.clear();
        buffer.reserve(CHUNK);
        let event = tokio::select! {
            read = reader.read_buf(buffer), if room => match read {
                Ok(n @ 1..) => FromBroker::Read(n),
                _ => FromBroker::Closed,
            },
            wrote = write(writer, engine, name) => match wrote {
                Ok(n) => FromBroker::Wrote(n),
                Err(_) => FromBroker::TakesNoMore,
            },
        };
        if matches!(event, FromBroker::Closed) {
            *self = Self::None;
        }
        event
    }
}

/// Writes some of what the engine has for the broker. Cancel-safe.
async fn write(
    writer: &mut WriteHalf<Broker>,
    engine: &Handle,
    name: &DomainName,
) -> io::Result<usize> {
    poll_fn(|context| {
        engine.ask(|gateway| match gateway.to_broker(name) {
            Some(chunk) => Pin::new(&mut *writer).poll_write(context, chunk),
            // What TLS has of it goes on.
            None => match Pin::new(&mut *writer).poll_flush(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
        })
    })
    .await
}
