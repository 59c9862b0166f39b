//! What answers take from their requests, and how it tells whose an answer is.

use super::read::Reader;
use super::shape::{Repeat, Rule, Shape, Side, Supplied};
use super::value::Convert;
use super::{Announced, Answer, OneAtATime};
use crate::document::Fields;
use std::collections::BTreeSet;
use toml::de::DeValue;

/// The request's members that its answers compare or write.
pub(super) fn keeps(
    answers: &[Answer],
    announced: &[Announced],
    failure: Option<&[(String, Supplied)]>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut given = |list: &[(String, Supplied)]| {
        for (_, given) in list {
            if let Supplied::Request(name) = given {
                names.insert(name.clone());
            }
        }
    };
    for answer in answers {
        given(&answer.shape.add.mqtt);
        given(&answer.shape.add.legacy);
        given(&answer.shape.defaults());
    }
    for announced in announced {
        given(&announced.legacy);
    }
    given(failure.unwrap_or_default());
    for answer in answers {
        for side in [Side::Legacy, Side::Mqtt] {
            names.extend(answer.shape.repeats[side].iter().map(|r| r.request.clone()));
        }
        names.extend(answer.request.iter().map(|c| c.member.clone()));
    }
    names.extend(announced.iter().flat_map(|a| a.repeats.iter().map(|r| r.request.clone())));
    names
}

/// What the request's members are given on MQTT stands in what repeats them.
pub(super) fn lead(request: &Shape, answers: &mut [Answer], announced: &mut [Announced]) {
    let of_answers = answers.iter_mut().flat_map(|a| a.shape.repeats.mqtt.iter_mut());
    for repeat in of_answers.chain(announced.iter_mut().flat_map(|a| a.repeats.iter_mut())) {
        let about = |r: &&Rule| r.place.mqtt.names().any(|name| *name == repeat.request);
        if let Some(Convert::Leading(text)) = request.rules.iter().find(about).map(|r| &r.convert) {
            repeat.leading = Some(text.clone());
        }
    }
}

/// `one_at_a_time = true`, or the request's member by which calls get mixed up.
pub(super) fn one_at_a_time<'d>(
    row: &mut Fields<'d>,
    answers: &[Answer],
    reader: &mut Reader<'_, 'd>,
) -> OneAtATime {
    let all = |yes: bool| if yes { OneAtATime::All } else { OneAtATime::No };
    match row.get("one_at_a_time").map(|value| (value, value.get_ref())) {
        None => all(answers_get_mixed_up(answers)),
        Some((_, DeValue::Boolean(yes))) => all(*yes),
        Some((_, DeValue::String(member))) => OneAtATime::With(member.to_string()),
        Some((value, _)) => {
            let way = "write `true`, or the request's member: `one_at_a_time = \"disk\"`";
            let kind = "`true`, `false` or a member of the request";
            row.wrong_kind("one_at_a_time", value, kind, way, reader.found);
            OneAtATime::No
        }
    }
}

/// Whether an answer is built from its call, while nothing in it says which call that is: then two
/// calls at a time could be given each other's answers.
fn answers_get_mixed_up(answers: &[Answer]) -> bool {
    let from_call = |a: &Answer| {
        let given = |(_, g): &(String, Supplied)| matches!(g, Supplied::Request(_));
        let repeat = |r: &Repeat| r.written;
        !a.request.is_empty()
            || a.shape.add.legacy.iter().any(given)
            || a.shape.repeats.legacy.iter().any(repeat)
    };
    answers.iter().any(|a| {
        a.direction.goes_from(Side::Mqtt) && a.shape.repeats.mqtt.is_empty() && from_call(a)
    })
}

impl OneAtATime {
    /// The request's members that tell which calls wait for each other, and, where a second answer is to come,
    /// those that tell whether it may be another call's.
    pub(super) fn keeps(&self, request: &Shape, answered_twice: bool) -> BTreeSet<String> {
        let Self::With(member) = self else { return BTreeSet::new() };
        let carried = |r: &&Rule| matches!(r.convert, Convert::Carry | Convert::Leading(_));
        let rules = request.rules.iter().filter(|r| answered_twice && carried(r));
        let names = rules.filter_map(|r| r.place.mqtt.names().next().cloned());
        names.chain(std::iter::once(member.clone())).collect()
    }
}
