//! A broker that goes and comes back, without the domain's noticing: the gateway connects again as the domain
//! did, makes its subscriptions again, says again what was unfinished, and goes on between two packets.
//!
//! What the domain has been told must stay true. Where the new connection cannot keep that, the domain is told
//! that it has lost the old one.

use super::broker::SERVER_GONE;
use super::heal::{Away, BUSY, PATIENCE, Stage, read, refused};
use super::order::{Healing, Order};
use super::packet::{CONNACK, SUBACK, body, id, kind};
use super::replica::Kept;
use super::{Broker, Inlet, Tunnel, filters, written};
use crate::engine::backoff::{End, How};
use crate::engine::status::Losses;
use bytes::Bytes;
use std::time::Duration;

const SILENT: &str = "it has said nothing for longer than its keep-alive";

impl Tunnel {
    /// Whether the domain is kept while its broker is away.
    #[must_use]
    pub fn is_healing(&self) -> bool {
        self.heal.away.is_some()
    }

    /// Why the connection cannot be taken up by another one. `Ok`: it can.
    pub(super) fn may_heal(&self) -> Result<(), &'static str> {
        if !self.inlet.is_at_boundary() {
            return Err("a message to it was too long to be kept, and only a part of it has come");
        }
        if self.outlet.is_torn() {
            return Err("what is under way is too long to be kept");
        }
        self.heal.replica.why_not().map_or(Ok(()), Err)
    }

    /// Whether a DISCONNECT of the broker's is not for the domain.
    pub(super) fn keeps_goodbye(&mut self, packet: &[u8]) -> bool {
        let why = body(packet).first().copied().unwrap_or_default();
        let keeps = matches!(why, SERVER_GONE | BUSY) && self.may_heal().is_ok();
        self.heal.ends = keeps;
        self.has_goodbye &= !keeps;
        keeps
    }

    /// The connection is lost.
    pub(super) fn lose(&mut self, now: Duration) {
        let goodbye = self.has_goodbye || self.detector.has_said_goodbye();
        if goodbye || !self.heal.follows || self.heal.terms.is_none() {
            return self.break_off(SERVER_GONE);
        }
        if !self.heal.ends && self.has_room() && self.heal.is_silent(now) {
            return self.fail(SILENT);
        }
        let lasted = now.saturating_sub(self.heal.since);
        if let Err(why) = self.may_heal() {
            return self.fail(why);
        }
        let stage = match self.pause(Some(lasted), now) {
            Ok(stage) => stage,
            Err(why) => return self.fail(why),
        };
        self.heal.away = Some(Away { since: now, stage, repeated: 0, subscribed: 0 });
        self.arrival.ends();
        self.orders.push(Order::Healing(Healing::Begins));
        self.rewind();
        self.go_on_healing(now);
    }

    /// How long to wait, after a connection that has lasted so long, or could not be made.
    fn pause(&mut self, lasted: Option<Duration>, now: Duration) -> Result<Stage, &'static str> {
        let how = if self.heal.ends { How::Otherwise } else { How::Closed };
        let end = match lasted {
            Some(lasted) => End::Lost { lasted, how },
            None => End::Failed { to_mend: false },
        };
        match self.heal.backoff.after(end) {
            (_, true) => Err(
                "the broker closes it each time: it takes something amiss, or another client has its client id",
            ),
            (wait, false) => Ok(Stage::Waiting(now.saturating_add(wait))),
        }
    }

    /// Everything is as it was when the last whole packet had gone either way.
    pub(super) fn rewind(&mut self) {
        let pings = self.heal.replica.take_pings();
        self.inlet = Inlet::default();
        self.say(&pings);
        let replica = &self.heal.replica;
        let lost = self.outlet.begin_anew(|packet| replica.is_renewed(packet));
        self.drop_bytes(lost);
        self.heal.end_of_connection();
        self.stuck_since = None;
    }

    /// The next connection is lost too, or could not be made.
    pub(super) fn try_again(&mut self, now: Duration) {
        if let Err(why) = self.may_heal() {
            return self.fail(why);
        }
        match self.pause(None, now) {
            Ok(stage) => {
                self.rewind();
                if let Some(away) = &mut self.heal.away {
                    away.stage = stage;
                }
                self.go_on_healing(now);
            }
            Err(why) => self.fail(why),
        }
    }

    /// When the broker, if it were there, would give up a domain that is read and says nothing.
    pub(super) fn silent_until(&self) -> Option<Duration> {
        let waits = self.is_healing() && self.has_room();
        self.heal.silent_until().filter(|_| waits)
    }

    /// Time has passed.
    pub(super) fn go_on_healing(&mut self, now: Duration) {
        let Some(away) = &self.heal.away else { return };
        if away.since.saturating_add(self.heal.limit) <= now {
            return self.fail("the broker is away for longer than `limits.heal`");
        }
        if self.silent_until().is_some_and(|until| until <= now) {
            return self.fail(SILENT);
        }
        let Some(away) = &mut self.heal.away else { return };
        match &mut away.stage {
            Stage::Waiting(until) if *until <= now => {
                let Some(hello) = &self.heal.hello else { return };
                away.stage = Stage::Greeting(now.saturating_add(PATIENCE));
                let packet = hello.as_user(&self.name, self.password.as_ref());
                self.heal.front.extend_from_slice(&packet);
                self.orders.push(Order::Open);
            }
            Stage::Greeting(until) | Stage::Subscribing(until, _) if *until <= now => {
                self.hang_up(Bytes::new());
                self.try_again(now);
            }
            _ => {}
        }
    }

    /// What the broker says while the gateway connects again. Says whether it is for the gateway alone.
    pub(super) fn came_for_the_gateway(&mut self, packet: &[u8], now: Duration) -> bool {
        let is_five = self.is_five();
        let Some(away) = &mut self.heal.away else { return false };
        match &mut away.stage {
            Stage::Waiting(_) => true,
            Stage::Greeting(_) => {
                if kind(packet) == CONNACK {
                    self.greeted_again(packet, now);
                } else {
                    self.fail("the broker does not answer its CONNECT with a CONNACK");
                }
                true
            }
            Stage::Subscribing(_, wanted) if kind(packet) == SUBACK => {
                let Some(granted) = id(packet).and_then(|id| wanted.remove(&id)) else {
                    return false;
                };
                let all = wanted.is_empty();
                if filters::code(packet, is_five) != Some(granted) {
                    self.fail("the broker grants its subscriptions otherwise");
                } else if all {
                    self.repeat(now);
                }
                true
            }
            Stage::Subscribing(..) | Stage::Repeating(_) => false,
        }
    }

    /// The broker has answered the gateway's CONNECT.
    fn greeted_again(&mut self, connack: &[u8], now: Duration) {
        let Some((code, present, terms)) = read(connack, self.is_five()) else {
            return self.fail("the broker's CONNACK is malformed");
        };
        if code != 0 {
            return match refused(code, self.is_five()) {
                Some(why) => self.fail(why),
                None => {
                    self.hang_up(Bytes::new());
                    self.try_again(now);
                }
            };
        }
        let kept = self.heal.kept(present);
        if self.heal.terms.as_ref() != Some(&terms) {
            return self.fail("the broker has other limits than before");
        }
        // Whoever subscribes although its session has been kept says all that it wants.
        let knows_filters = self.heal.knows_filters || self.heal.replica.subscribes;
        if kept == Kept::No && !knows_filters {
            return self.fail("the broker has forgotten subscriptions that were made before");
        }
        let (to_broker, to_domain) = self.heal.replica.resume(kept);
        self.say(&to_domain);
        self.heal.front.extend_from_slice(&to_broker);
        let replica = &self.heal.replica;
        // A broker that was killed may have kept a session as it was some time ago.
        let (packets, wanted) =
            replica.filters.again(replica.free_ids(), self.is_five(), kept == Kept::Yes);
        self.heal.front.extend_from_slice(&packets);
        if wanted.is_empty() {
            return self.repeat(now);
        }
        if let Some(away) = &mut self.heal.away {
            away.subscribed += u64::try_from(wanted.len()).unwrap_or(u64::MAX);
            away.stage = Stage::Subscribing(now.saturating_add(PATIENCE), wanted);
        }
    }

    /// The subscriptions stand: what is unfinished is said again.
    fn repeat(&mut self, now: Duration) {
        if let Some(away) = &mut self.heal.away {
            away.stage = Stage::Repeating(self.heal.replica.unfinished());
        }
        self.repeat_next(now);
    }

    fn repeat_next(&mut self, now: Duration) {
        while let Some(away) = &mut self.heal.away
            && let Stage::Repeating(left) = &mut away.stage
            && self.heal.front.is_empty()
        {
            let Some(id) = left.pop_front() else { return self.healed(now) };
            if let Some(packet) = self.heal.replica.again(id) {
                away.repeated += 1;
                self.heal.front.extend_from_slice(&packet);
            }
        }
    }

    /// So many bytes of what comes before the domain's own were written.
    pub(super) fn written_of_front(&mut self, count: usize, now: Duration) {
        written(&mut self.heal.front, count);
        self.repeat_next(now);
    }

    fn healed(&mut self, now: Duration) {
        let Some(Away { since, repeated, subscribed, .. }) = self.heal.away.take() else { return };
        self.heal.since = now;
        self.arrival.is_back();
        let losses = &mut self.heal.losses;
        losses.add(&Losses { healed: 1, repeated, subscribed, ..Losses::default() });
        let away = now.saturating_sub(since);
        self.orders.push(Order::Healing(Healing::Healed { away, repeated, subscribed }));
    }

    /// The domain has to be told.
    pub(super) fn fail(&mut self, why: &'static str) {
        self.heal.losses.add(&Losses { told: 1, why: Some(why), ..Losses::default() });
        self.orders.push(Order::Healing(Healing::Failed(why)));
        if self.broker != Broker::Gone {
            self.break_off(SERVER_GONE);
        }
    }
}
