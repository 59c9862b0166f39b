//! Where a channel is: it is tried until it is there, and again when it was lost.

use super::channel::{Channel, connect_unix, open_serial};
use super::station::CHUNK;
use crate::translate::name::DomainName;
use bytes::BufMut as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout_at};

/// How long to wait before trying a channel again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long the end of a channel that takes nothing more is waited for.
const LAST: Duration = Duration::from_secs(1);

/// Where the channel is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Unix(PathBuf),
    Serial(PathBuf),
}

/// A channel that comes and goes.
pub(super) struct Port {
    name: DomainName,
    place: Place,
    link: Option<Link>,
    /// Whether there is anything to connect to, as far as is known.
    present: bool,
    /// When to try the channel again.
    retry: Option<Instant>,
    pause: Duration,
}

/// Why nothing more can be written, and until when there may be something to read.
type Last = (io::ErrorKind, Instant);

/// A channel that is there.
struct Link {
    reader: ReadHalf<Channel>,
    writer: WriteHalf<Channel>,
    last: Option<Last>,
}

impl From<Channel> for Link {
    fn from(channel: Channel) -> Self {
        let (reader, writer) = split(channel);
        Self { reader, writer, last: None }
    }
}

impl Port {
    /// A port that connects when [`Port::retry`] says so, or one whose channel is there.
    pub fn new(name: DomainName, place: Place, channel: Option<Channel>) -> Self {
        let link = channel.map(Link::from);
        let retry = link.is_none().then(Instant::now);
        Self { name, place, link, present: true, retry, pause: RETRY.0 }
    }

    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// When to call [`Port::connect`].
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// The socket is there; maybe a new one.
    pub fn appeared(&mut self) {
        self.present = true;
        self.pause = RETRY.0;
        if self.link.is_none() {
            self.retry = Some(Instant::now());
        }
    }

    /// The socket is gone.
    pub fn disappeared(&mut self) {
        self.present = false;
        self.retry = None;
    }

    /// Tries the channel. Says whether it is there.
    pub async fn connect(&mut self) -> bool {
        self.retry = None;
        let opened = match &self.place {
            Place::Unix(path) => connect_unix(path).await,
            Place::Serial(path) => open_serial(path).await,
        };
        match opened {
            Ok(channel) => {
                self.link = Some(channel.into());
                self.pause = RETRY.0;
                tracing::info!(domain = %self.name, "channel connected");
            }
            Err(error) => {
                tracing::debug!(domain = %self.name, %error, "no channel yet");
                let gone = error.kind() == io::ErrorKind::NotFound;
                let told_when_back = matches!(self.place, Place::Unix(_));
                self.present = !(gone && told_when_back);
                self.retry = self.present.then(|| Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(RETRY.1);
            }
        }
        self.is_connected()
    }

    /// The channel is lost.
    pub fn down(&mut self) {
        self.link = None;
        self.retry = self.present.then(|| Instant::now() + RETRY.0);
    }

    /// The other side takes nothing more. What it said before is read; then the channel ends like this.
    pub fn takes_no_more(&mut self, error: &io::Error) {
        if let Some(link) = &mut self.link {
            link.last = Some((error.kind(), Instant::now() + LAST));
        }
    }

    /// Gives the channel away.
    pub fn take(&mut self) -> Option<Channel> {
        self.link.take().map(|link| link.reader.unsplit(link.writer))
    }

    /// What reads from the channel, and what writes these bytes to it; each waits for ever if there is
    /// nothing to do.
    pub fn ends(&mut self) -> (Reader<'_>, Writer<'_>) {
        let (reader, writer) = match &mut self.link {
            Some(link) => {
                let writer = link.last.is_none().then_some(&mut link.writer);
                (Some((&mut link.reader, link.last)), writer)
            }
            None => (None, None),
        };
        (Reader(reader), Writer(writer))
    }
}

/// Reads, if there is a channel.
pub(super) struct Reader<'p>(Option<(&'p mut ReadHalf<Channel>, Option<Last>)>);

/// Writes, if there is a channel.
pub(super) struct Writer<'p>(Option<&'p mut WriteHalf<Channel>>);

impl Reader<'_> {
    /// Reads some bytes, so many at most, into the buffer. Cancel-safe.
    pub async fn read(self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        buffer.clear();
        buffer.shrink_to(most.max(CHUNK));
        buffer.reserve(most);
        let mut buffer = buffer.limit(most);
        match self.0 {
            Some((reader, None)) => reader.read_buf(&mut buffer).await,
            Some((reader, Some((error, until)))) => timeout_at(until, reader.read_buf(&mut buffer))
                .await
                .unwrap_or_else(|_| Err(error.into())),
            None => std::future::pending().await,
        }
    }
}

impl Writer<'_> {
    /// Writes some bytes. Cancel-safe.
    pub async fn write(self, chunk: Option<&[u8]>) -> io::Result<usize> {
        match (self.0, chunk) {
            (Some(writer), Some(chunk)) => writer.write(chunk).await,
            _ => std::future::pending().await,
        }
    }
}
