//! The records. What is their content stands after what is JSON in a log, and within it in a recording.

use crate::engine::mapping::shape::Values;
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Qos, Token};
use crate::engine::snapshot;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A record and its number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogEntry {
    /// Its number in the log.
    pub n: u64,
    /// What it is.
    pub is: Record,
}

/// The same, to be written.
#[derive(Serialize)]
pub(super) struct Meta<'r> {
    pub n: u64,
    pub is: &'r Record,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A message for the broker. Its content is the payload.
    Message(Box<MessageRecord>),
    /// The broker has that message, or nobody wants it any more.
    Landed,
    /// The call that the message asked is over, or what that record kept was taken up.
    Over,
    /// A call to a legacy domain that was pending when the gateway ended. Its content is the command's
    /// line, if the domain has not been given it.
    Given(Box<IncomingRecord>),
    /// A line that waited for the domain when the gateway ended: the content.
    Line(Line),
    /// The line that the domain had begun when the gateway ended: the content.
    Half(Half),
}

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRecord {
    /// What tells it from all others: the user property `passerelle-id`.
    pub id: String,
    /// Where to.
    pub topic: String,
    /// MQTT's quality of service, 0 or 1.
    pub qos: u8,
    /// Where the answer goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What the answer repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Data>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DomainName>,
    /// The instance by which it has also gone the direct way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Until when it is wanted, in milliseconds since the machine was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// When it was made, in seconds since 1970: for people to read.
    pub made: u64,
    /// Whether a message ends with it.
    pub counted: bool,
    /// Where it was addressed, if it is a request to one domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DomainName>,
    /// Who is told if it comes to nothing.
    pub from: DomainName,
    /// The first bytes of the line that it was made of.
    pub head: String,
    /// The call that it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<OutgoingRecord>,
    /// What it says.
    #[serde(default, skip_serializing_if = "snapshot::is_not_written", with = "snapshot::bytes")]
    pub payload: Bytes,
}

/// A call that a legacy domain made on MQTT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutgoingRecord {
    /// The dialect of its row.
    pub dialect: String,
    /// The row's name.
    pub row: String,
    /// The root of its topics.
    pub root: String,
    /// Who asked.
    pub requester: DomainName,
    /// Who answers if the answer does not say.
    pub handler: DomainName,
    /// The request's members that the answer needs.
    pub values: Values,
    /// Until when it waits, in milliseconds since the machine was started.
    pub until: u64,
    /// It is a copy for another dialect.
    pub extra: bool,
    /// It has not been published, for another call of its row goes first.
    pub held: bool,
    /// The first bytes of the line.
    pub head: String,
}

/// A call to a legacy domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncomingRecord {
    /// The dialect of its row.
    pub dialect: String,
    /// The row's name.
    pub row: String,
    /// The root of its topics.
    pub root: String,
    /// Who asked, if it said its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<DomainName>,
    /// Who carries it out.
    pub handler: DomainName,
    /// Whether another legacy domain asked, word for word.
    pub direct: bool,
    /// Where the answer goes.
    pub reply: String,
    /// What the answer repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Data>,
    /// The request's members that the answer needs.
    pub values: Values,
    /// How far it has come.
    pub state: IncomingState,
    /// Until when it is wanted, in milliseconds since the machine was started.
    pub until: u64,
    /// How many answers there were.
    pub answers: u32,
    /// The request's first bytes.
    pub head: String,
    /// The command, if the domain has not been given it.
    #[serde(default, skip_serializing_if = "snapshot::is_not_written", with = "snapshot::bytes")]
    pub line: Bytes,
}

/// How far a call to a legacy domain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncomingState {
    /// It waits until another is answered.
    Held,
    /// It waits to be written.
    Queued,
    /// The domain has it.
    Open,
    /// The domain has it, and nothing waits for its answer: who asked is told if the domain goes.
    Unanswered,
}

/// A line that waits for a legacy domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Why.
    pub purpose: LinePurpose,
    /// Until when it is wanted, in milliseconds since the machine was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// What the domain does not have of it; empty for a call's, which has it.
    #[serde(default, skip_serializing_if = "snapshot::is_not_written", with = "snapshot::bytes")]
    pub line: Bytes,
}

/// Why a line is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinePurpose {
    /// It is a call's: so many [`IncomingRecord`] stand before that one.
    Call(usize),
    /// A message ends by being written.
    Message {
        /// Whose it is.
        from: DomainName,
        /// Whether it is a command.
        command: bool,
    },
    /// Nobody counts it.
    Notice,
}

/// A line that a domain has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Half {
    /// It is too long: what comes of it is skipped.
    pub skipped: bool,
    /// What has come of it.
    #[serde(default, skip_serializing_if = "snapshot::is_not_written", with = "snapshot::bytes")]
    pub bytes: Bytes,
}

/// Bytes, as Base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data(pub Bytes);

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

impl Record {
    /// What stands after what is JSON.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        match self {
            Self::Message(message) => &message.payload,
            Self::Given(given) => &given.line,
            Self::Line(line) => &line.line,
            Self::Half(half) => &half.bytes,
            Self::Landed | Self::Over => b"",
        }
    }

    pub(super) fn set_content(&mut self, content: &[u8]) -> Result<(), String> {
        let place = match self {
            Self::Message(message) if message.qos > 1 => {
                return Err(format!("there is no quality of service {}", message.qos));
            }
            Self::Message(message) => &mut message.payload,
            Self::Given(given) => &mut given.line,
            Self::Line(line) => &mut line.line,
            Self::Half(half) => &mut half.bytes,
            Self::Landed | Self::Over if content.is_empty() => return Ok(()),
            Self::Landed | Self::Over => return Err("it has content that it cannot have".into()),
        };
        *place = Bytes::copy_from_slice(content);
        Ok(())
    }
}

impl MessageRecord {
    /// How many bytes it takes in a log, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        const NAMES: usize = 512;
        let values =
            |call: &OutgoingRecord| call.values.iter().map(|(k, v)| k.len() + v.len()).sum();
        let texts = self.topic.len() + self.response_topic.as_ref().map_or(0, String::len);
        let call: usize = self.call.as_ref().map_or(0, values);
        let correlation = self.correlation.as_ref().map_or(0, |c| c.0.len());
        // JSON may write a byte of text as six, and Base64 takes a third more.
        self.payload.len() + 6 * (2 * self.head.len() + texts + call) + 2 * correlation + NAMES
    }

    /// What is left of its time: `None`, if it has no end. `since_boot` is the present, in the time in
    /// which the message was made, if that still goes on: another start of the machine has its own, and
    /// then nobody can tell.
    #[must_use]
    pub fn left(&self, since_boot: Option<Duration>) -> Option<Duration> {
        self.until.map(|until| left(until, since_boot))
    }

    /// The message as it is published; `left` is what is left of its time.
    #[must_use]
    pub fn publish(&self, token: Token, left: Option<Duration>) -> Publish {
        let qos = if self.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        Publish {
            response_topic: self.response_topic.clone(),
            correlation: self.correlation.as_ref().map(|data| data.0.clone()),
            source: self.source.clone(),
            mark: self.mark.as_deref().map(Into::into),
            id: Some(self.id.as_str().into()),
            expiry: left,
            ..Publish::new(token, self.topic.clone(), self.payload.clone(), qos)
        }
    }
}

/// What is left until then, in milliseconds since the machine was started: nothing, if nobody can tell.
#[must_use]
pub fn left(until: u64, since_boot: Option<Duration>) -> Duration {
    since_boot.map_or(Duration::ZERO, |now| Duration::from_millis(until).saturating_sub(now))
}
