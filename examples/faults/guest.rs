//! A legacy domain that knows what became of every byte: what the gateway has read of it and what not,
//! however the connection ends.

use super::ledger::Ledger;
use super::peers::{DEADLINE, Missing};
use super::wire;
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::Shutdown;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex as Turn, mpsc, watch};
use tokio::task::JoinHandle;

/// The legacy domain that calls, and at which is counted what is for everyone.
pub const CALLER: &str = "vm-gui";

/// No more is written at a time, so that it is read at a time.
const PIECE: usize = 1000;

/// What is written at once, and the numbers of the messages in it.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    bytes: Vec<u8>,
    numbers: Vec<u64>,
}

impl Piece {
    /// Adds a line, if there is room.
    pub fn add(&mut self, line: &str, number: u64) -> bool {
        let fits = self.bytes.len() + line.len() <= PIECE;
        if fits {
            self.bytes.extend_from_slice(line.as_bytes());
            self.numbers.push(number);
        }
        fits
    }

    /// Bytes that are no message.
    pub fn raw(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_owned(), numbers: Vec::new() }
    }
}

/// How a domain writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The next piece when the gateway has read the one before.
    Piecewise,
    /// A byte at a time.
    Bytewise,
    /// As fast as it can.
    Flood,
}

/// A legacy domain on its socket.
pub struct Guest {
    path: PathBuf,
    outgoing: mpsc::Sender<Piece>,
    ends: Arc<Ends>,
    backend: Option<JoinHandle<()>>,
}

/// What outlives a connection.
struct Ends {
    name: String,
    ledger: Ledger,
    outgoing: Turn<mpsc::Receiver<Piece>>,
    answers: Turn<mpsc::UnboundedReceiver<Piece>>,
    answer: mpsc::UnboundedSender<Piece>,
    held: Mutex<Held>,
    connected: watch::Sender<bool>,
    reads: watch::Sender<bool>,
    leaves: watch::Sender<bool>,
    idle: watch::Sender<bool>,
    manner: watch::Sender<Manner>,
}

/// What may have to be written again.
#[derive(Default)]
struct Held {
    /// Written, and perhaps not read.
    unread: Option<Piece>,
    /// Whether all of it was written.
    written: bool,
    /// What the gateway read last.
    last: Vec<u64>,
}

impl Held {
    fn writes(&mut self, piece: Piece, ledger: &Ledger) {
        for number in &piece.numbers {
            ledger.begun(*number);
        }
        (self.unread, self.written) = (Some(piece), false);
    }
}

impl Guest {
    /// Listens on `<directory>/<name>-msg.sock`.
    pub fn start(directory: &Path, name: &str, ledger: Ledger) -> Result<Self, Missing> {
        let (outgoing, pieces) = mpsc::channel(4);
        let (answer, answers) = mpsc::unbounded_channel();
        let ends = Ends {
            name: name.to_owned(),
            ledger,
            outgoing: Turn::new(pieces),
            answers: Turn::new(answers),
            answer,
            held: Mutex::default(),
            connected: watch::Sender::new(false),
            reads: watch::Sender::new(true),
            leaves: watch::Sender::new(false),
            idle: watch::Sender::new(true),
            manner: watch::Sender::new(Manner::Piecewise),
        };
        let path = directory.join(format!("{name}-msg.sock"));
        let mut guest = Self { path, outgoing, ends: Arc::new(ends), backend: None };
        guest.listen()?;
        Ok(guest)
    }

    /// Its writing side: waits while too much waits already.
    pub fn outgoing(&self) -> mpsc::Sender<Piece> {
        self.outgoing.clone()
    }

    /// How it writes from now on.
    pub fn set_manner(&self, manner: Manner) {
        self.ends.manner.send_replace(manner);
    }

    /// Whether it reads.
    pub fn set_reads(&self, reads: bool) {
        self.ends.reads.send_replace(reads);
    }

    /// Waits until a client is connected.
    pub async fn connected(&self) -> Result<(), Missing> {
        wait(&self.ends.connected, true, &format!("a client of {}", self.ends.name)).await
    }

    /// Waits until no client is connected.
    pub async fn disconnected(&self) -> Result<(), Missing> {
        wait(&self.ends.connected, false, &format!("the end of {}'s client", self.ends.name)).await
    }

    /// Waits until all that it has to say is read.
    pub async fn idle(&self) -> Result<(), Missing> {
        let what = format!("all of {} to be read", self.ends.name);
        let patience = async {
            while self.outgoing.capacity() < self.outgoing.max_capacity() {
                // Whoever has the next piece says so.
                tokio::time::sleep(LOOK).await;
            }
            wait(&self.ends.idle, true, &what).await
        };
        let ended = tokio::time::timeout(DEADLINE, patience).await;
        ended.unwrap_or_else(|_| Err(Missing::new(what.clone())))
    }

    /// The gateway was killed: what it read last was perhaps not kept.
    pub fn gateway_was_killed(&self) {
        let last = self.ends.held().last.clone();
        self.ends.ledger.at_risk(&last);
    }

    /// Goes away, reading what was written to it before it went.
    pub async fn stop(&mut self) -> Result<(), Missing> {
        self.ends.leaves.send_replace(true);
        let _ = std::fs::remove_file(&self.path);
        if let Some(backend) = self.backend.take() {
            let ended = tokio::time::timeout(DEADLINE, backend).await;
            ended.map_err(|_| Missing::new(format!("{} cannot leave", self.ends.name)))?.ok();
        }
        Ok(())
    }

    /// Comes (back) under its path.
    pub fn listen(&mut self) -> Result<(), Missing> {
        let listener = UnixListener::bind(&self.path);
        let listener =
            listener.map_err(|e| Missing::new(format!("{}: {e}", self.path.display())))?;
        self.ends.leaves.send_replace(false);
        let ends = Arc::clone(&self.ends);
        self.backend = Some(tokio::spawn(async move {
            let mut leaves = ends.leaves.subscribe();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = leaves.wait_for(|leaves| *leaves) => return,
                };
                let Ok((stream, _)) = accepted else { return };
                ends.connected.send_replace(true);
                let leaves = ends.serve(stream).await;
                ends.connected.send_replace(false);
                if leaves {
                    return;
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            backend.abort();
        }
    }
}

async fn wait(state: &watch::Sender<bool>, wanted: bool, what: &str) -> Result<(), Missing> {
    let mut state = state.subscribe();
    let reached = tokio::time::timeout(DEADLINE, state.wait_for(|now| *now == wanted)).await;
    reached.is_ok().then_some(()).ok_or_else(|| Missing::new(format!("waited for {what} in vain")))
}

/// How often the queue is looked at: the kernel does not tell when it is empty.
const LOOK: Duration = Duration::from_millis(1);

impl Ends {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one client. Says whether the domain leaves.
    async fn serve(&self, mut stream: UnixStream) -> bool {
        let (reader, writer) = stream.split();
        let mut leaves = self.leaves.subscribe();
        let mut reading = Reading { reader, line: Vec::new() };
        let end = tokio::select! {
            end = self.read(&mut reading) => Some(end),
            _ = self.write(writer) => None,
            _ = leaves.wait_for(|leaves| *leaves) => None,
        };
        let leaves = *leaves.borrow();
        let end = match end {
            Some(end) => end,
            None => {
                if leaves {
                    // From now on the gateway can write no more; what it has written is read.
                    let _ = rustix::net::shutdown(reading.reader.as_ref(), Shutdown::Read);
                }
                self.reads.send_replace(true);
                self.read(&mut reading).await
            }
        };
        // A reset says that the gateway has gone and not read all: it is written again.
        let reset = end.is_err();
        if self.held().written && !reset {
            self.was_read();
        }
        leaves
    }

    /// The gateway has read what was written last.
    fn was_read(&self) {
        let mut held = self.held();
        if let Some(piece) = held.unread.take() {
            for number in &piece.numbers {
                self.ledger.sent(*number);
            }
            held.last = piece.numbers;
        }
    }

    async fn write(&self, mut writer: WriteHalf<'_>) -> io::Result<()> {
        let mut outgoing = self.outgoing.lock().await;
        let mut answers = self.answers.lock().await;
        loop {
            let again = self.held().unread.clone();
            let piece = match again {
                Some(piece) => piece,
                None => tokio::select! {
                    biased;
                    Some(answer) = answers.recv() => answer,
                    Some(piece) = outgoing.recv() => piece,
                    else => std::future::pending().await,
                },
            };
            self.idle.send_replace(false);
            self.held().writes(piece.clone(), &self.ledger);
            let manner = *self.manner.borrow();
            if manner == Manner::Bytewise {
                for byte in &piece.bytes {
                    writer.write_all(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
            } else {
                writer.write_all(&piece.bytes).await?;
            }
            self.held().written = true;
            while manner == Manner::Piecewise && waiting(writer.as_ref())? > 0 {
                tokio::time::sleep(LOOK).await;
            }
            // A queue is empty too when who did not read it has gone.
            if let Some(error) = writer.as_ref().take_error()? {
                self.held().written = false;
                return Err(error);
            }
            self.was_read();
            self.idle.send_replace(outgoing.is_empty() && answers.is_empty());
        }
    }

    async fn read(&self, reading: &mut Reading<'_>) -> io::Result<()> {
        let mut reads = self.reads.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // Only the domain's end closes this.
            let _ = reads.wait_for(|reads| *reads).await;
            let size = tokio::select! {
                size = reading.reader.read(&mut buffer) => size?,
                _ = reads.changed() => continue,
            };
            if size == 0 {
                return Ok(());
            }
            for byte in buffer.get(..size).unwrap_or_default() {
                if *byte == b'\n' {
                    self.take(&std::mem::take(&mut reading.line));
                } else {
                    reading.line.push(*byte);
                }
            }
        }
    }

    fn take(&self, line: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
        match value["type"].as_str() {
            Some("commande") => {
                let Some(number) = wire::asked(line) else { return };
                let from = value["source"].as_str().unwrap_or_default();
                let mut piece = Piece::default();
                piece.add(&wire::answer(&self.name, from, number), number);
                // It is held by this domain itself.
                let _ = self.answer.send(piece);
            }
            Some("reponse") => {
                if let Some(number) = wire::answered(line) {
                    self.ledger.came(number, false);
                }
            }
            _ if value["source"] == "Dom0" && value["payload"]["evenement"] == "erreur" => {
                // It alone calls, and says nothing else.
                if self.name == CALLER {
                    let message = value["payload"]["data"]["message"].as_str().unwrap_or_default();
                    self.ledger.told(message.split(':').next().unwrap_or_default());
                }
            }
            _ => {
                // What is for everyone is counted at one domain.
                let everyone = value["destination"] == "tous";
                if let Some(number) = wire::asked(line).filter(|_| !everyone || self.name == CALLER)
                {
                    self.ledger.came(number, false);
                }
            }
        }
    }
}

/// The reading side, and the line that has begun.
struct Reading<'s> {
    reader: ReadHalf<'s>,
    line: Vec<u8>,
}

/// What was written and is not read yet: SIOCOUTQ.
#[allow(unsafe_code)]
pub fn waiting(stream: &UnixStream) -> io::Result<i32> {
    const OUTQ: Opcode = 0x5411;
    // SAFETY: on Linux OUTQ is valid for sockets and writes one C int, an `i32`, to its argument; the
    // `Getter` owns that argument for the whole call.
    let bytes = unsafe { ioctl(stream, Getter::<OUTQ, i32>::new()) };
    bytes.map_err(io::Error::from)
}
