//! A migrated domain on its old channel: its MQTT goes through, byte for byte, but for who its CONNECTs
//! are from.

mod arrival;
mod buffer;
pub mod carrier;
pub mod connect;
pub mod ids;
mod order;
pub mod packets;

use super::name::DomainName;
use super::password::Password;
use super::refusal::{Reason, Refusal, brief};
use arrival::Arrival;
use bytes::{Buf as _, Bytes, BytesMut};
use carrier::{Carrier, Piece};
use connect::{Connect, Denial, Version, denial};
use ids::Ids;
pub use order::Order;
use packets::{DISCONNECT, Malformed, Packets};
use std::fmt;
use std::time::Duration;

/// Why the gateway disconnects an MQTT 5 client (MQTT 5, 3.14.2.1): server shutting down.
const SERVER_GONE: u8 = 0x8B;
/// Quota exceeded.
const QUOTA_EXCEEDED: u8 = 0x97;

/// For so long the broker may take nothing of a full tunnel.
const STUCK: Duration = Duration::from_secs(5);

/// The connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    /// There is none before the domain's next CONNECT.
    Gone,
    /// There is one, or there will be in a moment.
    There(Version),
}

/// The state machine of one tunnel: bytes of a channel and of a broker in, bytes for both out.
pub struct Tunnel {
    name: DomainName,
    /// What the gateway has for the domain to log in with.
    password: Option<Password>,
    carrier: Carrier,
    broker: Broker,
    /// The connection before is being closed, and is still given so many bytes.
    closing: Option<usize>,
    /// Too many CONNECTs have come: nothing happens before then.
    rests_until: Option<Duration>,
    /// What waits for the broker; while it is more than `limit`, nothing more is read.
    to_broker: BytesMut,
    limit: usize,
    /// It was more, and since then the broker has taken nothing.
    stuck_since: Option<Duration>,
    to_domain: BytesMut,
    /// Where the broker's stream is, and the first byte of its last packet.
    packets: Packets,
    broker_said: u8,
    arrival: Arrival,
    /// Whether the channel is there.
    is_there: bool,
    /// Since when the channel and the broker are there, no connection is, and nothing has come.
    silent_since: Option<Duration>,
    /// How long a domain without a connection may be silent before it is taken for a legacy one.
    away: Duration,
    /// Bytes of the domain that went nowhere.
    dropped: u64,
    orders: Vec<Order>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What waits for the broker may begin with a CONNECT, and that has a password.
        let mut out = f.debug_struct("Tunnel");
        out.field("name", &self.name).field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// A tunnel over a channel, which waits for a CONNECT. When more than `limit` bytes wait for the broker,
    /// nothing more is read; `away` is how long a domain without a connection may be silent.
    #[must_use]
    pub fn new(name: DomainName, carrier: Carrier, limit: usize, away: Duration) -> Self {
        Self {
            name,
            password: None,
            carrier,
            broker: Broker::Gone,
            closing: None,
            rests_until: None,
            to_broker: BytesMut::new(),
            limit,
            stuck_since: None,
            to_domain: BytesMut::new(),
            packets: Packets::default(),
            broker_said: 0,
            arrival: Arrival::default(),
            is_there: false,
            silent_since: None,
            away,
            dropped: 0,
            orders: Vec::new(),
        }
    }

    /// What is to be done, in order. Empty it after each call.
    pub fn take_orders(&mut self) -> Vec<Order> {
        self.orders.extend(self.arrival.news().map(Order::Arrived));
        std::mem::take(&mut self.orders)
    }

    /// The channel's carrier, for whoever goes on with it.
    #[must_use]
    pub fn into_carrier(self) -> Carrier {
        self.carrier
    }

    /// Whether nothing goes through before the domain's next CONNECT.
    #[must_use]
    pub fn waits_for_connect(&self) -> bool {
        self.broker == Broker::Gone
    }

    /// How many of the domain's bytes went nowhere so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether more is to be read from the channel. While a connection is being closed nothing is: a domain
    /// that begins them faster than they end would have any number of them.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_full() && self.goes_on()
    }

    /// Whether nothing is read because there were too many CONNECTs.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.rests_until.is_some()
    }

    fn is_full(&self) -> bool {
        self.to_broker.len() > self.limit
    }

    fn goes_on(&self) -> bool {
        self.closing.is_none() && !self.rests()
    }

    /// Bytes from the channel, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], ids: &mut Ids, now: Duration) {
        self.silent_since = None;
        // A program may stop within a packet and go on with a payload that looks like anything. Only when
        // nobody waits for it any more can it have been left.
        if self.stuck_since.take().is_some() || self.broker != Broker::Gone {
            self.carrier.was_no_silence();
        }
        self.carrier.push(bytes, now);
        self.go_on(ids, now);
    }

    /// Makes of what has come what can be made of it now.
    pub fn go_on(&mut self, ids: &mut Ids, now: Duration) {
        self.sort(ids, now);
        self.measure(now);
        if self.is_there && self.broker == Broker::Gone {
            self.silent_since.get_or_insert(now);
        }
    }

    fn sort(&mut self, ids: &mut Ids, now: Duration) {
        loop {
            self.rests_until = self.carrier.waits_until(now);
            // What follows the first line is for whoever goes on with the carrier.
            let is_over = matches!(self.orders.last(), Some(Order::Legacy(_)));
            if is_over || !self.goes_on() {
                return;
            }
            let Some(piece) = self.carrier.next() else { return };
            match piece {
                Piece::Mqtt(bytes) => self.pass(&bytes),
                Piece::Connect(connect) => self.connect(connect, ids, now),
                Piece::Torn(more) | Piece::Skipped(more) => {
                    self.drop_bytes(more);
                    self.close();
                }
                Piece::Legacy(bytes) => {
                    self.close();
                    self.orders.push(Order::Legacy(bytes));
                }
            }
        }
    }

    /// The domain begins a connection.
    pub fn connect(&mut self, connect: Connect, ids: &mut Ids, now: Duration) {
        self.close();
        // What was for a connection before this one nobody reads any more.
        self.to_domain.clear();
        if let Some((why, detail)) = self.fault(&connect, ids) {
            self.to_domain.extend_from_slice(&denial(connect.version, why));
            let reason = Reason::SpoofedSource;
            let head = format!("CONNECT of the client id {:?}", brief(connect.client_id));
            let refusal = Refusal { reason, from: self.name.clone(), detail, head };
            return self.orders.push(Order::Refused(refusal));
        }
        self.broker = Broker::There(connect.version);
        self.packets = Packets::default();
        self.broker_said = 0;
        self.arrival.begins(now);
        // Who it is, the channel says, and not the client.
        let packet = connect.as_user(&self.name, self.password.as_ref());
        self.to_broker.extend_from_slice(&packet);
        self.orders.push(Order::Open);
    }

    fn fault(&self, connect: &Connect, ids: &mut Ids) -> Option<(Denial, String)> {
        if connect.version == Version::Unknown {
            return Some((Denial::Version, "this version of MQTT is not known".into()));
        }
        let id = connect.client_id.as_str();
        let (name, whose) = (&self.name, ids.claim(&self.name, id).err()?);
        Some((Denial::ClientId, format!("{name} may not have the client id {id:?}: it is {whose}")))
    }

    fn pass(&mut self, bytes: &[u8]) {
        match self.broker {
            Broker::Gone => self.drop_bytes(bytes.len()),
            Broker::There(_) => self.to_broker.extend_from_slice(bytes),
        }
    }

    /// Whether the broker has to take something from here on.
    fn measure(&mut self, now: Duration) {
        if self.is_full() {
            self.stuck_since.get_or_insert(now);
        }
    }

    /// A broker that takes nothing is given up: a backend of which nobody reads loses what it is given.
    fn give_up(&mut self) {
        let (limit, waits) = (self.limit, STUCK.as_secs());
        let detail =
            format!("the broker takes nothing for {waits} s, and more than {limit} bytes wait");
        let head = format!("{} bytes of MQTT", self.to_broker.len());
        let reason = Reason::StoreFull;
        let refusal = Refusal { reason, from: self.name.clone(), detail, head };
        self.orders.push(Order::Refused(refusal));
        self.break_off(QUOTA_EXCEEDED);
    }

    fn drop_bytes(&mut self, size: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    }

    /// The domain no longer speaks on the connection to the broker. What it had said goes out first.
    fn close(&mut self) {
        if let Broker::There(_) = self.broker {
            self.broker = Broker::Gone;
            self.arrival.ends();
            let left = self.to_broker.split().freeze();
            self.closing = Some(self.closing.unwrap_or_default() + left.len());
            self.orders.push(Order::Close(left));
        }
    }

    /// The connection before is closed.
    pub fn closed(&mut self) {
        self.closing = None;
    }

    /// The connection to the broker ends without the domain's doing. An MQTT 5 client can be told, where
    /// no packet to it is under way; others find out by their keep-alive.
    fn break_off(&mut self, reason: u8) {
        let Broker::There(version) = self.broker else { return };
        let goodbye = self.broker_said == DISCONNECT || self.carrier.has_said_goodbye();
        if version == Version::V5 && self.packets.is_at_boundary() && !goodbye {
            self.to_domain.extend_from_slice(&[DISCONNECT, 1, reason]);
        }
        self.cut();
    }

    /// Nobody is there any more to take what was for the broker.
    fn cut(&mut self) {
        self.not_written_to_broker();
        self.close();
    }

    /// The broker cannot be reached.
    pub fn not_opened(&mut self) {
        if let Broker::There(version) = self.broker {
            self.to_domain.extend_from_slice(&denial(version, Denial::Unavailable));
            self.cut();
        }
    }

    /// Bytes from the broker, cut anywhere.
    pub fn receive_from_broker(&mut self, bytes: &[u8], now: Duration) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if self.packets.is_at_boundary() {
                self.broker_said = first;
                self.arrival.told(rest, now);
            }
            match self.packets.advance(rest) {
                Ok(size) => rest = rest.get(size..).unwrap_or_default(),
                Err(Malformed) => break,
            }
        }
        self.to_domain.extend_from_slice(bytes);
    }

    /// The broker has closed the connection, or it is lost.
    pub fn broker_gone(&mut self) {
        self.break_off(SERVER_GONE);
    }

    /// The channel is there. A program that begins says what it speaks, unless it is a legacy one that speaks
    /// only when it is asked: a domain that says nothing is taken for a legacy one after a while.
    pub fn channel_back(&mut self) {
        self.is_there = true;
    }

    /// When [`Tunnel::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let ends = self.ends_by_silence().into_iter().chain(self.is_stuck_at());
        ends.chain(self.arrival.deadline()).chain(self.rests_until).min()
    }

    fn ends_by_silence(&self) -> Option<Duration> {
        self.silent_since.map(|since| since.saturating_add(self.away))
    }

    fn is_stuck_at(&self) -> Option<Duration> {
        let since = self.stuck_since.filter(|_| self.is_full());
        since.map(|since| since.saturating_add(STUCK))
    }

    /// Time has passed. [`Tunnel::go_on`] comes next. Without a broker nobody has to begin a connection.
    pub fn wake(&mut self, now: Duration, has_broker: bool) {
        self.arrival.wake(now);
        if self.is_stuck_at().is_some_and(|end| end <= now) {
            self.give_up();
        }
        if self.ends_by_silence().is_some_and(|end| end <= now) {
            self.silent_since = None;
            if has_broker {
                self.take_for_legacy();
            }
        }
    }

    /// The domain is a legacy one, though it has said nothing. Says whether that may be: not while its own
    /// connection to the broker stands.
    pub fn take_for_legacy(&mut self) -> bool {
        let may_be = self.waits_for_connect();
        if may_be {
            self.silent_since = None;
            self.carrier = self.carrier.then(Carrier::new());
            self.orders.push(Order::Legacy(Bytes::new()));
        }
        may_be
    }

    /// From its next CONNECT on, the domain logs in with this, under its name; without one, with the name
    /// alone.
    pub fn set_password(&mut self, password: Option<Password>) {
        self.password = password;
    }

    /// What waits for the broker may have so many bytes from now on.
    pub fn set_limit(&mut self, limit: usize, now: Duration) {
        self.limit = limit;
        self.measure(now);
    }

    /// A domain without a connection may be silent for so long from now on.
    pub fn set_away(&mut self, away: Duration) {
        self.away = away;
    }

    /// The channel is gone, and with it whoever spoke.
    pub fn channel_gone(&mut self) {
        self.close();
        (self.is_there, self.silent_since) = (false, None);
        self.to_domain.clear();
        self.carrier = self.carrier.then(Carrier::mqtt());
    }

    /// The bytes to be written to the broker next, if there are any.
    #[must_use]
    pub fn to_broker(&self) -> Option<&[u8]> {
        (!self.to_broker.is_empty()).then_some(&self.to_broker)
    }

    /// So many bytes of [`Tunnel::to_broker`] have been written.
    pub fn written_to_broker(&mut self, count: usize, now: Duration) {
        written(&mut self.to_broker, count);
        self.stuck_since = self.stuck_since.map(|_| now);
    }

    /// The broker takes nothing any more.
    pub fn not_written_to_broker(&mut self) {
        self.drop_bytes(self.to_broker.len());
        self.to_broker.clear();
    }

    /// The bytes to be written to the channel next, if there are any. While there are, nothing more is
    /// to be read from the broker.
    #[must_use]
    pub fn to_domain(&self) -> Option<&[u8]> {
        (!self.to_domain.is_empty()).then_some(&self.to_domain)
    }

    /// So many bytes of [`Tunnel::to_domain`] have been written.
    pub fn written_to_domain(&mut self, count: usize) {
        written(&mut self.to_domain, count);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        let closing = self.closing.unwrap_or_default();
        self.carrier.held() + self.to_broker.len() + self.to_domain.len() + closing
    }
}

/// Takes away what was written. What was long, and is empty, keeps no room.
fn written(bytes: &mut BytesMut, count: usize) {
    const LONG: usize = 64 * 1024;
    bytes.advance(count.min(bytes.len()));
    if bytes.is_empty() && bytes.capacity() > LONG {
        *bytes = BytesMut::new();
    }
}
