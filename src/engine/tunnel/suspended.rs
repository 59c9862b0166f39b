//! A domain on MQTT is kept while the gateway restarts: the gateway's end is a loss of the broker, from which the
//! next run heals.

use super::heal::{Away, Stage, seed};
use super::ids::Ids;
use super::packets::DISCONNECT;
use super::{Broker, Tunnel};
use crate::engine::backoff::Backoff;
use bytes::Bytes;
use std::time::Duration;

impl Tunnel {
    /// The gateway ends, and the next run is to go on. Says whether it can: otherwise the domain has to be told.
    pub fn suspend(&mut self, now: Duration) -> bool {
        if self.is_suspended() {
            return true;
        }
        let goodbye = self.has_goodbye || self.detector.has_said_goodbye();
        let may = self.heal.follows() && self.heal.terms.is_some() && self.may_heal().is_ok();
        if goodbye || !may || self.broker == Broker::Gone || self.lines.is_some() {
            return false;
        }
        // A broker keeps to itself the will of who says good-bye (MQTT 5, 3.1.2.5).
        let says = !self.is_healing() && self.outlet.is_between_packets();
        self.rewind();
        self.arrival.ends();
        let (stage, repeated, subscribed) = (Stage::Waiting(Duration::MAX), 0, 0);
        self.heal.away = Some(Away { since: now, stage, repeated, subscribed });
        self.hang_up(Bytes::from_static(if says { &[DISCONNECT, 0] } else { &[] }));
        true
    }

    /// Whether it waits for the next run.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        let waits = |away: &Away| matches!(away.stage, Stage::Waiting(Duration::MAX));
        self.heal.away.as_ref().is_some_and(waits)
    }

    /// The next run goes on, in a time of its own.
    pub fn resume(&mut self, ids: &mut Ids, now: Duration) {
        (self.closing, self.stuck_since, self.silent_since) = (None, None, None);
        (self.rests_until, self.is_there, self.dropped, self.published) = (None, false, 0, 0);
        self.detector.begin_time(now);
        self.heal.resume(Backoff::new(seed(&self.name)), now);
        let id = self.heal.hello.as_ref().map(|hello| hello.client_id.clone()).unwrap_or_default();
        match ids.claim(&self.name, &id) {
            Ok(()) => self.go_on_healing(now),
            Err(_) => self.fail("another has its client id by now"),
        }
    }
}
