//! Reading the parts of a row: conditions, members, values.

use super::scalar::{Condition, Scalar, Test};
use super::shape::{Both, Given, LeaveOut, Place, Repeat, Rule, Shape, Side};
use super::value::Convert;
use crate::diagnostic::{Findings, Source};
use crate::document::{self, Fields, Text, Value};
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Reads parts of one file.
pub(super) struct Reader<'f, 'd> {
    pub source: &'d Arc<Source>,
    pub found: &'f mut Findings,
}

impl<'d> Reader<'_, 'd> {
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.found.add(self.source, span, message, help);
    }

    fn table_of(&mut self, value: &'d Value<'d>, what: &str) -> Option<&'d DeTable<'d>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.add(value.span(), format!("{what} must be a table"), "write `{ name = value }`");
        }
        table
    }

    pub fn scalar(&mut self, value: &Value<'_>) -> Option<Scalar> {
        let scalar = match value.get_ref() {
            DeValue::String(text) => Some(Scalar::Text(text.to_string())),
            DeValue::Boolean(flag) => Some(Scalar::Bool(*flag)),
            other => document::integer(other).map(Scalar::Integer),
        };
        if scalar.is_none() {
            let help = "a constant is a text, a whole number, `true` or `false`";
            self.add(value.span(), "this is no constant", help);
        }
        scalar
    }

    /// `{ member = value, member = [value, ...], member = { present = true } }`, or
    /// `{ member = { one_of = [value, ...], or_absent = true } }`
    pub fn conditions(&mut self, table: &'d DeTable<'d>) -> Vec<Condition> {
        let mut all = Vec::new();
        for (key, value) in table.iter() {
            let test = match value.get_ref() {
                DeValue::Table(inner) => self.condition(inner, value),
                _ => Some(Test::OneOf { values: self.one_of(value), or_absent: false }),
            };
            all.extend(test.map(|test| Condition { member: key.get_ref().to_string(), test }));
        }
        all
    }

    fn condition(&mut self, table: &'d DeTable<'d>, value: &'d Value<'d>) -> Option<Test> {
        let mut fields = Fields::new(self.source, table, value.span(), "a condition");
        let present = fields.flag("present", self.found);
        let values = fields.get("one_of").map(|v| self.one_of(v));
        let or_absent = fields.flag("or_absent", self.found);
        fields.finish(self.found);
        match (present, values, or_absent) {
            (Some(present), None, None) => Some(Test::Present(present)),
            (None, Some(values), absent) => {
                Some(Test::OneOf { values, or_absent: absent.unwrap_or(false) })
            }
            _ => {
                let help = "write { present = true }, { present = false } or { one_of = [...], or_absent = true }";
                self.add(value.span(), "a condition is `present` or `one_of`", help);
                None
            }
        }
    }

    /// A value, or a list of them.
    fn one_of(&mut self, value: &'d Value<'d>) -> Vec<Scalar> {
        let Some(list) = value.get_ref().as_array() else {
            return self.scalar(value).into_iter().collect();
        };
        if list.is_empty() {
            self.add(value.span(), "no value satisfies this", "name one value or more");
        }
        list.iter().filter_map(|v| self.scalar(v)).collect()
    }

    pub fn conditions_at(&mut self, fields: &mut Fields<'d>, key: &'static str) -> Vec<Condition> {
        match fields.table(key, self.found) {
            Some((table, _)) => self.conditions(table),
            None => Vec::new(),
        }
    }

    /// `when = { mqtt = {...}, legacy = {...} }`, and `request` where a request is known.
    pub fn when(
        &mut self,
        fields: &mut Fields<'d>,
        with_request: bool,
    ) -> (Both<Vec<Condition>>, Vec<Condition>) {
        let Some(mut when) = fields.fields("when", self.found) else { return Default::default() };
        let mqtt = self.conditions_at(&mut when, "mqtt");
        let legacy = self.conditions_at(&mut when, "legacy");
        let request =
            if with_request { self.conditions_at(&mut when, "request") } else { Vec::new() };
        when.finish(self.found);
        (Both { legacy, mqtt }, request)
    }

    /// `members`, `add` and `ignore`: what every body has.
    pub fn shape(&mut self, fields: &mut Fields<'d>) -> Shape {
        let mut shape = Shape::default();
        if let Some((table, _)) = fields.table("members", self.found) {
            shape.rules = table.iter().filter_map(|(k, v)| self.rule(k.get_ref(), v)).collect();
        }
        if let Some(mut add) = fields.fields("add", self.found) {
            shape.add.mqtt = self.givens(&mut add, "mqtt");
            shape.add.legacy = self.givens(&mut add, "legacy");
            add.finish(self.found);
        }
        if let Some(mut ignore) = fields.fields("ignore", self.found) {
            let names = |texts: Vec<Text>| texts.into_iter().map(|t| t.text).collect();
            shape.ignore.mqtt = names(ignore.texts("mqtt", self.found));
            shape.ignore.legacy = names(ignore.texts("legacy", self.found));
            ignore.finish(self.found);
        }
        shape
    }

    /// `{ member = constant or source }`
    pub fn givens(&mut self, fields: &mut Fields<'d>, key: &'static str) -> Vec<(String, Given)> {
        let Some((table, _)) = fields.table(key, self.found) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, value) in table.iter() {
            if let Some(given) = self.given(value) {
                all.push((name.get_ref().to_string(), given));
            }
        }
        all
    }

    fn given(&mut self, value: &'d Value<'d>) -> Option<Given> {
        let Some(table) = value.get_ref().as_table() else {
            return self.scalar(value).map(Given::Constant);
        };
        let mut fields = Fields::new(self.source, table, value.span(), "a value");
        let copy = fields.text("legacy", self.found).or(fields.text("mqtt", self.found));
        let request = fields.text("request", self.found);
        let context = fields.text("context", self.found);
        fields.finish(self.found);
        match (copy, request, context) {
            (Some(name), None, None) => Some(Given::Copy(name.text)),
            (None, Some(name), None) => Some(Given::Request(name.text)),
            (None, None, Some(what)) if what.text == "source" => Some(Given::Source),
            (None, None, Some(what)) if what.text == "now" => Some(Given::Now),
            (None, None, Some(what)) => {
                let message = format!("there is no context {:?}", what.text);
                self.add(what.span, message, "the contexts are \"source\" and \"now\"");
                None
            }
            _ => {
                let help = "write one of { legacy = \"m\" }, { mqtt = \"m\" }, { request = \"m\" }, { context = \"now\" }";
                self.add(value.span(), "a value has one origin", help);
                None
            }
        }
    }

    /// One line of `members`.
    fn rule(&mut self, mqtt: &str, value: &'d Value<'d>) -> Option<Rule> {
        let written = |name: &str| Place::Members { written: vec![name.into()], read: vec![] };
        if let Some(text) = value.get_ref().as_str() {
            let (name, optional) = optional(text);
            return Some(Rule {
                place: Both { legacy: self.place(&[name], value.span()), mqtt: written(mqtt) },
                optional,
                convert: Convert::Carry,
                default: Both::default(),
                leave_out: Both::default(),
            });
        }
        let table = self.table_of(value, &format!("the member `{mqtt}`"))?;
        let mut fields = Fields::new(self.source, table, value.span(), format!("member `{mqtt}`"));
        let legacy = fields.texts("legacy", self.found);
        if legacy.is_empty() {
            let help = "add `legacy = \"its name on the legacy wire\"`";
            self.add(value.span(), format!("the member `{mqtt}` has no legacy side"), help);
        }
        let names: Vec<&str> = legacy.iter().map(|t| t.text.as_str()).collect();
        let whole = legacy.iter().find(|t| t.text == ".").map(|t| t.span.clone());
        let also = fields.texts("also", self.found).into_iter().map(|t| t.text).collect();
        let optional = fields.flag("optional", self.found).unwrap_or(false);
        let default = self.defaults(&mut fields);
        let leave_out = self.leave_outs(&mut fields);
        let convert = self.convert(&mut fields);
        fields.finish(self.found);
        let mqtt = Place::Members { written: vec![mqtt.into()], read: also };
        let place = Both { legacy: self.place(&names, whole.unwrap_or(value.span())), mqtt };
        Some(Rule { place, optional, convert: convert?, default, leave_out })
    }

    fn place(&mut self, names: &[&str], span: Range<usize>) -> Place {
        if names == ["."] {
            return Place::Whole;
        }
        if names.contains(&".") {
            self.add(span, "\".\" is the whole body and stands alone", "leave the other names out");
        }
        Place::Members { written: names.iter().map(|&n| n.into()).collect(), read: vec![] }
    }

    fn defaults(&mut self, fields: &mut Fields<'d>) -> Both<Option<Given>> {
        let mut both = Both::default();
        if let Some(mut default) = fields.fields("default", self.found) {
            for (side, key) in [(Side::Mqtt, "mqtt"), (Side::Legacy, "legacy")] {
                both[side] = default.get(key).and_then(|v| self.given(v));
            }
            default.finish(self.found);
        }
        both
    }

    fn leave_outs(&mut self, fields: &mut Fields<'d>) -> Both<Option<LeaveOut>> {
        let mut both = Both::default();
        if let Some(mut sides) = fields.fields("leave_out", self.found) {
            for (side, key) in [(Side::Mqtt, "mqtt"), (Side::Legacy, "legacy")] {
                let Some(mut inner) = sides.fields(key, self.found) else { continue };
                let value = inner.get("value").and_then(|v| self.scalar(v));
                let when = match inner.table("when", self.found) {
                    Some((table, _)) => super::constants(&self.conditions(table)),
                    None => Vec::new(),
                };
                inner.finish(self.found);
                both[side] = value.map(|value| LeaveOut { value, when });
            }
            sides.finish(self.found);
        }
        both
    }

    fn convert(&mut self, fields: &mut Fields<'d>) -> Option<Convert> {
        let mut all = Vec::new();
        let open = fields.flag("open", self.found).unwrap_or(false);
        let values = fields.table("values", self.found);
        let more = fields.table("also_values", self.found);
        if let Some((table, span)) = values {
            all.push(self.values(table, span, more.as_ref().map(|m| m.0), open));
        } else if let Some((_, span)) = more {
            let help = "add `values`, which says what is written";
            self.add(span, "`also_values` are only read", help);
        }
        if let Some(value) = fields.get("null") {
            all.extend(self.scalar(value).map(Convert::Null));
        }
        if let Some(text) = fields.text("encoding", self.found) {
            all.extend(self.encoding(&text));
        }
        if let Some(mut each) = fields.fields("each", self.found) {
            let mut shape = self.shape(&mut each);
            each.finish(self.found);
            for side in [Side::Legacy, Side::Mqtt] {
                shape.own[side] = shape.names(side);
                shape.reserved[side] = shape.names(side);
            }
            all.push(Convert::Each(Box::new(shape)));
        }
        if let Some((table, _)) = fields.table("starting", self.found) {
            let mut pairs = Vec::new();
            for (beginning, value) in table.iter() {
                let name = document::text(self.source, value, "a name", self.found);
                pairs.extend(name.map(|n| (beginning.get_ref().to_string(), n.text)));
            }
            all.push(Convert::Starting(pairs));
        }
        if let Some(text) = fields.text("prefix", self.found) {
            all.push(Convert::Prefix(text.text));
        }
        if all.len() > 1 {
            let ways = ["values", "null", "encoding", "each", "starting", "prefix"];
            let second = ways.iter().filter(|w| fields.has(w)).nth(1).copied().unwrap_or_default();
            let help = "keep one of `values`, `null`, `encoding`, `each`, `starting`, `prefix`";
            self.add(fields.span_of(second), "a value is converted in one way", help);
            return None;
        }
        Some(all.pop().unwrap_or(Convert::Carry))
    }

    /// `values`, which serve both directions, and `also_values`, which are only read on MQTT.
    fn values(
        &mut self,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        more: Option<&'d DeTable<'d>>,
        open: bool,
    ) -> Convert {
        let mut pairs: Vec<(Scalar, Scalar)> = Vec::new();
        for (key, value) in table.iter() {
            let Some(legacy) = self.scalar(value) else { continue };
            if let Some((mqtt, _)) = pairs.iter().find(|(_, l)| *l == legacy) {
                let message = format!(
                    "the enumeration is not one-to-one: {} and {:?} are both {}",
                    mqtt.json(),
                    key.get_ref(),
                    legacy.json()
                );
                let help = "give each MQTT value a legacy value of its own, or put one that is only read into `also_values`";
                self.add(value.span(), message, help);
            }
            pairs.push((mqtt_value(key.get_ref()), legacy));
        }
        if pairs.is_empty() {
            self.add(span, "the enumeration is empty", "write `{ mqtt_value = \"legacy value\" }`");
        }
        let mut also = Vec::new();
        for (key, value) in more.into_iter().flat_map(|m| m.iter()) {
            let Some(legacy) = self.scalar(value) else { continue };
            let mqtt = mqtt_value(key.get_ref());
            if pairs.iter().any(|(m, _)| *m == mqtt) {
                let message = format!("{} is among the `values` already", mqtt.json());
                self.add(key.span(), message, "keep one of the two");
            }
            also.push((mqtt, legacy));
        }
        Convert::Values { pairs, also, open }
    }

    fn encoding(&mut self, text: &Text) -> Option<Convert> {
        match text.text.as_str() {
            "base64" => Some(Convert::Base64 { zlib: false }),
            "zlib+base64" => Some(Convert::Base64 { zlib: true }),
            other => {
                let help = "the encodings are \"base64\" and \"zlib+base64\"";
                self.add(text.span.clone(), format!("there is no encoding {other:?}"), help);
                None
            }
        }
    }

    /// `repeats = ["member"]`, or `repeats = { mqtt = {...}, legacy = {...} }`
    pub fn repeats(&mut self, fields: &mut Fields<'d>, shape: &Shape) -> Both<Vec<Repeat>> {
        let Some(value) = fields.get("repeats") else { return Both::default() };
        let mut both: Both<Vec<Repeat>> = Both::default();
        if value.get_ref().as_array().is_some() {
            for name in document::texts(self.source, value, "`repeats`", self.found) {
                let rule =
                    shape.rules.iter().find(|r| r.place.mqtt.names().any(|n| *n == name.text));
                let Some(rule) = rule else {
                    let message = format!("`{}` is no member of this answer", name.text);
                    self.add(
                        name.span,
                        message,
                        "name one of `members`, or say { legacy = {...} }",
                    );
                    continue;
                };
                for side in [Side::Mqtt, Side::Legacy] {
                    let member = rule.place[side].names().next().cloned().unwrap_or_default();
                    let request = name.text.clone();
                    both[side].push(Repeat { member, request, written: true });
                }
            }
            return both;
        }
        let Some(table) = self.table_of(value, "`repeats`") else { return both };
        let mut sides = Fields::new(self.source, table, value.span(), "`repeats`");
        for (side, key) in [(Side::Mqtt, "mqtt"), (Side::Legacy, "legacy")] {
            let Some((table, _)) = sides.table(key, self.found) else { continue };
            for (name, value) in table.iter() {
                let Some(request) =
                    document::text(self.source, value, "a request's member", self.found)
                else {
                    continue;
                };
                let (member, only_compared) = optional(name.get_ref());
                let (member, written) = (member.to_owned(), !only_compared);
                both[side].push(Repeat { member, request: request.text, written });
            }
        }
        sides.finish(self.found);
        both
    }
}

/// `"name?"` is a member that may be absent.
fn optional(text: &str) -> (&str, bool) {
    text.strip_suffix('?').map_or((text, false), |name| (name, true))
}

/// An enumeration's MQTT value is a key, and so a text; `true`, `false` and whole numbers mean themselves.
fn mqtt_value(key: &str) -> Scalar {
    match key {
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        _ => key.parse().map_or_else(|_| Scalar::Text(key.to_owned()), Scalar::Integer),
    }
}
