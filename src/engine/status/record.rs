//! The memory as it is kept in a file, and what can be concluded from it.

use super::{History, Spoke};
use crate::engine::name::DomainName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The form of the file that this program reads and writes.
pub const FORMAT: u32 = 1;

/// Who has spoken legacy until when.
///
/// What counts is *watched time*: the time, by a clock that cannot be set, during which a gateway ran
/// and listened. The wall clock is only shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    /// The form of the file: 1.
    pub format: u32,
    /// Names the run of the gateway that wrote it.
    pub run: String,
    /// When the watch began, by the wall clock.
    pub watching_since: String,
    /// When it was written, by the wall clock.
    pub saved: String,
    /// Seconds watched when it was written.
    pub watched: u64,
    /// What the system's monotonic clock showed then, in seconds.
    pub monotonic: u64,
    /// Where a memory that could not be read was put.
    pub set_aside: Option<String>,
    /// What was heard, by domain.
    pub domains: BTreeMap<String, Vec<Seen>>,
    /// Domains that last spoke MQTT over their channel.
    #[serde(default)]
    pub mqtt: BTreeSet<String>,
    /// How many messages there were, legacy and on MQTT.
    #[serde(default)]
    pub traffic: History,
}

/// What was heard of a domain under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The kind of message.
    #[serde(rename = "type")]
    pub spoke: Spoke,
    /// The command's or the event's name.
    pub name: String,
    /// How often.
    pub count: u64,
    /// Last when, by the wall clock.
    pub last: String,
    /// Seconds watched when it was last heard.
    pub watched: u64,
}

/// Whether the gateway can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// How long it has watched.
    pub watched: Duration,
    /// Whether that is long enough.
    pub long_enough: bool,
    /// Who has spoken legacy within the time, and what: the latest first.
    pub speaking: Vec<(String, Vec<Quiet>)>,
}

/// What was heard, and how long ago in watched time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// What.
    pub seen: Seen,
    /// How long ago.
    pub age: Duration,
}

impl SeenRecord {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut record: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        if record.format != FORMAT {
            return Err(format!("its format is {}, not {FORMAT}", record.format));
        }
        record.traffic.bound();
        let mut names = record.domains.keys().chain(&record.mqtt);
        if let Some(name) = names.find(|name| DomainName::parse(name).is_err()) {
            return Err(format!("{name:?} is no domain's name"));
        }
        Ok(record)
    }

    /// What can be concluded while the gateway that wrote it runs, and `monotonic` is what the
    /// system's monotonic clock shows; `None` if it does not run.
    #[must_use]
    pub fn verdict(&self, monotonic: Option<Duration>, quiet_for: Duration) -> Readiness {
        let since = monotonic.map_or(0, |now| now.as_secs().saturating_sub(self.monotonic));
        let watched = self.watched.saturating_add(since);
        let age = |seen: &Seen| Duration::from_secs(watched.saturating_sub(seen.watched));
        let recent = |(name, all): (&String, &Vec<Seen>)| {
            let quiet = |seen: &Seen| Quiet { seen: seen.clone(), age: age(seen) };
            let mut said: Vec<Quiet> = all.iter().map(quiet).collect();
            said.retain(|q| q.age < quiet_for);
            said.sort_by(|a, b| a.age.cmp(&b.age).then_with(|| a.seen.name.cmp(&b.seen.name)));
            (!said.is_empty()).then(|| (name.clone(), said))
        };
        let mut speaking: Vec<_> = self.domains.iter().filter_map(recent).collect();
        speaking.sort_by_key(|(_, said)| said.first().map(|q| q.age));
        let watched = Duration::from_secs(watched);
        Readiness { watched, long_enough: watched >= quiet_for, speaking }
    }
}

impl Readiness {
    /// Whether nobody has spoken legacy for long enough, seen by a gateway that has watched for so long.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.long_enough && self.speaking.is_empty()
    }
}
