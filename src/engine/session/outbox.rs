//! The one place of a publish, from its making until the broker has answered for good:
//!
//! ```text
//! due -> in flight -> acknowledged | refused | refused for now -> due
//! ```

use crate::engine::publish::{Publish, Qos, Token};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// The first pause after the broker has refused a publish for now.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The publishes that the broker has not yet taken responsibility for.
///
/// Each keeps its place until it leaves. A loss puts what was in flight back to its place; if the broker
/// has kept the session, it goes out again under its packet id and as a repeat (MQTT 5, 4.4).
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Queued>,
    places: HashMap<Token, u64>,
    /// The place of the next one that comes in.
    end: u64,
    /// Everything before this place is in flight, or its time is up.
    cursor: u64,
    /// In the order in which they went out. A packet id of 0 means QoS 0.
    in_flight: VecDeque<(u16, u64)>,
    /// The packet ids of those that were in flight when the last connection was lost, by place.
    unanswered: BTreeMap<u64, u16>,
    last_id: u16,
    /// Since when the first in flight has been that.
    oldest_since: Duration,
    /// Nothing goes out before, for the broker has refused one for now; and how often in a row.
    pause: Option<Duration>,
    refusals: u32,
    bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Queued {
    publish: Publish,
    /// When nobody wants it any more.
    deadline: Option<Duration>,
    in_flight: bool,
    /// It was in flight when it was withdrawn.
    unwanted: bool,
}

/// A publish that goes out now.
#[derive(Debug)]
pub(super) struct Due<'a> {
    pub place: u64,
    pub publish: &'a Publish,
    /// For how long it is still wanted.
    pub left: Option<Duration>,
    /// 0 for QoS 0.
    pub id: u16,
    /// Whether the broker may have it under this id.
    pub dup: bool,
}

impl Outbox {
    /// Takes a publish in. One with the token of another replaces it and goes to the end.
    pub fn push(&mut self, publish: Publish, now: Duration) {
        self.remove_token(publish.token);
        // A deadline beyond the clock's range is none.
        let deadline = publish.expiry.and_then(|expiry| now.checked_add(expiry));
        self.bytes += publish.size();
        self.places.insert(publish.token, self.end);
        let entry = Queued { publish, deadline, in_flight: false, unwanted: false };
        self.entries.insert(self.end, entry);
        self.end += 1;
    }

    /// The next one to send, of at most this quality of service. It is in flight from here on. Those whose
    /// time is up are passed over; they stay.
    pub fn next(&mut self, now: Duration, most: Qos) -> Option<Due<'_>> {
        self.resume(now);
        if self.pause.is_some() {
            return None;
        }
        let expired = |entry: &Queued| entry.deadline.is_some_and(|at| at <= now);
        let mut rest = self.entries.range(self.cursor..);
        let found = rest.find(|(_, entry)| !entry.in_flight && !expired(entry));
        let place = found.map(|(place, _)| *place);
        self.cursor = place.map_or(self.end, |place| place + 1);
        let place = place?;
        let unanswered = self.unanswered.remove(&place);
        let confirmed = self.entries.get(&place)?.publish.qos == Qos::AtLeastOnce;
        let id = match unanswered {
            Some(id) => id,
            None if confirmed && most == Qos::AtLeastOnce => self.take_id(),
            None => 0,
        };
        if self.in_flight.is_empty() {
            self.oldest_since = now;
        }
        self.in_flight.push_back((id, place));
        let entry = self.entries.get_mut(&place)?;
        entry.in_flight = true;
        let left = entry.deadline.map(|at| at.saturating_sub(now));
        Some(Due { place, publish: &entry.publish, left, id, dup: unanswered.is_some() })
    }

    /// A packet id that nothing uses (MQTT 5, 2.2.1).
    pub fn take_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = self.last_id;
            let in_flight = self.in_flight.iter().any(|(other, _)| *other == id);
            if !in_flight && !self.unanswered.values().any(|other| *other == id) {
                return id;
            }
        }
    }

    /// A PUBACK with this packet id has come: its publish has left. `None` if there is none.
    pub fn take(&mut self, id: u16, now: Duration) -> Option<Publish> {
        let place = self.land(id, now)?;
        (self.refusals, self.pause) = (0, None);
        self.remove(place)
    }

    /// The next publish of QoS 0 is being written: it has left.
    pub fn take_written(&mut self, now: Duration) -> Option<Publish> {
        let place = self.land(0, now)?;
        self.remove(place)
    }

    /// The broker refuses one for now: it is due again after a pause. Gives it if nobody wants it any more.
    pub fn postpone(&mut self, id: u16, now: Duration) -> Option<Publish> {
        let place = self.land(id, now)?;
        let wait = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(8)).min(LONGEST_PAUSE);
        self.refusals += 1;
        self.pause = Some(now.saturating_add(wait));
        self.put_back(place)
    }

    /// The connection is lost. Gives those in flight that nobody wants any more.
    pub fn disconnected(&mut self) -> Vec<Publish> {
        let in_flight = std::mem::take(&mut self.in_flight);
        (self.refusals, self.pause) = (0, None);
        let mut unwanted = Vec::new();
        for (id, place) in in_flight {
            match self.put_back(place) {
                Some(publish) => unwanted.push(publish),
                None if id != 0 => {
                    self.unanswered.insert(place, id);
                }
                None => {}
            }
        }
        self.cursor = 0;
        unwanted
    }

    /// There is a new connection, on which the broker has kept the session or not.
    pub fn connected(&mut self, kept: bool) {
        self.cursor = 0;
        if !kept {
            self.unanswered.clear();
        }
    }

    /// Removes one that is not in flight.
    pub fn withdraw(&mut self, token: Token) -> bool {
        let Some(&place) = self.places.get(&token) else { return false };
        match self.entries.get_mut(&place) {
            Some(entry) if entry.in_flight => {
                entry.unwanted = true;
                false
            }
            _ => self.remove(place).is_some(),
        }
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the oldest in flight has been that for so long, if the broker has to answer it.
    pub fn stuck_at(&self, after: Duration) -> Option<Duration> {
        let answered = self.in_flight.front().is_some_and(|(id, _)| *id != 0);
        answered.then(|| self.oldest_since.saturating_add(after))
    }

    /// The oldest has as much time again.
    pub fn wait_anew(&mut self, now: Duration) {
        self.oldest_since = now;
    }

    /// When something can go out again.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// A pause is over when its time has come.
    pub fn resume(&mut self, now: Duration) {
        self.pause = self.pause.filter(|until| now < *until);
    }

    /// All of them, in their order.
    pub fn publishes(&self) -> impl Iterator<Item = &Publish> {
        self.entries.values().map(|e| &e.publish)
    }

    /// How many there are, and about how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Removes the one at a place. `None` if it has left.
    pub fn remove(&mut self, place: u64) -> Option<Publish> {
        let Queued { publish, in_flight, .. } = self.entries.remove(&place)?;
        self.unanswered.remove(&place);
        if in_flight {
            self.in_flight.retain(|(_, other)| *other != place);
        }
        self.places.remove(&publish.token);
        self.bytes = self.bytes.saturating_sub(publish.size());
        Some(publish)
    }

    fn remove_token(&mut self, token: Token) {
        if let Some(&place) = self.places.get(&token) {
            self.remove(place);
        }
    }

    /// The first with this packet id is in flight no more; gives its place.
    fn land(&mut self, id: u16, now: Duration) -> Option<u64> {
        let at = self.in_flight.iter().position(|(other, _)| *other == id)?;
        if at == 0 {
            self.oldest_since = now;
        }
        let (_, place) = self.in_flight.remove(at)?;
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.in_flight = false;
        }
        Some(place)
    }

    /// One that was in flight is due again; or it leaves, if nobody wants it.
    fn put_back(&mut self, place: u64) -> Option<Publish> {
        let entry = self.entries.get_mut(&place)?;
        entry.in_flight = false;
        self.cursor = self.cursor.min(place);
        let unwanted = entry.unwanted;
        unwanted.then(|| self.remove(place)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const MOST: Qos = Qos::AtLeastOnce;

    fn publish(token: u64, expiry: Option<u64>) -> Publish {
        let topic = "system/test".to_owned();
        let publish = Publish::new(Token(token), topic, "payload", Qos::AtLeastOnce);
        Publish { expiry: expiry.map(Duration::from_secs), ..publish }
    }

    fn filled() -> Outbox {
        let mut outbox = Outbox::default();
        for (token, expiry) in [(7, None), (3, Some(2)), (5, Some(30))] {
            outbox.push(publish(token, expiry), NOW);
        }
        outbox
    }

    /// Token, packet id and whether it is a repeat, of all that goes out now.
    fn sent(outbox: &mut Outbox, now: Duration) -> Vec<(u64, u16, bool)> {
        let next = || outbox.next(now, MOST).map(|due| (due.publish.token.0, due.id, due.dup));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_kept_session_is_sent_what_it_has_not_answered_under_the_same_ids() {
        let mut outbox = filled();
        assert_eq!(sent(&mut outbox, NOW), [(7, 1, false), (3, 2, false), (5, 3, false)]);
        assert_eq!(outbox.take(2, NOW).map(|p| p.token), Some(Token(3)));
        assert!(outbox.take(2, NOW).is_none() && outbox.take(9, NOW).is_none());
        outbox.push(publish(1, None), NOW);
        assert_eq!(outbox.disconnected(), []);
        outbox.last_id = 0;
        outbox.connected(true);
        assert_eq!(sent(&mut outbox, NOW), [(7, 1, true), (5, 3, true), (1, 2, false)]);
        outbox.disconnected();
        outbox.connected(false);
        assert_eq!(sent(&mut outbox, NOW), [(7, 3, false), (5, 4, false), (1, 5, false)]);
    }

    #[test]
    fn what_is_refused_for_now_goes_out_again_after_a_pause_that_grows() {
        let mut outbox = filled();
        sent(&mut outbox, NOW);
        assert!(outbox.postpone(1, NOW).is_none());
        let mut now = NOW;
        for id in 4..40 {
            let until = outbox.pause().unwrap();
            assert_eq!(sent(&mut outbox, until - Duration::from_nanos(1)), []);
            assert_eq!(sent(&mut outbox, until), [(7, id, false)]);
            assert!(until - now <= LONGEST_PAUSE);
            now = until;
            outbox.postpone(id, now);
        }
        assert!(outbox.take(3, now).is_some(), "the broker takes something again");
        assert_eq!(sent(&mut outbox, now).len(), 1);
    }

    #[test]
    fn what_nobody_wants_any_more_is_passed_over_and_stays() {
        let mut outbox = filled();
        let sent = sent(&mut outbox, NOW + Duration::from_secs(2));
        assert_eq!(sent, [(7, 1, false), (5, 2, false)]);
        assert_eq!(outbox.size().0, 3);
        assert!(outbox.withdraw(Token(3)) && !outbox.withdraw(Token(3)));
    }

    #[test]
    fn what_is_in_flight_is_withdrawn_when_it_comes_back() {
        let mut outbox = filled();
        assert!(outbox.next(NOW, MOST).is_some() && outbox.next(NOW, MOST).is_some());
        assert!(!outbox.withdraw(Token(7)) && !outbox.withdraw(Token(3)));
        assert!(outbox.withdraw(Token(5)));
        assert_eq!(outbox.postpone(2, NOW).map(|p| p.token), Some(Token(3)));
        let left: Vec<_> = outbox.disconnected().iter().map(|p| p.token).collect();
        assert_eq!(left, [Token(7)]);
        assert_eq!(outbox.size(), (0, 0));
    }

    #[test]
    fn a_broker_of_qos_0_gets_what_it_takes() {
        let mut outbox = filled();
        let due = outbox.next(NOW, Qos::AtMostOnce).map(|due| (due.publish.token, due.id));
        assert_eq!(due, Some((Token(7), 0)));
        assert!(outbox.stuck_at(NOW).is_none(), "it has no answer to come");
        assert_eq!(outbox.take_written(NOW).map(|p| p.token), Some(Token(7)));
    }

    #[test]
    fn the_oldest_is_stuck_when_nothing_before_it_was_answered() {
        let mut outbox = filled();
        let after = Duration::from_secs(30);
        assert_eq!(outbox.stuck_at(after), None);
        sent(&mut outbox, NOW);
        let later = NOW + Duration::from_secs(10);
        outbox.take(3, later);
        assert_eq!(outbox.stuck_at(after), Some(NOW + after), "another was answered");
        outbox.take(1, later);
        assert_eq!(outbox.stuck_at(after), Some(later + after));
    }
}
