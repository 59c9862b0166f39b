//! What is left of a recording that other people may read: who says what kind of thing to whom and when, and of
//! the values of a payload their kind and their length. Equal values stay equal.

use crate::engine::gateway::{GatewayInput, Recorded};
use crate::engine::mapping::Table;
use crate::engine::name::DomainName;
use crate::engine::session::SessionInput;
use bytes::Bytes;
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};

/// A longer line is no message.
const LONGEST: usize = 64 * 1024 * 1024;

/// Takes out of a recording what nobody else is to know.
pub(super) struct Redactor {
    /// What the mapping says itself: no secret, and what the translation depends on.
    words: BTreeSet<String>,
    /// The line that has begun, by where it came.
    begun: BTreeMap<(bool, DomainName), Vec<u8>>,
    /// Makes of a value always the same, and of nobody's else.
    state: RandomState,
}

impl Redactor {
    pub fn new(table: &Table, domains: impl IntoIterator<Item = DomainName>) -> Self {
        let rows = table.commands().iter().map(|row| &row.origin.source);
        let texts = rows.chain(table.events().iter().map(|row| &row.origin.source));
        // Every second piece stands between quotation marks.
        let words = texts.flat_map(|source| source.text.split('"').skip(1).step_by(2));
        let names = domains.into_iter().map(|name| name.to_string());
        let words = words.map(str::to_owned).chain(names).collect();
        Self { words, begun: BTreeMap::new(), state: RandomState::new() }
    }

    /// A line of a recording, as it may be read; `None`: not at all.
    pub fn line(&mut self, line: &str) -> Option<String> {
        let recorded = match Recorded::parse(line).ok()? {
            Recorded::Recording { format, program, .. } => {
                Recorded::Recording { format, program, redacted: true }
            }
            Recorded::Missed(inputs) => Recorded::Missed(inputs),
            Recorded::Input { at, wall, told } => {
                Recorded::Input { at, wall, told: self.input(told)? }
            }
            Recorded::State(_) | Recorded::Effect { .. } => return None,
        };
        Some(recorded.line())
    }

    fn input(&mut self, told: GatewayInput) -> Option<GatewayInput> {
        match told {
            GatewayInput::Received { of, bytes, more } => {
                let bytes = self.lines((false, of.clone()), &bytes)?;
                Some(GatewayInput::Received { of, bytes, more })
            }
            GatewayInput::SocketReceived { of, bytes, more } => {
                let bytes = self.lines((true, of.clone()), &bytes)?;
                Some(GatewayInput::SocketReceived { of, bytes, more })
            }
            GatewayInput::Session { of, input: SessionInput::Received(mut message, id, qos) } => {
                message.payload = self.message(&message.payload, &[]);
                Some(GatewayInput::Session { of, input: SessionInput::Received(message, id, qos) })
            }
            GatewayInput::Closed { ref of, .. } => {
                self.begun.remove(&(false, of.clone()));
                Some(told)
            }
            GatewayInput::Opened { .. }
            | GatewayInput::SocketOpened { .. }
            | GatewayInput::SocketClosed { .. } => Some(told),
            _ => None,
        }
    }

    /// The lines that have become whole.
    fn lines(&mut self, on: (bool, DomainName), bytes: &[u8]) -> Option<Bytes> {
        const ENVELOPE: [&[&str]; 2] =
            [&["type", "source", "destination"], &["commande", "evenement"]];
        let mut begun = self.begun.remove(&on).unwrap_or_default();
        begun.extend_from_slice(bytes);
        let end = memchr::memrchr(b'\n', &begun).map_or(0, |at| at + 1);
        let rest = begun.split_off(end);
        if rest.len() <= LONGEST {
            self.begun.insert(on, rest);
        }
        let mut lines = Vec::with_capacity(begun.len());
        for line in begun.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            lines.extend_from_slice(&self.message(line, &ENVELOPE));
            lines.push(b'\n');
        }
        (!lines.is_empty()).then(|| lines.into())
    }

    /// A message; `kept`: the members whose values stay, at each depth.
    fn message(&mut self, bytes: &[u8], kept: &[&[&str]]) -> Bytes {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(mut value) => {
                self.value(&mut value, kept);
                value.to_string().into()
            }
            Err(_) => vec![b'x'; bytes.len()].into(),
        }
    }

    fn value(&mut self, value: &mut Value, kept: &[&[&str]]) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                let digits = number
                    .to_string()
                    .chars()
                    .map(|c| if c.is_ascii_digit() { '1' } else { c })
                    .collect::<String>();
                *number = digits.parse::<Number>().unwrap_or_else(|_| Number::from(1));
            }
            Value::String(text) => {
                if !self.words.contains(text) {
                    *text = self.text(text);
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value, &[])),
            Value::Object(members) => {
                let here = kept.first().copied().unwrap_or_default();
                let below = kept.get(1..).unwrap_or_default();
                for (name, value) in members {
                    match value {
                        Value::String(text) if here.contains(&&**name) => {
                            // On MQTT, the same name is a value like any other.
                            self.words.insert(text.clone());
                        }
                        value => self.value(value, below),
                    }
                }
            }
        }
    }

    /// A text that is as long, and always the same for the same one.
    fn text(&self, text: &str) -> String {
        let mut hash = self.state.hash_one(text);
        let letter = |c: char| {
            if !c.is_alphanumeric() {
                return c;
            }
            hash = hash.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            char::from(b'a' + u8::try_from(hash >> 32 & 15).unwrap_or_default())
        };
        text.chars().map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mapping::table::Speaks;

    #[test]
    fn values_go_and_what_the_mapping_needs_stays() {
        let source = crate::cmd::read("mappings/psec.toml".as_ref()).unwrap();
        let table = Table::compile(&[source], &Speaks::default()).unwrap();
        let mut redactor = Redactor::new(&table, []);
        let of = DomainName::parse("vm-gui").unwrap();
        let line = r#"{"type":"commande","source":"vm-gui","destination":"sys-usb","payload":{"commande":"copie_fichier","arguments":{"nom_fichier":"secret.txt","autre":"secret.txt","source":"secret.txt","taille":1234,"vrai":true}}}"#;
        let mut told = |text: &str| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let told = GatewayInput::Received { of: of.clone(), bytes, more: false };
            match redactor.input(told) {
                Some(GatewayInput::Received { bytes, .. }) => {
                    Some(String::from_utf8(bytes.to_vec()).unwrap())
                }
                _ => None,
            }
        };
        let (first, rest) = line.split_at(40);
        assert_eq!(told(first), None, "it is not whole");
        let text = told(&format!("{rest}\nno JSON: secret\n")).unwrap();
        assert!(!text.contains("secret"), "{text}");
        let (message, other) = text.split_once('\n').unwrap();
        let message: Value = serde_json::from_str(message).unwrap();
        assert_eq!(message["payload"]["commande"], "copie_fichier");
        assert_eq!(message["destination"], "sys-usb");
        let arguments = &message["payload"]["arguments"];
        assert_eq!(arguments["nom_fichier"], arguments["autre"]);
        assert_eq!(arguments["nom_fichier"].as_str().map(str::len), Some(10));
        assert_eq!(arguments["taille"], 1111);
        assert_eq!(arguments["vrai"], true);
        assert_eq!(other, "xxxxxxxxxxxxxxx\n");
    }
}
