//! A channel's bytes.

use crate::edge::channel::{Channel, connect_unix, is_absent, open_serial};
use crate::edge::handle::Handle;
use crate::edge::serial::Terminal;
use crate::engine::gateway::{CHUNK, OpenError};
use crate::engine::name::DomainName;
use bytes::BufMut as _;
use futures_util::FutureExt as _;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout_at};

/// How long the end of a channel that takes nothing more is waited for.
const LAST: Duration = Duration::from_secs(1);

/// Where the channel is.
#[derive(Debug, Clone)]
pub(in crate::edge) enum Place {
    Unix(PathBuf),
    Serial(PathBuf),
    /// Dom0's: its program connects to sockets that have pumps of their own.
    Offered,
}

/// A channel that comes and goes.
pub(super) struct Port {
    place: Place,
    halves: Option<(ReadHalf<Channel>, WriteHalf<Channel>)>,
    /// That of a serial port.
    terminal: Option<Terminal>,
    last: Option<Last>,
    was_full: bool,
}

/// Why nothing more can be written, and until when there may be something to read.
type Last = (io::ErrorKind, Instant);

impl Port {
    pub fn new(place: Place) -> Self {
        Self { place, halves: None, terminal: None, last: None, was_full: false }
    }

    /// Opens the channel.
    pub async fn open(&mut self) -> Result<(), OpenError> {
        let (path, opened) = match &self.place {
            Place::Unix(path) => (path, connect_unix(path).await),
            Place::Serial(path) => (path, open_serial(path).await),
            Place::Offered => {
                let why = "Dom0's program has not connected".to_owned();
                return Err(OpenError { absent: true, starting: false, why });
            }
        };
        match opened {
            Ok(channel) => {
                self.terminal = channel.terminal();
                self.halves = Some(split(channel));
                self.last = None;
                Ok(())
            }
            Err(error) => {
                let leads_nowhere = error.kind() == io::ErrorKind::NotFound;
                Err(OpenError {
                    absent: is_absent(&error, path),
                    starting: leads_nowhere
                        || matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
                        ),
                    why: match path.read_link() {
                        Ok(to) if leads_nowhere => format!("a link to {}: {error}", to.display()),
                        _ => error.to_string(),
                    },
                })
            }
        }
    }

    /// Puts a serial port's settings right. Says whether they were wrong: of a port that is lost, reading tells.
    pub fn put_right(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.put_right().unwrap_or_default())
    }

    /// Whether the path of a serial port leads to another by now.
    pub fn is_replaced(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::is_replaced)
    }

    pub fn close(&mut self) {
        (self.halves, self.terminal) = (None, None);
    }

    /// Gives the channel away.
    pub fn take(&mut self) -> Option<Channel> {
        self.halves.take().map(|(reader, writer)| reader.unsplit(writer))
    }

    /// The other side takes nothing more. What it said before is read; then the channel ends like this.
    pub fn takes_no_more(&mut self, error: &io::Error) {
        self.last = Some((error.kind(), Instant::now() + LAST));
    }

    /// Whether the last that was read may not have been all.
    pub fn was_full(&self) -> bool {
        self.was_full
    }

    /// What reads from the channel, and what writes to it; each waits for ever if there is nothing to do.
    pub fn ends(&mut self) -> (Reader<'_>, Writer<'_>) {
        let last = self.last;
        let (reader, writer) = match &mut self.halves {
            Some((reader, writer)) => (Some(reader), Some(writer).filter(|_| last.is_none())),
            None => (None, None),
        };
        (Reader { reader, last, was_full: &mut self.was_full }, Writer(writer))
    }

    /// Writes what waits, if the channel takes any now.
    pub fn write_now(&mut self, engine: &Handle, name: &DomainName) -> Option<io::Result<usize>> {
        let (_, writer) = self.ends();
        writer.write(engine, name).now_or_never()
    }
}

/// Reads, if there is a channel.
pub(super) struct Reader<'p> {
    reader: Option<&'p mut ReadHalf<Channel>>,
    last: Option<Last>,
    was_full: &'p mut bool,
}

/// Writes, if there is a channel.
pub(super) struct Writer<'p>(Option<&'p mut WriteHalf<Channel>>);

impl Reader<'_> {
    /// Reads some bytes, so many at most, into the buffer. Cancel-safe.
    pub async fn read(self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        buffer.clear();
        buffer.shrink_to(most.max(CHUNK));
        buffer.reserve(most);
        let mut buffer = buffer.limit(most);
        let Some(reader) = self.reader else { return std::future::pending().await };
        let read = match self.last {
            None => reader.read_buf(&mut buffer).await,
            Some((error, until)) => timeout_at(until, reader.read_buf(&mut buffer))
                .await
                .unwrap_or_else(|_| Err(error.into())),
        };
        *self.was_full = matches!(read, Ok(n) if n == most);
        read
    }
}

impl Writer<'_> {
    /// Writes some of what the engine has for the channel. Cancel-safe.
    pub async fn write(self, engine: &Handle, name: &DomainName) -> io::Result<usize> {
        let Some(writer) = self.0 else { return std::future::pending().await };
        poll_fn(|context| {
            engine.ask(|gateway| match gateway.to_channel(name) {
                Some(chunk) => Pin::new(&mut *writer).poll_write(context, chunk),
                // Whoever gives the engine something for it wakes this pump.
                None => Poll::Pending,
            })
        })
        .await
    }
}
