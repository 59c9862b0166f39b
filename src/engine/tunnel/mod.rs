//! A migrated domain on its old channel: its MQTT goes through, byte for byte, but for who its CONNECTs
//! are from.

mod arrival;
mod broker;
mod buffer;
pub mod connect;
pub mod detector;
mod filters;
mod heal;
mod healing;
pub mod ids;
mod inlet;
mod order;
mod outlet;
pub(in crate::engine) mod packet;
pub mod packets;
mod replica;
mod suspended;

use super::name::DomainName;
use super::password::Password;
use super::refusal::{Reason, Refusal, brief};
use super::status::Losses;
use arrival::Arrival;
use bytes::{Bytes, BytesMut};
use connect::{Connect, Denial, Version, denial};
use detector::{Detector, Piece};
use heal::Heal;
use ids::Ids;
use inlet::Inlet;
pub use order::{Healing, Order};
use outlet::Outlet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Broker {
    /// There is none before the domain's next CONNECT.
    Gone,
    /// There is one, or there will be in a moment.
    There(Version),
}

/// The state machine of one tunnel: bytes of a channel and of a broker in, bytes for both out.
#[derive(Serialize, Deserialize)]
pub struct Tunnel {
    name: DomainName,
    /// What the gateway has for the domain to log in with.
    password: Option<Password>,
    detector: Detector,
    broker: Broker,
    /// The connection before is being closed, and is still given so many bytes.
    closing: Option<usize>,
    /// The first bytes of lines: the domain is a legacy one, as soon as that is done. Its proxy's session may
    /// have the client id of that connection, and the broker would cut off what is still to come on it.
    lines: Option<Bytes>,
    /// Too many CONNECTs have come: nothing happens before then.
    rests_until: Option<Duration>,
    /// What waits for the broker; while it is more than `limit`, nothing more is read.
    outlet: Outlet,
    limit: usize,
    /// It was more, and since then the broker has taken nothing.
    stuck_since: Option<Duration>,
    to_domain: BytesMut,
    /// What the gateway has for the domain between two packets of the broker's.
    between: BytesMut,
    inlet: Inlet,
    /// Whether the broker has said goodbye to the domain.
    has_goodbye: bool,
    heal: Heal,
    arrival: Arrival,
    /// Whether the channel is there.
    is_there: bool,
    /// Since when the channel and the broker are there, no connection is, and nothing has come.
    silent_since: Option<Duration>,
    /// How long a domain without a connection may be silent before it is taken for a legacy one.
    away: Duration,
    /// Bytes of the domain that went nowhere.
    dropped: u64,
    /// Messages of the domain's.
    published: u64,
    #[serde(skip)]
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
    pub fn new(name: DomainName, detector: Detector, limit: usize, away: Duration) -> Self {
        Self {
            heal: Heal::new(&name),
            name,
            password: None,
            detector,
            broker: Broker::Gone,
            closing: None,
            lines: None,
            rests_until: None,
            outlet: Outlet::default(),
            limit,
            stuck_since: None,
            to_domain: BytesMut::new(),
            between: BytesMut::new(),
            inlet: Inlet::default(),
            has_goodbye: false,
            arrival: Arrival::default(),
            is_there: false,
            silent_since: None,
            away,
            dropped: 0,
            published: 0,
            orders: Vec::new(),
        }
    }

    /// What is to be done, in order. Empty it after each call.
    pub fn take_orders(&mut self) -> Vec<Order> {
        self.orders.extend(self.arrival.news().map(Order::Arrived));
        std::mem::take(&mut self.orders)
    }

    /// The channel's detector, for whoever goes on with it.
    #[must_use]
    pub fn into_detector(self) -> Detector {
        self.detector
    }

    /// Whether nothing goes through before the domain's next CONNECT.
    #[must_use]
    pub fn waits_for_connect(&self) -> bool {
        self.broker == Broker::Gone && self.lines.is_none()
    }

    /// How many of the domain's bytes went nowhere so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many messages the domain has published so far.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
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

    /// What has become of the connections that the broker has lost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.heal.losses
    }

    fn goes_on(&self) -> bool {
        self.closing.is_none() && !self.rests()
    }

    /// Bytes from the channel, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], ids: &mut Ids, now: Duration) {
        self.silent_since = None;
        self.heal.heard = now;
        // A program may stop within a packet and go on with a payload that looks like anything. Only when
        // nobody waits for it any more can it have been left.
        if self.stuck_since.take().is_some() || self.broker != Broker::Gone {
            self.detector.was_no_silence();
        }
        self.detector.push(bytes, now);
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
            self.rests_until = self.detector.waits_until(now);
            // What follows the first line is for whoever goes on with the detector.
            let is_over = matches!(self.orders.last(), Some(Order::Legacy(_)));
            if is_over || !self.goes_on() {
                return;
            }
            if let Some(bytes) = self.lines.take() {
                return self.orders.push(Order::Legacy(bytes));
            }
            let Some(piece) = self.detector.next() else { return };
            match piece {
                Piece::Mqtt(bytes) => self.pass(&bytes),
                Piece::Connect(connect) => self.connect(connect, ids, now),
                Piece::Torn(more) | Piece::Skipped(more) => {
                    self.drop_bytes(more);
                    self.close();
                }
                Piece::Legacy(bytes) => {
                    self.close();
                    self.lines = Some(bytes);
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
        self.has_goodbye = false;
        self.arrival.begins(now);
        // Who it is, the channel says, and not the client.
        self.outlet = Outlet::begin(&connect.as_user(&self.name, self.password.as_ref()));
        self.heal.begin(&connect, self.limit, now);
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

    fn drop_bytes(&mut self, size: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
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
        let others = ends.chain(self.arrival.deadline()).chain(self.heal.deadline());
        others.chain(self.silent_until()).chain(self.rests_until).min()
    }

    fn ends_by_silence(&self) -> Option<Duration> {
        self.silent_since.map(|since| since.saturating_add(self.away))
    }

    /// Time has passed. [`Tunnel::go_on`] comes next. Without a broker nobody has to begin a connection.
    pub fn wake(&mut self, now: Duration, has_broker: bool) {
        self.arrival.wake(now);
        if self.is_stuck_at().is_some_and(|end| end <= now) {
            self.give_up();
        }
        self.go_on_healing(now);
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
        let may_be = self.broker == Broker::Gone;
        if self.waits_for_connect() {
            self.silent_since = None;
            // Half a CONNECT, of which nothing comes any more.
            self.drop_bytes(self.detector.held());
            self.detector = self.detector.then(Detector::new());
            self.lines = Some(Bytes::new());
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

    /// A domain is kept for so long while its broker is away; zero: not at all, from its next CONNECT on.
    pub fn set_heal(&mut self, limit: Duration) {
        self.heal.limit = limit;
    }

    /// The channel is gone, and with it whoever spoke.
    pub fn channel_gone(&mut self) {
        self.close();
        let unheard = self.lines.take().map_or(0, |bytes| bytes.len());
        self.drop_bytes(unheard);
        (self.is_there, self.silent_since) = (false, None);
        self.to_domain.clear();
        self.detector = self.detector.then(Detector::mqtt());
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
}

/// Takes away what was written. What was long, and is empty, keeps no room.
fn written(bytes: &mut BytesMut, count: usize) {
    const LONG: usize = 64 * 1024;
    bytes::Buf::advance(bytes, count.min(bytes.len()));
    if bytes.is_empty() && bytes.capacity() > LONG {
        *bytes = BytesMut::new();
    }
}
