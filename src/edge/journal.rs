//! A domain's log, as its pump writes it.

use super::store::{Shelf, StoreLog, since_boot};
use crate::config::Sync;
use crate::engine::proxy::Room;
use crate::engine::publish::Token;
use crate::engine::store::{MessageRecord, Record};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// How soon after a failure it is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How long what says that something is over may wait.
const MOMENT: Duration = Duration::from_millis(10);

/// A log, and under which numbers it has what is under way.
pub(super) struct Journal {
    pub shelf: Shelf,
    sync: Sync,
    entries: HashMap<Token, Entry>,
    /// What is to be written next, and is kept nowhere else.
    only: Vec<(Token, Record)>,
    /// What else is.
    fresh: Vec<(Token, Record)>,
    /// What could not be written, in its order. What comes after it waits for it, for the log has an order.
    unwritten: Vec<Unwritten>,
    /// Numbers of what was not written in time, and may be in the log all the same.
    abandoned: Vec<u64>,
    /// Until then a disk that has failed is not tried again.
    failing: Option<Instant>,
    failed: bool,
    /// When to write what says that something is over, if nothing else is written before.
    marks_at: Option<Instant>,
    /// When to force it to the disk.
    sync_at: Option<Instant>,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    n: u64,
    is_call: bool,
}

struct Unwritten {
    token: Token,
    record: Record,
    landed: bool,
}

/// How a writing ended.
pub(super) struct Written {
    /// What was to be in the log alone.
    pub only: Vec<(Token, Record)>,
    /// Whether it is, with everything else.
    pub kept: bool,
    /// What is wrong with the disk, if that is new: `Some(None)` says that nothing is any more.
    pub news: Option<Option<String>>,
    /// The log was gone, and so many records with it: it is made anew, and what is in memory is to be kept
    /// there again.
    pub lost: Option<usize>,
}

impl Journal {
    pub fn new(log: StoreLog, sync: Sync) -> Self {
        Self {
            shelf: Shelf::new(log),
            sync,
            entries: HashMap::new(),
            only: Vec::new(),
            fresh: Vec::new(),
            unwritten: Vec::new(),
            abandoned: Vec::new(),
            failing: None,
            failed: false,
            marks_at: None,
            sync_at: None,
            syncing: None,
        }
    }

    /// How much room there is: none while it fails.
    pub fn room(&self) -> Room {
        match self.shelf.here().filter(|_| !self.is_failing()) {
            Some(log) => log.room(),
            None => Room { since_boot: since_boot(), ..Room::default() },
        }
    }

    /// When [`Journal::sync`] or [`Journal::is_due`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.sync_at.into_iter().chain(self.marks_at).min()
    }

    fn is_failing(&self) -> bool {
        self.failing.is_some_and(|again| Instant::now() < again)
    }

    /// Whether the log is to be written now: at once for what is to be kept. What is over can wait for
    /// that, for a moment: it would be a writing for each PUBACK.
    pub fn is_due(&mut self) -> bool {
        const MANY: usize = 4096;
        self.take_up_unwritten();
        if !self.only.is_empty() {
            return true;
        }
        let failing = self.is_failing();
        let Some(log) = self.shelf.here() else { return false };
        if log.has_records() || (log.marks() >= MANY && !failing) {
            return true;
        }
        if log.marks() == 0 {
            self.marks_at = None;
            return false;
        }
        let now = Instant::now();
        *self.marks_at.get_or_insert(now + if failing { AGAIN } else { MOMENT }) <= now
    }

    /// Whether something is in the log.
    pub fn has(&self, token: Token) -> bool {
        self.entries.contains_key(&token)
    }

    /// It is in the log, under this number.
    pub fn found(&mut self, token: Token, n: u64, is_call: bool) {
        self.entries.insert(token, Entry { n, is_call });
    }

    /// A message goes into the log: into it alone, or unless something before it could not be written.
    pub fn keep(&mut self, token: Token, message: Box<MessageRecord>, only: bool) {
        let known = self.has(token) || self.unwritten.iter().any(|u| u.token == token);
        let record = Record::Message(message);
        if only {
            self.unwritten.retain(|u| u.token != token);
            self.append(token, &record, true);
            self.only.push((token, record));
        } else if known {
            // It is published once more.
        } else if self.unwritten.is_empty() && self.shelf.log().is_some() {
            self.append(token, &record, false);
            self.fresh.push((token, record));
        } else {
            self.unwritten.push(Unwritten { token, record, landed: false });
        }
    }

    fn append(&mut self, token: Token, record: &Record, only: bool) {
        let is_call = is_call(record);
        let Some(log) = self.shelf.log() else { return };
        let n = log.append(record, only);
        // A call that had waited may be there already.
        if let Some(before) = self.entries.insert(token, Entry { n, is_call }) {
            log.over(before.n);
        }
    }

    /// What could not be written goes into the log before anything that came after it.
    fn take_up_unwritten(&mut self) {
        if self.unwritten.is_empty() || self.is_failing() || self.shelf.log().is_none() {
            return;
        }
        for Unwritten { token, record, landed } in std::mem::take(&mut self.unwritten) {
            self.append(token, &record, false);
            self.fresh.push((token, record));
            if landed {
                self.landed(token);
            }
        }
    }

    /// The broker has a publish. One that asks a call stays until that is over.
    pub fn landed(&mut self, token: Token) {
        match self.entries.get(&token) {
            Some(Entry { n, is_call: true }) => self.shelf.landed(*n),
            Some(_) => self.over(token),
            None => {
                for unwritten in self.unwritten.iter_mut().filter(|u| u.token == token) {
                    unwritten.landed = true;
                }
                self.unwritten.retain(|u| u.token != token || is_call(&u.record));
            }
        }
    }

    /// Nobody needs it any more.
    pub fn over(&mut self, token: Token) {
        if let Some(entry) = self.entries.remove(&token) {
            self.shelf.over(entry.n);
        }
        self.unwritten.retain(|u| u.token != token);
    }

    /// All calls are over.
    pub fn calls_over(&mut self) {
        let calls = self.entries.iter().filter(|(_, entry)| entry.is_call);
        let calls: Vec<Token> = calls.map(|(token, _)| *token).collect();
        calls.into_iter().for_each(|token| self.over(token));
    }

    /// It is tried now or never.
    pub fn try_once_more(&mut self) {
        self.failing = None;
        self.take_up_unwritten();
    }

    /// Writes what is to be kept.
    pub async fn write(&mut self) -> Written {
        self.marks_at = None;
        let always = self.sync == Sync::Always;
        let written = self.shelf.work(move |log| {
            let lost = log.check()?;
            log.flush()?;
            // What cannot be moved stays where it is.
            let _ = log.compact();
            Ok((lost, if always { log.force().err() } else { None }))
        });
        let written = written.await;
        let only = std::mem::take(&mut self.only);
        let fresh = std::mem::take(&mut self.fresh);
        match written {
            Ok((lost, error)) => {
                if lost.is_some() {
                    let new = |token: &Token| only.iter().chain(&fresh).any(|(t, _)| t == token);
                    self.entries.retain(|token, _| new(token));
                    self.abandoned.clear();
                }
                // An event comes back under another token.
                let events = only.iter().filter(|(_, record)| !is_call(record));
                for (token, _) in events {
                    self.entries.remove(token);
                }
                if let Sync::After(after) = self.sync {
                    self.sync_at.get_or_insert_with(|| Instant::now() + after);
                }
                Written { only, kept: true, news: self.news(error), lost }
            }
            Err(error) => {
                let lost = only.iter().chain(&fresh).map(|(token, _)| token);
                for entry in lost.filter_map(|token| self.entries.remove(token)) {
                    self.abandoned.push(entry.n);
                }
                if !self.shelf.is_away() {
                    self.abandoned.clear();
                }
                let again = fresh.into_iter();
                let again = again.map(|(token, record)| Unwritten { token, record, landed: false });
                self.unwritten.extend(again);
                Written { only, kept: false, news: self.news(Some(error)), lost: None }
            }
        }
    }

    /// What is to be told of the disk, if something has changed.
    fn news(&mut self, error: Option<io::Error>) -> Option<Option<String>> {
        self.failing = error.is_some().then(|| Instant::now() + AGAIN);
        let failed = std::mem::replace(&mut self.failed, error.is_some());
        let error = error.map(|error| error.to_string());
        (failed != error.is_some()).then_some(error)
    }

    /// The log is back from what took too long, which has ended like this.
    pub fn back(&mut self, ended: &io::Result<()>) {
        let abandoned = std::mem::take(&mut self.abandoned);
        if ended.is_ok() {
            abandoned.into_iter().for_each(|n| self.shelf.over(n));
        }
    }

    /// Forces what was written to the disk if it is time, without waiting for it. Says what is new of the
    /// disk, as [`Written::news`].
    pub async fn sync(&mut self) -> Option<Option<String>> {
        match self.begin_sync().await {
            Ok(()) => None,
            Err(error) => self.news(Some(error)),
        }
    }

    async fn begin_sync(&mut self) -> io::Result<()> {
        if self.sync_at.is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        self.sync_at = None;
        let before = match self.syncing.take() {
            Some(task) if !task.is_finished() => {
                self.syncing = Some(task);
                self.sync_at = Some(Instant::now() + AGAIN);
                return Ok(());
            }
            Some(task) => task.await.map_err(io::Error::other)?,
            None => Ok(()),
        };
        let Some(log) = self.shelf.log() else { return before };
        let files = log.take_unforced()?;
        let force = move || files.iter().try_for_each(File::sync_data);
        self.syncing = Some(spawn_blocking(force));
        before
    }
}

fn is_call(record: &Record) -> bool {
    matches!(record, Record::Message(message) if message.call.is_some())
}

/// The disk gives the log back.
pub(super) async fn back(journal: &mut Option<Journal>) -> io::Result<()> {
    match journal {
        Some(journal) => journal.shelf.back().await,
        None => std::future::pending().await,
    }
}
