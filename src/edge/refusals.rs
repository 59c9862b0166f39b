//! The log of refusals, which whoever has them made must not be able to fill the disk with.

use crate::translate::bucket::Bucket;
use crate::translate::refusal::Refusal;
use std::time::Duration;

/// Logged one by one at once, and then each second.
const AT_ONCE: usize = 100;
const A_SECOND: usize = 10;

/// What is refused in one place: each is logged, as a warning, or if there are too many of them, for
/// debugging. The next warning says how many there were; the counters of the status have them all.
#[derive(Debug)]
pub(super) struct Refusals {
    bucket: Bucket,
    passed_over: u64,
}

impl Refusals {
    /// Nothing was refused yet.
    pub fn new() -> Self {
        Self { bucket: Bucket::new(A_SECOND, AT_ONCE), passed_over: 0 }
    }

    /// Logs a refusal.
    pub fn log(&mut self, refusal: &Refusal, now: Duration) {
        let Refusal { reason, from, detail, head } = refusal;
        let reason = reason.as_str();
        if !self.bucket.take(now) {
            self.passed_over += 1;
            return tracing::debug!(domain = %from, reason, detail, head, "refused");
        }
        let before = Some(std::mem::take(&mut self.passed_over)).filter(|n| *n > 0);
        tracing::warn!(domain = %from, reason, detail, head, not_logged_before = before, "refused");
    }
}
