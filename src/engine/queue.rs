//! What waits to be written to a domain.

use super::limits::{has_room, weight};
use super::name::DomainName;
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// How many lines are remembered once they are written: as many short ones as the other side may not have
/// read yet.
const REMEMBERED: usize = 1024;

/// Names a received publish that is to be acknowledged to the broker.
pub type DeliveryId = u64;

/// Why a line is written, and so what happens when it is, or when it never will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A request: the pending call of this number begins to run out.
    Call(u64),
    /// A message of somebody's that ends by being written.
    Message {
        /// Whose it is.
        from: DomainName,
        /// Whether it is a command, whose sender is told if it is given up.
        command: bool,
    },
    /// Something that nobody counts: a copy, a notice.
    Notice,
}

/// A line to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedLine {
    /// The line with its `\n`.
    pub line: Bytes,
    /// Why.
    pub purpose: Purpose,
    /// What the broker is to be told once it is written.
    pub delivery: Option<DeliveryId>,
}

/// Lines in order, the first perhaps written in part.
#[derive(Debug)]
pub struct Queue {
    /// What may wait, in bytes.
    limit: usize,
    entries: VecDeque<QueuedLine>,
    /// What the entries weigh against the limit.
    weight: usize,
    bytes: usize,
    written: usize,
    progress: Duration,
    /// Nothing was written for so long that the rest was given up.
    stuck: bool,
    /// The digests of the lines that were written last.
    past: VecDeque<u64>,
}

impl Queue {
    /// A queue for about `limit` bytes, or one line, if that is larger.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: VecDeque::new(),
            weight: 0,
            bytes: 0,
            written: 0,
            progress: Duration::ZERO,
            stuck: false,
            past: VecDeque::new(),
        }
    }

    /// From now on about `limit` bytes may wait. What waits already stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.weight = self.entries.iter().map(|e| weight(e.line.len(), limit)).sum();
    }

    /// Adds a line.
    pub fn push(&mut self, entry: QueuedLine, now: Duration) {
        if self.entries.is_empty() {
            self.progress = now;
        }
        self.weight += weight(entry.line.len(), self.limit);
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
    }

    /// The bytes to be written next.
    #[must_use]
    pub fn chunk(&self) -> Option<&[u8]> {
        self.entries.front()?.line.get(self.written..)
    }

    /// Takes note that so many bytes of [`Queue::chunk`] have been written; gives a line that is done.
    pub fn written(&mut self, count: usize, now: Duration) -> Option<QueuedLine> {
        self.progress = now;
        self.stuck = false;
        self.written += count;
        let whole = self.entries.front().is_some_and(|e| self.written >= e.line.len());
        if !whole {
            return None;
        }
        self.written = 0;
        let entry = self.entries.pop_front()?;
        self.weight -= weight(entry.line.len(), self.limit);
        self.bytes -= entry.line.len();
        self.past.truncate(REMEMBERED - 1);
        self.past.push_front(digest(entry.line.strip_suffix(b"\n").unwrap_or(&entry.line)));
        Some(entry)
    }

    /// Whether this is, less its end, one of the lines that were written last.
    #[must_use]
    pub fn has_written(&self, line: &[u8]) -> bool {
        !self.past.is_empty() && self.past.contains(&digest(line))
    }

    /// The domain is new: a line of which it had a part is written again from its beginning.
    pub fn rewind(&mut self, now: Duration) {
        self.written = 0;
        self.progress = now;
        self.stuck = false;
    }

    /// When something was last written, or had to wait first. `None` if nothing waits.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Duration> {
        (!self.entries.is_empty()).then_some(self.progress)
    }

    /// Gives up all lines of a domain that does not read. A line that was begun stays, and the domain stays
    /// stuck until it takes more of it.
    pub fn give_up_stuck(&mut self, now: Duration) -> Vec<QueuedLine> {
        self.progress = now;
        self.stuck = true;
        self.give_up()
    }

    /// Gives up all lines but one that was written in part, for the rest of it has to follow.
    pub fn give_up(&mut self) -> Vec<QueuedLine> {
        let keep = usize::from(self.written > 0);
        let given_up: Vec<_> = self.entries.drain(keep.min(self.entries.len())..).collect();
        self.weight = self.entries.iter().map(|e| weight(e.line.len(), self.limit)).sum();
        self.bytes = self.entries.iter().map(|e| e.line.len()).sum();
        given_up
    }

    /// How many lines wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a line of `size` bytes finds room. One is let in even if the domain is stuck, or nobody would see
    /// that it reads again.
    #[must_use]
    pub fn has_room(&self, size: usize) -> bool {
        (!self.stuck || self.is_empty()) && has_room(self.weight, size, self.limit)
    }

    /// The lines that wait, and of each what has not been written.
    pub fn unwritten(&self) -> impl Iterator<Item = (&QueuedLine, Bytes)> {
        self.entries.iter().enumerate().map(|(at, entry)| {
            let written = if at == 0 { self.written.min(entry.line.len()) } else { 0 };
            (entry, entry.line.slice(written..))
        })
    }

    /// The lines that wait.
    pub fn iter(&self) -> impl Iterator<Item = &QueuedLine> {
        self.entries.iter()
    }
}

/// Tells lines apart by their length and how they begin: a listing is not read once more for it.
fn digest(line: &[u8]) -> u64 {
    const BEGINNING: usize = 256;
    let mut hasher = DefaultHasher::new();
    (line.len(), line.get(..BEGINNING).unwrap_or(line)).hash(&mut hasher);
    hasher.finish()
}
