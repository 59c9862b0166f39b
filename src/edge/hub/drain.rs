//! Logs that their domains have left: the gateway's own session sends what is in them.

use super::super::store::{Back, Folder, Found, Log, Shelf};
use super::{HANDED_OVER, NOTICES, Task};
use crate::translate::name::DomainName;
use crate::translate::publish::Token;
use crate::translate::refusal::{Reason, Refusal};
use crate::translate::store::{Message, Record};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The most bytes of messages that wait for the broker: beside them there is room for notices.
const WAITING: usize = NOTICES / 2;

/// Such logs.
#[derive(Default)]
pub(in crate::edge) struct Drains {
    logs: Vec<Drain>,
    next: u64,
}

/// What no channel takes up.
pub(in crate::edge) struct Left {
    pub folder: Folder,
    pub logs: Vec<(DomainName, PathBuf)>,
}

struct Drain {
    name: DomainName,
    shelf: Shelf,
    numbers: HashMap<Token, u64>,
    /// Everything in it has been read.
    read: bool,
}

impl Drains {
    pub fn add(&mut self, name: DomainName, mut log: Log) {
        tracing::info!(domain = %name, records = log.live(), "sent from the store, for its domain has left");
        log.rewind();
        self.logs.push(Drain {
            name,
            shelf: Shelf::new(log),
            numbers: HashMap::new(),
            read: false,
        });
    }

    /// A token that nothing else in the session has.
    pub fn token(&mut self) -> Token {
        self.next += 1;
        Token(HANDED_OVER + self.next)
    }

    /// How many of the messages wait for the broker.
    pub fn under_way(&self) -> usize {
        self.logs.iter().map(|drain| drain.numbers.len()).sum()
    }

    /// The broker has a message, or will never take it. Says whether it was one of these.
    pub fn landed(&mut self, token: Token) -> bool {
        let number = |drain: &mut Drain| {
            let n = drain.numbers.remove(&token)?;
            drain.shelf.over(n);
            Some(())
        };
        self.logs.iter_mut().find_map(number).is_some()
    }
}

fn given_up(name: &DomainName, from: DomainName, head: String) -> Refusal {
    let detail = format!("{name} is no legacy domain here any more");
    Refusal { reason: Reason::Expired, from, detail, head }
}

/// Nobody waits any more for what was asked; events and answers stay.
fn give_up(name: &DomainName, log: &mut Log, found: Found) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for fault in found.faults {
        tracing::warn!(domain = %name, fault, "the store was damaged");
    }
    let mut refuse = |from, head| refusals.push(given_up(name, from, head));
    for (n, (message, ..)) in found.calls {
        if let Some(call) = message.call.filter(|call| !call.extra) {
            refuse(call.requester, call.head);
        }
        log.over(n);
    }
    for (n, record, _) in found.suspended {
        if let Record::Given(call) = record {
            refuse(call.requester.unwrap_or_else(DomainName::anonymous), call.head);
        }
        log.over(n);
    }
    refusals
}

impl Task {
    /// Opens the logs that an earlier run has left.
    pub(super) async fn open_left(&mut self) {
        let Some(Left { folder, logs }) = self.left.take() else { return };
        for (name, path) in logs {
            match folder.log(path.clone()).await {
                Ok((mut log, found)) => {
                    for refusal in give_up(&name, &mut log, found) {
                        self.refused(refusal);
                    }
                    self.drains.add(name, log);
                }
                Err(error) => {
                    tracing::error!(folder = %path.display(), %error, "left in the store");
                }
            }
        }
        self.act(None);
        self.drain().await;
    }

    /// Sends more, if there is room, and removes the logs that are through.
    pub(super) async fn drain(&mut self) {
        for at in 0..self.drains.logs.len() {
            for (n, message, left) in self.read_drained(at).await {
                self.send_drained(at, n, *message, left);
            }
        }
        self.act(None);
        self.drains.logs.retain_mut(|drain| {
            if drain.shelf.is_away() {
                return false;
            }
            let through = drain.read && drain.numbers.is_empty();
            if through && let Some(log) = drain.shelf.take() {
                tracing::info!(domain = %drain.name, "all that the domain left has been sent");
                log.remove_if_empty();
            }
            !through
        });
    }

    /// Marks what the broker has, and reads what comes next.
    async fn read_drained(&mut self, at: usize) -> Vec<Back> {
        let room = self.session.outbox().1 < WAITING;
        let Some((drain, before)) =
            self.drains.logs.get_mut(..=at).and_then(<[Drain]>::split_last_mut)
        else {
            return Vec::new();
        };
        // What the domain left before comes first.
        let waits = before.iter().any(|log| log.name == drain.name && !log.read);
        let reads = room && !drain.read && !waits;
        if !reads && !drain.shelf.here().is_some_and(Log::is_dirty) {
            return Vec::new();
        }
        let found = drain.shelf.work(move |log| {
            // What is marked in vain is sent once more.
            let _ = log.flush();
            if reads { log.next_few().map(Some) } else { Ok(None) }
        });
        match found.await {
            Ok(Some((found, last))) => {
                drain.read = last;
                found
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                let domain = &drain.name;
                tracing::error!(%domain, %error, "a part of the store is left until the next start");
                Vec::new()
            }
        }
    }

    fn send_drained(&mut self, at: usize, n: u64, message: Message, left: Option<Duration>) {
        let token = self.drains.token();
        let Some(drain) = self.drains.logs.get_mut(at) else { return };
        let is_request = message.response_topic.is_some();
        if !is_request && left != Some(Duration::ZERO) {
            drain.numbers.insert(token, n);
            return self.session.publish(message.publish(token, left));
        }
        drain.shelf.over(n);
        if is_request {
            // Nobody is there any more who could be told how it ends.
            let refusal = given_up(&drain.name, message.from, message.head);
            self.refused(refusal);
        }
    }
}
