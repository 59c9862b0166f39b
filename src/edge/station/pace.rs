//! How fast a station reads.

use super::{CHUNK, Life, Station};
use crate::translate::proxy::Pace;
use std::time::Duration;

/// Within a long line: it is one message, and takes nobody's time before its end.
const LONG: usize = 128 * 1024;
/// Of a domain that says very much, and is held back.
const PIECE: usize = 1024;
/// For so long after a domain has spoken, others that say very much are held back.
const WHILE: Duration = Duration::from_secs(1);

impl Station {
    /// How many bytes are read at a time.
    pub(super) fn most(&self, life: &Life) -> usize {
        match life.slow {
            _ if self.proxy.is_inside_a_long_line() => LONG,
            true => PIECE,
            false => CHUNK,
        }
    }

    /// A domain that says very much waits while others speak: they, and the broker, have their turn. Not
    /// one that waits for its answers, however fast it calls: there is no `more` of it.
    pub(super) fn pause(&self, life: &mut Life, more: bool) {
        let now = self.clock.now();
        let spoken = self.spoken.borrow().clone();
        let other = spoken.filter(|(name, _)| *name != self.name);
        let others = other.is_some_and(|(_, at)| now.monotonic.saturating_sub(at) < WHILE);
        let pace = self.proxy.pace(others && more, now);
        if pace == Pace::Calm {
            self.spoken.send_replace(Some((self.name.clone(), now.monotonic)));
        }
        (life.slow, life.pause) = match pace {
            Pace::Calm | Pace::Fast => (false, None),
            Pace::Slow(until) => (true, until),
        };
    }
}
