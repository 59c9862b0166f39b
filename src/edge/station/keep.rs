//! The domain's log: what the proxy wants kept is written there before the station does anything else.

use super::super::hub::ToHub;
use super::super::session::Session;
use super::super::store::{Found, Log};
use super::keeper::{AGAIN, Keeper, Written};
use super::{Life, Station};
use crate::translate::publish::{Publish, Token};
use crate::translate::store::Message;
use crate::translate::tunnel::carrier::Carrier;
use std::io;
use tokio::time::Instant;

impl Station {
    /// Opens the domain's log, and takes up what an earlier run has left there.
    pub(super) async fn open_store(&mut self, life: &mut Life) {
        let Some(folder) = &self.store else { return };
        match folder.log(folder.of(&self.name)).await {
            Ok((log, found)) => {
                let keeper = life.keeper.insert(Keeper::new(log, folder.sync));
                let room = keeper.room();
                self.proxy.set_store(room, self.clock.now());
                self.take_up(life, found);
            }
            Err(error) => {
                let detail = error.to_string();
                tracing::error!(domain = %self.name, %error, "nothing is kept on disk");
                let _ = self.hub.send(ToHub::Store(self.name.clone(), Some(detail))).await;
            }
        }
    }

    fn take_up(&mut self, life: &mut Life, found: Found) {
        const SHOWN: usize = 20;
        for fault in found.faults.iter().take(SHOWN) {
            tracing::warn!(domain = %self.name, fault, "the store was damaged");
        }
        let now = self.clock.now();
        let (messages, counted) = found.apart;
        let (calls, lines) = (found.calls.len(), found.suspended.len());
        if messages + calls + lines > 0 {
            tracing::info!(domain = %self.name, messages, calls, lines, "taken up from the store");
        }
        let Some(keeper) = &mut life.keeper else { return };
        self.proxy.restore(messages, counted);
        for (n, (message, landed, left)) in found.calls {
            match self.proxy.restore_call(&message, landed, left, now) {
                Some(token) => keeper.found(token, n, true),
                None => keeper.shelf.over(n),
            }
        }
        found.suspended.iter().for_each(|(n, ..)| keeper.shelf.over(*n));
        let records = found.suspended.into_iter().map(|(_, record, time)| (record, time));
        self.proxy.resume(records.collect(), now);
        self.proxy.restored(now);
        if self.proxy.goes_on_within_a_line() {
            life.carrier = match self.place {
                super::Place::Unix(_) => Carrier::within_a_line(),
                super::Place::Serial(_) => Carrier::of_lines(),
            };
        }
    }

    /// Shows the proxy how much room there is.
    pub(super) fn see_store(&mut self, life: &Life) {
        if let Some(keeper) = &life.keeper {
            self.proxy.set_store(keeper.room(), self.clock.now());
        }
    }

    /// Before a publish is given to the session, it goes into the log; one that comes again is there.
    pub(super) fn keep(&self, publish: &Publish, life: &mut Life) {
        self.keep_rest(life);
        let Some(keeper) = life.keeper.as_mut().filter(|k| !k.has(publish.token)) else { return };
        if let Some(message) = self.proxy.message(publish) {
            keeper.keep(publish.token, message);
        }
    }

    /// A message goes into the log alone.
    pub(super) fn keep_apart(&self, token: Token, message: Box<Message>, life: &mut Life) {
        self.keep_rest(life);
        if let Some(keeper) = &mut life.keeper {
            keeper.keep_apart(token, message);
        }
    }

    /// A publish that is to wait goes into the log.
    pub(super) fn keep_held(&self, token: Token, message: Message, life: &mut Life) {
        self.keep_rest(life);
        if let Some(keeper) = &mut life.keeper {
            keeper.keep(token, message);
        }
    }

    /// What is in memory alone since the disk failed goes into the log before anything that came after it.
    pub(super) fn keep_rest(&self, life: &mut Life) {
        let Some(keeper) = &mut life.keeper else { return };
        if !keeper.takes_rest() {
            return;
        }
        for publish in life.session.iter().flat_map(Session::publishes) {
            if let Some(message) =
                self.proxy.message(publish).filter(|_| !keeper.has(publish.token))
            {
                keeper.keep(publish.token, message);
            }
        }
        for (token, message, landed) in self.proxy.calls() {
            if !keeper.has(token) {
                keeper.keep(token, message);
                if landed {
                    keeper.landed(token);
                }
            }
        }
    }

    /// Whether a publish is in the log.
    pub(super) fn is_kept(&self, token: Token, life: &Life) -> bool {
        life.keeper.as_ref().is_some_and(|keeper| keeper.has(token))
    }

    /// The session has done with a publish, unless the proxy wants it again.
    pub(super) fn landed(&self, token: Token, life: &mut Life) {
        if let Some(keeper) = life.keeper.as_mut().filter(|_| !self.proxy.has_sent(token)) {
            keeper.landed(token);
        }
    }

    pub(super) fn over(&self, token: Token, life: &mut Life) {
        if let Some(keeper) = &mut life.keeper {
            keeper.over(token);
        }
    }

    /// Writes what is to be kept, and does what follows from that.
    pub(super) async fn write_store(&mut self, life: &mut Life) {
        while let Some(keeper) = life.keeper.as_mut()
            && keeper.is_due()
        {
            let Written { apart, kept, error, lost } = keeper.write().await;
            self.tell_of_store(life, error).await;
            if let Some(records) = lost {
                self.tell_of_loss(life, records).await;
            }
            for (token, message) in &apart {
                match kept {
                    true => self.proxy.stored(message),
                    false => self.proxy.not_stored(*token, message, self.clock.now()),
                }
            }
            self.act(life).await;
            if !kept {
                return;
            }
        }
    }

    /// Somebody has removed the domain's folder: that is said, and stays in the status. What is in memory goes
    /// into the new one.
    pub(super) async fn tell_of_loss(&mut self, life: &mut Life, records: usize) {
        let domain = &self.name;
        let folder = self.store.as_ref().map(|store| store.of(domain)).unwrap_or_default();
        let error = format!(
            "{}: it was removed while the gateway ran, and {records} records with it: what was not in memory \
             too is lost; it is made anew",
            folder.display()
        );
        tracing::error!(%domain, "{error}");
        let _ = self.hub.send(ToHub::Store(domain.clone(), Some(error))).await;
        self.proxy.has_all_stored();
        self.keep_rest(life);
    }

    /// Says when the store fails, and when it does no more.
    async fn tell_of_store(&mut self, life: &mut Life, error: Option<io::Error>) {
        let Some(keeper) = &mut life.keeper else { return };
        let failed = keeper.failing.is_some();
        keeper.failing = error.is_some().then(|| Instant::now() + AGAIN);
        let domain = &self.name;
        match &error {
            Some(error) if !failed => {
                tracing::error!(%domain, %error, "the store takes nothing: what comes is in memory alone");
            }
            None if failed => tracing::info!(%domain, "the store takes what comes again"),
            _ => return,
        }
        let detail = error.map(|error| error.to_string());
        let _ = self.hub.send(ToHub::Store(domain.clone(), detail)).await;
    }

    /// Whether messages in the log alone have room in memory.
    pub(super) fn wants_stored(&self, life: &Life) -> bool {
        let here = life.keeper.as_ref().is_some_and(|keeper| keeper.shelf.here().is_some());
        here && self.proxy.wants_stored()
    }

    /// Takes messages back from the log.
    pub(super) async fn take_stored(&mut self, life: &mut Life) {
        let Some(keeper) = &mut life.keeper else { return };
        let (found, last) = match keeper.shelf.work(Log::next_few).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(domain = %self.name, %error, "a part of the store cannot be read");
                if keeper.shelf.is_lost() {
                    self.proxy.has_all_stored();
                }
                return;
            }
        };
        let now = self.clock.now();
        for (n, message, left) in found {
            let call = message.call.is_some();
            match self.proxy.take_stored(&message, left, now) {
                Some(token) => keeper.found(token, n, call),
                // That a call is over is said when it is.
                None if call => {}
                None => keeper.shelf.over(n),
            }
        }
        if last {
            self.proxy.has_all_stored();
        }
    }

    /// The log is back from what took too long.
    pub(super) fn store_is_back(&self, ended: &io::Result<()>, life: &mut Life) {
        if let Some(keeper) = &mut life.keeper {
            keeper.back(ended);
        }
        self.keep_rest(life);
    }

    pub(super) async fn sync_store(&mut self, life: &mut Life) {
        let Some(keeper) = &mut life.keeper else { return };
        if let Err(error) = keeper.sync().await {
            self.tell_of_store(life, Some(error)).await;
        }
    }
}
