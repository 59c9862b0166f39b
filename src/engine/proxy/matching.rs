//! Whose answer something is.

use crate::engine::json::Object;
use crate::engine::mapping::scalar::all_hold;
use crate::engine::mapping::shape::{Both, Place, Repeat, Rule, Side, Values};
use crate::engine::mapping::{Answer, Command, Event, Table, Wire};
use std::sync::Arc;

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
        if !repeat.is_same(value, asked) {
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
    let repeats = repeats.filter_map(|r| Some((r.member.clone(), asked(&r.request)?)));
    let meant = announced.mqtt.iter().map(|(member, scalar)| (member.clone(), scalar.json()));
    repeats.chain(meant).collect()
}

fn value<'v>(values: &'v Values, name: &str) -> Option<&'v str> {
    values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}
