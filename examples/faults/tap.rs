//! Stands between the gateway and the broker, and notes what each has acknowledged to the other: there
//! the gateway's promise ends. Every byte goes on as it came.

use super::ledger::Ledger;
use super::peers::Missing;
use super::wire::number_of;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// The gateway's way to the broker.
pub struct Tap {
    directory: TempDir,
    broker: PathBuf,
    ledger: Ledger,
    task: Option<JoinHandle<()>>,
}

impl Tap {
    /// One that is open.
    pub fn new(broker: &Path, ledger: Ledger) -> Result<Self, Missing> {
        let directory = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let mut tap = Self { directory, broker: broker.to_owned(), ledger, task: None };
        tap.open()?;
        Ok(tap)
    }

    /// Where the gateway connects to.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("tap.sock")
    }

    /// The broker's socket is there.
    pub fn open(&mut self) -> Result<(), Missing> {
        let path = self.socket();
        let listener = UnixListener::bind(&path);
        let listener = listener.map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        let (broker, ledger) = (self.broker.clone(), self.ledger.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((gateway, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // While the broker is not there, the gateway sees its connection end at once.
                if let Ok(broker) = UnixStream::connect(&broker).await {
                    connections.spawn(relay(gateway, broker, ledger.clone()));
                }
            }
        }));
        Ok(())
    }

    /// It is gone, and every connection with it.
    pub async fn shut(&mut self) -> Result<(), Missing> {
        if let Some(task) = self.task.take() {
            task.abort();
            // It ends as cancelled, which is what was asked for.
            let _ = task.await;
        }
        let path = self.socket();
        std::fs::remove_file(&path).map_err(|e| Missing::new(format!("{}: {e}", path.display())))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Which message a packet identifier stands for.
type Open = Arc<Mutex<HashMap<u16, u64>>>;

async fn relay(mut gateway: UnixStream, mut broker: UnixStream, ledger: Ledger) {
    let (from_gateway, to_gateway) = gateway.split();
    let (from_broker, to_broker) = broker.split();
    let (published, received) = (Open::default(), Open::default());
    let up = Way { publishes: published.clone(), acknowledges: received.clone(), up: true };
    let down = Way { publishes: received, acknowledges: published, up: false };
    // Each way goes on until its own end, as between two sockets.
    tokio::join!(
        up.pass(from_gateway, to_broker, &ledger),
        down.pass(from_broker, to_gateway, &ledger)
    );
}

struct Way {
    publishes: Open,
    acknowledges: Open,
    /// From the gateway to the broker.
    up: bool,
}

impl Way {
    async fn pass(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        ledger: &Ledger,
    ) {
        let (mut buffer, mut unread) = (vec![0; 64 * 1024], Vec::new());
        while let Ok(size @ 1..) = from.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..size) else { return };
            unread.extend_from_slice(bytes);
            while let Some((first, body, length)) = packet(&unread) {
                self.note(first, body, ledger);
                unread.drain(..length);
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
        // Whoever is there may be gone as well.
        let _ = to.shutdown().await;
    }

    fn note(&self, first: u8, body: &[u8], ledger: &Ledger) {
        let identifier = |at: usize| {
            let bytes = body.get(at..at + 2)?.try_into().ok()?;
            Some(u16::from_be_bytes(bytes))
        };
        let lock = |open: &Open, change: &mut dyn FnMut(&mut HashMap<u16, u64>)| {
            change(&mut open.lock().unwrap_or_else(PoisonError::into_inner));
        };
        match first & 0xF0 {
            // A PUBLISH; only those of QoS 1 are acknowledged.
            0x30 if first & 0x06 != 0 => {
                let Some(topic) = identifier(0).map(usize::from) else { return };
                if let (Some(packet), Some(number)) = (identifier(2 + topic), number_of(body)) {
                    lock(&self.publishes, &mut |open| {
                        open.insert(packet, number);
                    });
                }
            }
            // A PUBACK. One with a reason of 0x80 or above is a refusal.
            0x40 if body.get(2).is_none_or(|reason| *reason < 0x80) => {
                let mut number = None;
                if let Some(packet) = identifier(0) {
                    lock(&self.acknowledges, &mut |open| number = open.remove(&packet));
                }
                match number {
                    Some(number) if self.up => ledger.taken(number),
                    Some(number) => ledger.acknowledged(number),
                    None => {}
                }
            }
            _ => {}
        }
    }
}

/// The first packet, if it is whole: its first byte, what follows its length, and its own length.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let first = *bytes.first()?;
    let (mut size, mut at) = (0, 1);
    loop {
        let digit = usize::from(*bytes.get(at)?);
        size |= (digit & 0x7F) << (7 * (at - 1));
        at += 1;
        if digit & 0x80 == 0 {
            break;
        }
    }
    Some((first, bytes.get(at..at + size)?, at + size))
}
