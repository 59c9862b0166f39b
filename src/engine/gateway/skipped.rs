//! What a channel carries that is neither lines nor MQTT: told once a second.

use crate::engine::name::DomainName;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What was skipped and has not been told.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    bytes: usize,
    told: Option<Duration>,
}

impl Skipped {
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
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
            tracing::warn!(%domain, bytes, "skipped: no lines, and no MQTT");
        }
    }

    /// Tells it at once, for the channel is over.
    pub fn end(&mut self, domain: &DomainName) {
        self.told = None;
        self.tell(domain, Duration::ZERO);
    }
}
