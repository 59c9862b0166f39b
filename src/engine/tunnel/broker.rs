//! The broker's side of a tunnel: what it is given, and what it says.

use super::connect::{Denial, Version, denial};
use super::inlet::{Came, Flow, Inlet};
use super::order::Order;
use super::outlet::{Long, Outlet, Pushed, Written};
use super::packet::{CONNACK, PINGREQ, PINGRESP, PUBLISH, kind};
use super::packets::DISCONNECT;
use super::replica::Passage;
use super::{Broker, Tunnel, connect};
use crate::engine::refusal::{Reason, Refusal};
use bytes::BytesMut;
use std::time::Duration;

/// Why the gateway disconnects an MQTT 5 client (MQTT 5, 3.14.2.1): server shutting down.
pub(super) const SERVER_GONE: u8 = 0x8B;
/// Quota exceeded.
const QUOTA_EXCEEDED: u8 = 0x97;
/// For so long the broker may take nothing of a full tunnel.
const STUCK: Duration = Duration::from_secs(5);

impl Tunnel {
    pub(super) fn is_full(&self) -> bool {
        // A domain that does not read is answered all the same, as far as there is room for the answers.
        let answers = if self.is_healing() { self.to_domain.len() } else { 0 };
        self.outlet.len() + self.heal.waits() + answers > self.limit
    }

    /// Whether the broker has to take something from here on.
    pub(super) fn measure(&mut self, now: Duration) {
        self.make_room();
        if self.is_full() {
            self.stuck_since.get_or_insert(now);
        }
    }

    /// What is only kept for the case that the broker goes is given up before anything else.
    fn make_room(&mut self) {
        if self.is_healing() || !self.heal.follows() {
            return;
        }
        self.outlet.make_room(self.limit, self.is_five());
        if self.outlet.len() + self.heal.replica.held() > self.limit {
            self.heal.replica.make_room();
        }
    }

    /// How many more bytes may be kept.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.outlet.len() + self.heal.replica.held())
    }

    pub(super) fn is_five(&self) -> bool {
        self.broker == Broker::There(Version::V5)
    }

    /// When a broker that takes nothing is given up. One that is away has its own time.
    pub(super) fn is_stuck_at(&self) -> Option<Duration> {
        let since = self.stuck_since.filter(|_| self.is_full() && !self.is_healing());
        since.map(|since| since.saturating_add(STUCK))
    }

    /// A broker that takes nothing is given up: a backend of which nobody reads loses what it is given.
    pub(super) fn give_up(&mut self) {
        let (limit, waits) = (self.limit, STUCK.as_secs());
        let detail =
            format!("the broker takes nothing for {waits} s, and more than {limit} bytes wait");
        let head = format!("{} bytes of MQTT", self.outlet.len());
        let reason = Reason::StoreFull;
        let refusal = Refusal { reason, from: self.name.clone(), detail, head };
        self.orders.push(Order::Refused(refusal));
        self.break_off(QUOTA_EXCEEDED);
    }

    // -- From the domain to the broker -------------------------------------------------------------

    /// Bytes of the domain's packets.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(size) = (!rest.is_empty()).then(|| self.pass_some(rest)) {
            rest = rest.get(size..).unwrap_or_default();
        }
    }

    /// Those that belong to the first of them.
    fn pass_some(&mut self, bytes: &[u8]) -> usize {
        if self.broker == Broker::Gone {
            self.drop_bytes(bytes.len());
            return bytes.len();
        }
        let (skips, follows) = (self.outlet.skips(), self.heal.follows());
        let through = !self.heal.is_away();
        let (size, pushed) = self.outlet.push(bytes);
        let is_message = match &pushed {
            Pushed::Whole(packet) => kind(packet) == PUBLISH,
            Pushed::Begun(kind) => *kind == PUBLISH,
            Pushed::More | Pushed::Gone => false,
        };
        self.published += u64::from(is_message);
        let verdict = match pushed {
            Pushed::Whole(packet) if follows => {
                let ping = kind(packet) == PINGREQ && !through;
                let (long, verdict) = (packet.len(), self.heal.replica.said(packet, through));
                if ping || !verdict.passes {
                    self.outlet.remove_last(long);
                }
                if ping {
                    self.say(&[PINGRESP, 0]);
                }
                verdict
            }
            Pushed::Begun(kind) => {
                self.heal.replica.begun(kind);
                Passage::default()
            }
            Pushed::Whole(_) | Pushed::More | Pushed::Gone => Passage::default(),
        };
        if skips {
            self.drop_bytes(size);
        }
        self.outlet.settle();
        self.say_besides(&verdict);
        size
    }

    /// The bytes to be written to the broker next, if there are any.
    #[must_use]
    pub fn to_broker(&self) -> Option<&[u8]> {
        let next = match self.heal.front() {
            Some(front) => front,
            None => self.outlet.next(self.limit),
        };
        (!next.is_empty()).then_some(next)
    }

    /// So many bytes of [`Tunnel::to_broker`] have been written.
    pub fn written_to_broker(&mut self, count: usize, now: Duration) {
        self.stuck_since = self.stuck_since.map(|_| now);
        if self.is_healing() {
            return self.written_of_front(count, now);
        }
        let room = self.room();
        let replica = self.heal.follows().then_some(&mut self.heal.replica);
        if let Some(replica) = replica {
            self.outlet.written(count, |packet| match packet {
                Written::Whole(packet) => replica.sent(packet, room),
                Written::Long(Long::Publish(head)) => replica.published(head, None, 0),
                Written::Long(Long::Other(connect::FIRST)) => {}
                Written::Long(Long::Other(_)) => {
                    replica.lose_track("a packet is too long to be kept")
                }
            });
        } else {
            self.outlet.drain(count);
        }
        self.make_room();
    }

    /// The broker takes nothing any more.
    pub fn not_written_to_broker(&mut self) {
        // What it may take on the next connection is kept.
        if self.heal.follows() {
            return self.heal.mute();
        }
        self.drop_outlet();
    }

    fn drop_outlet(&mut self) {
        let rest = self.outlet.take_rest();
        self.drop_bytes(rest.len());
    }

    // -- From the broker to the domain -------------------------------------------------------------

    /// Bytes from the broker, cut anywhere.
    pub fn receive_from_broker(&mut self, bytes: &[u8], now: Duration) {
        let mut rest = bytes;
        while !rest.is_empty() && self.broker != Broker::Gone {
            let room = self.heal.follows().then(|| self.room());
            let (size, came) = self.inlet.take(rest, room, self.is_five());
            let (part, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = after;
            match came {
                Came::Nothing => {}
                Came::Whole(packet) => self.came(packet, now),
                Came::Begins(mut packet, head) => {
                    let verdict = match head {
                        Some(head) if room.is_some() => {
                            self.heal.replica.delivered(head, &mut packet)
                        }
                        _ => Passage::PASSES,
                    };
                    if head.is_none() && room.is_some() {
                        self.heal.replica.lose_track("a packet is too long to be kept");
                    }
                    self.note(&packet, now);
                    self.inlet.goes_on(if verdict.passes { Flow::Passes } else { Flow::Ends });
                    if verdict.passes {
                        self.to_domain.extend_from_slice(&packet);
                    }
                    self.say_besides(&verdict);
                }
                Came::More => {
                    if self.inlet.passes() {
                        self.to_domain.extend_from_slice(part);
                    }
                    self.say(&[]);
                }
                Came::Malformed => {
                    self.heal.replica.lose_track("its broker speaks no MQTT");
                    self.to_domain.extend_from_slice(part);
                }
            }
        }
    }

    /// A whole packet.
    fn came(&mut self, mut packet: BytesMut, now: Duration) {
        if self.is_healing() && self.came_for_the_gateway(&packet, now) {
            return;
        }
        self.note(&packet, now);
        if self.heal.follows() {
            if kind(&packet) == CONNACK {
                self.heal.greeted(&packet, now);
            }
            if packet.first() == Some(&DISCONNECT) && self.keeps_goodbye(&packet) {
                return;
            }
            let verdict = self.heal.replica.told(&mut packet);
            self.say_besides(&verdict);
            if !verdict.passes {
                return;
            }
        }
        self.to_domain.extend_from_slice(&packet);
        self.say(&[]);
    }

    /// A packet of the broker's begins so, and the domain hears it.
    fn note(&mut self, packet: &[u8], now: Duration) {
        self.has_goodbye = packet.first() == Some(&DISCONNECT);
        if !self.is_healing() {
            self.arrival.told(packet, now);
        }
    }

    /// Says something to the domain, as soon as it is between two packets.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.between.extend_from_slice(bytes);
        if self.inlet.is_at_boundary() {
            self.to_domain.unsplit(std::mem::take(&mut self.between));
        }
    }

    pub(super) fn say_besides(&mut self, verdict: &Passage) {
        if let Some(packet) = verdict.to_broker {
            self.outlet.insert(&packet);
        }
        if let Some(packet) = verdict.to_domain {
            self.say(&packet);
        }
    }

    // -- Beginnings and ends -----------------------------------------------------------------------

    /// The domain no longer speaks on the connection to the broker. What it had said goes out first.
    pub(super) fn close(&mut self) {
        if let Broker::There(_) = self.broker {
            if self.is_healing() {
                self.drop_outlet();
            }
            self.broker = Broker::Gone;
            self.arrival.ends();
            self.heal.end();
            (self.inlet, self.between) = (Inlet::default(), BytesMut::new());
            let left = self.outlet.take_rest().freeze();
            self.outlet = Outlet::default();
            self.hang_up(left);
        }
    }

    pub(super) fn hang_up(&mut self, left: bytes::Bytes) {
        self.closing = Some(self.closing.unwrap_or_default() + left.len());
        self.orders.push(Order::Close(left));
    }

    /// The connection before is closed.
    pub fn closed(&mut self) {
        self.closing = None;
    }

    /// The connection to the broker ends without the domain's doing. An MQTT 5 client can be told, where
    /// no packet to it is under way; others find out by their keep-alive.
    pub(super) fn break_off(&mut self, reason: u8) {
        let goodbye = self.has_goodbye || self.detector.has_said_goodbye();
        if self.is_five() && self.inlet.is_at_boundary() && !goodbye {
            self.to_domain.extend_from_slice(&[DISCONNECT, 1, reason]);
        }
        self.cut();
    }

    /// Nobody is there any more to take what was for the broker.
    fn cut(&mut self) {
        self.drop_outlet();
        self.close();
    }

    /// The broker cannot be reached.
    pub fn not_opened(&mut self, now: Duration) {
        if self.is_healing() {
            return self.try_again(now);
        }
        if let Broker::There(version) = self.broker {
            self.to_domain.extend_from_slice(&denial(version, Denial::Unavailable));
            self.cut();
        }
    }

    /// The broker has closed the connection, or it is lost.
    pub fn broker_gone(&mut self, now: Duration) {
        if self.is_healing() {
            self.try_again(now);
        } else if self.broker != Broker::Gone {
            self.lose(now);
        }
    }

    /// The gateway ends.
    pub fn gateway_ends(&mut self) {
        self.break_off(SERVER_GONE);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        let closing = self.closing.unwrap_or_default();
        let lines = self.lines.as_ref().map_or(0, bytes::Bytes::len);
        let to_domain = self.inlet.held() + self.between.len() + self.to_domain.len();
        self.detector.held() + self.outlet.len() + self.heal.held() + to_domain + closing + lines
    }
}
