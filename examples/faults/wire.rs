//! What the messages look like, and how their numbers are found again.

use super::peers::legacy;
use super::peers::raw_mqtt::packet;
use serde_json::json;

/// The number of a message, or the one that an answer is for, wherever it is.
pub fn number_of(bytes: &[u8]) -> Option<u64> {
    asked(bytes).or_else(|| after(bytes, b"\"a\":"))
}

/// The number of a message that is no answer.
pub fn asked(bytes: &[u8]) -> Option<u64> {
    after(bytes, b"\"n\":")
}

/// The number of the call that this answers.
pub fn answered(bytes: &[u8]) -> Option<u64> {
    after(bytes, b"\"a\":")
}

fn after(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let at = bytes.windows(key.len()).position(|window| window == key)?;
    let digits = bytes.get(at + key.len()..)?.iter().take_while(|b| b.is_ascii_digit());
    let text: String = digits.map(|digit| char::from(*digit)).collect();
    text.parse().ok()
}

/// A line that tells a domain something.
pub fn tell(from: &str, to: &str, event: &str, number: u64) -> String {
    legacy::notification(from, to, event, &json!({ "n": number })) + "\n"
}

/// A line that calls `vm-new`.
pub fn call(from: &str, number: u64) -> String {
    legacy::command(from, "vm-new", "call", &json!({ "n": number })) + "\n"
}

/// A line that answers an [`ask`].
pub fn answer(from: &str, to: &str, number: u64) -> String {
    legacy::response(from, to, "ask", &json!({ "a": number })) + "\n"
}

/// A PUBLISH of QoS 1 that tells all legacy domains something.
pub fn news(identifier: u16, number: u64) -> Vec<u8> {
    let payload = json!({ "n": number }).to_string();
    publish(identifier, "faults/news/notification", &[0], &payload)
}

/// A PUBLISH of QoS 1 by which `from` calls `sys-usb`.
pub fn ask(identifier: u16, from: &str, number: u64) -> Vec<u8> {
    let mut properties = vec![0x08];
    properties.extend(field(&format!("faults/ask/response/{from}")));
    properties.push(0x09);
    properties.extend(field(&number.to_string()));
    let size = u8::try_from(properties.len()).unwrap_or_default();
    properties.insert(0, size);
    let payload = json!({ "n": number, "source": from }).to_string();
    publish(identifier, "faults/ask/request", &properties, &payload)
}

fn publish(identifier: u16, topic: &str, properties: &[u8], payload: &str) -> Vec<u8> {
    let body = [&field(topic)[..], &identifier.to_be_bytes(), properties, payload.as_bytes()];
    packet(0x32, &body.concat())
}

fn field(text: &str) -> Vec<u8> {
    let size = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), text.as_bytes()].concat()
}
