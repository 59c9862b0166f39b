//! The hypervisor's backend of a console, as real ones were measured: what the domain writes while nobody
//! is connected is thrown away (virtio) or kept (Xen), and so is what a client that stalls leaves no room
//! for: the end of it past 100 KiB (virtio), the middle of it past 1 MiB (Xen).

use super::guest::waiting;
use super::ledger::Ledger;
use super::peers::Missing;
use super::wire;
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind::WouldBlock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Which hypervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// QEMU's virtio console.
    Virtio,
    /// QEMU's backend of a Xen console.
    Xen,
}

impl Make {
    /// The most bytes that it keeps.
    pub fn most(self) -> usize {
        match self {
            Self::Virtio => 100 << 10,
            Self::Xen => 1 << 20,
        }
    }
}

/// A domain that only writes, and its backend.
pub struct Backend {
    state: Arc<State>,
    task: JoinHandle<()>,
    path: PathBuf,
}

struct State {
    make: Make,
    ledger: Ledger,
    kept: Mutex<Kept>,
    /// The domain has written.
    writes: watch::Sender<u64>,
    connected: watch::Sender<bool>,
    client: Mutex<Option<Arc<UnixStream>>>,
}

#[derive(Default)]
struct Kept {
    buffer: VecDeque<u8>,
    /// What was written, and has not been passed on whole.
    numbers: BTreeSet<u64>,
    /// The line that is being passed on.
    line: Vec<u8>,
    discards: bool,
}

impl Backend {
    /// Listens on `<directory>/<name>-msg.sock`.
    pub fn start(
        directory: &Path,
        name: &str,
        make: Make,
        ledger: Ledger,
    ) -> Result<Self, Missing> {
        let path = directory.join(format!("{name}-msg.sock"));
        let listener = UnixListener::bind(&path);
        let listener = listener.map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        let state = Arc::new(State {
            make,
            ledger,
            kept: Mutex::default(),
            writes: watch::Sender::new(0),
            connected: watch::Sender::new(false),
            client: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let client = Arc::new(client);
                *served.client() = Some(Arc::clone(&client));
                served.connected.send_replace(true);
                served.serve(&client).await;
                *served.client() = None;
                served.connected.send_replace(false);
            }
        });
        Ok(Self { state, task, path })
    }

    /// The domain writes a line. It never waits.
    pub fn write(&self, number: u64, line: &str) {
        self.state.take(number, line.as_bytes());
    }

    /// Waits until somebody is connected, or nobody.
    pub async fn connected(&self, wanted: bool) -> Result<(), Missing> {
        let mut state = self.state.connected.subscribe();
        let reached = state.wait_for(|now| *now == wanted);
        match tokio::time::timeout(super::peers::DEADLINE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Missing::new(format!("{}: waited in vain", self.path.display()))),
        }
    }

    /// Whether it has thrown anything away so far.
    pub fn has_discarded(&self) -> bool {
        self.state.kept().discards
    }

    /// Waits until its client has read what it kept.
    pub async fn read(&self) -> Result<(), Missing> {
        let read = async {
            while !self.state.is_through() {
                // The kernel does not tell.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let read = tokio::time::timeout(super::peers::DEADLINE, read).await;
        read.map_err(|_| Missing::new("the backend does not get rid of what it kept"))
    }

    /// What it has not passed on whole by now it has thrown away.
    pub fn count(&self) {
        for number in std::mem::take(&mut self.state.kept().numbers) {
            self.state.ledger.discarded(number);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> MutexGuard<'_, Option<Arc<UnixStream>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_through(&self) -> bool {
        let client = self.client().clone();
        let read = client.is_none_or(|client| waiting(&client).is_ok_and(|bytes| bytes == 0));
        read && self.kept().buffer.is_empty()
    }

    fn take(&self, number: u64, line: &[u8]) {
        let mut kept = self.kept();
        kept.numbers.insert(number);
        match self.make {
            Make::Virtio => {
                let room = self.make.most().saturating_sub(kept.buffer.len());
                let room = if *self.connected.borrow() { room } else { 0 };
                kept.discards |= room < line.len();
                kept.buffer.extend(line.iter().take(room));
            }
            Make::Xen => {
                kept.buffer.extend(line);
                let (most, size) = (self.make.most(), kept.buffer.len());
                if size > most {
                    kept.discards = true;
                    kept.buffer.drain(most / 2..most / 2 + size - most);
                }
            }
        }
        drop(kept);
        self.writes.send_modify(|count| *count += 1);
    }

    async fn serve(&self, client: &UnixStream) {
        let mut writes = self.writes.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        let mut stalled = false;
        loop {
            let waits = !self.kept().buffer.is_empty();
            // After a stall Xen's goes on at the domain's next write; the other as soon as it can.
            let ready = waits && !(stalled && self.make == Make::Xen);
            tokio::select! {
                _ = client.readable() => match client.try_read(&mut buffer) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == WouldBlock => {}
                    Ok(0) | Err(_) => return,
                },
                _ = writes.changed() => stalled = false,
                _ = client.writable(), if ready => {}
            }
            loop {
                let bytes = self.kept().buffer.make_contiguous().to_vec();
                match client.try_write(&bytes) {
                    Ok(size @ 1..) => self.passed(size),
                    Ok(0) => break,
                    Err(error) if error.kind() == WouldBlock => {
                        stalled = true;
                        break;
                    }
                    Err(_) => return,
                }
            }
        }
    }

    /// So much has been passed on. A line that is whole, as it was written, is sent.
    fn passed(&self, size: usize) {
        let mut kept = self.kept();
        let bytes: Vec<u8> = kept.buffer.drain(..size).collect();
        for byte in bytes {
            if byte != b'\n' {
                kept.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut kept.line);
            let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok();
            if let Some(number) = wire::asked(&line).filter(|_| whole)
                && kept.numbers.remove(&number)
            {
                self.ledger.sent(number);
            }
        }
    }
}
