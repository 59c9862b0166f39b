//! Reading the parts of a row: conditions, members, values.

use super::Direction;
use super::scalar::{Condition, Scalar, Test};
use super::shape::{Both, Repeat, Shape, Side, Supplied};
use crate::diagnostic::{Findings, Source};
use crate::document::{self, Fields, Value};
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

    /// Checks that a name can be a member's: a `?` that nothing reads would become a part of it.
    pub fn named(&mut self, name: &str, span: Range<usize>) {
        if name.is_empty() || name.ends_with('?') {
            let message = format!("{name:?} is no member's name");
            let help = "give it a name without `?`: a member that may be absent has it on the legacy side of `members`, `name = \"legacy name?\"`, or on the left in `repeats`";
            self.add(span, message, help);
        }
    }

    pub fn scalar(&mut self, value: &Value<'_>) -> Option<Scalar> {
        let scalar = match value.get_ref() {
            DeValue::String(text) => Some(Scalar::Text(text.to_string())),
            DeValue::Boolean(flag) => Some(Scalar::Bool(*flag)),
            other => document::integer(other).map(Scalar::Integer),
        };
        if scalar.is_none() {
            let message = "only a text, a whole number, `true` or `false` can stand here";
            self.add(value.span(), message, "write one of these");
        }
        scalar
    }

    /// `{ member = value, member = [value, ...], member = { present = true } }`, or
    /// `{ member = { one_of = [value, ...], or_absent = true } }`
    pub fn conditions(&mut self, table: &'d DeTable<'d>) -> Vec<Condition> {
        let mut all = Vec::new();
        for (key, value) in table.iter() {
            self.named(key.get_ref(), key.span());
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
            for (key, value) in table.iter() {
                self.named(key.get_ref(), key.span());
                shape.rules.extend(self.rule(key.get_ref(), value));
            }
        }
        if let Some(mut add) = fields.fields("add", self.found) {
            shape.add.mqtt = self.givens(&mut add, "mqtt");
            shape.add.legacy = self.givens(&mut add, "legacy");
            add.finish(self.found);
        }
        if let Some(mut ignore) = fields.fields("ignore", self.found) {
            shape.ignore.mqtt = self.names(&mut ignore, "mqtt");
            shape.ignore.legacy = self.names(&mut ignore, "legacy");
            ignore.finish(self.found);
        }
        shape
    }

    /// Names of members.
    pub fn names(&mut self, fields: &mut Fields<'d>, key: &'static str) -> Vec<String> {
        let texts = fields.texts(key, self.found);
        texts.iter().for_each(|name| self.named(&name.text, name.span.clone()));
        texts.into_iter().map(|name| name.text).collect()
    }

    /// `{ member = constant or source }`
    pub fn givens(
        &mut self,
        fields: &mut Fields<'d>,
        key: &'static str,
    ) -> Vec<(String, Supplied)> {
        let Some((table, _)) = fields.table(key, self.found) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, value) in table.iter() {
            self.named(name.get_ref(), name.span());
            if let Some(given) = self.given(value) {
                all.push((name.get_ref().to_string(), given));
            }
        }
        all
    }

    /// `{ member = constant }`
    pub fn constants(
        &mut self,
        fields: &mut Fields<'d>,
        key: &'static str,
    ) -> Vec<(String, Scalar)> {
        let Some((table, _)) = fields.table(key, self.found) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, value) in table.iter() {
            self.named(name.get_ref(), name.span());
            all.extend(self.scalar(value).map(|scalar| (name.get_ref().to_string(), scalar)));
        }
        all
    }

    pub fn given(&mut self, value: &'d Value<'d>) -> Option<Supplied> {
        let Some(table) = value.get_ref().as_table() else {
            return self.scalar(value).map(Supplied::Constant);
        };
        let mut fields = Fields::new(self.source, table, value.span(), "a value");
        let copy = fields.text("legacy", self.found).or(fields.text("mqtt", self.found));
        let request = fields.text("request", self.found);
        let context = fields.text("context", self.found);
        fields.finish(self.found);
        for name in copy.iter().chain(&request) {
            self.named(&name.text, name.span.clone());
        }
        match (copy, request, context) {
            (Some(name), None, None) => Some(Supplied::Copy(name.text)),
            (None, Some(name), None) => Some(Supplied::Request(name.text)),
            (None, None, Some(what)) if what.text == "source" => Some(Supplied::Source),
            (None, None, Some(what)) if what.text == "now" => Some(Supplied::Now),
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
                    both[side].push(Repeat { member, request, written: true, leading: None });
                }
            }
            return both;
        }
        let Some(table) = value.get_ref().as_table() else {
            let help =
                "write `repeats = [\"name\"]`, or `repeats.legacy = { name = \"the request's\" }`";
            self.add(value.span(), "`repeats` must be a list or a table", help);
            return both;
        };
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
                self.named(member, name.span());
                self.named(&request.text, request.span);
                let (member, written) = (member.to_owned(), !only_compared);
                both[side].push(Repeat { member, request: request.text, written, leading: None });
            }
        }
        sides.finish(self.found);
        both
    }
}

/// `"name?"` is a member that may be absent.
pub(super) fn optional(text: &str) -> (&str, bool) {
    text.strip_suffix('?').map_or((text, false), |name| (name, true))
}

/// `only`: in which directions something travels.
pub(super) fn direction(fields: &mut Fields<'_>, reader: &mut Reader<'_, '_>) -> Direction {
    let Some(only) = fields.text("only", reader.found) else { return Direction::Both };
    match only.text.as_str() {
        "to_mqtt" => Direction::ToMqtt,
        "to_legacy" => Direction::ToLegacy,
        other => {
            let help = "write \"to_mqtt\" or \"to_legacy\", or leave it out for both";
            reader.add(only.span, format!("there is no direction {other:?}"), help);
            Direction::Both
        }
    }
}
