//! What all logs together may take on disk.

use crate::engine::proxy::Room;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is taken at a time, in bytes.
const UNIT: usize = 16 * 1024;

/// The budget of all logs.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Budget(Arc<Semaphore>);

/// What one log has of it.
#[derive(Debug)]
pub(in crate::edge) struct Share {
    budget: Budget,
    taken: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// About `size` bytes.
    pub fn new(size: usize) -> Self {
        Self(Arc::new(Semaphore::new((size / UNIT).clamp(1, Semaphore::MAX_PERMITS))))
    }

    pub fn share(&self) -> Share {
        Share { budget: self.clone(), taken: None }
    }
}

impl Share {
    /// Has at least `size` bytes from now on. Says whether there were so many.
    pub fn grow(&mut self, size: usize) -> bool {
        let more = size.div_ceil(UNIT).saturating_sub(self.units());
        let Ok(more) = u32::try_from(more) else { return false };
        if more == 0 {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.budget.0).try_acquire_many_owned(more) else {
            return false;
        };
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            None => self.taken = Some(permit),
        }
        true
    }

    /// As [`Share::grow`], or else all that there is.
    pub fn grow_as_far_as_it_goes(&mut self, size: usize) {
        if !self.grow(size) {
            self.grow((self.units() + self.budget.0.available_permits()) * UNIT);
        }
    }

    /// Has no more than `size` bytes from now on.
    pub fn shrink(&mut self, size: usize) {
        let fewer = self.units().saturating_sub(size.div_ceil(UNIT));
        drop(self.taken.as_mut().and_then(|taken| taken.split(fewer)));
    }

    fn units(&self) -> usize {
        self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// What the log may still take, so that others find room too: of what is left when it has that, it has
    /// at most seven times as much, and three times for requests. `used` is what it takes.
    pub fn room(&self, used: usize, since_boot: Duration) -> Room {
        let held = self.units() * UNIT;
        let free = self.budget.0.available_permits() * UNIT;
        let may = |times: usize| (times.saturating_mul(free)).saturating_sub(held) / (times + 1);
        let rest = held.saturating_sub(used);
        Room { events: rest + may(7), requests: rest + may(3), since_boot, used, records: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_all_it_may_leaves_room_for_others() {
        let budget = Budget::new(256 * UNIT);
        let mut shares: Vec<_> = (0..4).map(|_| budget.share()).collect();
        for share in &mut shares {
            let mut used = 0;
            while share.room(used, Duration::ZERO).events >= UNIT {
                used += UNIT;
                assert!(share.grow(used));
            }
        }
        let units: Vec<_> = shares.iter().map(Share::units).collect();
        assert_eq!(units, [224, 28, 3, 0]);
        shares[0].shrink(0);
        assert!(shares[3].room(0, Duration::ZERO).events > 100 * UNIT);
        assert!(!shares[3].grow(300 * UNIT));
        shares[3].grow_as_far_as_it_goes(300 * UNIT);
        assert_eq!(shares[3].units(), 225);
    }

    #[test]
    fn requests_are_refused_first() {
        let mut share = Budget::new(256 * UNIT).share();
        assert!(share.grow(200 * UNIT));
        let room = share.room(200 * UNIT, Duration::ZERO);
        assert!(room.requests == 0 && room.events > 0, "{room:?}");
    }
}
