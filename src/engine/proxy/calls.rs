//! Pending calls: who asked what, until when, and whose answer something is.

use crate::engine::json::{self, Object};
use crate::engine::mapping::scalar::all_hold;
use crate::engine::mapping::shape::{Both, Place, Repeat, Rule, Side, Values};
use crate::engine::mapping::{Answer, Command, Event, Table, Wire};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Received, Token};
use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A call that a legacy domain makes on MQTT.
#[derive(Debug)]
pub(super) struct Asked {
    pub id: u64,
    /// The row that it began with.
    pub row: Arc<Command>,
    pub requester: DomainName,
    /// Who answers if the answer does not say.
    pub handler: DomainName,
    pub values: Values,
    pub correlation: Bytes,
    pub token: Token,
    /// Not published yet, for another call of its row goes first.
    pub held: Option<Publish>,
    pub deadline: Duration,
    pub answers: u32,
    /// Its notification has come.
    pub announced: bool,
    /// It is a copy for another dialect of a call that is counted already.
    pub extra: bool,
    /// The domain that it is addressed to; `None` is everyone.
    pub to: Option<DomainName>,
    pub head: String,
}

/// Something of which there may be a thousand.
pub(super) trait Pending {
    /// How many bytes it has to remember.
    fn size(&self) -> usize;
    /// Whether it counts as a call.
    fn counts(&self) -> bool;
}

/// Pending calls in their order. Nothing that is asked with each message is added up anew.
#[derive(Debug)]
pub(super) struct Calls<T> {
    calls: Vec<T>,
    counted: usize,
    size: usize,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self { calls: Vec::new(), counted: 0, size: 0 }
    }
}

impl<T: Pending> Calls<T> {
    /// How many of them count.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// How many bytes they have to remember, together.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn push(&mut self, call: T) {
        self.counted += usize::from(call.counts());
        self.size += call.size();
        self.calls.push(call);
    }

    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.calls.len()).then_some(())?;
        let call = self.calls.remove(at);
        self.counted -= usize::from(call.counts());
        self.size -= call.size();
        Some(call)
    }

    /// Changes one so that it may have more or less to remember.
    pub fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let call = self.calls.get_mut(at)?;
        self.size -= call.size();
        let result = change(call);
        self.size += call.size();
        Some(result)
    }

    /// All of them; none is left.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(self).calls
    }
}

impl<T> Deref for Calls<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.calls
    }
}

/// For what changes nothing of their size.
impl<T> DerefMut for Calls<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.calls
    }
}

impl Pending for Asked {
    fn size(&self) -> usize {
        size_of_values(&self.values)
    }

    fn counts(&self) -> bool {
        !self.extra
    }
}

/// Where a call to a legacy domain comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// From MQTT; the request itself is kept until it has been given.
    Mqtt(Option<Box<Received>>),
    /// From another legacy domain, word for word.
    Direct,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits until the handler has answered another.
    Held(Bytes),
    /// Its line waits to be written.
    Queued,
    /// Written.
    Open {
        /// When.
        since: Duration,
        /// When it is over; later, while a long line is on its way.
        deadline: Duration,
    },
}

/// A call to a legacy domain.
#[derive(Debug)]
pub(super) struct Given {
    pub id: u64,
    /// The row that it began with.
    pub row: Arc<Command>,
    /// `None`: a requester on MQTT that did not say its name.
    pub requester: Option<DomainName>,
    pub handler: DomainName,
    pub origin: Origin,
    pub reply: String,
    pub correlation: Option<Bytes>,
    pub values: Values,
    pub state: State,
    pub answers: u32,
    pub head: String,
}

impl Pending for Given {
    /// Beside a line in the queue. The requester chooses its correlation data as it likes.
    fn size(&self) -> usize {
        let line = match &self.state {
            State::Held(line) => line.len(),
            State::Queued | State::Open { .. } => 0,
        };
        let payload = match &self.origin {
            Origin::Mqtt(Some(message)) => message.payload.len(),
            Origin::Mqtt(None) | Origin::Direct => 0,
        };
        let correlation = self.correlation.as_ref().map_or(0, Bytes::len);
        line.max(payload) + size_of_values(&self.values) + correlation + self.reply.len()
    }

    fn counts(&self) -> bool {
        true
    }
}

impl Given {
    /// The requester's name on the legacy wire.
    pub fn name(&self) -> DomainName {
        self.requester.clone().unwrap_or_else(DomainName::anonymous)
    }

    /// Whether that is its requester's name.
    pub fn is_from(&self, name: &DomainName) -> bool {
        match &self.requester {
            Some(requester) => requester == name,
            None => *name == DomainName::anonymous(),
        }
    }
}

/// A call that was answered, for a while: one more answer is none.
#[derive(Debug)]
pub(super) struct Ended {
    pub row: Arc<Command>,
    /// Which side asked.
    pub asked_by: Side,
    pub requester: DomainName,
    pub values: Values,
    pub correlation: Option<Bytes>,
    /// Its notification has come.
    pub announced: bool,
    /// It ran out without an answer, which may still come.
    pub unanswered: bool,
    pub until: Duration,
}

impl Ended {
    /// How many bytes it holds of its request.
    pub fn size(&self) -> usize {
        size_of_values(&self.values) + self.correlation.as_ref().map_or(0, Bytes::len)
    }
}

/// What the members that repeat the request say about whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It is this call's.
    Same,
    /// It is another's.
    Different,
    /// They are not there.
    Silent,
}

/// Compares an answer with a request.
pub(super) fn compare(repeats: &[Repeat], answer: &Object<'_>, request: &Values) -> Match {
    let mut found = Match::Silent;
    for repeat in repeats {
        let Some(value) = answer.get(&repeat.member) else { continue };
        let Some((_, asked)) = request.iter().find(|(name, _)| *name == repeat.request) else {
            continue;
        };
        if !json::same(value, asked) {
            return Match::Different;
        }
        found = Match::Same;
    }
    found
}

/// Of several calls, in the order in which they were made, the one that an answer belongs to: the
/// first that it repeats, else the first that it does not contradict.
pub(super) fn choose<T>(calls: impl Iterator<Item = (T, Match)>) -> Option<T> {
    let mut silent = None;
    for (call, matched) in calls {
        match matched {
            Match::Same => return Some(call),
            Match::Silent if silent.is_none() => silent = Some(call),
            _ => {}
        }
    }
    silent
}

/// How many bytes a call keeps of its request.
pub(super) fn size_of_values(values: &Values) -> usize {
    values.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The request's members that its answers need, read on the side on which it came.
pub(super) fn keep(row: &Command, side: Side, request: &Object<'_>) -> Values {
    let mut values = Values::new();
    for name in &row.keeps {
        let rule: Option<&Rule> =
            row.request.rules.iter().find(|r| r.place.mqtt.names().any(|n| n == name));
        let value = rule.and_then(|r| r.place[side].names().find_map(|n| request.get(n)));
        values.extend(value.map(|v| (name.clone(), v.to_owned())));
    }
    values
}

/// The way in which a legacy message answers a call of a row.
pub(super) fn legacy_answer<'r>(
    row: &'r Command,
    wire: &Wire,
    data: &Object<'_>,
    request: Option<&Values>,
) -> Option<&'r Answer> {
    row.answers.iter().find(|a| {
        a.direction.goes_from(Side::Legacy)
            && a.wire == *wire
            && all_hold(&a.when.legacy, |m| data.get(m))
            && request.is_none_or(|r| all_hold(&a.request, |m| value(r, m)))
    })
}

/// The way in which an MQTT response answers a call of a row.
pub(super) fn mqtt_answer<'r>(
    row: &'r Command,
    payload: &Object<'_>,
    request: Option<&Values>,
) -> Option<&'r Answer> {
    row.answers.iter().find(|a| {
        a.direction.goes_from(Side::Mqtt)
            && all_hold(&a.when.mqtt, |m| payload.get(m))
            && request.is_none_or(|r| all_hold(&a.request, |m| value(r, m)))
    })
}

/// What a call knows of a notification that ends it, by the notification's members: those that repeat the
/// request's, and what such a notification means. The call may be of another dialect: its members are found
/// by their legacy names.
pub(super) fn known_of(
    table: &Table,
    event: &Event,
    (call, values): (&Command, &Values),
) -> Values {
    let rows = table.commands().iter().filter(|row| row.dialect == event.dialect);
    let mut rows = rows.filter(|row| row.legacy == call.legacy);
    let about = |row: &Arc<Command>| {
        let announced = row.announced.iter().find(|a| event.topic.as_ref() == Some(&a.topic));
        announced.map(|a| (Arc::clone(row), a.clone()))
    };
    let Some((row, announced)) = rows.find_map(about) else { return Values::new() };
    let asked = |member: &String| {
        let place = |row: &Command, is: &dyn Fn(&Both<Place>) -> bool| {
            row.request.rules.iter().map(|r| r.place.clone()).find(|place| is(place))
        };
        let there = place(&row, &|p| p.mqtt.names().any(|n| n == member))?;
        let here = place(call, &|p| p.legacy == there.legacy)?;
        here.mqtt.names().find_map(|name| value(values, name)).map(str::to_owned)
    };
    let repeats = announced.repeats.iter();
    let repeats = repeats.filter_map(|(member, request)| Some((member.clone(), asked(request)?)));
    let meant = announced.mqtt.iter().map(|(member, scalar)| (member.clone(), scalar.json()));
    repeats.chain(meant).collect()
}

fn value<'v>(values: &'v Values, name: &str) -> Option<&'v str> {
    values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}
