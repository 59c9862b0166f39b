//! What waits for its PUBACK, in the order in which it was given.

use crate::translate::publish::{Publish, Token};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// The publishes that the broker has not yet taken responsibility for.
///
/// Each keeps its place until it leaves. On a new connection the outbox starts again from its first
/// message: what had been sent without an answer is sent once more, before anything that is new.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    places: HashMap<Token, u64>,
    /// The place of the next one that comes in.
    end: u64,
    /// The place up to which this connection has looked.
    cursor: u64,
    /// The number of the connection, as the outbox counts them.
    round: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    publish: Publish,
    /// When nobody wants it any more.
    deadline: Option<Instant>,
    /// The round in which it was last handed over.
    handed: Option<u64>,
}

impl Outbox {
    /// Takes a publish in. One with the token of another replaces it and goes to the end.
    pub fn push(&mut self, publish: Publish, now: Instant) {
        self.withdraw_place(publish.token);
        // A deadline beyond the clock's range is none.
        let deadline = publish.expiry.and_then(|expiry| now.checked_add(expiry));
        self.bytes += publish.size();
        self.places.insert(publish.token, self.end);
        let handed = None;
        let entry = Entry { publish, deadline, handed };
        self.entries.insert(self.end, entry);
        self.end += 1;
    }

    /// The next one to send on this connection, its place, and how long it is still wanted. It
    /// counts as handed over from here on. Those whose time is up are passed over; they stay.
    pub fn next(&mut self, now: Instant) -> Option<(u64, &Publish, Option<Duration>)> {
        let round = self.round;
        for (&place, entry) in self.entries.range_mut(self.cursor..) {
            self.cursor = place + 1;
            let left = entry.deadline.map(|at| at.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                continue;
            }
            entry.handed = Some(round);
            return Some((place, &entry.publish, left));
        }
        None
    }

    /// Removes the one at a place. `None` if it has left.
    pub fn remove(&mut self, place: u64) -> Option<Publish> {
        let Entry { publish, .. } = self.entries.remove(&place)?;
        self.places.remove(&publish.token);
        self.bytes = self.bytes.saturating_sub(publish.size());
        Some(publish)
    }

    /// Removes one that this connection has not been handed.
    pub fn withdraw(&mut self, token: Token) -> bool {
        let place = self.places.get(&token).copied();
        let entry = place.and_then(|place| self.entries.get(&place));
        if entry.is_none_or(|entry| entry.handed == Some(self.round)) {
            return false;
        }
        self.withdraw_place(token)
    }

    fn withdraw_place(&mut self, token: Token) -> bool {
        let place = self.places.get(&token).copied();
        place.and_then(|place| self.remove(place)).is_some()
    }

    /// Starts again from the first: there is no connection, or a new one.
    pub fn rewind(&mut self) {
        self.cursor = 0;
        self.round += 1;
    }

    /// All of them, in their order.
    pub fn publishes(&self) -> impl Iterator<Item = &Publish> {
        self.entries.values().map(|e| &e.publish)
    }

    /// How many there are, and about how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::publish::Qos;

    fn publish(token: u64, expiry: Option<u64>) -> Publish {
        Publish {
            token: Token(token),
            topic: "system/test".to_owned(),
            payload: bytes::Bytes::from_static(b"payload"),
            qos: Qos::AtLeastOnce,
            retain: false,
            response_topic: None,
            correlation: None,
            source: None,
            mark: None,
            id: None,
            expiry: expiry.map(Duration::from_secs),
        }
    }

    fn filled(now: Instant) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.rewind();
        for (token, expiry) in [(7, None), (3, Some(2)), (5, Some(30))] {
            outbox.push(publish(token, expiry), now);
        }
        outbox
    }

    fn tokens(outbox: &mut Outbox, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next(now).map(|(_, p, _)| p.token.0)).collect()
    }

    #[test]
    fn a_new_connection_gets_what_is_left_in_the_first_order() {
        let now = Instant::now();
        let mut outbox = filled(now);
        assert_eq!(tokens(&mut outbox, now), [7, 3, 5]);
        assert!(outbox.remove(1).is_some() && outbox.remove(1).is_none());
        outbox.push(publish(1, None), now);
        outbox.rewind();
        assert_eq!(tokens(&mut outbox, now), [7, 5, 1]);
        assert_eq!(tokens(&mut outbox, now), [0_u64; 0]);
    }

    #[test]
    fn what_nobody_wants_any_more_is_passed_over_and_stays() {
        let now = Instant::now();
        let mut outbox = filled(now);
        let later = now + Duration::from_secs(2);
        assert_eq!(tokens(&mut outbox, later), [7, 5]);
        assert_eq!(outbox.size().0, 3);
        assert!(outbox.withdraw(Token(3)) && !outbox.withdraw(Token(3)));
    }

    #[test]
    fn only_what_was_not_handed_over_can_be_withdrawn() {
        let now = Instant::now();
        let mut outbox = filled(now);
        assert!(outbox.next(now).is_some());
        assert!(!outbox.withdraw(Token(7)) && outbox.withdraw(Token(5)));
        outbox.rewind();
        assert!(outbox.withdraw(Token(7)) && outbox.withdraw(Token(3)));
        assert_eq!(outbox.size(), (0, 0));
    }
}
