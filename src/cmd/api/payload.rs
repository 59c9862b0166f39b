//! The bodies of messages on MQTT, as JSON Schemas: what a row says of them, and no more.

use crate::engine::mapping::scalar::{Condition, Scalar, Test};
use crate::engine::mapping::shape::{Place, Shape, Side, Supplied};
use crate::engine::mapping::value::Convert;
use crate::engine::mapping::{Answer, Command, Event};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The members of an object, and those that must be there.
#[derive(Debug, Clone, Default)]
struct Members {
    all: Map<String, Value>,
    required: BTreeSet<String>,
}

impl Members {
    /// Those that a row names on MQTT.
    fn of(shape: &Shape, when: &[Condition]) -> Self {
        let mut members = Self::default();
        for condition in when {
            if let Test::OneOf { values, or_absent } = &condition.test {
                let values: Vec<Value> = values.iter().map(scalar).collect();
                members.put(&condition.member, json!({"enum": values}), !or_absent);
            }
        }
        for rule in &shape.rules {
            let Place::Members { written, .. } = &rule.place.mqtt else { continue };
            let required = !rule.optional && rule.default.legacy.is_none();
            for name in written {
                members.put(name, value(&rule.convert), required);
            }
        }
        for repeat in &shape.repeats.mqtt {
            members.put(&repeat.member, json!({}), false);
        }
        for (name, given) in &shape.add.mqtt {
            let example = match given {
                Supplied::Constant(constant) => json!({"examples": [scalar(constant)]}),
                _ => json!({}),
            };
            members.put(name, example, false);
        }
        members
    }

    fn put(&mut self, name: &str, schema: Value, required: bool) {
        if !self.all.contains_key(name) {
            self.all.insert(name.to_owned(), schema);
            if required {
                self.required.insert(name.to_owned());
            }
        }
    }

    /// What is one of both: values add up, and what one has not is no must.
    fn or(&mut self, other: Self) {
        self.required.retain(|name| other.required.contains(name));
        for (name, schema) in other.all {
            let Some(known) = self.all.get_mut(&name) else {
                self.all.insert(name, schema);
                continue;
            };
            let more = schema.get("enum").and_then(Value::as_array);
            let Some(values) = known.get_mut("enum").and_then(Value::as_array_mut) else {
                continue;
            };
            for value in more.into_iter().flatten() {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
        }
    }

    fn schema(self) -> Value {
        let required: Vec<_> = self.required.into_iter().collect();
        json!({"type": "object", "properties": self.all, "required": required})
    }
}

/// A request's, but for this member.
pub(super) fn request(row: &Command, but: Option<&str>) -> Value {
    let mut members = Members::of(&row.request, &row.when.mqtt);
    if let Some(name) = but {
        members.all.remove(name);
    }
    members.schema()
}

/// That of the answers to a request; `None` if it has none on MQTT.
pub(super) fn response(row: &Command) -> Option<Value> {
    let failure = row.failure.iter().map(|members| {
        let mut said = Members::default();
        for (name, given) in members {
            let schema = match given {
                Supplied::Constant(constant) => json!({"enum": [scalar(constant)]}),
                _ => json!({}),
            };
            said.put(name, schema, true);
        }
        said
    });
    let all = row.answers.iter().map(answer).chain(failure);
    all.reduce(|mut all, one| {
        all.or(one);
        all
    })
    .map(Members::schema)
}

fn answer(answer: &Answer) -> Members {
    let members = Members::of(&answer.shape, &answer.when.mqtt);
    let Some(list) = &answer.one_for_each else { return members };
    let mut all = Members::default();
    all.put(list, json!({"type": "array", "items": members.schema()}), true);
    all
}

/// A notification's.
pub(super) fn event(row: &Event) -> Value {
    Members::of(&row.shape, &row.when.mqtt).schema()
}

/// What a value is on MQTT.
fn value(convert: &Convert) -> Value {
    match convert {
        Convert::Values { pairs, open: false, .. } => {
            json!({"enum": pairs.iter().map(|(mqtt, _)| scalar(mqtt)).collect::<Vec<_>>()})
        }
        Convert::Base64 { zlib } => {
            let what = if *zlib { "compressed with zlib" } else { "as it is" };
            json!({"type": "string", "contentEncoding": "base64", "description": what})
        }
        Convert::Each(shape) => {
            let items = match shape.is_whole(Side::Mqtt) {
                true => json!({}),
                false => Members::of(shape, &[]).schema(),
            };
            json!({"type": "array", "items": items})
        }
        Convert::Prefix(_) | Convert::Leading(_) => json!({"type": "string"}),
        Convert::Carry | Convert::Null(_) | Convert::Starting(_) | Convert::Values { .. } => {
            json!({})
        }
    }
}

pub(super) fn scalar(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Text(text) => json!(text),
        Scalar::Integer(number) => json!(number),
        Scalar::Bool(flag) => json!(flag),
    }
}
