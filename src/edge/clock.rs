//! The clock that the engine is told.

use crate::engine::clock::Now;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until};

/// Counts from the gateway's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Now {
        Now { monotonic: self.0.elapsed(), wall: SystemTime::now() }
    }

    /// The moment at which [`Now::monotonic`] will be this.
    pub fn at(self, monotonic: Duration) -> Instant {
        // Thirty years stand for never, where the clock cannot show it.
        const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
        self.0.checked_add(monotonic.min(NEVER)).unwrap_or(self.0)
    }
}

/// Waits until then, or for ever.
pub(super) async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
