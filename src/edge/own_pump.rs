//! The pump of the gateway's own session: its MQTT, the memory on disk, and the logs that domains have left.

use super::clock::wait;
use super::handle::Handle;
use super::memory::Saver;
use super::pump::Shared;
use super::refusals;
use super::session::SessionPump;
use super::store::{FoundLog, Shelf, StoreFolder, StoreLog};
use crate::engine::gateway::{Effect, Gateway, Pump};
use crate::engine::name::DomainName;
use crate::engine::store::Record;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long the last writing of the memory may take.
const LAST: Duration = Duration::from_secs(2);

/// Logs that no channel takes up.
pub(super) struct Left {
    pub folder: StoreFolder,
    pub logs: Vec<(DomainName, PathBuf)>,
}

pub(super) struct OwnPump {
    shared: Shared,
    notify: Arc<Notify>,
    session: SessionPump,
    saver: Option<Saver>,
    /// Logs that their domains have left, by the engine's number.
    logs: BTreeMap<u64, Shelf>,
}

impl OwnPump {
    pub fn new(shared: Shared, saver: Option<Saver>) -> Self {
        let notify = shared.engine.enter(Pump::Own);
        let session = shared.session(None);
        Self { shared, notify, session, saver, logs: BTreeMap::new() }
    }

    fn engine(&self) -> &Handle {
        &self.shared.engine
    }

    fn tell<R>(&self, tell: impl FnOnce(&mut Gateway, crate::engine::clock::Now) -> R) -> R {
        self.engine().tell(Some(&Pump::Own), tell).0
    }

    /// Runs until everything is said, after [`Gateway::finish_own_session`]. Says how many publishes the
    /// broker has not taken.
    pub async fn run(mut self, left: Option<Left>) -> usize {
        self.open_left(left).await;
        loop {
            self.carry_out().await;
            self.take_left_logs();
            if self.engine().tell(Some(&Pump::Own), |gateway, now| gateway.is_own_through(now)).0 {
                break;
            }
            if self.read_log().await {
                continue;
            }
            let deadline = self.engine().deadline(&Pump::Own);
            tokio::select! {
                input = self.session.next() => {
                    self.tell(|gateway, now| gateway.session(&Pump::Own, input, now));
                }
                error = changed(&mut self.saver) => {
                    self.tell(|gateway, now| gateway.memory_failing(error, now));
                }
                () = self.notify.notified() => {}
                () = wait(deadline) => self.tell(|gateway, now| gateway.wake(&Pump::Own, now)),
            }
        }
        let (left, owes) = self.engine().ask(|g| (g.own_left(), g.owes_farewell()));
        // Without a good-bye the broker sends the will, which says what could not be said.
        if left == 0 && !owes {
            self.tell(|gateway, now| gateway.leave_broker_at_last(now));
            let _ = timeout(self.shared.farewell, self.carry_out()).await;
        }
        let record = self.tell(|gateway, now| gateway.last_record(now));
        if let (Some(saver), Some(record)) = (self.saver, record) {
            saver.save(record);
            saver.end(LAST).await;
        }
        left
    }

    async fn carry_out(&mut self) {
        while let Some(effect) = self.shared.engine.next_effect(&Pump::Own) {
            match effect {
                Effect::Session(effect) => self.session.carry_out(effect).await,
                Effect::Sent { log, n } => {
                    if let Some(shelf) = self.logs.get_mut(&log) {
                        shelf.over(n);
                    }
                }
                Effect::RemoveLog(log) => {
                    if let Some(log) = self.logs.remove(&log).and_then(|mut shelf| shelf.take()) {
                        log.remove_if_empty();
                    }
                }
                Effect::Remember(record) => {
                    if let Some(saver) = &self.saver {
                        saver.save(*record);
                    }
                }
                Effect::Refused(refusal) => refusals::log(&refusal),
                Effect::Ignored(why, from) => {
                    tracing::debug!(%from, why = why.as_str(), "ignored");
                }
                // They are the domains'.
                Effect::Open
                | Effect::Close
                | Effect::PutRight
                | Effect::Write
                | Effect::Dial
                | Effect::HangUp(_)
                | Effect::OpenLog
                | Effect::Keep { .. }
                | Effect::Landed(_)
                | Effect::Over(_)
                | Effect::LeaveLog
                | Effect::Mode(_)
                | Effect::Retry(_)
                | Effect::End => {}
            }
        }
    }

    /// Opens the logs that an earlier run has left.
    async fn open_left(&mut self, left: Option<Left>) {
        let Some(Left { folder, logs }) = left else { return };
        for (name, path) in logs {
            match folder.log(path.clone()).await {
                Ok((mut log, found)) => {
                    let calls = give_up(&name, &mut log, found);
                    self.tell(|gateway, now| gateway.give_up_calls(&name, calls, now));
                    self.take_log(name, log);
                }
                Err(error) => {
                    tracing::error!(folder = %path.display(), %error, help = "look at the disk of `store.dir`", "what a domain has left cannot be opened: it stays in the store until the next start");
                }
            }
        }
    }

    fn take_left_logs(&mut self) {
        while let Some((name, log)) = self.engine().take_left_log() {
            self.take_log(name, log);
        }
    }

    fn take_log(&mut self, name: DomainName, mut log: StoreLog) {
        tracing::info!(domain = %name, records = log.live(), "sent from the store, for its domain has left");
        log.rewind();
        let id = self.tell(|gateway, now| gateway.take_log(name, now));
        self.logs.insert(id, Shelf::new(log));
    }

    /// Marks what the broker has, and reads what comes next, if there is room for it. Says whether something
    /// was read.
    async fn read_log(&mut self) -> bool {
        let wanted = self.engine().ask(Gateway::wants_from_log);
        let dirty = |shelf: &Shelf| shelf.here().is_some_and(StoreLog::is_dirty);
        let id = wanted.or_else(|| self.logs.iter().find(|(_, s)| dirty(s)).map(|(id, _)| *id));
        let Some((id, shelf)) = id.and_then(|id| Some((id, self.logs.get_mut(&id)?))) else {
            return false;
        };
        let reads = wanted.is_some();
        let found = shelf.work(move |log| {
            // What is marked in vain is sent once more.
            let _ = log.flush();
            if reads { log.next_few().map(Some) } else { Ok(None) }
        });
        match found.await {
            Ok(Some((messages, last))) => {
                self.tell(|gateway, now| gateway.send_from_log(id, messages, last, now));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(log = id, %error, help = "look at the disk of `store.dir`", "what a domain has left cannot be read: it stays in the store until the next start");
                self.logs.remove(&id);
                self.tell(|gateway, now| gateway.give_up_log(id, now));
                true
            }
        }
    }
}

/// What an earlier run was about: nobody waits any more for what was asked; events and answers stay.
fn give_up(
    name: &DomainName,
    log: &mut StoreLog,
    found: FoundLog,
) -> Vec<(DomainName, String, String)> {
    for fault in found.faults {
        tracing::warn!(domain = %name, fault, help = "look at the disk of `store.dir`, unless the machine has lost its power", "the store was damaged: what is named is lost, and the rest is used");
    }
    let mut calls = Vec::new();
    for (n, (message, ..)) in found.calls {
        if let Some(call) = message.call.filter(|call| !call.extra) {
            calls.push((call.requester, call.row, call.head));
        }
        log.over(n);
    }
    for (n, record, _) in found.suspended {
        if let Record::Given(call) = record {
            let requester = call.requester.unwrap_or_else(DomainName::anonymous);
            calls.push((requester, call.row, call.head));
        }
        log.over(n);
    }
    calls
}

/// Waits until the memory can no longer be written, or can again. Cancel-safe.
async fn changed(saver: &mut Option<Saver>) -> Option<String> {
    match saver {
        Some(saver) => saver.changed().await,
        None => std::future::pending().await,
    }
}
