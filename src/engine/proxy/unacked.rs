//! What a proxy has published and the broker has not acknowledged.

use crate::engine::limits::{has_room, weight};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Token};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A publish that the broker has not acknowledged.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    /// The row's name, if a row has it still.
    pub row: Option<Arc<str>>,
    /// The call that it asks, if it is a request with an answer.
    pub call: Option<u64>,
    /// Whether a message ends when it is acknowledged.
    pub counted: bool,
    /// Where it was addressed, if it is a request to one domain.
    pub to: Option<DomainName>,
    pub head: String,
    pub from: DomainName,
    /// The request itself and when it was made, if its handler may only be about to subscribe.
    pub again: Option<(Duration, Publish)>,
}

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unacked {
    /// How much they may weigh.
    limit: usize,
    /// With their sizes.
    publishes: HashMap<Token, (usize, Sent)>,
    weight: usize,
    bytes: usize,
    /// Those that nobody was there for, and when to publish them again.
    retries: VecDeque<(Duration, Token)>,
}

impl Unacked {
    /// None yet, and no more than about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let (publishes, retries) = (HashMap::new(), VecDeque::new());
        Self { limit, publishes, weight: 0, bytes: 0, retries }
    }

    /// From now on there may be about `limit` bytes. What is there stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.weight = self.publishes.values().map(|(size, _)| weight(*size, limit)).sum();
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `size` more bytes have room beside them and what weighs `more`.
    pub fn has_room(&self, more: usize, size: usize) -> bool {
        has_room(self.weight.saturating_add(more), size, self.limit)
    }

    /// Whether `size` more bytes, which say that a request came to nothing, have room: half of it is for what
    /// has come to something.
    pub fn has_room_to_refuse(&self, size: usize) -> bool {
        has_room(self.weight, size, self.limit / 2)
    }

    /// Whether something small has room, whatever is there.
    pub fn has_any_room(&self) -> bool {
        self.weight < self.limit
    }

    /// Whether much could be taken in at once.
    pub fn has_much_room(&self) -> bool {
        const SHARE: usize = 8;
        self.weight.saturating_add(self.limit / SHARE) <= self.limit
    }

    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty()
    }

    /// How many end a message when they are acknowledged.
    pub fn counted(&self) -> usize {
        self.publishes.values().filter(|(_, sent)| sent.counted).count()
    }

    pub fn contains(&self, token: Token) -> bool {
        self.publishes.contains_key(&token)
    }

    pub fn get(&self, token: Token) -> Option<&Sent> {
        self.publishes.get(&token).map(|(_, sent)| sent)
    }

    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        self.publishes.keys().copied()
    }

    /// A publish is under way, or will be.
    pub fn insert(&mut self, publish: &Publish, sent: Sent) {
        let size = publish.size();
        self.weight += weight(size, self.limit);
        self.bytes += size;
        self.publishes.insert(publish.token, (size, sent));
    }

    /// It is no more.
    pub fn remove(&mut self, token: Token) -> Option<Sent> {
        let (size, sent) = self.publishes.remove(&token)?;
        self.weight -= weight(size, self.limit);
        self.bytes -= size;
        Some(sent)
    }

    /// None is left.
    pub fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// One is to be published again then. Times are told in order.
    pub fn retry_at(&mut self, due: Duration, token: Token) {
        self.retries.push_back((due, token));
    }

    /// When the next is.
    pub fn next_retry(&self) -> Option<Duration> {
        self.retries.front().map(|(due, _)| *due)
    }

    /// The next whose time has come.
    pub fn take_retry(&mut self, now: Duration) -> Option<Token> {
        self.retries.front().filter(|(due, _)| *due <= now)?;
        self.retries.pop_front().map(|(_, token)| token)
    }

    /// All that were to be published again.
    pub fn take_retries(&mut self) -> impl Iterator<Item = Token> + use<> {
        std::mem::take(&mut self.retries).into_iter().map(|(_, token)| token)
    }
}
