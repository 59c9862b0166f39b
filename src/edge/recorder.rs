//! Whoever records what the gateway is told. A message never waits for a recorder: one that is too slow is told
//! how much it has missed, and then has the state anew.

use crate::engine::clock::Now;
use crate::engine::gateway::{Gateway, GatewayInput, Recorded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a second one is told.
pub(super) const RECORDS: &str = "somebody records already: end that first";
/// How many bytes may wait for it, besides a state.
const ROOM: usize = 16 * 1024 * 1024;

/// The gateway's side of a recording.
#[derive(Debug)]
pub(super) struct Recorder {
    sink: Sink,
    /// So much has happened since there was no room for it.
    missed: u64,
}

/// Where lines go.
#[derive(Debug)]
struct Sink {
    sender: UnboundedSender<String>,
    waiting: Arc<AtomicUsize>,
}

impl Sink {
    fn new() -> (Self, Recording) {
        let (sender, lines) = unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        (Self { sender, waiting: Arc::clone(&waiting) }, Recording { lines, waiting })
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    fn has_room(&self, size: usize) -> bool {
        self.waiting.load(Ordering::Relaxed).saturating_add(size) <= ROOM
    }

    fn send(&self, line: String) {
        self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let _ = self.sender.send(line);
    }
}

/// A recording of what is said while observing: there is no state.
#[derive(Debug)]
pub(super) struct Transcript {
    sink: Sink,
    missed: u64,
}

impl Transcript {
    /// It begins.
    pub fn begin() -> (Self, Recording) {
        let (sink, recording) = Sink::new();
        sink.send(Recorded::beginning().line());
        (Self { sink, missed: 0 }, recording)
    }

    /// Whether nobody wants it any more.
    pub fn is_over(&self) -> bool {
        self.sink.sender.is_closed()
    }

    /// Something is said.
    pub fn add(&mut self, told: GatewayInput, now: Now) {
        let line = Recorded::Input { at: now.monotonic, wall: now.wall, told }.line();
        if (self.missed > 0 && !self.sink.is_empty()) || !self.sink.has_room(line.len()) {
            self.missed += 1;
            return;
        }
        if self.missed > 0 {
            self.sink.send(Recorded::Missed(std::mem::take(&mut self.missed)).line());
        }
        self.sink.send(line);
    }
}

impl Recorder {
    /// A recording begins.
    pub fn begin(gateway: &mut Gateway) -> (Self, Recording) {
        let (sink, recording) = Sink::new();
        gateway.set_recorded(true);
        (Self { sink, missed: 0 }, recording)
    }

    /// Whether nobody wants it any more.
    pub fn is_over(&self) -> bool {
        self.sink.sender.is_closed()
    }

    /// Hands on what was recorded.
    pub fn hand_on(&mut self, gateway: &mut Gateway) {
        if self.missed > 0 {
            self.missed += 1;
            if !self.sink.is_empty() {
                return;
            }
            self.sink.send(Recorded::Missed(std::mem::take(&mut self.missed)).line());
            gateway.set_recorded(true);
        }
        let lines = gateway.take_recorded();
        let size = lines.iter().map(String::len).sum();
        // What begins with a state has room: without one, nothing that comes after it is worth anything.
        if self.sink.has_room(size) || lines.iter().any(|line| Recorded::is_state(line)) {
            lines.into_iter().for_each(|line| self.sink.send(line));
        } else {
            gateway.set_recorded(false);
            self.missed = 1;
        }
    }
}

/// What a recorder is given.
#[derive(Debug)]
pub(super) struct Recording {
    lines: UnboundedReceiver<String>,
    waiting: Arc<AtomicUsize>,
}

impl Recording {
    /// The next line. `None`: the gateway ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<String> {
        let line = self.lines.recv().await?;
        self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        Some(line)
    }
}
