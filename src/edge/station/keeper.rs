//! A log, and what the station knows of it.

use super::super::store::{Log, Shelf, Sync, since_boot};
use crate::translate::proxy::Room;
use crate::translate::publish::Token;
use crate::translate::store::{Message, Record};
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

/// A log, and what the station knows of it.
pub(super) struct Keeper {
    pub(super) shelf: Shelf,
    sync: Sync,
    /// The numbers of what is under way, and whether it is a call.
    numbers: HashMap<Token, (u64, bool)>,
    /// What is to be written next, and is kept nowhere else.
    apart: Vec<(Token, Box<Message>)>,
    /// What else is.
    fresh: Vec<Token>,
    /// What was not written in time, and may be in the log all the same.
    abandoned: Vec<u64>,
    /// Something is in memory alone. What comes after it waits for it, for the log has an order.
    unkept: bool,
    /// It failed, and is tried again then.
    pub(super) failing: Option<Instant>,
    /// When to write what says that something is over, if nothing else is written before.
    marks_at: Option<Instant>,
    /// When to force it to the disk.
    sync_at: Option<Instant>,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

/// How a writing ended.
pub(super) struct Written {
    /// What was to be in the log alone.
    pub apart: Vec<(Token, Box<Message>)>,
    /// Whether it is, with everything else.
    pub kept: bool,
    /// What is wrong with the disk.
    pub error: Option<io::Error>,
    /// The folder was gone, and how many records with it: it is made anew, and what is in memory is to be kept
    /// there again.
    pub lost: Option<usize>,
}

impl Keeper {
    pub fn new(log: Log, sync: Sync) -> Self {
        Self {
            shelf: Shelf::new(log),
            sync,
            numbers: HashMap::new(),
            apart: Vec::new(),
            fresh: Vec::new(),
            abandoned: Vec::new(),
            unkept: false,
            failing: None,
            marks_at: None,
            sync_at: None,
            syncing: None,
        }
    }

    /// How much room there is: none while it fails.
    pub fn room(&self) -> Room {
        match self.shelf.here().filter(|_| !self.is_failing()) {
            Some(log) => log.room(),
            None => Room { events: 0, requests: 0, since_boot: since_boot() },
        }
    }

    /// When [`Keeper::sync`] or [`Keeper::is_due`] has something to say.
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
        if !self.apart.is_empty() {
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
        self.numbers.contains_key(&token)
    }

    /// It is in the log, under this number.
    pub fn found(&mut self, token: Token, n: u64, call: bool) {
        self.numbers.insert(token, (n, call));
    }

    /// The calls in the log.
    pub fn calls(&self) -> Vec<Token> {
        self.numbers.iter().filter(|(_, (_, call))| *call).map(|(token, _)| *token).collect()
    }

    /// Whether what is in memory alone is to be kept now; if so, by whoever asks.
    pub fn takes_rest(&mut self) -> bool {
        let takes = self.unkept && !self.is_failing() && !self.shelf.is_away();
        self.unkept &= !takes;
        takes
    }

    /// Something that is in memory too goes into the log, unless something before it does not.
    pub fn keep(&mut self, token: Token, message: Message) {
        match self.shelf.log().filter(|_| !self.unkept) {
            Some(_) => {
                self.append(token, Box::new(message), false);
                self.fresh.push(token);
            }
            None => self.unkept = true,
        }
    }

    /// Something goes into the log alone.
    pub fn keep_apart(&mut self, token: Token, message: Box<Message>) {
        self.append(token, message.clone(), true);
        self.apart.push((token, message));
    }

    fn append(&mut self, token: Token, message: Box<Message>, apart: bool) {
        let call = message.call.is_some();
        let Some(log) = self.shelf.log() else { return };
        let n = log.append(&Record::Message(message), apart);
        // A call that had waited may be there already.
        if let Some((before, _)) = self.numbers.insert(token, (n, call)) {
            log.over(before);
        }
    }

    /// A publish is under way no more.
    pub fn landed(&mut self, token: Token) {
        match self.numbers.get(&token) {
            Some((n, true)) => self.shelf.landed(*n),
            Some((_, false)) => self.over(token),
            None => {}
        }
    }

    /// Nobody needs it any more.
    pub fn over(&mut self, token: Token) {
        if let Some((n, _)) = self.numbers.remove(&token) {
            self.shelf.over(n);
        }
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
        let apart = std::mem::take(&mut self.apart);
        let fresh = std::mem::take(&mut self.fresh);
        match written {
            Ok((lost, error)) => {
                if lost.is_some() {
                    let new = |token: &Token| {
                        fresh.contains(token) || apart.iter().any(|(other, _)| other == token)
                    };
                    self.numbers.retain(|token, _| new(token));
                    self.abandoned.clear();
                    self.unkept = true;
                }
                // An event comes back under another token.
                let events = apart.iter().filter(|(_, message)| message.call.is_none());
                for (token, _) in events {
                    self.numbers.remove(token);
                }
                if let Sync::After(after) = self.sync {
                    self.sync_at.get_or_insert_with(|| Instant::now() + after);
                }
                Written { apart, kept: true, error, lost }
            }
            Err(error) => {
                self.unkept |= !fresh.is_empty();
                let lost = apart.iter().map(|(token, _)| token).chain(&fresh);
                for (n, _) in lost.filter_map(|token| self.numbers.remove(token)) {
                    self.abandoned.push(n);
                }
                if !self.shelf.is_away() {
                    self.abandoned.clear();
                }
                Written { apart, kept: false, error: Some(error), lost: None }
            }
        }
    }

    /// The log is back from what took too long, which has ended like this.
    pub fn back(&mut self, ended: &io::Result<()>) {
        let abandoned = std::mem::take(&mut self.abandoned);
        if ended.is_ok() {
            abandoned.into_iter().for_each(|n| self.shelf.over(n));
        }
    }

    /// Forces what was written to the disk if it is time, without waiting for it.
    ///
    /// # Errors
    /// How that ended the last time.
    pub async fn sync(&mut self) -> io::Result<()> {
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

/// The disk gives the log back.
pub(super) async fn back(keeper: &mut Option<Keeper>) -> io::Result<()> {
    match keeper {
        Some(keeper) => keeper.shelf.back().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::{Folder, tests::message};
    use super::*;
    use crate::translate::name::DomainName;

    fn call() -> Box<Message> {
        match message("call", true) {
            Record::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// A call that waits for its turn is kept, and kept again with its request when there is no room in
    /// memory: it is over once.
    #[tokio::test]
    async fn what_is_kept_twice_is_over_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().to_owned();
        let config = crate::config::Store { dir, size: 1 << 20, sync: Sync::Always };
        let folder = Folder::open(&config).await.expect("a folder");
        let path = folder.of(&DomainName::dom0());
        let (log, _) = folder.log(path.clone()).await.expect("a log");
        let mut keeper = Keeper::new(log, Sync::Always);
        keeper.keep(Token(1), *call());
        assert!(keeper.is_due() && keeper.write().await.kept);
        keeper.keep_apart(Token(1), call());
        let written = keeper.write().await;
        assert!(written.kept && written.error.is_none() && written.apart.len() == 1);
        assert_eq!(keeper.shelf.here().map(Log::live), Some(1));
        let (_, found) = folder.log(path.clone()).await.expect("a log");
        assert_eq!(found.calls.len(), 1);
        keeper.over(Token(1));
        assert!(keeper.write().await.kept && !keeper.has(Token(1)));
        let (log, found) = folder.log(path).await.expect("a log");
        assert_eq!((found.calls.len(), log.live()), (0, 0));
    }
}
