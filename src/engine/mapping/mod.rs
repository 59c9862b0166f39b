//! The mapping table as it runs: compiled from mapping files, with no state that makes no sense.

pub mod check;
mod keeps;
pub mod load;
mod member;
mod place;
mod read;
pub mod scalar;
pub mod shape;
mod shared;
pub mod table;
mod topic;
pub mod value;
mod write;

use super::json;
use super::name::DomainName;
use super::publish::Qos;
use crate::diagnostic::Source;
use crate::document::Places;
use scalar::{Condition, Scalar};
use serde::{Deserialize, Serialize};
use shape::{Both, Repeat, Shape, Side, Supplied, Values};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use table::Table;
pub use topic::Topic;

/// How long a call may take unless its row says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A way of speaking on MQTT: the seed's, or a library's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dialect {
    /// Its name in `[dialects]`.
    pub name: String,
    /// Whether its requests say who asks, so that an answer's topic ends with the requester.
    pub named: bool,
    /// The member of a request's payload that says who asks.
    pub requester_member: Option<String>,
    /// Dialects that give way to this one where both could be meant.
    pub supersedes: Vec<String>,
}

/// The dialects of these that one of them gives way to, over any number of steps.
#[must_use]
pub fn newer_than(dialects: &[Dialect], at: usize) -> BTreeSet<usize> {
    let mut newer = BTreeSet::new();
    let mut next = vec![at];
    while let Some(name) = next.pop().and_then(|older| dialects.get(older)).map(|d| &d.name) {
        let supersede = dialects.iter().enumerate().filter(|(_, d)| d.supersedes.contains(name));
        next.extend(supersede.map(|(i, _)| i).filter(|i| newer.insert(*i)));
    }
    newer
}

impl Dialect {
    /// The first key that another description of it differs in, and what is to be said there.
    fn differs(&self, other: &Self) -> Option<(&'static str, String)> {
        let requesters =
            |d: &Self| Some(if d.named { "\"named\"" } else { "\"anonymous\"" }.into());
        let member = |d: &Self| d.requester_member.as_ref().map(|name| format!("{name:?}"));
        let older = |d: &Self| (!d.supersedes.is_empty()).then(|| format!("{:?}", d.supersedes));
        let keys = [
            ("requesters", requesters(self), requesters(other)),
            ("requester_member", member(self), member(other)),
            ("supersedes", older(self), older(other)),
        ];
        let (key, here, _) = keys.into_iter().find(|(_, here, there)| here != there)?;
        let said = match here {
            Some(value) => format!("write `{key} = {value}`"),
            None => format!("leave `{key}` out"),
        };
        Some((key, said))
    }
}

/// In which directions a row or an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the legacy side to MQTT only.
    ToMqtt,
    /// From MQTT to the legacy side only.
    ToLegacy,
}

impl Direction {
    /// Whether it travels from this side.
    #[must_use]
    pub fn goes_from(self, side: Side) -> bool {
        match self {
            Self::Both => true,
            Self::ToMqtt => side == Side::Legacy,
            Self::ToLegacy => side == Side::Mqtt,
        }
    }
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowOrigin {
    /// The file.
    #[serde(with = "crate::engine::snapshot::shared")]
    pub source: Arc<Source>,
    /// The row's header.
    pub span: Range<usize>,
    /// Its keys and values. What was found of them is said when it is loaded.
    #[serde(skip)]
    pub places: Places,
}

impl RowOrigin {
    /// The value at a path within the row, or else the row.
    #[must_use]
    pub fn value(&self, path: &str) -> Range<usize> {
        self.places.value(path).unwrap_or_else(|| self.span.clone())
    }

    /// Where `text` is last said at or below a path within the row, or else what is at the path.
    #[must_use]
    pub fn mention(&self, below: &str, text: &str) -> Range<usize> {
        self.places.mention(below, text).unwrap_or_else(|| self.value(below))
    }
}

/// One more legacy name under which a command comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// The name.
    pub legacy: String,
    /// What its arguments must be like.
    pub when: Vec<Condition>,
}

/// Who carries out a request that comes from MQTT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handler {
    /// The domain; `None` is every legacy domain.
    pub domain: Option<DomainName>,
    /// What the request (its MQTT members) must be like.
    pub when: Vec<Condition>,
}

/// What an answer is on the legacy wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// A `reponse` of this name.
    Response(String),
    /// A notification of this name, which ends the call.
    Event(String),
    /// Nothing at all.
    Silent,
}

/// One way in which a call may be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What it is on the legacy wire.
    pub wire: Wire,
    /// In which directions it travels.
    pub direction: Direction,
    /// What it must be like, on the side on which it comes in.
    pub when: Both<Vec<Condition>>,
    /// What the request (its MQTT members) must have been like.
    pub request: Vec<Condition>,
    /// The MQTT list of which each element is a legacy answer of its own.
    pub one_for_each: Option<String>,
    /// Its body.
    pub shape: Shape,
    /// Whether it ends the call.
    pub ends: bool,
    /// Whether legacy domains are given it from MQTT though none has asked.
    pub unasked: bool,
    /// Where it stands.
    pub span: Range<usize>,
}

/// A notification on MQTT that tells a legacy requester how its call went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// The notification's topic.
    pub topic: String,
    /// Members that must be the request's.
    pub repeats: Vec<Repeat>,
    /// What the requester's own copy says instead.
    pub legacy: Vec<(String, Supplied)>,
    /// What a legacy server's notification of it means where it does not say it.
    pub mqtt: Vec<(String, Scalar)>,
    /// Whether it ends the call.
    pub ends: bool,
    /// Where it stands.
    pub span: Range<usize>,
}

/// Which calls of a row go out one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OneAtATime {
    /// None: answers say which call they are for.
    No,
    /// All of a requester's.
    All,
    /// Those with the same value of this member of the request, by its MQTT name.
    With(String),
}

/// A row: a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// `TypeCommande`, for people.
    pub name: Arc<str>,
    /// The dialect, as an index into the table's.
    pub dialect: usize,
    /// Whether its requests say who asks, so that an answer's topic ends with the requester.
    pub named: bool,
    /// `commande` on the legacy wire.
    pub legacy: String,
    /// More names, for requests from the legacy side.
    pub aliases: Vec<Alias>,
    /// The root of its topics.
    pub root: String,
    /// In which directions requests travel.
    pub direction: Direction,
    /// What a request must be like.
    pub when: Both<Vec<Condition>>,
    /// Who carries it out; the first that applies.
    pub handlers: Vec<Handler>,
    /// Whether a handler is given one such call at a time.
    pub exclusive: bool,
    /// Which of a requester's calls go out one at a time, since nothing tells their answers apart.
    pub one_at_a_time: OneAtATime,
    /// How long a call may take.
    pub timeout: Duration,
    /// For requests and responses.
    pub qos: Qos,
    /// Whether servers may answer once more what they have answered.
    pub answered_twice: bool,
    /// The request's body.
    pub request: Shape,
    /// The answers.
    pub answers: Vec<Answer>,
    /// Notifications that belong to the call.
    pub announced: Vec<Announced>,
    /// What an MQTT requester is told when the call fails.
    pub failure: Option<Vec<(String, Supplied)>>,
    /// Whether a legacy requester is given that too, as its answer.
    pub failure_as_answer: bool,
    /// The request's members that its answers need.
    pub keeps: Vec<String>,
    /// Where the row stands.
    pub origin: RowOrigin,
}

/// A row: a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `TypeEvenement`, for people.
    pub name: Arc<str>,
    /// The dialect, as an index into the table's.
    pub dialect: usize,
    /// `evenement` on the legacy wire.
    pub legacy: String,
    /// The whole topic; without one it is not published.
    pub topic: Option<String>,
    /// In which directions it travels.
    pub direction: Direction,
    /// What it must be like.
    pub when: Both<Vec<Condition>>,
    /// How surely.
    pub qos: Qos,
    /// Its body.
    pub shape: Shape,
    /// Where the row stands.
    pub origin: RowOrigin,
}

impl Command {
    /// Whether two rows are one, of one table or of two: nothing would tell their answers apart.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.root == other.root && self.name == other.name && self.when == other.when)
    }

    /// `<root>/request`.
    #[must_use]
    pub fn request_topic(&self) -> String {
        format!("{}/request", self.root)
    }

    /// `<root>/response/<requester>`, or the bare `<root>/response`.
    #[must_use]
    pub fn response_topic(&self, requester: Option<&DomainName>) -> String {
        match requester {
            Some(name) => format!("{}/response/{name}", self.root),
            None => format!("{}/response", self.root),
        }
    }

    /// Whether some calls wait for others, since their answers could be taken for each other's.
    #[must_use]
    pub fn can_mix_up(&self) -> bool {
        self.one_at_a_time != OneAtATime::No
    }

    /// Whether the answers of two calls, with these members of their requests, could be.
    #[must_use]
    pub fn mixes_up(&self, a: &Values, b: &Values) -> bool {
        let value = |of: &Values, name: &String| of.iter().find(|(n, _)| n == name).cloned();
        match &self.one_at_a_time {
            OneAtATime::No => false,
            OneAtATime::All => true,
            OneAtATime::With(member) => match (value(a, member), value(b, member)) {
                (Some(a), Some(b)) => json::same(&a.1, &b.1),
                _ => true,
            },
        }
    }

    /// Whether an answer to a call of this row may come before the last.
    #[must_use]
    pub fn has_more_answers(&self) -> bool {
        self.answers.iter().any(|a| !a.ends)
    }

    /// Whether a call of this row is answered at all on MQTT, by a response or a notification.
    #[must_use]
    pub fn is_answered_on_mqtt(&self) -> bool {
        let response = |a: &Answer| a.direction.goes_from(Side::Mqtt);
        self.answers.iter().any(response) || self.announced.iter().any(|a| a.ends)
    }

    /// Whether a call of this row is answered at all on the legacy wire.
    #[must_use]
    pub fn is_answered_on_legacy(&self) -> bool {
        let wire = |a: &Answer| a.direction.goes_from(Side::Legacy) && a.wire != Wire::Silent;
        self.answers.iter().any(wire)
    }
}

/// The constants that a set of conditions writes in the other direction: each first value.
#[must_use]
pub fn constants(conditions: &[Condition]) -> Vec<(String, Scalar)> {
    let first = |c: &Condition| match &c.test {
        scalar::Test::OneOf { values, .. } => values.first().map(|v| (c.member.clone(), v.clone())),
        scalar::Test::Present(_) => None,
    };
    conditions.iter().filter_map(first).collect()
}
