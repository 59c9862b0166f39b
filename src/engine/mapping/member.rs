//! Reading one member of a row: where it stands on each side, and what is done to it on its way.

use super::read::{Reader, direction, optional};
use super::scalar::Scalar;
use super::shape::{Both, LeaveOut, Listed, Place, Rule, Side, Supplied};
use super::value::Convert;
use super::{Direction, topic};
use crate::document::{self, Fields, Text, Value};
use std::ops::Range;
use toml::de::DeTable;

impl<'d> Reader<'_, 'd> {
    /// One line of `members`.
    pub(super) fn rule(&mut self, mqtt: &str, value: &'d Value<'d>) -> Option<Rule> {
        let written = |name: &str| Place::Members { written: vec![name.into()], read: vec![] };
        if let Some(text) = value.get_ref().as_str() {
            let (name, optional) = optional(text);
            self.named(name, value.span());
            return Some(Rule {
                place: Both { legacy: self.place(&[name], value.span()), mqtt: written(mqtt) },
                direction: Direction::Both,
                optional,
                listed: None,
                convert: Convert::Carry,
                default: Both::default(),
                leave_out: Both::default(),
            });
        }
        let Some(table) = value.get_ref().as_table() else {
            let message = format!("the member `{mqtt}` must be a legacy name or a table");
            let help = format!("write `{mqtt} = \"its name on the legacy wire\"`");
            self.add(value.span(), message, help);
            return None;
        };
        let mut fields = Fields::new(self.source, table, value.span(), format!("member `{mqtt}`"));
        let legacy = fields.texts("legacy", self.found);
        if legacy.is_empty() {
            let help = "add `legacy = \"its name on the legacy wire\"`";
            self.add(value.span(), format!("the member `{mqtt}` has no legacy side"), help);
        }
        let names: Vec<&str> = legacy.iter().map(|t| t.text.as_str()).collect();
        let whole = legacy.iter().find(|t| t.text == ".").map(|t| t.span.clone());
        legacy.iter().for_each(|name| self.named(&name.text, name.span.clone()));
        let also = self.names(&mut fields, "also");
        let optional = fields.flag("optional", self.found).unwrap_or(false);
        let direction = direction(&mut fields, self);
        let listed = self.listed(&mut fields);
        let default = self.defaults(&mut fields);
        let leave_out = self.leave_outs(&mut fields);
        let convert = self.convert(&mut fields);
        fields.finish(self.found);
        let mqtt = Place::Members { written: vec![mqtt.into()], read: also };
        let place = Both { legacy: self.place(&names, whole.unwrap_or(value.span())), mqtt };
        Some(Rule { place, direction, optional, listed, convert: convert?, default, leave_out })
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

    fn listed(&mut self, fields: &mut Fields<'d>) -> Option<Listed> {
        let mut table = fields.fields("listed", self.found)?;
        let root = table.required("topic", self.found);
        let member = table.required("member", self.found);
        let until = table.text("until", self.found).map(|t| topic::whole(t, self));
        table.finish(self.found);
        let root = topic::root(root?, "/response", self);
        Some(Listed { root, member: member?.text, until })
    }

    fn defaults(&mut self, fields: &mut Fields<'d>) -> Both<Option<Supplied>> {
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
        if let Some(text) = fields.text("leading", self.found) {
            all.push(Convert::Leading(text.text));
        }
        if all.len() > 1 {
            let ways = ["values", "null", "encoding", "each", "starting", "prefix", "leading"];
            let second = ways.iter().filter(|w| fields.has(w)).nth(1).copied().unwrap_or_default();
            let help =
                "keep one of `values`, `null`, `encoding`, `each`, `starting`, `prefix`, `leading`";
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
            if value.get_ref().is_array() {
                let message = format!("{:?} is paired with several values", key.get_ref());
                let help = "keep one value here; another MQTT value for the same legacy one goes into `also_values`";
                self.add(value.span(), message, help);
                continue;
            }
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
        if table.is_empty() {
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
}

/// An enumeration's MQTT value is a key, and so a text; `true`, `false` and whole numbers mean themselves.
fn mqtt_value(key: &str) -> Scalar {
    match key {
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        _ => key.parse().map_or_else(|_| Scalar::Text(key.to_owned()), Scalar::Integer),
    }
}
