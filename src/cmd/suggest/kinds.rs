//! What values were heard: which kinds, which members, and which of them were not always there.

use super::quoted::shown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeMap;

/// How much of a text is shown.
const SHOWN: usize = 32;
/// How many values are shown.
const SAMPLES: usize = 3;
/// The shortest text that is taken for Base64.
const ENCODED: usize = 16;

/// Values that stood in one place.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many there were.
    count: usize,
    kinds: BTreeMap<&'static str, usize>,
    samples: Vec<String>,
    /// The members of those that were objects.
    members: BTreeMap<String, Seen>,
    /// The elements of those that were lists.
    elements: Option<Box<Seen>>,
}

impl Seen {
    /// Takes one more value in.
    pub fn take(&mut self, value: &Value) {
        self.count += 1;
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a number",
            Value::Number(_) => "a whole number",
            Value::String(text) => kind_of(text),
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        *self.kinds.entry(kind).or_default() += 1;
        match value {
            Value::Array(elements) => {
                let all = self.elements.get_or_insert_default();
                elements.iter().for_each(|element| all.take(element));
            }
            Value::Object(members) => {
                for (name, value) in members {
                    self.members.entry(name.clone()).or_default().take(value);
                }
            }
            Value::String(_) | Value::Number(_) if self.samples.len() < SAMPLES => {
                let sample = value.to_string();
                if !self.samples.contains(&sample) {
                    self.samples.push(sample);
                }
            }
            _ => {}
        }
    }

    /// Whether nothing was seen.
    pub fn is_nothing(&self) -> bool {
        self.count == 0
    }

    /// Whether all of them were objects.
    pub fn is_object(&self) -> bool {
        self.kinds.keys().all(|kind| *kind == "an object")
    }

    /// Its members, and whether each was always there.
    pub fn members(&self) -> impl Iterator<Item = (&String, &Self, bool)> {
        self.members.iter().map(|(name, member)| (name, member, member.count == self.count))
    }

    /// What its elements have, if it is a list of objects that have something.
    pub fn objects(&self) -> Option<&Self> {
        let is_list = self.kinds.keys().all(|kind| *kind == "a list");
        let elements = self.elements.as_deref().filter(|_| is_list)?;
        (elements.is_object() && !elements.members.is_empty()).then_some(elements)
    }

    /// For a comment: "text, such as "KEY"".
    pub fn described(&self) -> String {
        let kinds: Vec<&str> = self.kinds.keys().copied().collect();
        let mut out = kinds.join(" or ");
        if let Some(elements) = self.elements.as_ref().filter(|e| !e.is_nothing()) {
            out = out.replace("a list", &format!("a list of ({})", elements.described()));
        }
        if !self.members.is_empty() {
            let names: Vec<_> =
                self.members.keys().take(8).map(|name| shown(name, SHOWN)).collect();
            let more = if self.members.len() > names.len() { ", ..." } else { "" };
            out = out.replace("an object", &format!("an object with {}{more}", names.join(", ")));
        }
        if self.samples.is_empty() {
            return out;
        }
        let samples = self.samples.iter().map(|sample| shown(sample, SHOWN));
        format!("{out}, such as {}", samples.collect::<Vec<_>>().join(", "))
    }
}

/// What a text seems to be.
fn kind_of(text: &str) -> &'static str {
    let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    let mixed =
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    if text.len() < ENCODED || hexadecimal || !(mixed || text.ends_with('=')) {
        return "text";
    }
    match STANDARD.decode(text).as_deref() {
        Ok([0x78, second, ..]) if (0x7800 + u32::from(*second)) % 31 == 0 => {
            "Base64 of zlib, carried as it is"
        }
        Ok(_) => "Base64, carried as it is",
        Err(_) => "text",
    }
}
