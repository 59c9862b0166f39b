//! What crosses, for whoever watches: each message with both of its forms.

use super::clock::Now;
use super::json;
use super::legacy::{self, Kind};
use super::mapping::Topic;
use super::name::DomainName;
use super::publish::{Publish, Received};
use super::refusal::{Reason, Refusal};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// The largest form that is kept whole, in bytes; of a larger one, its beginning.
const WHOLE: usize = 64 * 1024;
/// How much of it.
const HEAD: usize = 200;

/// One form of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    kind: Of,
    /// The line without its end, or the payload; or the beginning of it.
    text: Bytes,
    /// How many bytes it has.
    size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    /// A line, and its envelope, if it is a message.
    Line(Option<Envelope>),
    /// A message on MQTT, and what it has beside its payload.
    Mqtt(TapProperties),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Envelope {
    kind: Kind,
    name: String,
    from: String,
    to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TapProperties {
    topic: String,
    response_topic: Option<String>,
    correlation: Option<Bytes>,
    source: Option<String>,
}

impl Form {
    /// A line, with its end or without.
    #[must_use]
    pub fn line(line: &Bytes, depth: usize) -> Self {
        let end = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
        let line = line.slice(..end);
        let envelope = legacy::parse(&line, depth).ok().map(|message| Envelope {
            kind: message.kind,
            name: message.name,
            from: message.source,
            to: message.destination,
        });
        Self::new(Of::Line(envelope), line)
    }

    /// What was received from the broker.
    #[must_use]
    pub fn received(message: &Received) -> Self {
        let properties = TapProperties {
            topic: message.topic.clone(),
            response_topic: message.response_topic.clone(),
            correlation: message.correlation.clone(),
            source: message.source.clone(),
        };
        Self::new(Of::Mqtt(properties), message.payload.clone())
    }

    /// What is published.
    #[must_use]
    pub fn published(publish: &Publish) -> Self {
        let properties = TapProperties {
            topic: publish.topic.clone(),
            response_topic: publish.response_topic.clone(),
            correlation: publish.correlation.clone(),
            source: publish.source.as_ref().map(ToString::to_string),
        };
        Self::new(Of::Mqtt(properties), publish.payload.clone())
    }

    /// One that is long would hold memory for as long as nobody reads it.
    fn new(kind: Of, bytes: Bytes) -> Self {
        let size = bytes.len();
        let text = match bytes.get(..HEAD) {
            Some(head) if size > WHOLE => Bytes::copy_from_slice(head),
            _ => bytes,
        };
        Self { kind, text, size }
    }

    /// Whether it is a line that commands something.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.envelope().is_some_and(|envelope| envelope.kind == Kind::Command)
    }

    fn envelope(&self) -> Option<&Envelope> {
        match &self.kind {
            Of::Line(envelope) => envelope.as_ref(),
            Of::Mqtt(_) => None,
        }
    }

    fn properties(&self) -> Option<&TapProperties> {
        match &self.kind {
            Of::Line(_) => None,
            Of::Mqtt(properties) => Some(properties),
        }
    }

    /// The form as a line of JSON has it.
    fn shown(&self) -> Box<RawValue> {
        let text = match std::str::from_utf8(&self.text) {
            Ok(text) if self.size <= WHOLE => {
                let mut line = text.as_bytes().to_vec();
                json::join_lines(&mut line);
                String::from_utf8(line).ok().and_then(|line| RawValue::from_string(line).ok())
            }
            _ => None,
        };
        text.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&self.text);
            match self.size == self.text.len() {
                true => raw(&text),
                false => raw(&format!("{text}... ({} bytes)", self.size)),
            }
        })
    }
}

fn raw(text: &str) -> Box<RawValue> {
    // A text is always JSON.
    serde_json::value::to_raw_value(text).unwrap_or_default()
}

/// How a message went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It has crossed: its other form is on its way, or it goes to other legacy domains as it is.
    Crossed,
    /// It was refused, with what is wrong with it.
    Refused(Reason, String),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Whose message it is, where it says so itself nowhere.
    pub from: DomainName,
    /// As it came.
    pub came: Form,
    /// What became of it.
    pub became: Vec<Form>,
    /// How long its call took, if it ends one.
    pub took: Option<Duration>,
    /// How it went on.
    pub outcome: Ending,
}

/// What a watcher wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Only what is from or to this domain.
    pub domain: Option<DomainName>,
    /// Only this command or event: its name, or the last part of its topic's root. Capitals do not count.
    pub command: Option<String>,
    /// Only what is refused.
    #[serde(default)]
    pub refused: bool,
}

/// A line of JSON.
#[derive(Serialize)]
struct TapLine<'c> {
    time: String,
    came: &'static str,
    kind: Option<&'static str>,
    name: Option<&'c str>,
    from: Option<&'c str>,
    to: Option<&'c str>,
    call: Option<Cow<'c, str>>,
    took_ms: Option<f64>,
    ended: &'static str,
    reason: Option<&'static str>,
    detail: Option<&'c str>,
    legacy: Vec<Box<RawValue>>,
    mqtt: Vec<Published<'c>>,
}

#[derive(Serialize)]
struct Published<'c> {
    topic: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'c str>,
    payload: Box<RawValue>,
}

impl Crossing {
    /// A message of which nothing is left but its refusal: it was refused later than it came.
    #[must_use]
    pub fn refused(refusal: &Refusal, now: Now) -> Self {
        let head = Bytes::copy_from_slice(refusal.head.as_bytes());
        Self {
            at: now.wall,
            from: refusal.from.clone(),
            came: Form::new(Of::Line(None), head),
            became: Vec::new(),
            took: None,
            outcome: Ending::Refused(refusal.reason, refusal.detail.clone()),
        }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        const BESIDES: usize = 512;
        self.forms().map(|form| form.text.len() + BESIDES).sum()
    }

    /// The names, as correlation data, of the requests that it became.
    pub fn asks(&self) -> impl Iterator<Item = &Bytes> {
        let properties = self.became.iter().filter_map(Form::properties);
        let asks = properties.filter(|properties| properties.response_topic.is_some());
        asks.filter_map(|properties| properties.correlation.as_ref())
    }

    /// The correlation data of the call that it belongs to, if it has a form on MQTT.
    #[must_use]
    pub fn call(&self) -> Option<&Bytes> {
        self.forms().find_map(|form| form.properties()?.correlation.as_ref())
    }

    /// The command or event: its legacy name, or the last part of its topic.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let topic = self.forms().find_map(|form| Some(form.properties()?.topic.as_str()));
        let last = topic.and_then(|topic| root(topic).rsplit('/').next());
        self.envelope().map(|envelope| envelope.name.as_str()).or(last)
    }

    /// Whether it asks something.
    #[must_use]
    pub fn is_command(&self) -> bool {
        let request = |form: &Form| {
            form.properties().is_some_and(|p| matches!(Topic::parse(&p.topic), Topic::Request(..)))
        };
        self.came.is_command() || request(&self.came)
    }

    fn forms(&self) -> impl Iterator<Item = &Form> {
        std::iter::once(&self.came).chain(&self.became)
    }

    fn envelope(&self) -> Option<&Envelope> {
        self.forms().find_map(Form::envelope)
    }

    /// Who says it, and to whom.
    fn ends(&self) -> (&str, Option<&str>) {
        match self.envelope() {
            Some(envelope) => (&envelope.from, Some(&envelope.to)),
            None => (self.from.as_str(), None),
        }
    }

    /// Whether a watcher wants to see it.
    #[must_use]
    pub fn is_wanted(&self, wanted: &Wanted) -> bool {
        let (from, to) = self.ends();
        let is_its = |name: &DomainName| {
            from == name.as_str() || to == Some(name.as_str()) || self.from == *name
        };
        let is_named = |command: &String| {
            let same = |name: &str| name.eq_ignore_ascii_case(command);
            let last = |topic: &str| root(topic).rsplit('/').next().is_some_and(same);
            self.envelope().is_some_and(|envelope| same(&envelope.name))
                || self.forms().filter_map(Form::properties).any(|form| last(&form.topic))
        };
        wanted.domain.as_ref().is_none_or(is_its)
            && wanted.command.as_ref().is_none_or(is_named)
            && (!wanted.refused || matches!(self.outcome, Ending::Refused(..)))
    }

    /// As one line of JSON.
    #[must_use]
    pub fn line(&self) -> String {
        let envelope = self.envelope();
        let (from, to) = self.ends();
        let correlation = self.forms().find_map(|form| form.properties()?.correlation.as_ref());
        let topic = self.forms().find_map(|form| Some(form.properties()?.topic.as_str()));
        let (ended, reason, detail) = match &self.outcome {
            Ending::Crossed => ("crossed", None, None),
            Ending::Refused(why, detail) => ("refused", Some(why.as_str()), Some(detail.as_str())),
        };
        let line = TapLine {
            time: humantime::format_rfc3339_millis(self.at).to_string(),
            came: if self.came.properties().is_some() { "mqtt" } else { "legacy" },
            kind: envelope.map(|envelope| match envelope.kind {
                Kind::Command => "command",
                Kind::Response => "response",
                Kind::Notification => "event",
            }),
            name: envelope.map(|envelope| envelope.name.as_str()).or(topic.map(root)),
            from: Some(from),
            to,
            call: correlation.map(|data| String::from_utf8_lossy(data)),
            took_ms: self.took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
            ended,
            reason,
            detail,
            legacy: self.forms().filter(|f| f.properties().is_none()).map(Form::shown).collect(),
            mqtt: self.forms().filter_map(published).collect(),
        };
        // Its members are texts, numbers and JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

fn published(form: &Form) -> Option<Published<'_>> {
    let properties = form.properties()?;
    Some(Published {
        topic: &properties.topic,
        response_topic: properties.response_topic.as_deref(),
        source: properties.source.as_deref(),
        payload: form.shown(),
    })
}

/// What a topic is about.
fn root(topic: &str) -> &str {
    match Topic::parse(topic) {
        Topic::Request(root, _) | Topic::Response(root, _) => root,
        Topic::Other => topic.strip_suffix("/notification").unwrap_or(topic),
    }
}
