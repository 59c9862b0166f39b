//! When a domain that comes over to MQTT has made its subscriptions: before that, a request to it would
//! reach whoever watches everything, and nobody who carries it out.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long nothing more is subscribed to after a SUBACK. The system's libraries send one SUBSCRIBE for
/// each filter, one after the other.
const QUIET: Duration = Duration::from_millis(250);
/// How long a domain may take to subscribe at all: some never do.
const NOTHING: Duration = Duration::from_secs(2);
/// The first bytes of what the broker says to a CONNECT and to a SUBSCRIBE.
const CONNACK: u8 = 0x20;
const SUBACK: u8 = 0x90;

/// Follows one domain.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Arrival {
    there: bool,
    /// When it is there, if it subscribes to nothing more.
    due: Option<Duration>,
    told: bool,
}

impl Arrival {
    /// The domain has sent a CONNECT.
    pub fn begins(&mut self, now: Duration) {
        self.there = false;
        self.due = Some(now.saturating_add(NOTHING));
    }

    /// Its connection to the broker is gone.
    pub fn ends(&mut self) {
        *self = Self { told: self.told, ..Self::default() };
    }

    /// Its connection goes on by another one, with all its subscriptions.
    pub fn is_back(&mut self) {
        (self.there, self.due) = (true, None);
    }

    /// A packet of the broker's begins so. With a session that the broker had kept come its subscriptions
    /// (MQTT 5, 3.2.2.1.1).
    pub fn told(&mut self, packet: &[u8], now: Duration) {
        match packet {
            [CONNACK, _, present, ..] if present & 1 != 0 => (self.there, self.due) = (true, None),
            [SUBACK, ..] if !self.there => self.due = Some(now.saturating_add(QUIET)),
            _ => {}
        }
    }

    /// When [`Arrival::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Duration) {
        if self.due.is_some_and(|due| due <= now) {
            (self.there, self.due) = (true, None);
        }
    }

    /// Whether it is there, if that has changed since the last call.
    pub fn news(&mut self) -> Option<bool> {
        let changed = self.told != self.there;
        self.told = self.there;
        changed.then_some(self.there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_domain_is_there_a_moment_after_its_last_subscription() {
        let mut arrival = Arrival::default();
        arrival.begins(at(0));
        arrival.told(&[CONNACK, 3, 0, 0, 0], at(1));
        arrival.told(&[SUBACK, 3], at(100));
        arrival.told(&[SUBACK, 3], at(300));
        arrival.wake(at(350));
        assert_eq!((arrival.news(), arrival.deadline()), (None, Some(at(550))));
        arrival.wake(at(550));
        assert_eq!((arrival.news(), arrival.news(), arrival.deadline()), (Some(true), None, None));
        // What it subscribes to later keeps nobody waiting.
        arrival.told(&[SUBACK, 3], at(600));
        assert_eq!((arrival.news(), arrival.deadline()), (None, None));
        arrival.ends();
        assert_eq!((arrival.news(), arrival.deadline()), (Some(false), None));
    }

    #[test]
    fn one_whose_session_was_kept_is_there_at_once_and_one_that_subscribes_to_nothing_soon() {
        let mut arrival = Arrival::default();
        arrival.begins(at(0));
        arrival.told(&[CONNACK, 3, 1, 0, 0], at(1));
        assert_eq!(arrival.news(), Some(true));
        arrival.begins(at(10));
        assert_eq!(arrival.news(), Some(false));
        arrival.wake(at(2010));
        assert_eq!(arrival.news(), Some(true));
    }
}
