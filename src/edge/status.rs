//! What the gateway's own session does for the status: it publishes the board, and has the memory
//! written.

use super::lock::Lock;
use super::memory::{Folder, Found, LOST, Saver, monotonic};
use super::session::{Filter, Replay, Will};
use super::supervisor::Applied;
use crate::translate::clock::Now;
use crate::translate::name::DomainName;
use crate::translate::publish::{Publish, Received};
use crate::translate::status::{About, Board, Memory, Reloaded, Report};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the last writing may take.
const LAST: Duration = Duration::from_secs(2);

/// The board, and the memory with the task that writes it, if it can be written.
pub(super) struct Status {
    pub board: Board,
    memory: Memory,
    saver: Option<Saver>,
    /// Whether it has said that the gateway ends.
    farewell: bool,
}

impl Status {
    /// The status of a run that begins now. A folder that cannot be used is told in the log and on the
    /// board, and stops nothing.
    pub fn start(
        mut about: About,
        folder: &Path,
        lock: Result<Lock, String>,
        run: Arc<str>,
        now: Now,
    ) -> Self {
        let system = monotonic().saturating_sub(now.monotonic);
        let opened = lock.and_then(|lock| Folder::open(folder, lock, Arc::clone(&run)));
        let (found, saver) = match opened {
            Ok((folder, found)) => (found, Some(Saver::start(folder))),
            Err(error) => {
                let error = format!("{error}; {LOST}");
                tracing::error!("{error}");
                about.memory_error = Some(error);
                (Found { record: None, set_aside: None }, None)
            }
        };
        let mut memory = Memory::new(run, system, found.record, now);
        if let Some(place) = found.set_aside {
            memory.set_aside(place);
        }
        let mut status = Self { board: Board::new(about, now), memory, saver, farewell: false };
        status.wake(now);
        status
    }

    /// Waits until the memory can no longer be written, or can again, and puts it on the board. Cancel-safe.
    pub async fn changed(&mut self) {
        match &mut self.saver {
            Some(saver) => {
                let error = saver.changed().await;
                self.board.memory(error);
            }
            None => std::future::pending().await,
        }
    }

    /// Domains that last spoke MQTT over their channel, as far as an earlier run knew.
    pub fn on_mqtt(&self) -> BTreeSet<DomainName> {
        self.memory.on_mqtt().clone()
    }

    /// Every domain that an earlier run has heard of.
    pub fn remembered(&self) -> BTreeSet<DomainName> {
        self.memory.domains().chain(self.memory.on_mqtt()).cloned().collect()
    }

    /// The will of the gateway's own session.
    pub fn will(instance: &str) -> Will {
        let (topic, payload) = (Board::state_topic(instance), Board::will().into());
        Will { topic, payload, retain: true }
    }

    /// What the gateway's own session subscribes to, to find what an earlier run has left.
    pub fn filter(&self) -> Filter {
        let topic = self.board.own_filter();
        Filter { topic, no_local: true, retained: Replay::EachTime }
    }

    pub fn report(&mut self, name: &DomainName, report: &Report, now: Now) {
        self.memory.heard(name, &report.heard, now);
        self.memory.carries(name, report.state);
        self.board.report(name, report, self.memory.last(name), now);
        self.wake(now);
    }

    /// A reload has gone well, with these mapping files, or was refused for these findings.
    pub fn reloaded(&mut self, outcome: Result<Applied, Vec<String>>, now: Now) {
        let outcome = match outcome {
            Ok(applied) => Reloaded::Applied(applied.mappings),
            Err(findings) => Reloaded::Refused(findings),
        };
        self.board.reloaded(outcome, now);
    }

    /// Takes a message, if it is about the status.
    pub fn takes(&mut self, message: &Received) -> bool {
        let mine = self.board.is_domains(&message.topic);
        if mine {
            self.board.found(&message.topic, message.payload.is_empty());
        }
        mine
    }

    pub fn deadline(&self) -> Option<Duration> {
        let memory = self.memory.deadline().filter(|_| self.saver.is_some());
        self.board.deadline().into_iter().chain(memory).min()
    }

    pub fn wake(&mut self, now: Now) {
        self.board.wake(now);
        if let Some(saver) = &self.saver
            && let Some(record) = self.memory.take_due(now)
        {
            saver.save(record);
        }
    }

    pub fn publishes(&mut self) -> Vec<Publish> {
        self.board.take_publishes()
    }

    /// Says that the gateway ends, once and if the broker can be reached. Says whether it just did.
    pub fn bid_farewell(&mut self, now: Now) -> bool {
        let can = self.board.is_connected() && !self.farewell;
        if can {
            self.farewell = true;
            self.board.ended(now);
        }
        can
    }

    /// Whether the broker still believes that the gateway is there.
    pub fn owes_farewell(&self) -> bool {
        self.board.is_connected() && !self.farewell
    }

    /// Writes the memory for the last time.
    pub async fn end(mut self, now: Now) {
        if let Some(saver) = self.saver {
            saver.save(self.memory.take(now));
            saver.end(LAST).await;
        }
    }
}
