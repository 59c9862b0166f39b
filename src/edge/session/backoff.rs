//! When to connect again, and when to suspect that someone else has the same client id.

use std::cmp::Ordering;
use std::time::Duration;

/// The longest wait after the first attempt that failed; the shortest is half of it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection closed before this age may have been taken over.
const SOON: Duration = Duration::from_secs(2);
/// How many such connections in a row are suspect; one more is a contest.
const STRIKES: u32 = 5;
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

/// The waits between attempts: none after a connection that the broker had accepted, then 50 to 100 ms,
/// doubled each time that it does not, up to 5 s.
///
/// *Contested*: six connections in a row were accepted at the first attempt and closed by the broker
/// within 2 s, the last of them after a wait of 5 s. Two clients with one id look like that, and would
/// throw each other out for ever, so the attempts become rare. A broker that restarts closes connections
/// too, but then it refuses the next attempt, and that clears the suspicion: Mosquitto is back 5 ms after
/// it was killed, so that attempt must not wait.
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
            End::Lost { lasted, closed: true } if lasted < SOON => self.strikes += 1,
            End::Lost { .. } | End::Failed => self.strikes = 0,
        }
        if matches!(end, End::Lost { .. }) {
            self.failures = 0;
        }
        match self.strikes.cmp(&STRIKES) {
            Ordering::Less => {}
            Ordering::Equal => return (LONGEST, false),
            Ordering::Greater => return (CONTESTED, true),
        }
        let full = match self.failures {
            0 => Duration::ZERO,
            failures => FIRST.saturating_mul(1 << (failures - 1).min(6)).min(LONGEST),
        };
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
    fn waits_double_up_to_a_limit_and_start_again_after_a_connection() {
        let mut backoff = Backoff::new(42);
        assert_eq!(backoff.after(End::Failed).0, Duration::ZERO);
        let mut full = FIRST;
        for _ in 0..100 {
            let (wait, contested) = backoff.after(End::Failed);
            assert!(wait >= full / 2 && wait <= full && !contested, "{wait:?} {full:?}");
            full = (full * 2).min(LONGEST);
        }
        assert_eq!(backoff.after(closed_after(5_000)).0, Duration::ZERO);
    }

    #[test]
    fn early_closes_in_a_row_are_suspect_and_then_a_contest() {
        let mut backoff = Backoff::new(0);
        for _ in 1..STRIKES {
            assert_eq!(backoff.after(closed_after(100)), (Duration::ZERO, false));
        }
        assert_eq!(backoff.after(closed_after(1_999)), (LONGEST, false));
        assert_eq!(backoff.after(closed_after(1_999)), (CONTESTED, true));
        assert_eq!(backoff.after(closed_after(10)), (CONTESTED, true));
        assert!(!backoff.after(closed_after(2_000)).1);
        assert!(!backoff.after(closed_after(10)).1);
    }

    #[test]
    fn a_broker_that_restarts_is_no_contest() {
        let mut backoff = Backoff::new(0);
        for _ in 0..10 {
            let (wait, contested) = backoff.after(closed_after(10));
            assert!(wait.is_zero() && !contested, "the next attempt must come while it is away");
            assert!(!backoff.after(End::Failed).1);
        }
    }
}
