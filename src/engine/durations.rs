//! How long calls took, as a histogram.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The bounds of the buckets, and how they are written in seconds.
const BOUNDS: [(Duration, &str); 10] = [
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(2), "2"),
    (Duration::from_secs(10), "10"),
    (Duration::from_secs(30), "30"),
    (Duration::from_secs(120), "120"),
    (Duration::from_secs(600), "600"),
];

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// How many are within each bound, and in none before.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Durations {
    /// One more.
    pub fn add_one(&mut self, took: Duration) {
        let bucket = BOUNDS.iter().position(|(bound, _)| took <= *bound);
        if let Some(within) = bucket.and_then(|at| self.within.get_mut(at)) {
            *within += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.within.iter_mut().zip(other.within).for_each(|(all, more)| *all += more);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// As the status shows it: `le` has, for each bound in seconds, how many took no longer.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut sum = 0;
        let le = BOUNDS.iter().zip(self.within).map(|((_, bound), within)| {
            sum += within;
            ((*bound).to_owned(), json!(sum))
        });
        let le: Map<_, _> = le.collect();
        json!({"count": self.count, "sum": self.sum.as_secs_f64(), "le": le})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_what_took_no_longer() {
        let (mut all, mut more) = (Durations::default(), Durations::default());
        all.add_one(Duration::from_millis(5));
        all.add_one(Duration::from_secs(1000));
        more.add_one(Duration::from_millis(6));
        all.add(&more);
        let shown = all.shown();
        let le = ["0.001", "0.005", "0.025", "600"].map(|bound| shown["le"][bound].as_u64());
        assert_eq!(le, [Some(0), Some(1), Some(2), Some(2)]);
        assert_eq!((shown["count"].as_u64(), shown["sum"].as_f64()), (Some(3), Some(1000.011)));
    }
}
