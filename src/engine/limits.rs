//! The limits of the engine.

use super::refusal::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits, each with the default of [`Limits::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most bytes of a line. 16 MiB.
    pub line: usize,
    /// How deep JSON may be nested. 128.
    pub depth: usize,
    /// The most bytes that wait to be written to a domain (or one message, if larger). 8 MiB.
    pub queue: usize,
    /// After how long without progress a domain that is written to is stuck. 30 s.
    pub stuck: Duration,
    /// How many commands and notifications a domain may send a second, and as many at once. 100 000.
    pub rate: usize,
    /// As much of that a second as a domain is heard with while others speak too; it waits with the rest.
    /// 5 000.
    pub pace: usize,
    /// The most calls that may be pending for a domain. 1024. Of those to it, one requester has no more than there
    /// is room left for others.
    pub calls: usize,
    /// The most bytes that wait for the broker (or one message, if larger); while as many of a domain's own
    /// MQTT do, its channel is not read. 8 MiB.
    pub outbox: usize,
    /// The most bytes of messages that all domains together may hold. 48 MiB.
    pub memory: usize,
    /// How long a domain that went away is still a legacy domain, and one on MQTT that begins no connection while
    /// there is a broker still is on MQTT. 60 s.
    pub away: Duration,
    /// How long a domain on MQTT is kept while its broker is away; 0: not at all. 5 min.
    pub heal: Duration,
    /// How long an ended call is remembered. 10 s.
    pub remember: Duration,
    /// Whether answers between legacy domains are published too, for observers.
    pub mirror: bool,
    /// The longest answer that is. 64 KiB.
    pub mirror_size: usize,
}

impl Limits {
    /// Why a payload from MQTT makes no line, whatever is in it: Base64 is a third longer than what it says.
    /// It is not looked into any further.
    ///
    /// # Errors
    /// `line_too_long`.
    pub fn may_be_a_line(&self, payload: &[u8]) -> Result<(), (Reason, String)> {
        const BESIDES: usize = 64 * 1024;
        let most = self.line.saturating_add(self.line / 3).saturating_add(BESIDES);
        if payload.len() > most {
            let detail = format!("it makes a line of more than {} bytes", self.line);
            return Err((Reason::LineTooLong, detail));
        }
        Ok(())
    }
}

/// What a message counts against a limit. One that is larger than the limit counts as most of it: so
/// it finds room beside small ones and leaves room for some, and there are never two of its kind.
#[must_use]
pub fn weight(size: usize, limit: usize) -> usize {
    size.min(limit - limit / 4)
}

/// Whether a message of `size` bytes may join those that wait, which weigh `waiting`.
#[must_use]
pub fn has_room(waiting: usize, size: usize, limit: usize) -> bool {
    waiting == 0 || waiting.saturating_add(weight(size, limit)) <= limit
}

/// The most that each may hold so that all together hold `limit`: those who hold less keep what they
/// have, those who hold more share the rest. `None`: they hold no more than that already.
#[must_use]
pub fn level(limit: usize, held: &mut [usize]) -> Option<usize> {
    if held.iter().fold(0, |sum: usize, h| sum.saturating_add(*h)) <= limit {
        return None;
    }
    held.sort_unstable();
    let mut left = limit;
    for (i, amount) in held.iter().enumerate() {
        let share = left / (held.len() - i);
        if *amount > share {
            return Some(share);
        }
        left -= amount;
    }
    None
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            line: 16 * MIB,
            depth: 128,
            queue: 8 * MIB,
            stuck: Duration::from_secs(30),
            rate: 100_000,
            pace: 5_000,
            calls: 1024,
            outbox: 8 * MIB,
            memory: 48 * MIB,
            away: Duration::from_secs(60),
            heal: Duration::from_secs(300),
            remember: Duration::from_secs(10),
            mirror: true,
            mirror_size: 64 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{has_room, level, weight};

    #[test]
    fn those_who_hold_the_most_are_held_back_first() {
        assert_eq!(level(100, &mut []), None);
        assert_eq!(level(100, &mut [40, 60]), None);
        assert_eq!(level(100, &mut [90, 10, 20]), Some(70));
        assert_eq!(level(100, &mut [90, 10, 90]), Some(45));
        assert_eq!(level(1, &mut [5, 5, 5]), Some(0));
    }

    #[test]
    fn a_message_larger_than_the_limit_finds_room_beside_small_ones_and_leaves_some() {
        const LIMIT: usize = 100;
        assert!(has_room(0, 5000, LIMIT) && has_room(25, 5000, LIMIT));
        let large = weight(5000, LIMIT);
        assert!(has_room(large, 25, LIMIT) && !has_room(large, 26, LIMIT));
        assert!(!has_room(large, 5000, LIMIT));
        assert!(has_room(60, 40, LIMIT) && !has_room(61, 40, LIMIT));
    }
}
