//! Conversations as text: inputs and effects, one JSON object a line. `passerelle translate` speaks
//! it, `passerelle test` compares it.

use crate::translate::clock::Now;
use crate::translate::gateway::{Effect, Gateway};
use crate::translate::json::{self, Object};
use crate::translate::limits::Limits;
use crate::translate::mapping::Table;
use crate::translate::name::DomainName;
use crate::translate::proxy::Setting;
use crate::translate::publish::{Publish, Qos, Received};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// 2026-01-01T00:00:00Z: when every conversation begins.
pub const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// A gateway without sockets, for conversations.
#[must_use]
pub fn gateway(table: Table, legacy: &[DomainName]) -> Gateway {
    let setting = Setting {
        table: Arc::new(table),
        policy: Arc::default(),
        limits: Limits::default(),
        instance: "dom0".into(),
        nonce: "call".into(),
    };
    let wall = SystemTime::UNIX_EPOCH + BEGINNING;
    Gateway::new(setting, legacy, Now { monotonic: Duration::ZERO, wall })
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Bytes from a domain.
    Legacy(DomainName, Vec<u8>),
    /// A message from the broker.
    Mqtt(Box<Received>),
    /// A domain's channel is there.
    Connect(DomainName),
    /// A domain's channel is gone.
    Disconnect(DomainName),
    /// A domain no longer reads.
    Stall(DomainName),
    /// Nobody on MQTT subscribes to this topic any more.
    Nobody(String),
    /// Time passes.
    Elapse(Duration),
    /// These mapping files take the place of the ones before.
    Reload(Vec<String>),
}

const KINDS: &str = "an input has one of \"legacy\", \"mqtt\", \"connect\", \"disconnect\", \"stall\", \"nobody\", \"elapse\", \"reload\"";

/// Reads an input.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &str) -> Result<Input, String> {
    let object = object(line)?;
    let text = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(raw) => json::decode_str(raw)
            .map(|t| Some(t.into_owned()))
            .ok_or_else(|| format!("{key:?} must be a text")),
    };
    let domain = |key: &str| match text(key)? {
        None => Ok(None),
        Some(name) => DomainName::parse(&name).map(Some).map_err(|e| e.to_string()),
    };
    let known = |keys: &[&str]| match object
        .members()
        .find(|m| !keys.iter().any(|k| *m.key == *k.as_bytes()))
    {
        Some(m) => Err(format!("unknown key {} (known: {})", m.raw_key, keys.join(", "))),
        None => Ok(()),
    };
    if let Some(name) = domain("legacy")? {
        known(&["legacy", "message", "line"])?;
        let mut bytes = match (object.get("message"), object.get("line")) {
            (Some(message), None) => message.as_bytes().to_vec(),
            (None, Some(line)) => json::decode(line).ok_or("\"line\" must be a text")?.into_owned(),
            _ => return Err("a legacy input has a \"message\" or a \"line\"".into()),
        };
        bytes.push(b'\n');
        return Ok(Input::Legacy(name, bytes));
    }
    if let Some(topic) = text("mqtt")? {
        known(&[
            "mqtt",
            "payload",
            "raw",
            "response_topic",
            "correlation",
            "retain",
            "source",
            "mark",
        ])?;
        let payload = match (object.get("payload"), object.get("raw")) {
            (Some(payload), None) => payload.as_bytes().to_vec(),
            (None, Some(raw)) => json::decode(raw).ok_or("\"raw\" must be a text")?.into_owned(),
            _ => return Err("an MQTT input has a \"payload\" or \"raw\"".into()),
        };
        return Ok(Input::Mqtt(Box::new(Received {
            topic,
            payload: payload.into(),
            retain: match object.get("retain") {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => return Err("\"retain\" must be true or false".into()),
            },
            dup: false,
            response_topic: text("response_topic")?,
            correlation: text("correlation")?.map(|c| c.into_bytes().into()),
            source: text("source")?,
            mark: text("mark")?,
        })));
    }
    if let Some(topic) = text("nobody")? {
        known(&["nobody"])?;
        return Ok(Input::Nobody(topic));
    }
    if let Some(span) = text("elapse")? {
        known(&["elapse"])?;
        let span = humantime::parse_duration(&span).map_err(|e| format!("\"elapse\": {e}"))?;
        return Ok(Input::Elapse(span));
    }
    if let Some(raw) = object.get("reload") {
        const SHAPE: &str = "\"reload\" must be a list of mapping files";
        known(&["reload"])?;
        let mut files = Vec::new();
        let mut add = |raw: &str| {
            files.push(json::decode_str(raw).ok_or(SHAPE)?.into_owned());
            Ok::<(), &str>(())
        };
        return match json::for_each(raw, &mut add)? && !files.is_empty() {
            true => Ok(Input::Reload(files)),
            false => Err(SHAPE.into()),
        };
    }
    for (key, make) in [
        ("connect", Input::Connect as fn(DomainName) -> Input),
        ("disconnect", Input::Disconnect),
        ("stall", Input::Stall),
    ] {
        if let Some(name) = domain(key)? {
            known(&[key])?;
            return Ok(make(name));
        }
    }
    Err(KINDS.into())
}

/// A line that is an object.
pub(crate) fn object(line: &str) -> Result<Object<'_>, String> {
    const DEPTH: usize = 256;
    let line = json::read(line.as_bytes(), DEPTH).map_err(|e| e.to_string())?;
    line.object.map_err(|e| e.to_string())
}

/// Gives an input to the gateway; `load` compiles the mapping files of a reload.
///
/// # Errors
/// The domain that it is from is not connected, or the files cannot be loaded.
pub fn apply(
    gateway: &mut Gateway,
    input: Input,
    load: impl Fn(&[String]) -> Result<Table, String>,
) -> Result<Vec<Effect>, String> {
    match input {
        Input::Legacy(name, bytes) => {
            if !gateway.receive(&name, &bytes) {
                return Err(format!(
                    "{name} is not connected: name it in --legacy, or write {{\"connect\":\"{name}\"}} before"
                ));
            }
        }
        Input::Mqtt(message) => gateway.publish(&message),
        Input::Connect(name) => gateway.connect(&name),
        Input::Disconnect(name) => gateway.disconnect(&name),
        Input::Stall(name) => gateway.stall(&name),
        Input::Nobody(topic) => gateway.desert(topic),
        Input::Elapse(span) => gateway.elapse(span),
        Input::Reload(files) => gateway.reload(Arc::new(load(&files)?), Limits::default()),
    }
    Ok(gateway.take_effects())
}

/// Writes an effect. Payloads and messages are the very bytes that would be sent.
#[must_use]
pub fn render(effect: &Effect) -> String {
    let mut out = Vec::new();
    match effect {
        Effect::Published(client, publish) => render_publish(client, publish, &mut out),
        Effect::Written(name, line) => {
            field(&mut out, "write", name.as_str());
            out.extend_from_slice(b",\"message\":");
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        }
        Effect::Refused(refusal) => {
            field(&mut out, "refused", refusal.reason.as_str());
            field(&mut out, "from", refusal.from.as_str());
            field(&mut out, "detail", &refusal.detail);
        }
        Effect::Ignored(why, from) => {
            field(&mut out, "ignored", why.as_str());
            field(&mut out, "from", from.as_str());
        }
    }
    out.push(b'}');
    String::from_utf8_lossy(&out).into_owned()
}

fn render_publish(client: &str, publish: &Publish, out: &mut Vec<u8>) {
    field(out, "publish", &publish.topic);
    match json::read(&publish.payload, usize::MAX) {
        Ok(payload) => {
            out.extend_from_slice(b",\"payload\":");
            out.extend_from_slice(payload.text.as_bytes());
            json::join_lines(out);
        }
        Err(_) => field(out, "raw", &String::from_utf8_lossy(&publish.payload)),
    }
    let qos = if publish.qos == Qos::AtMostOnce { 0 } else { 1 };
    out.extend_from_slice(format!(",\"qos\":{qos}").as_bytes());
    field(out, "as", client);
    if let Some(topic) = &publish.response_topic {
        field(out, "response_topic", topic);
    }
    if let Some(correlation) = &publish.correlation {
        field(out, "correlation", &String::from_utf8_lossy(correlation));
    }
    if let Some(source) = &publish.source {
        field(out, "source", source.as_str());
    }
    if let Some(mark) = &publish.mark {
        field(out, "mark", mark);
    }
    if let Some(expiry) = publish.expiry {
        out.extend_from_slice(format!(",\"expiry\":{}", expiry.as_secs()).as_bytes());
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    json::push_string(out, name);
    out.push(b':');
    json::push_string(out, value);
}

/// Whether an effect is as it was written down: every key that is there says the same. A key that is
/// not there is not compared.
#[must_use]
pub fn as_expected(expected: &str, effect: &str) -> bool {
    let (Ok(expected), Ok(effect)) = (object(expected), object(effect)) else { return false };
    expected.members().all(|m| {
        let key = std::str::from_utf8(&m.key).unwrap_or_default();
        effect.get(key).is_some_and(|value| json::equal(m.value, value))
    })
}

/// Whether a line of a conversation is an effect rather than an input.
///
/// # Errors
/// It is neither.
pub fn is_effect(line: &str) -> Result<bool, String> {
    let object = object(line)?;
    let has = |keys: &[&str]| keys.iter().any(|k| object.get(k).is_some());
    if has(&["publish", "write", "refused", "ignored"]) {
        Ok(true)
    } else if has(&[
        "legacy",
        "mqtt",
        "connect",
        "disconnect",
        "stall",
        "nobody",
        "elapse",
        "reload",
    ]) {
        Ok(false)
    } else {
        Err(format!(
            "{KINDS}; an effect has one of \"publish\", \"write\", \"refused\", \"ignored\""
        ))
    }
}
