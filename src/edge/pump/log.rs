//! The domain's log: what the engine wants kept is written before the pump does anything else.

use super::DomainPump;
use crate::edge::journal::{AGAIN, Journal, Written};
use crate::edge::store::{FoundLog, StoreFolder, StoreLog};
use crate::engine::gateway::{Gateway, Restored};
use crate::engine::name::DomainName;
use crate::engine::store::Record;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

impl DomainPump {
    /// Opens the domain's log, and tells what an earlier run has left there.
    pub(super) async fn open_log(&mut self) {
        let Some(folder) = self.shared.store.clone() else { return };
        match folder.log(folder.of(&self.name)).await {
            Ok((log, found)) => {
                self.journal = Some(Journal::new(log, folder.sync));
                self.take_up(found);
            }
            Err(error) => {
                tracing::error!(domain = %self.name, %error, help = "mend `store.dir`, and restart passerelle", "its log cannot be opened: nothing that it says is kept on disk");
                let why = error.to_string();
                self.tell(|gateway, name, now| gateway.log_not_opened(name, why, now));
            }
        }
    }

    fn take_up(&mut self, found: FoundLog) {
        const SHOWN: usize = 20;
        for fault in found.faults.iter().take(SHOWN) {
            tracing::warn!(domain = %self.name, fault, help = "look at the disk of `store.dir`, unless the machine has lost its power", "the store was damaged: what is named is lost, and the rest is used");
        }
        let (messages, calls, lines) = (found.apart.0, found.calls.len(), found.suspended.len());
        if messages + calls + lines > 0 {
            tracing::info!(domain = %self.name, messages, calls, lines, "taken up from the store");
        }
        let over: Vec<u64> = found.suspended.iter().map(|(n, ..)| *n).collect();
        let calls = found.calls.into_iter();
        let restored = Restored {
            messages: found.apart,
            calls: calls.map(|(n, (message, landed, left))| (n, message, landed, left)).collect(),
            suspended: found
                .suspended
                .into_iter()
                .map(|(_, record, time)| (record, time))
                .collect(),
        };
        let tokens = self.tell(|gateway, name, now| gateway.log_opened(name, restored, now));
        let Some(journal) = &mut self.journal else { return };
        for (n, token) in tokens {
            match token {
                Some(token) => journal.found(token, n, true),
                None => journal.shelf.over(n),
            }
        }
        over.into_iter().for_each(|n| journal.shelf.over(n));
    }

    /// Writes what is to be kept, and tells what follows from that. Says whether anything was written.
    pub(super) async fn write_log(&mut self) -> bool {
        let Some(journal) = self.journal.as_mut() else { return false };
        if !journal.is_due() {
            return false;
        }
        let Written { only, kept, news, lost } = journal.write().await;
        self.tell_of_disk(news);
        if let Some(records) = lost {
            self.tell_of_loss(records);
        }
        for (token, record) in only {
            if let Record::Message(message) = record {
                self.tell(|gateway, name, now| gateway.kept(name, token, &message, kept, now));
            }
        }
        kept
    }

    /// Somebody has removed the domain's log: that is said, and stays in the status. What is in memory goes
    /// into the new one.
    fn tell_of_loss(&mut self, records: usize) {
        let folder = self.shared.store.as_ref().map(|store| store.of(&self.name));
        let error = format!(
            "{}: it was removed while the gateway ran, and {records} records with it: what was not in memory \
             too is lost; it is made anew",
            folder.unwrap_or_default().display()
        );
        tracing::error!(domain = %self.name, "{error}");
        self.tell(|gateway, name, now| gateway.log_failing(name, Some(error), now));
        let rest = self.tell(Gateway::log_lost);
        let Some(journal) = &mut self.journal else { return };
        for (token, message, landed) in rest {
            journal.keep(token, message, false);
            if landed {
                journal.landed(token);
            }
        }
    }

    /// Says when the disk fails, and when it does no more.
    fn tell_of_disk(&mut self, news: Option<Option<String>>) {
        let Some(error) = news else { return };
        let domain = &self.name;
        match &error {
            Some(error) => {
                tracing::error!(%domain, error, help = "make room, or mend the disk: it is tried again", "the store takes nothing: what comes is in memory alone");
            }
            None => tracing::info!(%domain, "the store takes what comes again"),
        }
        self.tell(|gateway, name, now| gateway.log_failing(name, error, now));
    }

    /// Takes messages back from the log.
    pub(super) async fn take_stored(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let (messages, last) = match journal.shelf.work(StoreLog::next_few).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(domain = %self.name, %error, help = "look at the disk of `store.dir`", "a part of the store cannot be read: it stays there");
                if journal.shelf.is_lost() {
                    self.tell(|gateway, name, now| {
                        gateway.take_stored(name, Vec::new(), true, now)
                    });
                }
                return;
            }
        };
        let tokens = self.tell(|gateway, name, now| gateway.take_stored(name, messages, last, now));
        let Some(journal) = &mut self.journal else { return };
        for (n, token, is_call) in tokens {
            match token {
                Some(token) => journal.found(token, n, is_call),
                // That a call is over is said when it is.
                None if is_call => {}
                None => journal.shelf.over(n),
            }
        }
    }

    pub(super) async fn sync_log(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let news = journal.sync().await;
        self.tell_of_disk(news);
    }

    /// The domain is none of the gateway's any more: the gateway's own session sends what is in the log.
    pub(super) async fn leave_log(&mut self) {
        self.write_log().await;
        let (journal, folder) = (self.journal.take(), self.shared.store.clone());
        let (Some(mut journal), Some(folder)) = (journal, folder) else {
            return self.tell(|gateway, name, now| gateway.log_left(name, |_| false, now));
        };
        if journal.shelf.here().is_none() {
            tracing::error!(domain = %self.name, help = "look at the disk of `store.dir`", "the disk hangs: what it has said stays in the store until the next start");
            return self.tell(|gateway, name, now| gateway.log_left(name, |_| false, now));
        }
        self.tell(|gateway, name, now| gateway.log_left(name, |token| journal.has(token), now));
        journal.calls_over();
        if let Some(log) = give_away(&mut journal, folder, &self.name).await {
            self.shared.engine.leave_log(self.name.clone(), log);
        }
    }

    /// The gateway ends: all that it has of the domain goes into the log, and the next run takes it up.
    pub(super) async fn suspend(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        journal.try_once_more();
        let records = self.tell(|gateway, name, now| gateway.suspend(name, now));
        let Some(journal) = &mut self.journal else { return };
        if let Some(log) = journal.shelf.log() {
            for record in records {
                log.append(&record, false);
            }
        }
        let Written { mut kept, mut news, lost, .. } = journal.write().await;
        if let Some(records) = lost {
            self.tell_of_loss(records);
            if let Some(journal) = &mut self.journal {
                Written { kept, news, .. } = journal.write().await;
            }
        }
        if let Some(Some(error)) = news {
            tracing::error!(domain = %self.name, error, help = "look at the disk of `store.dir`", "what is under way cannot be written to the store at the end: it is lost");
        }
        if kept {
            self.tell(|gateway, name, now| gateway.suspended(name, now));
        }
        let Some(journal) = &mut self.journal else { return };
        let _ = timeout(AGAIN, journal.shelf.work(StoreLog::force)).await;
        // A store that holds nothing leaves nothing behind.
        if let Some(log) = journal.shelf.take() {
            let _ = timeout(AGAIN, spawn_blocking(|| log.remove_if_empty())).await;
        }
    }
}

/// The log, under another name, if anything in it is needed.
async fn give_away(
    journal: &mut Journal,
    folder: StoreFolder,
    name: &DomainName,
) -> Option<StoreLog> {
    let name = name.clone();
    let moved = journal.shelf.work(move |log| {
        // Without its marks, what is over is sent once more.
        let _ = log.flush();
        match log.live() {
            0 => Ok(false),
            _ => folder.place_for(&name).and_then(|place| log.move_to(&place)).map(|()| true),
        }
    });
    let moved = moved.await;
    let log = journal.shelf.take()?;
    match moved {
        Ok(false) => {
            log.remove_if_empty();
            None
        }
        Ok(true) => Some(log),
        Err(error) => {
            tracing::error!(folder = %log.folder().display(), %error, help = "look at the disk of `store.dir`", "it cannot be moved: what it has said stays in the store until the next start");
            None
        }
    }
}
