//! Watchers of what crosses. Each has a room of its own: what finds none is counted, and the watcher is told how
//! much it has missed. A message never waits for a watcher.

use crate::engine::tap::{Crossing, Wanted};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How many may watch at once.
const MOST: usize = 4;
/// How many bytes may wait for one of them.
const ROOM: usize = 2 * 1024 * 1024;

/// The watchers.
#[derive(Debug, Default)]
pub(super) struct Taps(Vec<Tap>);

#[derive(Debug)]
struct Tap {
    wanted: Wanted,
    sender: UnboundedSender<Arc<Crossing>>,
    account: Arc<Account>,
}

/// What waits for a watcher, in bytes, and how many messages it has missed.
#[derive(Debug, Default)]
struct Account {
    waiting: AtomicUsize,
    missed: AtomicU64,
}

impl Taps {
    /// One more watcher.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn add(&mut self, wanted: Wanted) -> Result<Watcher, String> {
        self.0.retain(|tap| !tap.sender.is_closed());
        if self.0.len() >= MOST {
            return Err(format!("{MOST} watch already: end one of them first"));
        }
        let (sender, crossings) = unbounded_channel();
        let account = Arc::new(Account::default());
        self.0.push(Tap { wanted, sender, account: Arc::clone(&account) });
        Ok(Watcher { crossings, account })
    }

    /// Gives a message to those who want to see it. Says whether anybody is left.
    pub fn give(&mut self, crossing: Crossing) -> bool {
        let (size, crossing) = (crossing.size(), Arc::new(crossing));
        for Tap { wanted, sender, account } in &self.0 {
            if !crossing.is_wanted(wanted) {
                continue;
            }
            if account.waiting.load(Ordering::Relaxed).saturating_add(size) > ROOM {
                account.missed.fetch_add(1, Ordering::Relaxed);
            } else if sender.send(Arc::clone(&crossing)).is_ok() {
                account.waiting.fetch_add(size, Ordering::Relaxed);
            }
        }
        self.0.retain(|tap| !tap.sender.is_closed());
        !self.0.is_empty()
    }
}

/// What one watcher is to see.
#[derive(Debug)]
pub(super) struct Watcher {
    crossings: UnboundedReceiver<Arc<Crossing>>,
    account: Arc<Account>,
}

impl Watcher {
    /// The next line of JSON: a message, or how many it has missed. `None`: the gateway ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<String> {
        let missed = || match self.account.missed.swap(0, Ordering::Relaxed) {
            0 => None,
            missed => Some(format!("{{\"missed\":{missed}}}")),
        };
        // What it has missed came after what still waits.
        if self.crossings.is_empty()
            && let Some(missed) = missed()
        {
            return Some(missed);
        }
        let crossing = self.crossings.recv().await?;
        self.account.waiting.fetch_sub(crossing.size(), Ordering::Relaxed);
        Some(crossing.line())
    }
}
