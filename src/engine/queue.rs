//! What waits to be written to a domain.

use super::limits::{has_room, weight};
use super::name::DomainName;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// How many lines are remembered once they are written: as many short ones as the other side may not have
/// read yet.
const REMEMBERED: usize = 1024;

/// Names a received publish that is to be acknowledged to the broker.
pub type DeliveryId = u64;

/// Why a line is written, and so what happens when it is, or when it never will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedLine {
    /// The line with its `\n`.
    pub line: Bytes,
    /// Why.
    pub purpose: Purpose,
    /// What the broker is to be told once it is written.
    pub delivery: Option<DeliveryId>,
}

/// The way that a line goes to a domain that has several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Its name.
    pub name: DomainName,
    /// How long the line waits for the way to open.
    pub until: Duration,
}

/// A line that waits.
#[derive(Debug, Serialize, Deserialize)]
struct WaitingLine {
    queued: QueuedLine,
    /// `None`: the only one, which is always open.
    way: Option<Way>,
}

/// Lines in order, the first perhaps written in part. One whose way is closed lets those of others go first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Queue {
    /// What may wait, in bytes.
    limit: usize,
    entries: VecDeque<WaitingLine>,
    /// The ways that are open.
    open: BTreeSet<DomainName>,
    /// Whether any line has a way: of all others nobody asks.
    has_ways: bool,
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
            open: BTreeSet::new(),
            has_ways: false,
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
        self.count();
    }

    /// Adds a line, and the way that it goes, if there are several.
    pub fn push(&mut self, queued: QueuedLine, way: Option<Way>, now: Duration) {
        if self.next().is_none() {
            self.progress = now;
        }
        self.has_ways |= way.is_some();
        self.weight += weight(queued.line.len(), self.limit);
        self.bytes += queued.line.len();
        self.entries.push_back(WaitingLine { queued, way });
    }

    /// Where the line is that is written next.
    fn next(&self) -> Option<usize> {
        let is_open = |entry: &WaitingLine| match &entry.way {
            Some(way) => self.open.contains(&way.name),
            None => true,
        };
        self.entries.iter().position(is_open)
    }

    /// The bytes to be written next.
    #[must_use]
    pub fn chunk(&self) -> Option<&[u8]> {
        self.entries.get(self.next()?)?.queued.line.get(self.written..)
    }

    /// The way of [`Queue::chunk`].
    #[must_use]
    pub fn way(&self) -> Option<&DomainName> {
        let entry = self.entries.get(self.next()?)?;
        entry.way.as_ref().map(|way| &way.name)
    }

    /// The way of the line that was added last.
    #[must_use]
    pub fn newest_way(&self) -> Option<&DomainName> {
        self.entries.back()?.way.as_ref().map(|way| &way.name)
    }

    /// A way is open from now on.
    pub fn open(&mut self, way: DomainName, now: Duration) {
        if self.next().is_none() {
            self.progress = now;
        }
        self.open.insert(way);
    }

    /// A way is closed: a line of which it had a part is written again from its beginning.
    pub fn close(&mut self, way: &DomainName, now: Duration) {
        if self.way() == Some(way) {
            self.rewind(now);
        }
        self.open.remove(way);
    }

    /// The lines that wait for their ways to open.
    fn closed(&self) -> impl Iterator<Item = (usize, &Way)> {
        let entries =
            self.entries.iter().enumerate().take(if self.has_ways { usize::MAX } else { 0 });
        let ways = entries.filter_map(|(at, entry)| Some((at, entry.way.as_ref()?)));
        ways.filter(|(_, way)| !self.open.contains(&way.name))
    }

    /// The ways that are not open, and that lines wait for.
    pub fn wanted(&self) -> BTreeSet<DomainName> {
        self.closed().map(|(_, way)| way.name.clone()).collect()
    }

    /// Until when the first of the lines waits whose ways are not open.
    #[must_use]
    pub fn earliest(&self) -> Option<Duration> {
        self.closed().map(|(_, way)| way.until).min()
    }

    /// Gives up the lines whose ways are not open, and that are not to wait for them any longer.
    pub fn give_up_closed(&mut self, is_over: impl Fn(&Way) -> bool) -> Vec<(QueuedLine, Way)> {
        let mut over: Vec<_> =
            self.closed().filter(|(_, w)| is_over(w)).map(|(at, _)| at).collect();
        if over.is_empty() {
            return Vec::new();
        }
        let mut given_up = Vec::new();
        while let Some(entry) = over.pop().and_then(|at| self.entries.remove(at)) {
            given_up.extend(entry.way.map(|way| (entry.queued, way)));
        }
        self.count();
        given_up.reverse();
        given_up
    }

    fn count(&mut self) {
        let lines = || self.entries.iter().map(|entry| entry.queued.line.len());
        (self.weight, self.bytes) = (lines().map(|l| weight(l, self.limit)).sum(), lines().sum());
    }

    /// Takes note that so many bytes of [`Queue::chunk`] have been written; gives a line that is done.
    pub fn written(&mut self, count: usize, now: Duration) -> Option<QueuedLine> {
        self.progress = now;
        self.stuck = false;
        let entry = self.entries.remove(self.next()?)?;
        self.written += count;
        if self.written < entry.queued.line.len() {
            // It stays the next, whichever ways open meanwhile.
            self.entries.push_front(entry);
            return None;
        }
        self.written = 0;
        let entry = entry.queued;
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

    /// When something was last written, or had to wait first. `None` if nothing waits that could be written.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Duration> {
        self.next().map(|_| self.progress)
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
        let given_up = self.entries.drain(keep.min(self.entries.len())..);
        let given_up = given_up.map(|entry| entry.queued).collect();
        self.count();
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
            let entry = &entry.queued;
            let written = if at == 0 { self.written.min(entry.line.len()) } else { 0 };
            (entry, entry.line.slice(written..))
        })
    }

    /// The lines that wait.
    pub fn iter(&self) -> impl Iterator<Item = &QueuedLine> {
        self.entries.iter().map(|entry| &entry.queued)
    }
}

/// Tells lines apart by their length and how they begin: a listing is not read once more for it.
fn digest(line: &[u8]) -> u64 {
    const BEGINNING: usize = 256;
    let mut hasher = DefaultHasher::new();
    (line.len(), line.get(..BEGINNING).unwrap_or(line)).hash(&mut hasher);
    hasher.finish()
}
