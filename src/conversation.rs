//! Conversations as text: inputs and effects, one JSON object a line. `passerelle translate` speaks
//! it, `passerelle test` compares it.

use crate::engine::clock::Now;
use crate::engine::json::{self, Object};
use crate::engine::limits::Limits;
use crate::engine::mapping::Table;
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::publish::{Publish, Qos, Received};
use crate::engine::rehearsal::{Observed, Rehearsal, Towards};
use crate::engine::status::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// 2026-01-01T00:00:00Z: when every conversation begins.
pub const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// A gateway without sockets, for conversations; `sessions`: what they subscribe to is an effect too.
#[must_use]
pub fn gateway(table: Table, legacy: &[DomainName], sessions: bool) -> Rehearsal {
    let setting = Setting {
        table: Arc::new(table),
        policy: Arc::default(),
        limits: Limits::default(),
        instance: "dom0".into(),
        nonce: "call".into(),
    };
    let wall = SystemTime::UNIX_EPOCH + BEGINNING;
    let now = Now { monotonic: Duration::ZERO, wall };
    match sessions {
        true => Rehearsal::with_sessions(setting, legacy, now),
        false => Rehearsal::new(setting, legacy, now),
    }
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
    /// A domain's channel is there and cannot be opened, for this reason.
    Unavailable(DomainName, String),
    /// A domain no longer reads.
    Stall(DomainName),
    /// The broker answers the next publish on a topic with this reason code.
    Puback(String, u8),
    /// The connections to the broker are lost: all, or those of one client id.
    BrokerLost(Option<String>),
    /// The broker can be reached, with or without the sessions of before; for all, or for one client id.
    BrokerConnected(bool, Option<String>),
    /// What the broker says to a domain on MQTT.
    Tunnel(DomainName, Vec<u8>),
    /// The broker closes the connection of a domain on MQTT.
    TunnelClosed(DomainName),
    /// Nobody on MQTT subscribes to this topic any more.
    Nobody(String),
    /// Time passes.
    Elapse(Duration),
    /// A person has a domain that spoke MQTT taken for a legacy one again.
    TakeForLegacy(DomainName),
    /// Dom0 is the MVP's program from now on, or is not.
    Relay(bool),
    /// It connects to a socket that it is offered, or closes it.
    Socket(DomainName, bool),
    /// Bytes of it, on a socket.
    OnSocket(DomainName, Vec<u8>),
    /// These mapping files take the place of the ones before.
    Reload(Vec<String>),
}

const INPUTS: &[&str] = &[
    "legacy",
    "mqtt",
    "connect",
    "disconnect",
    "unavailable",
    "stall",
    "nobody",
    "puback",
    "broker",
    "elapse",
    "reload",
    "take_for_legacy",
    "relay",
    "socket",
];

const EFFECTS: &[&str] = &[
    "publish",
    "write",
    "refused",
    "ignored",
    "mode",
    "retry",
    "subscribe",
    "unsubscribe",
    "offered",
    "withdrawn",
];

/// What a line may be, in words: `tunnel` is an input or, with `to`, an effect.
fn kinds(keys: &[&str]) -> String {
    let quoted: Vec<_> = keys.iter().chain(&["tunnel"]).map(|key| format!("\"{key}\"")).collect();
    quoted.join(", ")
}

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
        known(&["legacy", "message", "line", "base64"])?;
        let bytes = line_of(&object)?;
        return Ok(Input::Legacy(name, bytes));
    }
    if let Some(name) = domain("socket")? {
        known(&["socket", "connected", "message", "line", "base64"])?;
        return match flag(&object, "connected")? {
            Some(connected) => Ok(Input::Socket(name, connected)),
            None => Ok(Input::OnSocket(name, line_of(&object)?)),
        };
    }
    if let Some(relayed) = flag(&object, "relay")? {
        known(&["relay"])?;
        return Ok(Input::Relay(relayed));
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
            retain: flag(&object, "retain")?.unwrap_or_default(),
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
    if let Some(name) = domain("unavailable")? {
        known(&["unavailable", "why"])?;
        let why = text("why")?.ok_or("\"unavailable\" has a \"why\"")?;
        return Ok(Input::Unavailable(name, why));
    }
    if let Some(topic) = text("puback")? {
        known(&["puback", "reason"])?;
        let reason = object.get("reason").and_then(|reason| reason.parse().ok());
        return Ok(Input::Puback(
            topic,
            reason.ok_or("\"reason\" must be a reason code, 0 to 255")?,
        ));
    }
    if let Some(broker) = text("broker")? {
        known(&["broker", "session", "as"])?;
        let session = flag(&object, "session")?;
        return match (broker.as_str(), session) {
            ("lost", None) => Ok(Input::BrokerLost(text("as")?)),
            ("connected", session) => {
                Ok(Input::BrokerConnected(session.unwrap_or(true), text("as")?))
            }
            _ => Err("\"broker\" is \"lost\", or \"connected\" with \"session\"".into()),
        };
    }
    if let Some(name) = domain("tunnel")? {
        known(&["tunnel", "base64", "closed"])?;
        return match (text("base64")?, flag(&object, "closed")?) {
            (Some(bytes), None) => Ok(Input::Tunnel(name, bytes_of(Some(bytes))?)),
            (None, Some(true)) => Ok(Input::TunnelClosed(name)),
            _ => Err("a tunnel input has \"base64\", or \"closed\":true".into()),
        };
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
        ("take_for_legacy", Input::TakeForLegacy),
    ] {
        if let Some(name) = domain(key)? {
            known(&[key])?;
            return Ok(make(name));
        }
    }
    Err(format!("an input has one of {}", kinds(INPUTS)))
}

fn flag(object: &Object<'_>, key: &str) -> Result<Option<bool>, String> {
    match object.get(key) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(format!("{key:?} must be true or false")),
    }
}

/// The bytes of a line: as a message, as text, or as they are.
fn line_of(object: &Object<'_>) -> Result<Vec<u8>, String> {
    let has = |key: &str| object.get(key);
    let mut bytes = match (has("message"), has("line"), has("base64")) {
        (Some(message), None, None) => message.as_bytes().to_vec(),
        (None, Some(line), None) => {
            json::decode(line).ok_or("\"line\" must be a text")?.into_owned()
        }
        (None, None, Some(bytes)) => {
            let text = json::decode_str(bytes).ok_or("\"base64\" must be a text")?;
            return bytes_of(Some(text.into_owned()));
        }
        _ => return Err("a legacy input has a \"message\", a \"line\" or \"base64\"".into()),
    };
    bytes.push(b'\n');
    Ok(bytes)
}

fn bytes_of(base64: Option<String>) -> Result<Vec<u8>, String> {
    let decoded = BASE64.decode(base64.unwrap_or_default());
    decoded.map_err(|error| format!("\"base64\": {error}"))
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
    gateway: &mut Rehearsal,
    input: Input,
    load: impl Fn(&[String]) -> Result<Table, String>,
) -> Result<Vec<Observed>, String> {
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
        Input::Unavailable(name, why) => gateway.make_unavailable(&name, &why),
        Input::Stall(name) => gateway.stall(&name),
        Input::Puback(topic, code) => gateway.answer_with(topic, code),
        Input::BrokerLost(client) => gateway.lose_broker(client.as_deref()),
        Input::BrokerConnected(kept, client) => gateway.broker_is_back(kept, client.as_deref()),
        Input::Tunnel(name, bytes) => gateway.say_in_tunnel(&name, &bytes),
        Input::TunnelClosed(name) => gateway.close_tunnel(&name),
        Input::Nobody(topic) => gateway.desert(topic),
        Input::Elapse(span) => gateway.elapse(span),
        Input::TakeForLegacy(name) => {
            gateway.take_for_legacy(&name).map_err(|why| format!("{name}: {why}"))?;
        }
        Input::Relay(relayed) => gateway.relay(relayed),
        Input::Socket(name, connected) => {
            if !gateway.connect_socket(&name, connected) {
                return Err(format!("Dom0's program is offered no socket {name}"));
            }
        }
        Input::OnSocket(name, bytes) => {
            if !gateway.receive_on(&name, &bytes) {
                return Err(format!(
                    "Dom0's program is not connected to {name}: write {{\"socket\":\"{name}\",\"connected\":true}} before"
                ));
            }
        }
        Input::Reload(files) => gateway.reload(Arc::new(load(&files)?), Limits::default()),
    }
    Ok(gateway.take_effects())
}

/// Writes an effect. Payloads and messages are the very bytes that would be sent.
#[must_use]
pub fn render(effect: &Observed) -> String {
    let mut out = Vec::new();
    match effect {
        Observed::Published(client, publish) => render_publish(client, publish, &mut out),
        Observed::Written(name, line) => {
            field(&mut out, "write", name.as_str());
            out.extend_from_slice(b",\"message\":");
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        }
        Observed::WrittenOn(socket, line) => {
            field(&mut out, "write", DomainName::dom0().as_str());
            field(&mut out, "socket", socket.as_str());
            out.extend_from_slice(b",\"message\":");
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        }
        Observed::Offered(socket, is) => {
            field(&mut out, if *is { "offered" } else { "withdrawn" }, socket.as_str());
        }
        Observed::Refused(refusal) => {
            field(&mut out, "refused", refusal.reason.as_str());
            field(&mut out, "from", refusal.from.as_str());
            field(&mut out, "detail", &refusal.detail);
        }
        Observed::Ignored(why, from) => {
            field(&mut out, "ignored", why.as_str());
            field(&mut out, "from", from.as_str());
        }
        Observed::Mode(name, state) => {
            let state = if *state == State::Silent { State::Legacy } else { *state };
            field(&mut out, "mode", state.as_str());
            field(&mut out, "of", name.as_str());
        }
        Observed::Tunnelled(name, direction, bytes) => {
            let to = if *direction == Towards::ToBroker { "broker" } else { "domain" };
            field(&mut out, "tunnel", name.as_str());
            field(&mut out, "to", to);
            field(&mut out, "base64", &BASE64.encode(bytes));
        }
        Observed::Retry(name, after) => {
            let after = humantime::format_duration(Duration::from_millis(millis(*after)));
            field(&mut out, "retry", name.as_str());
            field(&mut out, "in", &after.to_string());
        }
        Observed::Subscribed(client, topics) => topics_of(&mut out, "subscribe", topics, client),
        Observed::Unsubscribed(client, topics) => {
            topics_of(&mut out, "unsubscribe", topics, client)
        }
    }
    out.push(b'}');
    String::from_utf8_lossy(&out).into_owned()
}

fn render_publish(client: &str, publish: &Publish, out: &mut Vec<u8>) {
    field(out, "publish", &publish.topic);
    payload(out, &publish.payload);
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

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn topics_of(out: &mut Vec<u8>, name: &str, topics: &[String], client: &str) {
    out.push(b'{');
    json::push_string(out, name);
    out.extend_from_slice(b":[");
    for (i, topic) in topics.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::push_string(out, topic);
    }
    out.push(b']');
    field(out, "as", client);
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    json::push_string(out, name);
    out.push(b':');
    json::push_string(out, value);
}

impl Input {
    /// As a line of a conversation, of those that say something.
    #[must_use]
    pub fn line(&self) -> String {
        let mut out = Vec::new();
        match self {
            Self::Legacy(name, bytes) => said(&mut out, "legacy", name, bytes),
            Self::OnSocket(name, bytes) => said(&mut out, "socket", name, bytes),
            Self::Mqtt(message) => {
                field(&mut out, "mqtt", &message.topic);
                payload(&mut out, &message.payload);
                let correlation = message.correlation.as_deref().map(String::from_utf8_lossy);
                let texts = [
                    ("response_topic", message.response_topic.as_deref()),
                    ("correlation", correlation.as_deref()),
                    ("source", message.source.as_deref()),
                ];
                for (name, text) in texts {
                    if let Some(text) = text {
                        field(&mut out, name, text);
                    }
                }
                if message.retain {
                    out.extend_from_slice(b",\"retain\":true");
                }
            }
            Self::Connect(name) => field(&mut out, "connect", name.as_str()),
            Self::Disconnect(name) => field(&mut out, "disconnect", name.as_str()),
            Self::Socket(name, connected) => {
                field(&mut out, "socket", name.as_str());
                out.extend_from_slice(format!(",\"connected\":{connected}").as_bytes());
            }
            Self::Elapse(span) => {
                field(&mut out, "elapse", &humantime::format_duration(*span).to_string());
            }
            other => field(&mut out, "input", &format!("{other:?}")),
        }
        out.push(b'}');
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// What a domain says: a line, or any bytes.
fn said(out: &mut Vec<u8>, on: &str, name: &DomainName, bytes: &[u8]) {
    field(out, on, name.as_str());
    match bytes.strip_suffix(b"\n").map(|line| (line, std::str::from_utf8(line))) {
        Some((line, Ok(_)))
            if json::read(line, usize::MAX).is_ok_and(|json| json.object.is_ok()) =>
        {
            out.extend_from_slice(b",\"message\":");
            out.extend_from_slice(line);
        }
        Some((_, Ok(text))) if !text.contains('\n') => field(out, "line", text),
        _ => field(out, "base64", &BASE64.encode(bytes)),
    }
}

/// JSON as it is, or a text.
fn payload(out: &mut Vec<u8>, bytes: &[u8]) {
    match json::read(bytes, usize::MAX) {
        Ok(payload) => {
            out.extend_from_slice(b",\"payload\":");
            out.extend_from_slice(payload.text.as_bytes());
            json::join_lines(out);
        }
        Err(_) => field(out, "raw", &String::from_utf8_lossy(bytes)),
    }
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
    let has = |key: &str| object.get(key).is_some();
    let has_any = |keys: &[&str]| keys.iter().any(|key| has(key));
    if has_any(EFFECTS) || (has("tunnel") && has("to")) {
        Ok(true)
    } else if has_any(INPUTS) || has("tunnel") {
        Ok(false)
    } else {
        let (inputs, effects) = (kinds(INPUTS), kinds(EFFECTS));
        Err(format!("an input has one of {inputs}; an effect has one of {effects}"))
    }
}
