//! A token bucket: how often something may happen.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For how long one that takes too much may be in debt.
const OWED: Duration = Duration::from_millis(20);

/// So many at once, and then so many a second.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bucket {
    /// How long one token takes to come back.
    each: Duration,
    /// How long all of them take.
    all: Duration,
    /// When all will be back.
    full: Duration,
}

impl Bucket {
    /// A full bucket of `size` tokens, of which `rate` come back each second. Neither can be less than 1.
    #[must_use]
    pub fn new(rate: usize, size: usize) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let each = Duration::from_secs(1) / count(rate);
        Self { each, all: each.saturating_mul(count(size)), full: Duration::ZERO }
    }

    /// Takes a token at this time, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let full = self.full.max(now).saturating_add(self.each);
        let taken = full - now <= self.all;
        if taken {
            self.full = full;
        }
        taken
    }

    /// Takes a token at this time even if there is none. Then one is owed, though never more than come
    /// back in `OWED`.
    pub fn draw(&mut self, now: Duration) {
        let most = now.saturating_add(self.all).saturating_add(OWED);
        self.full = self.full.max(now).saturating_add(self.each).min(most);
    }

    /// Takes a token at this time even if there is none. Whoever takes nothing more before
    /// [`Bucket::owed_until`] never owes more than one.
    pub fn owe(&mut self, now: Duration) {
        self.full = self.full.max(now).saturating_add(self.each);
    }

    /// Whether most of the tokens are taken.
    #[must_use]
    pub fn is_low(&self, now: Duration) -> bool {
        self.full.saturating_sub(now) > self.all / 2
    }

    /// Whether no token is taken.
    #[must_use]
    pub fn is_full(&self, now: Duration) -> bool {
        self.full <= now
    }

    /// When tokens that are owed now will have come back.
    #[must_use]
    pub fn owed_until(&self, now: Duration) -> Option<Duration> {
        Some(self.full.saturating_sub(self.all)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, OWED};
    use std::time::Duration;

    #[test]
    fn as_many_at_once_as_it_holds_and_then_as_many_as_come_back() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(10, 3);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, second), 3);
        assert_eq!(taken(&mut bucket, second + second / 5), 2);
        assert_eq!(taken(&mut bucket, second * 100), 3, "it is never more than full");
        // A clock that went back would give none, and does not break.
        assert_eq!(taken(&mut bucket, Duration::ZERO), 0);
    }

    #[test]
    fn what_is_owed_comes_back_and_a_debt_is_bounded() {
        let (now, each) = (Duration::from_secs(1), Duration::from_millis(1));
        let mut bucket = Bucket::new(1000, 3);
        bucket.draw(now);
        assert!(!bucket.is_low(now));
        (0..2).for_each(|_| bucket.draw(now));
        assert_eq!((bucket.is_low(now), bucket.owed_until(now)), (true, None));
        bucket.draw(now);
        assert_eq!(bucket.owed_until(now), Some(now + each));
        assert_eq!(bucket.owed_until(now + each), None);
        (0..1000).for_each(|_| bucket.draw(now));
        assert_eq!(bucket.owed_until(now), Some(now + OWED));
    }
}
