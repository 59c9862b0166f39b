//! What it takes to go on by another connection to the broker, and how far that has come.

use super::connect::{Connect, Version};
use super::filters::Filters;
use super::packet::{
    ASSIGNED_CLIENT_ID, AUTH_METHOD, REASON_STRING, SERVER_KEEP_ALIVE, USER_PROPERTY, body,
    properties,
};
use super::replica::{Kept, Replica};
use crate::engine::backoff::Backoff;
use crate::engine::name::DomainName;
use crate::engine::status::Losses;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long the broker may take to let the gateway in, and to make the subscriptions.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Why a broker disconnects a client with which nothing is wrong (MQTT 5, 3.14.2.1): it is busy, or ends.
pub(super) const BUSY: u8 = 0x89;

/// What it takes to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heal {
    pub limit: Duration,
    pub backoff: Backoff,
    /// How the domain has connected.
    pub hello: Option<Connect>,
    pub follows: bool,
    /// What the broker said to that.
    pub terms: Option<Terms>,
    /// Whether all subscriptions that the broker has are known.
    pub knows_filters: bool,
    pub replica: Replica,
    /// How long the domain may say nothing, and when it has said something last.
    keep_alive: Duration,
    pub heard: Duration,
    /// When the connection that stands was made.
    pub since: Duration,
    pub away: Option<Away>,
    /// What the broker is given before the domain goes on.
    pub front: BytesMut,
    /// The broker takes nothing more of what the domain says.
    is_mute: bool,
    /// The broker has said that it ends.
    pub ends: bool,
    pub losses: Losses,
}

/// What a CONNACK says beside yes: the limits that the domain keeps to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms(Vec<(u8, Box<[u8]>)>);

/// The broker is away.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Away {
    pub since: Duration,
    pub stage: Stage,
    pub repeated: u64,
    pub subscribed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It is tried again then.
    Waiting(Duration),
    /// It is to let the gateway in by then.
    Greeting(Duration),
    /// It is to grant these by then.
    Subscribing(Duration, BTreeMap<u16, u8>),
    /// It is told these again, and the one in front.
    Repeating(VecDeque<u16>),
}

/// Sets domains apart, and is the same each time.
pub(super) fn seed(name: &DomainName) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    name.as_str().bytes().fold(0xCBF2_9CE4_8422_2325, mix)
}

impl Heal {
    pub fn new(name: &DomainName) -> Self {
        Self {
            limit: Duration::ZERO,
            backoff: Backoff::new(seed(name)),
            hello: None,
            follows: false,
            terms: None,
            knows_filters: false,
            replica: Replica::default(),
            keep_alive: Duration::ZERO,
            heard: Duration::ZERO,
            since: Duration::ZERO,
            away: None,
            front: BytesMut::new(),
            is_mute: false,
            ends: false,
            losses: Losses::default(),
        }
    }

    /// The domain connects.
    pub fn begin(&mut self, connect: &Connect, most: usize, now: Duration) {
        let is_it = |hello: &Connect| hello.client_id == connect.client_id;
        let goes_on = !connect.clean_start && self.hello.as_ref().is_some_and(is_it);
        self.knows_filters &= goes_on;
        let filters = std::mem::take(&mut self.replica.filters);
        let filters = if goes_on { filters } else { Filters::default() };
        self.replica = Replica::new(connect.version == Version::V5, filters);
        self.follows = !self.limit.is_zero() && connect.packet.len() <= most;
        self.hello = self.follows.then(|| connect.alone());
        self.keep_alive = connect.keep_alive();
        (self.since, self.heard) = (now, now);
        self.end_of_connection();
        self.terms = None;
    }

    /// Another run of the gateway goes on, as from a loss of the broker.
    pub fn resume(&mut self, backoff: Backoff, now: Duration) {
        (self.backoff, self.losses) = (backoff, Losses::default());
        (self.heard, self.since) = (now, now);
        let (stage, repeated, subscribed) = (Stage::Waiting(now), 0, 0);
        self.away = Some(Away { since: now, stage, repeated, subscribed });
    }

    /// The domain's connection is over.
    pub fn end(&mut self) {
        self.replica.end();
        self.end_of_connection();
        (self.away, self.terms, self.follows) = (None, None, false);
    }

    pub fn end_of_connection(&mut self) {
        self.front.clear();
        (self.is_mute, self.ends) = (false, false);
    }

    /// Whether this connection is followed, so that another may go on with it.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Whether nobody hears what the domain says.
    pub fn is_away(&self) -> bool {
        self.away.as_ref().is_some_and(Away::hears_nothing)
    }

    /// How many bytes wait here, while the domain cannot go on.
    pub fn waits(&self) -> usize {
        if self.away.is_some() { self.replica.held() } else { 0 }
    }

    pub fn held(&self) -> usize {
        let hello = self.hello.as_ref().map_or(0, |hello| hello.packet.len());
        hello + self.replica.held() + self.front.len()
    }

    /// What the broker is to have before the domain's own; `None`: the domain goes on.
    pub fn front(&self) -> Option<&[u8]> {
        (self.away.is_some() || self.is_mute).then_some(&self.front)
    }

    /// Nothing more is written on this connection.
    pub fn mute(&mut self) {
        self.front.clear();
        self.is_mute = true;
    }

    pub fn deadline(&self) -> Option<Duration> {
        let away = self.away.as_ref()?;
        let next = match &away.stage {
            Stage::Waiting(until) | Stage::Greeting(until) | Stage::Subscribing(until, _) => *until,
            Stage::Repeating(_) => Duration::MAX,
        };
        Some(next.min(away.since.saturating_add(self.limit)))
    }

    /// When a broker gives up a domain that says nothing: after one and a half times its keep-alive (MQTT 5,
    /// 3.1.2.10).
    pub fn silent_until(&self) -> Option<Duration> {
        let span = self.keep_alive.saturating_mul(3) / 2;
        (!span.is_zero()).then(|| self.heard.saturating_add(span))
    }

    /// Whether the broker that has closed the connection may have given up the domain itself.
    pub fn is_silent(&self, now: Duration) -> bool {
        // Its clock is not this one.
        let span = self.keep_alive.saturating_mul(5) / 4;
        !span.is_zero() && self.heard.saturating_add(span) <= now
    }

    /// The broker has answered the domain's CONNECT.
    pub fn greeted(&mut self, connack: &[u8], now: Duration) {
        let is_five = self.replica.is_five();
        let Some((0, present, terms)) = read(connack, is_five).filter(|_| self.terms.is_none())
        else {
            return;
        };
        if terms.has(AUTH_METHOD) {
            self.replica.lose_track("it is authenticated step by step");
        }
        if terms.has(ASSIGNED_CLIENT_ID) {
            self.replica
                .lose_track("the broker has chosen its client id, and chooses another each time");
        }
        if let Some(&[high, low]) = terms.value(SERVER_KEEP_ALIVE) {
            self.keep_alive = Duration::from_secs(u64::from(u16::from_be_bytes([high, low])));
        }
        let kept = self.kept(present);
        if kept == Kept::No {
            self.replica.filters.clear();
        }
        self.knows_filters |= kept != Kept::Yes;
        (self.terms, self.since) = (Some(terms), now);
    }

    pub fn kept(&self, present: bool) -> Kept {
        let hello = self.hello.as_ref();
        match hello.is_some_and(Connect::is_told_of_sessions) {
            true if present => Kept::Yes,
            true => Kept::No,
            false if hello.is_some_and(|hello| hello.clean_start) => Kept::No,
            false => Kept::Unknown,
        }
    }
}

impl Away {
    fn hears_nothing(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Greeting(_))
    }
}

impl Terms {
    fn has(&self, key: u8) -> bool {
        self.value(key).is_some()
    }

    fn value(&self, key: u8) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| *found == key).map(|(_, value)| &**value)
    }
}

/// A CONNACK: its code, whether there is a session, and its terms.
pub(super) fn read(connack: &[u8], is_five: bool) -> Option<(u8, bool, Terms)> {
    let &[flags, code, ref rest @ ..] = body(connack) else { return None };
    let mut terms = Vec::new();
    if is_five && let Some(all) = properties(rest) {
        let binds = |key: u8| key != REASON_STRING && key != USER_PROPERTY;
        terms.extend(all.filter(|(key, _)| binds(*key)).map(|(key, value)| (key, value.into())));
        terms.sort_unstable();
    }
    Some((code, flags & 1 != 0, Terms(terms)))
}

/// Why the broker does not let the gateway in again; `None`: it may do so later.
pub(super) fn refused(code: u8, is_five: bool) -> Option<&'static str> {
    match (is_five, code) {
        (false, 3) | (true, 0x88 | BUSY | 0x97 | 0x9F) => None,
        (false, 4 | 5) | (true, 0x86 | 0x87) => Some("the broker refuses its login"),
        _ => Some("the broker refuses its CONNECT"),
    }
}
