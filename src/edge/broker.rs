//! Connections to the broker, bare or with TLS: for a session, or for a domain's own MQTT. Nobody else dials.

use super::tls;
use crate::config::{self, Address};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, sink};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long a broker may take to accept a connection, or to take what is left for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one broker is waited for before the next of the list is tried beside it.
const HEAD_START: Duration = Duration::from_secs(1);
/// A broker that takes a connection and says nothing for so long is not there for anybody.
const SILENT: Duration = Duration::from_secs(2);

/// Bytes to the broker and from it. What is written may stay here until it is flushed.
pub(super) type Broker = Box<dyn Stream>;

/// Something that bytes go through, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the brokers of the configuration's list. A clone is the same: what one finds out of them holds for
/// all, so that nobody's domains are on two brokers for longer than it takes.
#[derive(Clone)]
pub struct Dialer(Arc<Brokers>);

struct Brokers {
    addresses: Vec<Address>,
    /// Which of them is tried first: the one that answered last.
    first: AtomicUsize,
    /// What connections are encrypted with, if any are.
    tls: Mutex<Option<TlsConnector>>,
}

/// A connection that a broker has taken, and that it says nothing on yet. If it never does, the next one of the
/// list is tried first.
pub(super) struct Attempt {
    dialer: Dialer,
    at: usize,
    since: Instant,
}

impl Dialer {
    /// Reads the files with certificates and keys.
    ///
    /// # Errors
    /// A line that names the file, what is wrong with it and the way out.
    pub fn new(broker: &config::Broker, state_dir: &Path) -> Result<Self, String> {
        let tls = tls::connector(broker, state_dir).map_err(|fault| fault.to_string())?;
        let (first, addresses) = (AtomicUsize::new(0), broker.addresses.clone());
        Ok(Self(Arc::new(Brokers { addresses, first, tls: Mutex::new(tls) })))
    }

    /// New connections are made as those of another one, which has read the same files anew.
    pub fn renew(&self, from: &Self) {
        let tls = from.0.connector();
        *self.0.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// How many brokers there are.
    pub fn count(&self) -> usize {
        self.0.addresses.len()
    }

    /// Connects to the one that answered last or, if it does not now, to one of the others in their order.
    ///
    /// # Errors
    /// Why each of them cannot be reached.
    pub(super) async fn connect(&self) -> io::Result<(Broker, Attempt)> {
        let (count, first) = (self.count(), self.0.first.load(Ordering::Relaxed));
        let mut order = (0..count).map(|n| (first + n) % count);
        let mut dials: FuturesUnordered<_> =
            order.next().map(|at| self.dial(at)).into_iter().collect();
        let mut errors = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                Some((at, dialled)) = dials.next() => match dialled {
                    Ok(broker) => return Ok((broker, self.answers(at))),
                    Err(error) => {
                        errors.push((at, error));
                        order.next()
                    }
                },
                () = sleep(HEAD_START), if order.len() > 0 => order.next(),
            };
            dials.extend(next.map(|at| self.dial(at)));
            if dials.is_empty() {
                return Err(self.all(errors));
            }
        }
    }

    async fn dial(&self, at: usize) -> (usize, io::Result<Broker>) {
        let Some(address) = self.0.addresses.get(at) else {
            return (at, Err(ErrorKind::AddrNotAvailable.into()));
        };
        let dialled = timeout(PATIENCE, self.0.dial(address)).await;
        (at, dialled.unwrap_or_else(|late| Err(late.into())))
    }

    /// A broker has taken a connection: it is the first to be tried from now on.
    fn answers(&self, at: usize) -> Attempt {
        let before = self.0.first.swap(at, Ordering::Relaxed);
        if before != at
            && let (Some(broker), Some(before)) =
                (self.0.addresses.get(at), self.0.addresses.get(before))
        {
            tracing::warn!(%broker, %before, help = "look at the one that does not answer", "another broker of the list answers: who connects from now on connects to it");
        }
        Attempt { dialer: self.clone(), at, since: Instant::now() }
    }

    /// All that went wrong.
    fn all(&self, mut errors: Vec<(usize, io::Error)>) -> io::Error {
        if errors.len() <= 1 {
            let none = || ErrorKind::AddrNotAvailable.into();
            return errors.pop().map_or_else(none, |(_, error)| error);
        }
        errors.sort_by_key(|(at, _)| *at);
        let each = errors
            .iter()
            .filter_map(|(at, error)| Some(format!("{}: {error}", self.0.addresses.get(*at)?)));
        io::Error::other(each.collect::<Vec<_>>().join("; "))
    }
}

impl Brokers {
    fn connector(&self) -> Option<TlsConnector> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn dial(&self, address: &Address) -> io::Result<Broker> {
        let (host, port, tls) = match address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port, tls } => (host.as_str(), *port, *tls),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match self.connector().filter(|_| tls) {
            Some(connector) => Ok(Box::new(tls::secure(&connector, host, stream).await?)),
            None if tls => Err(ErrorKind::Unsupported.into()),
            None => Ok(Box::new(stream)),
        }
    }
}

impl Attempt {
    /// The broker does not do its work: the next one is tried first, unless somebody has seen to that.
    pub fn fails(self) {
        let next = (self.at + 1) % self.dialer.count().max(1);
        let first = &self.dialer.0.first;
        let _ = first.compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Nobody waits for the broker any more.
    pub fn given_up(self) {
        if self.since.elapsed() >= SILENT {
            self.fails();
        }
    }
}

/// Writes what is left, and waits until the broker has read it and closed.
pub(super) async fn close(mut broker: Broker, left: &[u8]) {
    let closed = async {
        broker.write_all(left).await?;
        broker.shutdown().await?;
        match tokio::io::copy(&mut broker, &mut sink()).await {
            // It closes without TLS's own good-bye.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            copied => copied,
        }
    };
    if !matches!(timeout(PATIENCE, closed).await, Ok(Ok(_))) {
        tracing::warn!(
            bytes = left.len(),
            help = "look whether the broker hangs",
            "a connection to the broker did not end in time: the last of a domain may be lost"
        );
    }
}
