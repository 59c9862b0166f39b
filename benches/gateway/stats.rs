//! Medians and percentiles.

use std::time::Duration;

/// The durations of one path's calls, over all rounds.
#[derive(Debug, Default, Clone)]
pub struct Samples {
    rounds: Vec<Vec<Duration>>,
}

impl Samples {
    /// Adds one round.
    pub fn add(&mut self, mut round: Vec<Duration>) {
        round.sort_unstable();
        self.rounds.push(round);
    }

    /// The percentile of each round, in microseconds.
    pub fn each(&self, percent: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| micros(percentile(round, percent))).collect()
    }
}

/// Of a sorted list.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

/// Microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle one; between two, the mean.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
}

/// The median of the quotients of what was measured in the same rounds.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
}
