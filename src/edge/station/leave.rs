//! A station leaves the broker or the directory, or ends: what becomes of the domain's log then.

use super::super::hub::ToHub;
use super::super::store::{Folder, Log};
use super::keeper::{AGAIN, Keeper, Written};
use super::{Life, Station, ToSupervisor};
use crate::translate::name::DomainName;
use crate::translate::publish::Publish;
use tokio::time::timeout;

impl Station {
    /// Asks the supervisor to be taken out of the directory.
    pub(super) fn retire_soon(&self, life: &mut Life) {
        if !life.retiring {
            life.retiring = true;
            let _ = self.supervisor.send(ToSupervisor::Retired(self.name.clone()));
        }
    }

    /// The proxy of a domain that is away leaves the broker, once the broker has all from it. The
    /// broker keeps what comes for it.
    pub(super) async fn leave_if_empty(&mut self, life: &mut Life) {
        let empty = life.session.as_ref().is_some_and(|s| s.outbox().0 == 0);
        let empty = empty && !self.wants_stored(life);
        let leaves = !life.port.is_connected() && empty && !life.finishing;
        if let Some(session) = life.session.take_if(|_| leaves) {
            session.leave().await;
            life.deliveries.clear();
            life.reporter.session_left();
            tracing::debug!(domain = %self.name, "the session is left to the broker");
        }
    }

    /// Whether everything is out that can be.
    pub(super) fn is_idle(&self, life: &Life) -> bool {
        let published = life.session.as_ref().is_none_or(|s| s.outbox().0 == 0);
        let nobody = !life.port.is_connected() || life.connect.is_some();
        let written = nobody || self.proxy.chunk().is_none();
        published && written && self.mailbox.is_empty()
    }

    /// The gateway ends: all that it has of the domain goes into the log, and the next run takes it up.
    pub(super) async fn suspend(&mut self, life: &mut Life) {
        if life.keeper.is_none() {
            return;
        }
        self.see_store(life);
        if let Some(keeper) = &mut life.keeper {
            // It is tried now or never.
            keeper.failing = None;
        }
        self.keep_rest(life);
        let Some(keeper) = &mut life.keeper else { return };
        if let Some(log) = keeper.shelf.log() {
            for record in self.proxy.suspend() {
                log.append(&record, false);
            }
        }
        let Written { mut kept, mut error, lost, .. } = keeper.write().await;
        if let Some(records) = lost {
            self.tell_of_loss(life, records).await;
            if let Some(keeper) = &mut life.keeper {
                Written { kept, error, .. } = keeper.write().await;
            }
        }
        if let Some(error) = error {
            tracing::error!(domain = %self.name, %error, "the store fails at the end");
        }
        if kept {
            self.proxy.suspended();
            self.act(life).await;
        }
        if let Some(keeper) = &mut life.keeper {
            let _ = timeout(AGAIN, keeper.shelf.work(Log::force)).await;
        }
    }

    /// The domain is none of the gateway's any more: the gateway's own session sends what is in the log.
    /// Gives what is not there.
    pub(super) async fn leave_store(
        &mut self,
        life: &mut Life,
        publishes: Vec<Publish>,
    ) -> Vec<Publish> {
        self.write_store(life).await;
        let (Some(mut keeper), Some(folder)) = (life.keeper.take(), &self.store) else {
            return publishes;
        };
        if keeper.shelf.here().is_none() {
            tracing::error!(domain = %self.name, "left in the store until the next start: the disk hangs");
            return publishes;
        }
        self.proxy.left_in_store(|token| keeper.has(token));
        keeper.calls().into_iter().for_each(|token| keeper.over(token));
        let is_there = |publish: &Publish| keeper.has(publish.token);
        let rest = publishes.into_iter().filter(|publish| !is_there(publish)).collect();
        if let Some(log) = give_away(&mut keeper, folder, &self.name).await {
            let _ = self.hub.send(ToHub::Drain(self.name.clone(), Box::new(log))).await;
        }
        rest
    }
}

/// The log, under another name, if anything in it is needed.
async fn give_away(keeper: &mut Keeper, folder: &Folder, name: &DomainName) -> Option<Log> {
    let (folder, name) = (folder.clone(), name.clone());
    let moved = keeper.shelf.work(move |log| {
        // Without its marks, what is over is sent once more.
        let _ = log.flush();
        match log.live() {
            0 => Ok(false),
            _ => folder.place_for(&name).and_then(|place| log.move_to(&place)).map(|()| true),
        }
    });
    let moved = moved.await;
    let log = keeper.shelf.take()?;
    match moved {
        Ok(false) => {
            log.remove_if_empty();
            None
        }
        Ok(true) => Some(log),
        Err(error) => {
            tracing::error!(folder = %log.folder().display(), %error, "left in the store until the next start");
            None
        }
    }
}
