//! Topics that rows of several dialects share: one message serves all of them, and is read by the one that it fits.

use super::load::Rows;
use super::scalar::{Condition, Scalar};
use super::shape::{Shape, Side, Supplied};
use super::value::Convert;
use super::{Answer, Command, Event, RowOrigin, Table, Wire};
use crate::diagnostic::{Finding, Findings};
use crate::engine::json::Object;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a member of an MQTT message comes from.
#[derive(Debug, PartialEq)]
enum WrittenMember<'s> {
    /// Always the same.
    Constant(&'s Scalar),
    /// Read there, converted so, and this where it is not there.
    From(Vec<&'s String>, &'s Convert, Option<&'s Supplied>),
    /// From elsewhere.
    Given(&'s Supplied),
}

/// What one row writes, for comparing it with another.
struct SharedRow<'r> {
    name: &'r str,
    origin: &'r RowOrigin,
    dialect: usize,
    what: &'r str,
    topic: String,
    when: &'r [Condition],
    shape: &'r Shape,
}

impl Table {
    /// The rows of other dialects for the same requests from MQTT, where nothing says which one is meant; the
    /// newest first.
    pub fn kin<'t>(&'t self, row: &'t Command) -> impl Iterator<Item = &'t Arc<Command>> {
        let from_mqtt = self.commands_at(&row.root);
        from_mqtt.filter(move |other| {
            !row.named
                && !other.named
                && other.dialect != row.dialect
                && other.legacy == row.legacy
                && !excluded(&other.when.mqtt, &row.when.mqtt)
        })
    }

    /// Where rows share a topic and give one of its members another value each: what is published has the
    /// newest dialect's.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        let requests = self.commands().iter().filter(|c| c.direction.goes_from(Side::Legacy));
        self.compare(&requests.map(|row| request(row)).collect::<Vec<_>>(), &mut found);
        let events = self.events().iter().filter(|e| e.direction.goes_from(Side::Legacy));
        self.compare(&events.filter_map(|row| event(row)).collect::<Vec<_>>(), &mut found);
        for row in self.commands().iter().filter(|c| c.direction.goes_from(Side::Mqtt)) {
            for other in self.kin(row) {
                let all: Vec<_> = [row, other].into_iter().flat_map(|row| answers(row)).collect();
                self.compare(&all, &mut found);
            }
        }
        found.into_sorted()
    }

    fn compare(&self, rows: &[SharedRow<'_>], found: &mut Findings) {
        for (i, a) in rows.iter().enumerate() {
            for b in rows.iter().skip(i + 1) {
                let shared = a.dialect != b.dialect && a.what == b.what && a.topic == b.topic;
                if !shared || excluded(a.when, b.when) {
                    continue;
                }
                let older =
                    if self.rank(a.dialect) > self.rank(b.dialect) { (a, b) } else { (b, a) };
                let (older, newer) = older;
                for member in contradictory(older.shape, newer.shape) {
                    let message = format!(
                        "{} and {} ({}:{}) give `{member}` on {:?} another value each, and the newer one's is published",
                        older.name,
                        newer.name,
                        newer.origin.source.name,
                        newer.origin.source.line(newer.origin.span.start),
                        older.topic,
                    );
                    let help = "let both say the same, or give one of them a topic of its own";
                    let (source, span) = (&older.origin.source, older.origin.span.clone());
                    found.add(source, span, message, help);
                }
            }
        }
    }
}

fn request(row: &Command) -> SharedRow<'_> {
    SharedRow {
        name: &row.name,
        origin: &row.origin,
        dialect: row.dialect,
        what: &row.legacy,
        topic: row.request_topic(),
        when: &row.when.legacy,
        shape: &row.request,
    }
}

fn event(row: &Event) -> Option<SharedRow<'_>> {
    Some(SharedRow {
        name: &row.name,
        origin: &row.origin,
        dialect: row.dialect,
        what: &row.legacy,
        topic: row.topic.clone()?,
        when: &row.when.legacy,
        shape: &row.shape,
    })
}

fn answers(row: &Command) -> impl Iterator<Item = SharedRow<'_>> {
    let answers = row.answers.iter().filter(|a| a.direction.goes_from(Side::Legacy));
    answers.filter_map(|answer: &Answer| {
        let (Wire::Response(what) | Wire::Event(what)) = &answer.wire else { return None };
        Some(SharedRow {
            name: &row.name,
            origin: &row.origin,
            dialect: row.dialect,
            what,
            topic: row.response_topic(None),
            when: &answer.when.legacy,
            shape: &answer.shape,
        })
    })
}

/// Whether no message can be meant for both.
pub(super) fn excluded(a: &[Condition], b: &[Condition]) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.excludes(y)))
}

/// The members of MQTT that two shapes write, each another value.
fn contradictory(a: &Shape, b: &Shape) -> Vec<String> {
    let (a, b) = (written(a), written(b));
    let differ = |(name, x): (&&String, &WrittenMember<'_>)| {
        let y = b.get(*name)?;
        (!alike(x, y)).then(|| (*name).clone())
    };
    a.iter().filter_map(differ).collect()
}

/// Whether two values are one, or one that either would take: a text with its beginning, a default.
fn alike(a: &WrittenMember<'_>, b: &WrittenMember<'_>) -> bool {
    let plain = |c: &Convert| matches!(c, Convert::Carry | Convert::Leading(_));
    match (a, b) {
        (
            WrittenMember::From(f, Convert::Each(x), _),
            WrittenMember::From(g, Convert::Each(y), _),
        ) => f == g && contradictory(x, y).is_empty(),
        (WrittenMember::From(f, x, d), WrittenMember::From(g, y, e)) => {
            f == g && d == e && (x == y || (plain(x) && plain(y)))
        }
        (WrittenMember::From(_, _, Some(Supplied::Constant(x))), WrittenMember::Constant(y))
        | (WrittenMember::Constant(y), WrittenMember::From(_, _, Some(Supplied::Constant(x)))) => {
            x == *y
        }
        (a, b) => a == b,
    }
}

fn written(shape: &Shape) -> BTreeMap<&String, WrittenMember<'_>> {
    let mut all = BTreeMap::new();
    for (name, given) in &shape.add.mqtt {
        let from = match given {
            Supplied::Constant(constant) => WrittenMember::Constant(constant),
            Supplied::Copy(from) => WrittenMember::From(vec![from], &Convert::Carry, None),
            other => WrittenMember::Given(other),
        };
        all.insert(name, from);
    }
    for rule in &shape.rules {
        if let Some(name) = rule.place.mqtt.names().next() {
            let read = rule.place.legacy.names().collect();
            all.insert(name, WrittenMember::From(read, &rule.convert, rule.default.mqtt.as_ref()));
        }
    }
    all.extend(
        shape.fixed.mqtt.iter().map(|(name, constant)| (name, WrittenMember::Constant(constant))),
    );
    all
}

/// What rows of other dialects on a topic say there is no news to a row, though it means nothing to it: it is
/// not carried.
pub(super) fn know_each_other(rows: &mut Rows) {
    let mut said: Vec<(usize, String, BTreeSet<String>)> = Vec::new();
    for event in &rows.events {
        let topic = event.topic.clone().unwrap_or_default();
        said.push((event.dialect, topic, names(&event.shape, &event.when.mqtt)));
    }
    for command in rows.commands.iter().filter(|c| !c.named) {
        for answer in &command.answers {
            let names = names(&answer.shape, &answer.when.mqtt);
            said.push((command.dialect, command.response_topic(None), names));
        }
    }
    let of_others = |dialect: usize, topic: &str| -> BTreeSet<String> {
        let others = said.iter().filter(|(other, at, _)| *other != dialect && at == topic);
        others.flat_map(|(_, _, names)| names.iter().cloned()).collect()
    };
    for event in &mut rows.events {
        let topic = event.topic.clone().unwrap_or_default();
        event.shape.own.mqtt.extend(of_others(event.dialect, &topic));
    }
    for command in rows.commands.iter_mut().filter(|c| !c.named) {
        let others = of_others(command.dialect, &command.response_topic(None));
        for answer in &mut command.answers {
            answer.shape.own.mqtt.extend(others.iter().cloned());
        }
    }
}

fn names(shape: &Shape, when: &[Condition]) -> BTreeSet<String> {
    shape.names(Side::Mqtt).into_iter().chain(when.iter().map(|c| c.member.clone())).collect()
}

/// How many members of a message mean nothing to a shape.
pub(super) fn strange(shape: &Shape, when: &[Condition], message: &Object<'_>) -> usize {
    let known = names(shape, when);
    message.members().filter(|m| !known.iter().any(|name| name.as_bytes() == &*m.key)).count()
}
