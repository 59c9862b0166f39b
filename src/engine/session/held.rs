//! The topic filters that the broker's session has, and the record of them on disk.
//!
//! A broker keeps the subscriptions of a session for as long as the session, and tells nobody which they
//! are. So what a session may have is on disk before it is subscribed, and a later run unsubscribes what
//! nobody wants any more.

use super::{Phase, Session, SessionEffect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The topic filters that the broker's session may have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    pub by_broker: BTreeSet<String>,
    on_disk: BTreeSet<String>,
    /// What is being written there.
    writing: Option<BTreeSet<String>>,
}

impl Held {
    /// These are on disk.
    pub fn new(on_disk: BTreeSet<String>) -> Self {
        Self { by_broker: on_disk.clone(), on_disk, writing: None }
    }

    pub fn is_being_written(&self) -> bool {
        self.writing.is_some()
    }
}

impl Session {
    /// What [`SessionEffect::Remember`] asked for is on disk, or cannot be written.
    pub fn remembered(&mut self, now: Duration) {
        if let Some(written) = self.held.writing.take() {
            self.held.on_disk = written;
        }
        match self.phase {
            Phase::Offline { .. } => self.wake(now),
            Phase::Connected(_) if self.is_ready() => self.remember(),
            Phase::Connected(_) => self.subscribe(now),
            Phase::Dialling { .. } | Phase::Left => {}
        }
    }

    /// Whether all that is wanted is on disk. If it is not, it is written first.
    pub(super) fn is_remembered(&mut self) -> bool {
        let wanted = self.settings.filters.iter();
        let stays = |topic| self.held.writing.as_ref().is_none_or(|next| next.contains(topic));
        let known = |topic| self.held.on_disk.contains(topic) && stays(topic);
        let known = wanted.map(|filter| &filter.topic).all(known);
        if !known {
            self.remember();
        }
        known
    }

    /// Has it written what the broker's session may have from now on.
    pub(super) fn remember(&mut self) {
        let wanted = self.settings.filters.iter().map(|filter| filter.topic.clone());
        let all: BTreeSet<_> = self.held.by_broker.iter().cloned().chain(wanted).collect();
        if self.held.writing.is_none() && all != self.held.on_disk {
            self.held.writing = Some(all.clone());
            let client_id = self.settings.client_id.clone();
            self.effects.push_back(SessionEffect::Remember { client_id, held: all });
        }
    }
}
