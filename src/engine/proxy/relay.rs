//! Dom0 as a legacy domain: the program of the MVP that is its router too. It has a socket for each requester,
//! and is told nothing that it could route a second time.

use super::Proxy;
use super::call::IncomingCall;
use super::event::STATE;
use crate::engine::clock::Now;
use crate::engine::frame::{Decoder, Frame};
use crate::engine::legacy::{self, Kind, Message};
use crate::engine::name::DomainName;
use crate::engine::queue::{Purpose, QueuedLine, Way};
use crate::engine::refusal::{IgnoreReason, Reason};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// For so long what the program tells everyone on one socket may come on another.
const WHILE: Duration = Duration::from_secs(10);
/// How many different messages to everyone are remembered for that.
const TOLD: usize = 1024;

/// What comes over the sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// The lines that have begun, by the sockets that are open.
    begun: BTreeMap<DomainName, Decoder>,
    /// The socket that is being read.
    reads: Option<DomainName>,
    told: ToldLines,
}

impl Sockets {
    /// How many bytes of lines are held.
    pub fn held(&self) -> usize {
        self.begun.values().map(Decoder::held).sum()
    }

    /// How long a line may be.
    pub fn set_limit(&mut self, limit: usize) {
        self.begun.values_mut().for_each(|decoder| decoder.set_limit(limit));
    }

    /// The next line of the socket that is being read.
    fn next_line(&mut self) -> Option<Frame> {
        self.begun.get_mut(self.reads.as_ref()?)?.next()
    }

    /// Whether a line to everyone is said for the first time.
    fn is_new(&mut self, line: &[u8], now: Duration) -> bool {
        self.reads.as_ref().is_none_or(|socket| self.told.is_new(line, socket, now))
    }
}

/// What was told everyone: the program tells it once on each socket, and so the n-th time on one is the n-th time
/// on all.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ToldLines {
    lines: BTreeMap<u64, ToldLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldLine {
    /// How often it was told in all, and on each socket.
    times: u64,
    by: BTreeMap<DomainName, u64>,
    last: Duration,
}

impl ToldLines {
    /// A socket is open: what was told before it was is not told again on it.
    fn begin(&mut self, socket: &DomainName) {
        for line in self.lines.values_mut() {
            line.by.insert(socket.clone(), line.times);
        }
    }

    /// Whether a line is told for the first time.
    fn is_new(&mut self, line: &[u8], socket: &DomainName, now: Duration) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        self.lines.retain(|_, line| now.saturating_sub(line.last) < WHILE);
        if self.lines.len() >= TOLD {
            let oldest = self.lines.iter().min_by_key(|(_, line)| line.last).map(|(key, _)| *key);
            oldest.map(|key| self.lines.remove(&key));
        }
        let new = || ToldLine { times: 0, by: BTreeMap::new(), last: now };
        let line = self.lines.entry(hasher.finish()).or_insert_with(new);
        line.last = now;
        let times = line.by.entry(socket.clone()).or_default();
        *times += 1;
        let is_new = *times > line.times;
        line.times = line.times.max(*times);
        is_new
    }
}

impl Proxy {
    /// The program has connected to the socket of this name.
    pub fn way_opened(&mut self, name: &DomainName, now: Now) {
        let limit = self.line_limit();
        let Some(relay) = &mut self.relay else { return };
        relay.begun.insert(name.clone(), Decoder::new(limit));
        relay.told.begin(name);
        self.queue.open(name.clone(), now.monotonic);
    }

    /// It has closed that. Says how many bytes of a line that had begun are lost with it.
    pub fn way_closed(&mut self, name: &DomainName, now: Now) -> usize {
        self.queue.close(name, now.monotonic);
        let Some(relay) = &mut self.relay else { return 0 };
        let lost = relay.begun.remove(name).map_or(0, |decoder| decoder.held());
        if relay.begun.is_empty() {
            relay.told = ToldLines::default();
        }
        lost
    }

    /// Bytes that came on that socket, cut anywhere.
    pub fn receive_on(&mut self, name: &DomainName, bytes: &[u8], now: Now) {
        let Some(relay) = &mut self.relay else { return };
        if let Some(decoder) = relay.begun.get_mut(name) {
            decoder.push(bytes);
        }
        relay.reads = Some(name.clone());
        while let Some(frame) = self.relay.as_mut().and_then(Sockets::next_line) {
            self.take_frame(frame, now);
        }
    }

    /// Why a line of the program's goes no further: it is not its own to say, or was said on another socket.
    pub(super) fn is_passed_on(
        &mut self,
        message: &Message<'_>,
        line: &[u8],
        now: Now,
    ) -> Option<IgnoreReason> {
        let relay = self.relay.as_mut()?;
        let named = |name: &str| DomainName::parse(name).ok();
        if !named(&message.source).is_some_and(|source| source.is_dom0()) {
            return Some(IgnoreReason::Forwarded);
        }
        let to_everyone = || named(&message.destination).is_some_and(|to| to.is_everyone());
        // Who is ready, the gateway tells everyone itself.
        let is_state = message.kind == Kind::Notification && message.name == STATE;
        let mut told = || to_everyone() && !relay.is_new(line, now.monotonic);
        (is_state || told()).then_some(IgnoreReason::Repeat)
    }

    /// The sockets for which lines wait, and to which the program has not connected.
    #[must_use]
    pub fn wanted_ways(&self) -> BTreeSet<DomainName> {
        self.queue.wanted()
    }

    /// The socket on which the line is to be written that came last.
    #[must_use]
    pub fn newest_way(&self) -> Option<&DomainName> {
        self.queue.newest_way()
    }

    /// The socket on which [`Proxy::chunk`] is to be written.
    #[must_use]
    pub fn way(&self) -> Option<&DomainName> {
        self.queue.way()
    }

    /// There will be no socket of this name, for this reason: what waits for it is given up.
    pub fn way_refused(&mut self, name: &DomainName, why: &str, now: Now) {
        for (entry, _) in self.queue.give_up_closed(|way| way.name == *name) {
            self.give_up_entry_for(entry, Reason::DomainStuck, why, now);
        }
    }

    /// Gives up what has waited for the program to connect for as long as it may.
    pub(super) fn expire_ways(&mut self, now: Now) {
        for (entry, way) in self.queue.give_up_closed(|way| way.until <= now.monotonic) {
            let detail =
                format!("{} has not come for it to the socket of {}", self.name(), way.name);
            self.give_up_entry_for(entry, Reason::Expired, &detail, now);
        }
    }

    /// The bytes to be written next, if it is on this socket.
    #[must_use]
    pub fn chunk_on(&self, name: &DomainName) -> Option<&[u8]> {
        self.queue.chunk().filter(|_| self.queue.way() == Some(name))
    }

    /// The way that a line goes: the socket of whom it is from.
    pub(super) fn way_of(&self, entry: &QueuedLine, now: Now) -> Option<Way> {
        self.relay.as_ref()?;
        let by_row = || self.row_of(&entry.line).map_or(self.rules.limits.away, |row| row.timeout);
        let (name, time) = match &entry.purpose {
            Purpose::Message { from, .. } => (Some(from.clone()), by_row()),
            Purpose::Notice => (self.says(&entry.line), self.rules.limits.away),
            Purpose::Call(id) => {
                let at = self.calls.incoming_at(*id);
                let call = at.and_then(|at| self.calls.incoming.get(at));
                (call.map(IncomingCall::name), call.map_or_else(by_row, |call| call.row.timeout))
            }
        };
        let name = name.unwrap_or_else(DomainName::anonymous);
        Some(Way { name, until: now.monotonic.saturating_add(time) })
    }

    /// Whom a line is from.
    fn says(&self, line: &[u8]) -> Option<DomainName> {
        let message = legacy::parse(line.trim_ascii_end(), self.rules.limits.depth);
        message.ok().and_then(|message| DomainName::parse(&message.source).ok())
    }

    /// Whether the program is given a line that nobody counts: not what the gateway says in Dom0's name.
    pub(super) fn is_given(&self, line: &[u8]) -> bool {
        self.relay.is_none() || self.says(line).is_some_and(|source| !source.is_dom0())
    }

    /// A line for the program, which knows itself by one spelling alone.
    pub(super) fn spelled(&self, line: Bytes) -> Bytes {
        let Some(_) = &self.relay else { return line };
        match legacy::parse(line.trim_ascii_end(), self.rules.limits.depth) {
            Ok(message) if message.destination != self.name().as_str() => {
                let Message { kind, source, name, body, .. } = message;
                legacy::write(kind, &source, self.name().as_str(), &name, body.text.as_bytes())
            }
            _ => line,
        }
    }
}
