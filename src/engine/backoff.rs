//! When to connect again, and when to suspect that someone else has the same client id.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::time::Duration;

/// The longest wait after the second failure in a row; the shortest is half of it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest wait while a person has to mend something.
const TO_MEND: Duration = Duration::from_secs(30);
/// A connection of this age has lasted: what made earlier ones fail is over.
const LASTED: Duration = Duration::from_secs(30);
/// A connection closed without a word before this age may have been taken over.
const SOON: Duration = Duration::from_secs(2);
/// How many such connections in a row are suspect; one more is a contest.
const STRIKES: u32 = 5;
/// The wait while the client id is contested.
const CONTESTED: Duration = Duration::from_secs(60);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The broker never accepted it.
    Failed {
        /// Whether it will not do so before a person has mended something.
        to_mend: bool,
    },
    /// It was accepted, and then lost.
    Lost {
        /// How long it stood.
        lasted: Duration,
        /// Why, as far as it matters here.
        how: How,
    },
}

/// How an accepted connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The broker says that another client has taken the session (MQTT 5, 3.1.4).
    TakenOver,
    /// The broker closed it without a word, as Mosquitto 2.0.11 does when another client takes the session.
    Closed,
    /// Another way.
    Otherwise,
}

/// The waits between attempts: none after a connection that lasted 30 s, then 50 to 100 ms, doubled each
/// time, up to 5 s; up to 30 s while a person has to mend something.
///
/// The attempt after a connection that was closed without a word within 2 s comes at once too, for it tells a
/// broker that restarts from another client: Mosquitto is back 5 ms after it was killed. Six of them in a row
/// are a contest, and failures go on counting meanwhile.
///
/// *Contested*: six connections in a row were accepted at the first attempt, and taken over within 30 s or
/// closed without a word within 2 s, the last of them after a wait of 5 s. Two clients with one id would
/// throw each other out for ever, so the attempts become rare. A broker that restarts closes connections too,
/// but then it also refuses attempts, and that clears the suspicion.
#[derive(Debug, Serialize, Deserialize)]
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
        let suspect = match end {
            End::Lost { lasted, how: How::TakenOver } => !has_lasted(lasted),
            End::Lost { lasted, how: How::Closed } => lasted < SOON,
            End::Lost { how: How::Otherwise, .. } | End::Failed { .. } => false,
        };
        self.strikes = if suspect { self.strikes.saturating_add(1) } else { 0 };
        if matches!(end, End::Lost { lasted, .. } if has_lasted(lasted)) {
            self.failures = 0;
        }
        let longest = match end {
            End::Failed { to_mend: true } => TO_MEND,
            End::Failed { to_mend: false } | End::Lost { .. } => LONGEST,
        };
        let full = match self.failures {
            0 => Duration::ZERO,
            failures => FIRST.saturating_mul(1 << (failures - 1).min(16)).min(longest),
        };
        self.failures = self.failures.saturating_add(1);
        match self.strikes.cmp(&STRIKES) {
            Ordering::Less => {}
            Ordering::Equal => return (LONGEST, false),
            Ordering::Greater => return (CONTESTED, true),
        }
        if matches!(end, End::Lost { lasted, how: How::Closed } if lasted < SOON) {
            return (Duration::ZERO, false);
        }
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

/// Whether a connection of this age has lasted.
pub(super) fn has_lasted(age: Duration) -> bool {
    age >= LASTED
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: End = End::Failed { to_mend: false };

    fn lost_after(millis: u64, how: How) -> End {
        End::Lost { lasted: Duration::from_millis(millis), how }
    }

    /// Each wait is at most double the one before, and half of that at least.
    fn grows(backoff: &mut Backoff, end: End, longest: Duration) {
        let mut full = FIRST;
        for _ in 0..100 {
            let (wait, contested) = backoff.after(end);
            assert!(wait >= full / 2 && wait <= full && !contested, "{wait:?} {full:?}");
            full = (full * 2).min(longest);
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_start_again_after_a_connection_that_lasted() {
        let mut backoff = Backoff::new(42);
        let to_mend = End::Failed { to_mend: true };
        for (end, longest) in [
            (FAILED, LONGEST),
            (to_mend, TO_MEND),
            (lost_after(0, How::Otherwise), LONGEST),
            (lost_after(29_999, How::Otherwise), LONGEST),
            (lost_after(2_000, How::Closed), LONGEST),
        ] {
            let (wait, _) = backoff.after(lost_after(30_000, How::Closed));
            assert_eq!(wait, Duration::ZERO);
            grows(&mut backoff, end, longest);
        }
    }

    #[test]
    fn sessions_taken_over_in_a_row_are_suspect_and_then_a_contest() {
        for end in [lost_after(1_999, How::Closed), lost_after(29_999, How::TakenOver)] {
            let mut backoff = Backoff::new(0);
            for _ in 1..STRIKES {
                let (wait, contested) = backoff.after(end);
                assert!(wait < LONGEST && !contested);
            }
            assert_eq!(backoff.after(end), (LONGEST, false));
            assert_eq!(backoff.after(end), (CONTESTED, true));
            assert_eq!(backoff.after(end), (CONTESTED, true));
            assert!(!backoff.after(lost_after(30_000, How::TakenOver)).1);
            assert!(!backoff.after(end).1);
        }
    }

    #[test]
    fn a_broker_that_restarts_is_no_contest() {
        let mut backoff = Backoff::new(0);
        for _ in 0..10 {
            let (wait, contested) = backoff.after(lost_after(10, How::Closed));
            assert!(wait.is_zero() && !contested, "the next attempt must come while it is away");
            assert!(!backoff.after(FAILED).1);
        }
    }

    #[test]
    fn the_waits_follow_from_the_seed() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..9).map(|_| backoff.after(FAILED).0).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(9));
    }
}
