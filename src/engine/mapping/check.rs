//! What is wrong with rows that are each well written: between them, or within one.

use super::load::Rows;
use super::scalar::Condition;
use super::shape::{Shape, Side, Supplied};
use super::value::Convert;
use super::{Answer, Command, Event, RowOrigin, Wire, newer_than};
use crate::diagnostic::Findings;
use std::collections::BTreeSet;

/// Checks all rows together.
pub fn check(rows: &Rows, found: &mut Findings) {
    for command in &rows.commands {
        handlers(command, found);
        request_members(command, found);
        whole(&command.request, "request", &command.origin, found);
        for (i, answer) in command.answers.iter().enumerate() {
            body(&answer.shape, &format!("answer.{i}"), &command.origin, found);
            let before = command.answers.get(..i).unwrap_or_default();
            if let Some((side, first)) = taken_by(before, answer) {
                let line = command.origin.source.line(first.span.start);
                let (from, way) = match side {
                    None => ("", "`when`"),
                    Some(Side::Mqtt) => {
                        ("from MQTT ", "`when.mqtt`, or this one `only = \"to_mqtt\"`")
                    }
                    Some(Side::Legacy) => {
                        ("from legacy ", "`when.legacy`, or this one `only = \"to_legacy\"`")
                    }
                };
                let message = format!(
                    "{}: {from}this answer is never reached: the answer at line {line} takes everything",
                    command.name
                );
                let help = format!("change the order, or give that one a {way}");
                found.add(&command.origin.source, answer.span.clone(), message, help);
            }
            answers_a_call(command, answer, found);
        }
        announcements(command, &rows.events, found);
        failure(command, found);
        lists(command, rows, found);
    }
    for event in &rows.events {
        body(&event.shape, "", &event.origin, found);
    }
    same_legacy_name(rows, found);
    same_topic(rows, found);
}

/// A notification names no call: one of a legacy handler belongs to the call whose members it repeats.
fn answers_a_call(command: &Command, answer: &Answer, found: &mut Findings) {
    let is_told = matches!(answer.wire, Wire::Event(_)) && answer.direction.goes_from(Side::Legacy);
    if is_told && answer.shape.repeats.legacy.is_empty() {
        let message = format!(
            "{}: from legacy this answer answers nothing: a notification does not say which call it is for",
            command.name
        );
        let help = "name in `repeats.legacy` what it repeats of the request, or write `only = \"to_legacy\"`";
        found.add(&command.origin.source, answer.span.clone(), message, help.to_owned());
    }
}

fn covers(earlier: &[Condition], later: &[Condition]) -> bool {
    earlier.iter().all(|e| later.iter().any(|l| e.covers(l)))
}

/// The answer before this one that takes every message which could be taken for it; with the side on which
/// it does, unless that is each side that this one comes from.
fn taken_by<'a>(before: &'a [Answer], answer: &Answer) -> Option<(Option<Side>, &'a Answer)> {
    let hides = |side: Side, b: &Answer| {
        b.direction.goes_from(side)
            && (side == Side::Mqtt || b.wire == answer.wire)
            && covers(&b.when[side], &answer.when[side])
            && covers(&b.request, &answer.request)
    };
    let sides =
        || [Side::Mqtt, Side::Legacy].into_iter().filter(|s| answer.direction.goes_from(*s));
    let mut taken = sides().filter_map(|s| Some((s, before.iter().find(|b| hides(s, b))?)));
    let (side, first) = taken.next()?;
    let everywhere = taken.count() + 1 == sides().count();
    Some(((!everywhere).then_some(side), first))
}

fn handlers(command: &Command, found: &mut Findings) {
    let names = command.request.names(Side::Mqtt);
    for (i, handler) in command.handlers.iter().enumerate() {
        let who = handler.domain.as_ref().map_or("*", |d| d.as_str());
        if let Some(condition) = handler.when.iter().find(|c| !names.contains(&c.member)) {
            let message = format!(
                "{}: no request can reach the handler {who:?}: `{}` is no member of the request",
                command.name, condition.member
            );
            let help = format!("the request's members are: {}", list(&names));
            let span = command.origin.mention(&format!("handler.{i}.when"), &condition.member);
            found.add(&command.origin.source, span, message, help);
        }
        let before = command.handlers.iter().take(i);
        if before.into_iter().any(|h| !h.when.is_empty() && covers(&h.when, &handler.when)) {
            let message = format!("{}: no request can reach the handler {who:?}", command.name);
            let help =
                "a handler before it takes all of its requests; change the order or the values";
            let span = command.origin.value(&format!("handler.{i}"));
            found.add(&command.origin.source, span, message, help);
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What answers take from the request must be in it, and mean the same on both sides.
fn request_members(command: &Command, found: &mut Findings) {
    for name in &command.keeps {
        let rule = command.request.rules.iter().find(|r| r.place.mqtt.names().any(|n| n == name));
        let (message, help) = match rule {
            None => (
                format!(
                    "{}: an answer needs the request's member `{name}`, which it has not",
                    command.name
                ),
                format!("the request's members are: {}", list(&command.request.names(Side::Mqtt))),
            ),
            Some(rule) if !matches!(rule.convert, Convert::Carry | Convert::Leading(_)) => (
                format!(
                    "{}: an answer repeats the request's member `{name}`, which is converted",
                    command.name
                ),
                "only a member that is carried as it stands can be repeated".into(),
            ),
            Some(_) => continue,
        };
        let origin = &command.origin;
        let said = ["answer", "announced", "failure", "one_at_a_time"];
        let span = said.iter().find_map(|below| origin.places.mention(below, name));
        found.add(&origin.source, span.unwrap_or_else(|| origin.span.clone()), message, help);
    }
}

fn body(shape: &Shape, path: &str, origin: &RowOrigin, found: &mut Findings) {
    whole(shape, path, origin, found);
    copies(shape, path, origin, found);
}

/// A path within a row.
fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A copy is of something that the other side has.
fn copies(shape: &Shape, path: &str, origin: &RowOrigin, found: &mut Findings) {
    for (side, key) in [(Side::Legacy, "legacy"), (Side::Mqtt, "mqtt")] {
        let there = shape.names(side.other());
        let add =
            shape.add[side].iter().map(|(n, g)| (n, g, below(path, &format!("add.{key}.{n}"))));
        let default = shape.rules.iter().filter_map(|r| {
            let name = r.place.mqtt.names().next()?;
            let path = below(path, &format!("members.{name}.default.{key}"));
            Some((name, r.default[side].as_ref()?, path))
        });
        for (name, given, path) in add.chain(default) {
            let Supplied::Copy(from) = given else { continue };
            if !there.contains(from) && !shape.is_whole(side.other()) {
                let message =
                    format!("`{name}` cannot be built: the other side gives no member `{from}`");
                let help = format!("it gives: {}", list(&there));
                found.add(&origin.source, origin.mention(&path, from), message, help);
            }
        }
    }
    for rule in &shape.rules {
        if let (Convert::Each(element), Some(name)) =
            (&rule.convert, rule.place.mqtt.names().next())
        {
            body(element, &below(path, &format!("members.{name}.each")), origin, found);
        }
    }
}

/// A body is one value or an object, and each of its members has one origin.
fn whole(shape: &Shape, path: &str, origin: &RowOrigin, found: &mut Findings) {
    let members = below(path, "members");
    for side in [Side::Legacy, Side::Mqtt] {
        if shape.is_whole(side) && shape.rules.len() > 1 {
            let message = "\".\" is the whole legacy value, so no other member has a place";
            let help = "keep one member, or name its legacy side";
            found.add(&origin.source, origin.mention(&members, "."), message, help);
        }
        let mut seen = BTreeSet::new();
        let added = shape.add[side].iter().map(|(name, _)| name);
        for name in shape.rules.iter().flat_map(|r| r.place[side].names()).chain(added) {
            if !seen.insert(name) {
                let message = format!("the member `{name}` has two origins");
                let span = origin.mention(&members, name);
                found.add(&origin.source, span, message, "keep one of them");
            }
        }
    }
}

fn announcements(command: &Command, events: &[Event], found: &mut Findings) {
    for (i, announced) in command.announced.iter().enumerate() {
        let known = events
            .iter()
            .any(|e| e.dialect == command.dialect && e.topic.as_ref() == Some(&announced.topic));
        if !known {
            let message = format!("no event of this dialect has the topic {:?}", announced.topic);
            let help = "write an event's whole topic, with its suffix";
            let span = command.origin.value(&format!("announced.{i}.topic"));
            found.add(&command.origin.source, span, message, help);
        }
    }
}

/// Who is given the row's `failure` is given one.
fn failure(command: &Command, found: &mut Findings) {
    if command.failure_as_answer && command.failure.is_none() {
        let message = format!("{}: there is no `failure` to answer with", command.name);
        let help = "add `failure = { member = value }`, as an answer on MQTT would be";
        let span = command.origin.value("failure_as_answer");
        found.add(&command.origin.source, span, message, help);
    }
}

/// A list is an answer's of the same dialect, and what ends it an event's.
fn lists(command: &Command, rows: &Rows, found: &mut Findings) {
    for rule in &command.request.rules {
        let (Some(listed), Some(name)) = (&rule.listed, rule.place.mqtt.names().next()) else {
            continue;
        };
        let mut missing = |key: &str, what: &str, topic: &str, help: &str| {
            let message = format!("no {what} of this dialect has the topic {topic:?}");
            let span = command.origin.value(&format!("request.members.{name}.listed.{key}"));
            found.add(&command.origin.source, span, message, help);
        };
        let here = rows.commands.iter().filter(|c| c.dialect == command.dialect);
        if !here.into_iter().any(|c| c.root == listed.root) {
            missing("topic", "command", &listed.root, "write a command's topic, without a suffix");
        }
        let mut events = rows.events.iter().filter(|e| e.dialect == command.dialect);
        if let Some(until) = &listed.until
            && !events.any(|e| e.topic.as_ref() == Some(until))
        {
            missing("until", "event", until, "write an event's whole topic, with its suffix");
        }
    }
}

/// Whether a message can never be meant for both, or one of the two is the exception from the other.
fn told_apart(a: &[Condition], b: &[Condition]) -> bool {
    if a.is_empty() != b.is_empty() {
        return true;
    }
    a.iter().any(|x| b.iter().any(|y| x.excludes(y)))
}

/// Reports `b`, which stands after `a`, at the text at `path` that they share.
fn clash(
    what: &str,
    a: (&str, &RowOrigin),
    (name, origin, path): (&str, &RowOrigin, &str),
    help: &str,
    found: &mut Findings,
) {
    let line = a.1.source.line(a.1.span.start);
    let message = format!(
        "{name} and {} ({}:{line}) share {what}, and nothing tells them apart",
        a.0, a.1.source.name
    );
    found.add(&origin.source, origin.value(path), message, help);
}

const CONDITIONS: &str = "give one of them a `when`, or both `when`s that exclude each other";

fn same_legacy_name(rows: &Rows, found: &mut Findings) {
    let mut names: Vec<(&Command, &str, &[Condition], &str)> = Vec::new();
    for command in rows.commands.iter().filter(|c| c.direction.goes_from(Side::Legacy)) {
        names.push((command, &command.legacy, &command.when.legacy, "legacy"));
        names.extend(
            command
                .aliases
                .iter()
                .map(|a| (command, a.legacy.as_str(), a.when.as_slice(), "alias.legacy")),
        );
    }
    for (i, (b, name, when, path)) in names.iter().enumerate() {
        for (a, other, earlier, _) in names.iter().take(i) {
            if a.dialect == b.dialect && name == other && !told_apart(earlier, when) {
                let what = format!("the legacy name {name:?}");
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin, path), CONDITIONS, found);
            }
        }
    }
    let events: Vec<_> =
        rows.events.iter().filter(|e| e.direction.goes_from(Side::Legacy)).collect();
    for (i, b) in events.iter().enumerate() {
        for a in events.iter().take(i) {
            let same = a.dialect == b.dialect && a.legacy == b.legacy;
            if same && !told_apart(&a.when.legacy, &b.when.legacy) {
                let what = format!("the legacy name {:?}", b.legacy);
                let b = (&*b.name, &b.origin, "legacy");
                clash(&what, (&a.name, &a.origin), b, CONDITIONS, found);
            }
        }
    }
}

/// A row that can come from MQTT, as far as its topic is concerned.
struct FromMqtt<'r> {
    name: &'r str,
    origin: &'r RowOrigin,
    topic: String,
    when: &'r [Condition],
    dialect: usize,
    /// Whether a requester names itself, and so says which dialect is meant.
    named: bool,
}

fn same_topic(rows: &Rows, found: &mut Findings) {
    const DIALECTS: &str =
        "load one of the two files, or say which gives way: `supersedes = \"the older dialect\"`";
    let dialect = |index: usize| rows.dialects.get(index);
    let gives_way = |a: usize, b: usize| newer_than(&rows.dialects, a).contains(&b);
    let commands = rows.commands.iter().filter(|c| c.direction.goes_from(Side::Mqtt));
    let commands = commands.filter_map(|c| {
        let (name, origin, when) = (&*c.name, &c.origin, c.when.mqtt.as_slice());
        let (topic, named) = (c.request_topic(), dialect(c.dialect)?.named);
        Some(FromMqtt { name, origin, topic, when, dialect: c.dialect, named })
    });
    let events = rows.events.iter().filter(|e| e.direction.goes_from(Side::Mqtt));
    let events = events.filter_map(|e| {
        let (name, origin, when) = (&*e.name, &e.origin, e.when.mqtt.as_slice());
        let topic = e.topic.clone()?;
        Some(FromMqtt { name, origin, topic, when, dialect: e.dialect, named: false })
    });
    let all: Vec<FromMqtt<'_>> = commands.chain(events).collect();
    for (i, b) in all.iter().enumerate() {
        for a in all.iter().take(i).filter(|a| a.topic == b.topic) {
            let same_dialect = a.dialect == b.dialect;
            let superseded = gives_way(a.dialect, b.dialect) || gives_way(b.dialect, a.dialect);
            let by_dialect = !same_dialect && (a.named || b.named || superseded);
            if told_apart(a.when, b.when) || by_dialect {
                continue;
            }
            let what = format!("the topic {:?}", b.topic);
            let help = if same_dialect { CONDITIONS } else { DIALECTS };
            clash(&what, (a.name, a.origin), (b.name, b.origin, "topic"), help, found);
        }
    }
}
