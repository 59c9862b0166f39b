//! A copy of the MQTT session that a domain has with the broker, read off the packets of both: what its
//! next connection to the broker has to know, so that the domain need not know of it.

mod resume;
mod said;
mod told;

use super::filters::Filters;
use super::packet::{PINGRESP, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, acknowledgement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many packets of each side are followed at once: brokers begin with 20.
const MOST: usize = 1024;
/// What following one costs beside its bytes.
const EACH: usize = 64;

const TOO_MANY: &str = "more than 1024 packets are under way";
const ALIAS: &str = "topic aliases are in use, which the next connection has not";
const STEPWISE: &str = "it is authenticated step by step";
const LONG: &str = "what is under way is too long to be kept";

/// What the broker's side of a session has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
    /// MQTT 3.1 does not say.
    Unknown,
}

/// What is to become of a packet, and what is to be said besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passage {
    pub passes: bool,
    pub to_broker: Option<[u8; 4]>,
    pub to_domain: Option<[u8; 4]>,
}

impl Passage {
    pub const PASSES: Self = Self { passes: true, to_broker: None, to_domain: None };
    const ENDS: Self = Self { passes: false, to_broker: None, to_domain: None };

    fn broker(kind: u8, id: u16) -> Self {
        Self { to_broker: Some(acknowledgement(kind, id)), ..Self::ENDS }
    }

    fn domain(kind: u8, id: u16) -> Self {
        Self { to_domain: Some(acknowledgement(kind, id)), ..Self::ENDS }
    }
}

/// A packet that the domain has said and the broker has not acknowledged to the end.
#[derive(Debug, Serialize, Deserialize)]
struct SaidPacket {
    order: u64,
    /// `None`: there was no room for it.
    packet: Option<Box<[u8]>>,
    stage: SaidStage,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum SaidStage {
    Sent,
    /// The domain has its PUBREC, and may have answered.
    Received {
        released: bool,
    },
    /// The same, and the broker has forgotten it: it is sent again, and the next PUBREC is nobody's.
    Again {
        released: bool,
    },
}

/// A message that the domain was given and has not acknowledged to the end.
#[derive(Debug, Serialize, Deserialize)]
struct Given {
    /// The broker's identifier; `None`: the broker has forgotten it.
    broker: Option<u16>,
    step: GivenStep,
}

/// What was said of it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GivenStep {
    Given,
    /// PUBREC, by the domain.
    Received,
    /// PUBREL, to the domain.
    Released,
    /// The last acknowledgement, by the domain: it is on its way.
    Done(u8),
}

/// The copy.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Replica {
    is_five: bool,
    said: BTreeMap<u16, SaidPacket>,
    /// How many have been said.
    count: u64,
    /// By the domain's identifier, which differs from the broker's after a clash.
    given: BTreeMap<u16, Given>,
    pub filters: Filters,
    /// PINGREQs that the broker has not answered.
    pings: usize,
    /// Bytes of packets.
    bytes: usize,
    /// Why this connection cannot be followed to its end.
    #[serde(with = "crate::engine::snapshot::word")]
    blind: Option<crate::engine::snapshot::Word>,
    /// The domain has subscribed to something on its connection.
    pub subscribes: bool,
    /// There was a connection before this one, of which the domain does not know.
    resumed: bool,
}

impl Replica {
    /// The copy of a session that begins; these subscriptions are an earlier one's, if that goes on.
    pub fn new(is_five: bool, filters: Filters) -> Self {
        Self { is_five, filters, ..Self::default() }
    }

    pub fn is_five(&self) -> bool {
        self.is_five
    }

    /// Nothing is under way any more. The subscriptions may be those of the next connection.
    pub fn end(&mut self) {
        *self = Self::new(self.is_five, std::mem::take(&mut self.filters));
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.bytes + EACH * (self.said.len() + self.given.len()) + self.filters.held()
    }

    /// What is under way is not followed any more.
    pub fn lose_track(&mut self, why: &'static str) {
        self.blind.get_or_insert(why);
    }

    /// A packet of this kind is being written before it could be looked at.
    pub fn begun(&mut self, kind: u8) {
        self.subscribes |= kind == SUBSCRIBE;
        if !matches!(kind, PUBLISH | SUBSCRIBE | UNSUBSCRIBE) {
            self.lose_track("an acknowledgement is too long to be kept");
        }
    }

    /// Gives up what is kept, as there is no room.
    pub fn make_room(&mut self) {
        if std::mem::take(&mut self.bytes) > 0 {
            self.said.values_mut().for_each(|said| said.packet = None);
        }
    }

    /// Why what is under way cannot go on by another connection.
    pub fn why_not(&self) -> Option<&'static str> {
        let hole = self.said.values().any(|said| said.packet.is_none());
        self.blind.or(hole.then_some(LONG))
    }

    /// The answers that the domain still waits for to its PINGREQs.
    pub fn take_pings(&mut self) -> Vec<u8> {
        [PINGRESP, 0].repeat(std::mem::take(&mut self.pings))
    }
}
