//! What a channel carries that is neither lines nor MQTT: told once a second.

use crate::engine::name::DomainName;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What was skipped and has not been told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Skipped {
    bytes: usize,
    /// All that was skipped since this was last counted from 0.
    all: u64,
    told: Option<Duration>,
}

impl Skipped {
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all = self.all.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// How much was skipped in all.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// What comes next counts from 0.
    pub fn count_anew(&mut self) {
        self.all = 0;
    }

    /// When to tell it.
    pub fn deadline(&self) -> Option<Duration> {
        (self.bytes > 0).then(|| self.told.map_or(Duration::ZERO, |told| told + SECOND))
    }

    /// Tells it when it is time.
    pub fn tell(&mut self, domain: &DomainName, now: Duration) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let bytes = std::mem::take(&mut self.bytes);
            self.told = Some(now);
            tracing::warn!(%domain, bytes, help = "find out which program writes to the channel", "skipped: no lines, and no MQTT");
        }
    }

    /// Tells it at once, for the channel is over.
    pub fn end(&mut self, domain: &DomainName) {
        self.told = None;
        self.tell(domain, Duration::ZERO);
    }
}
