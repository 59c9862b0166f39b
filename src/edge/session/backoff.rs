//! When to connect again, and when to suspect that someone else has the same client id.

use std::time::Duration;

/// The longest wait before the first new attempt; the shortest is half of it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that stayed for this long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(5);
/// A connection closed before this age may have been taken over.
const SOON: Duration = Duration::from_secs(2);
/// The wait while the client id is contested.
const CONTESTED: Duration = Duration::from_secs(60);

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The broker never accepted it.
    Failed,
    /// It was accepted, and then lost.
    Lost {
        /// How long it stood.
        lasted: Duration,
        /// Whether the broker just closed it, as it does when another client takes the session.
        closed: bool,
    },
}

/// The waits between attempts: 50 to 100 ms at first, doubled each time up to 5 s.
///
/// *Contested*: two connections in a row were accepted and closed by the broker within 2 s. Two
/// clients with one id look like that, and would throw each other out for ever, so the attempts
/// become rare. A broker that restarts closes connections too, but then refuses the next attempt,
/// which clears the suspicion.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    strikes: u32,
    random: u64,
}

impl Backoff {
    /// `seed` sets sessions of one broker apart.
    pub fn new(seed: u64) -> Self {
        let (failures, strikes) = (0, 0);
        let random = seed | 1;
        Self { failures, strikes, random }
    }

    /// How long to wait now, and whether the client id is contested.
    pub fn after(&mut self, end: End) -> (Duration, bool) {
        match end {
            End::Lost { lasted, .. } if lasted >= GOOD => (self.failures, self.strikes) = (0, 0),
            End::Lost { lasted, closed: true } if lasted < SOON => self.strikes += 1,
            End::Lost { .. } | End::Failed => self.strikes = 0,
        }
        if self.strikes >= 2 {
            return (CONTESTED, true);
        }
        let full = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        (half + half.mul_f64(self.fraction()), false)
    }

    /// From 0 to 1: xorshift64, which is random enough to set clients apart.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let high = u32::try_from(self.random >> 32).unwrap_or(0);
        f64::from(high) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed_after(millis: u64) -> End {
        let lasted = Duration::from_millis(millis);
        End::Lost { lasted, closed: true }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_start_again_after_a_good_connection() {
        let mut backoff = Backoff::new(42);
        let mut full = FIRST;
        for _ in 0..100 {
            let (wait, contested) = backoff.after(End::Failed);
            assert!(wait >= full / 2 && wait <= full && !contested, "{wait:?} {full:?}");
            full = (full * 2).min(LONGEST);
        }
        assert!(backoff.after(closed_after(5_000)).0 <= FIRST);
    }

    #[test]
    fn two_early_closes_in_a_row_are_a_contest() {
        let mut backoff = Backoff::new(0);
        assert!(!backoff.after(closed_after(100)).1);
        assert_eq!(backoff.after(closed_after(1_999)), (CONTESTED, true));
        assert_eq!(backoff.after(closed_after(10)), (CONTESTED, true));
        assert!(!backoff.after(closed_after(2_000)).1);
        assert!(!backoff.after(closed_after(10)).1);
    }

    #[test]
    fn a_broker_that_restarts_is_no_contest() {
        let mut backoff = Backoff::new(0);
        for _ in 0..10 {
            assert!(!backoff.after(closed_after(10)).1);
            assert!(!backoff.after(End::Failed).1);
        }
    }
}
