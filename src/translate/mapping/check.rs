//! What is wrong with rows that are each well written: between them, or within one.

use super::load::Rows;
use super::scalar::Condition;
use super::shape::{Given, Shape, Side};
use super::value::Convert;
use super::{Answer, Command, Dialect, Event, Origin};
use crate::diagnostic::Findings;
use std::collections::BTreeSet;
use std::ops::Range;

/// Checks all rows together.
pub fn check(rows: &Rows, found: &mut Findings) {
    for command in &rows.commands {
        handlers(command, found);
        request_members(command, found);
        whole(&command.request, command.origin.span.clone(), &command.origin, found);
        for answer in &command.answers {
            one_answer(command, answer, found);
        }
        announcements(command, &rows.events, found);
    }
    for event in &rows.events {
        whole(&event.shape, event.origin.span.clone(), &event.origin, found);
        copies(&event.shape, event.origin.span.clone(), &event.origin, found);
    }
    same_legacy_name(rows, found);
    same_topic(rows, found);
}

fn covers(earlier: &[Condition], later: &[Condition]) -> bool {
    earlier.iter().all(|e| later.iter().any(|l| e.covers(l)))
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
            found.add(&command.origin.source, command.origin.span.clone(), message, help);
        }
        let before = command.handlers.iter().take(i);
        if before.into_iter().any(|h| !h.when.is_empty() && covers(&h.when, &handler.when)) {
            let message = format!("{}: no request can reach the handler {who:?}", command.name);
            let help =
                "a handler before it takes all of its requests; change the order or the values";
            found.add(&command.origin.source, command.origin.span.clone(), message, help);
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
            Some(rule) if rule.convert != Convert::Carry => (
                format!(
                    "{}: an answer repeats the request's member `{name}`, which is converted",
                    command.name
                ),
                "only a member that is carried as it stands can be repeated".into(),
            ),
            Some(_) => continue,
        };
        found.add(&command.origin.source, command.origin.span.clone(), message, help);
    }
}

fn one_answer(command: &Command, answer: &Answer, found: &mut Findings) {
    whole(&answer.shape, answer.span.clone(), &command.origin, found);
    copies(&answer.shape, answer.span.clone(), &command.origin, found);
}

/// A copy is of something that the other side has.
fn copies(shape: &Shape, span: Range<usize>, origin: &Origin, found: &mut Findings) {
    for side in [Side::Legacy, Side::Mqtt] {
        let there = shape.names(side.other());
        for (name, given) in &shape.add[side] {
            let Given::Copy(from) = given else { continue };
            if !there.contains(from) && !shape.is_whole(side.other()) {
                let message =
                    format!("`{name}` cannot be built: the other side gives no member `{from}`");
                let help = format!("it gives: {}", list(&there));
                found.add(&origin.source, span.clone(), message, help);
            }
        }
    }
    for rule in &shape.rules {
        if let Convert::Each(element) = &rule.convert {
            whole(element, span.clone(), origin, found);
            copies(element, span.clone(), origin, found);
        }
    }
}

/// A body is one value or an object, and each of its members has one origin.
fn whole(shape: &Shape, span: Range<usize>, origin: &Origin, found: &mut Findings) {
    for side in [Side::Legacy, Side::Mqtt] {
        if shape.is_whole(side) && shape.rules.len() > 1 {
            let message = "\".\" is the whole legacy value, so no other member has a place";
            found.add(
                &origin.source,
                span.clone(),
                message,
                "keep one member, or name its legacy side",
            );
        }
        let mut seen = BTreeSet::new();
        for name in shape.rules.iter().flat_map(|r| r.place[side].names()) {
            if !seen.insert(name) {
                let message = format!("the member `{name}` has two origins");
                found.add(&origin.source, span.clone(), message, "keep one of them");
            }
        }
    }
}

fn announcements(command: &Command, events: &[Event], found: &mut Findings) {
    for announced in &command.announced {
        let known = events
            .iter()
            .any(|e| e.dialect == command.dialect && e.topic.as_ref() == Some(&announced.topic));
        if !known {
            let message = format!("no event of this dialect has the topic {:?}", announced.topic);
            let help = "write an event's whole topic, with its suffix";
            found.add(&command.origin.source, announced.span.clone(), message, help);
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

fn clash(what: &str, a: (&str, &Origin), b: (&str, &Origin), help: &str, found: &mut Findings) {
    let line = a.1.source.line(a.1.span.start);
    let message = format!(
        "{} and {} ({}:{line}) share {what}, and nothing tells them apart",
        b.0, a.0, a.1.source.name
    );
    found.add(&b.1.source, b.1.span.clone(), message, help);
}

const CONDITIONS: &str = "give one of them a `when`, or both `when`s that exclude each other";

fn same_legacy_name(rows: &Rows, found: &mut Findings) {
    let mut names: Vec<(&Command, &str, &[Condition])> = Vec::new();
    for command in rows.commands.iter().filter(|c| c.direction.goes_from(Side::Legacy)) {
        names.push((command, &command.legacy, &command.when.legacy));
        names.extend(
            command.aliases.iter().map(|a| (command, a.legacy.as_str(), a.when.as_slice())),
        );
    }
    for (i, (b, name, when)) in names.iter().enumerate() {
        for (a, other, earlier) in names.iter().take(i) {
            if a.dialect == b.dialect && name == other && !told_apart(earlier, when) {
                let what = format!("the legacy name {name:?}");
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), CONDITIONS, found);
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
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), CONDITIONS, found);
            }
        }
    }
}

/// Whether `a` gives way to `b` or the other way round.
fn supersedes(a: &Dialect, b: &Dialect) -> bool {
    a.supersedes.as_ref() == Some(&b.name) || b.supersedes.as_ref() == Some(&a.name)
}

fn same_topic(rows: &Rows, found: &mut Findings) {
    const DIALECTS: &str =
        "load one of the two files, or say which gives way: `supersedes = \"the older dialect\"`";
    let commands: Vec<_> =
        rows.commands.iter().filter(|c| c.direction.goes_from(Side::Mqtt)).collect();
    for (i, b) in commands.iter().enumerate() {
        for a in commands.iter().take(i).filter(|a| a.root == b.root) {
            let apart = told_apart(&a.when.mqtt, &b.when.mqtt);
            let what = format!("the topic {:?}", b.request_topic());
            let (Some(x), Some(y)) = (rows.dialects.get(a.dialect), rows.dialects.get(b.dialect))
            else {
                continue;
            };
            if a.dialect == b.dialect && !apart {
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), CONDITIONS, found);
            } else if a.dialect != b.dialect && !x.named && !y.named && !supersedes(x, y) && !apart
            {
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), DIALECTS, found);
            }
        }
    }
    let events: Vec<_> = rows.events.iter().filter(|e| e.direction.goes_from(Side::Mqtt)).collect();
    for (i, b) in events.iter().enumerate() {
        for a in events.iter().take(i).filter(|a| a.topic.is_some() && a.topic == b.topic) {
            let what = format!("the topic {:?}", b.topic.as_deref().unwrap_or_default());
            let (Some(x), Some(y)) = (rows.dialects.get(a.dialect), rows.dialects.get(b.dialect))
            else {
                continue;
            };
            let apart = told_apart(&a.when.mqtt, &b.when.mqtt);
            if a.dialect == b.dialect && !apart {
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), CONDITIONS, found);
            } else if a.dialect != b.dialect && !supersedes(x, y) && !apart {
                clash(&what, (&a.name, &a.origin), (&b.name, &b.origin), DIALECTS, found);
            }
        }
    }
}
