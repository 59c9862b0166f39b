//! What is known of a migration, as the page needs it.

use crate::cmd::ready::Remembered;
use crate::edge::memory::monotonic;
use crate::engine::coverage::Row;
use crate::engine::status::{History, Readiness, Seen, SeenRecord};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What was asked, and what came of it.
pub struct Facts {
    pub instance: String,
    /// When the page is made.
    pub made: String,
    pub quiet_for: Duration,
    pub status: Result<Value, String>,
    pub remembered: Result<Remembered, String>,
    pub learnt: Option<Learnt>,
}

/// What observing has found.
pub struct Learnt {
    pub since: String,
    pub rows: Vec<Row>,
}

/// Whether a domain has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Legacy,
    Unknown,
    Moved,
}

/// One domain.
pub struct DomainFacts {
    pub name: String,
    pub side: Side,
    /// Its state, as the status has it.
    pub state: String,
    pub since: Option<String>,
    pub last_legacy: Option<String>,
    pub cause: Option<String>,
    /// Messages that it has said or was told, that it has published itself, and that were refused.
    pub received: u64,
    pub published: u64,
    pub refused: u64,
    /// What it still says, the latest first.
    pub said: Vec<Seen>,
}

/// Whether the gateway can go.
pub enum Answer<'f> {
    Ready,
    NotYet(NotYet<'f>),
}

/// Why it cannot.
pub enum NotYet<'f> {
    /// These domains have spoken legacy.
    Speaking(usize),
    /// It has not watched for long enough.
    TooSoon,
    /// It does not run.
    Stopped,
    /// Nothing is known, and why.
    Unknown(&'f str),
}

impl Facts {
    pub fn gateway(&self) -> Option<&Value> {
        let whole = self.status.as_ref().ok()?;
        whole.get("gateway").filter(|gateway| !gateway.is_null())
    }

    pub fn record(&self) -> Option<&SeenRecord> {
        match &self.remembered {
            Ok(Remembered::Record { record, .. }) => Some(record),
            _ => None,
        }
    }

    fn is_running(&self) -> bool {
        matches!(&self.remembered, Ok(Remembered::Record { running: true, .. }))
    }

    pub fn readiness(&self) -> Option<Readiness> {
        let now = self.is_running().then(monotonic);
        self.record().map(|record| record.verdict(now, self.quiet_for))
    }

    /// As `passerelle ready` decides.
    pub fn answer(&self) -> Answer<'_> {
        let Some(verdict) = self.readiness() else {
            return Answer::NotYet(NotYet::Unknown(match &self.remembered {
                Ok(Remembered::Nothing(why)) | Err(why) => why,
                Ok(Remembered::Record { .. }) => "",
            }));
        };
        if !verdict.speaking.is_empty() {
            return Answer::NotYet(NotYet::Speaking(verdict.speaking.len()));
        }
        match (self.is_running(), verdict.is_ready()) {
            (false, _) => Answer::NotYet(NotYet::Stopped),
            (true, false) => Answer::NotYet(NotYet::TooSoon),
            (true, true) => Answer::Ready,
        }
    }

    pub fn traffic(&self) -> History {
        self.record().map(|record| record.traffic.clone()).unwrap_or_default()
    }

    /// Those that are legacy first.
    pub fn domains(&self) -> Vec<DomainFacts> {
        let none = serde_json::Map::new();
        let whole = self.status.as_ref().ok();
        let shown = whole.and_then(|whole| whole["domains"].as_object()).unwrap_or(&none);
        let heard = self.record().map(|record| &record.domains);
        let names: BTreeSet<&String> =
            shown.keys().chain(heard.iter().flat_map(|heard| heard.keys())).collect();
        let mut all: Vec<_> = names
            .into_iter()
            .map(|name| self.domain(name, shown.get(name).unwrap_or(&Value::Null)))
            .collect();
        all.sort_by(|a, b| (a.side, &a.name).cmp(&(b.side, &b.name)));
        all
    }

    fn domain(&self, name: &str, shown: &Value) -> DomainFacts {
        let text = |member: &str| shown[member].as_str().map(str::to_owned);
        let record = self.record();
        let mut said = record.and_then(|r| r.domains.get(name)).cloned().unwrap_or_default();
        said.sort_by(|a, b| (b.watched, &b.last, &a.name).cmp(&(a.watched, &a.last, &b.name)));
        let state = text("state").unwrap_or_else(|| "absent".to_owned());
        let last_legacy = text("last_legacy").or_else(|| said.first().map(|s| s.last.clone()));
        let was_on_mqtt = record.is_some_and(|record| record.mqtt.contains(name));
        let side = match state.as_str() {
            "mqtt" | "waiting_for_connect" => Side::Moved,
            "legacy" | "contested" => Side::Legacy,
            _ if was_on_mqtt => Side::Moved,
            _ if last_legacy.is_some() => Side::Legacy,
            _ => Side::Unknown,
        };
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        DomainFacts {
            name: name.to_owned(),
            side,
            since: text("since"),
            last_legacy,
            cause: text("cause"),
            received: shown.pointer("/counters/received").map(number).unwrap_or_default(),
            published: number(&shown["mqtt_published"]),
            refused: refused(shown).map(|(_, n)| n).sum(),
            said,
            state,
        }
    }

    /// Refused messages by reason, the most first, with the domains that they were of.
    pub fn refusals(&self) -> Vec<(String, u64, Vec<String>)> {
        let mut all: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
        let whole = self.status.as_ref().ok();
        let domains = whole.and_then(|whole| whole["domains"].as_object());
        for (name, shown) in domains.into_iter().flatten() {
            for (reason, count) in refused(shown).filter(|(_, count)| *count > 0) {
                let (sum, names) = all.entry(reason.to_owned()).or_default();
                *sum += count;
                names.push(name.clone());
            }
        }
        let mut all: Vec<_> = all.into_iter().map(|(r, (n, names))| (r, n, names)).collect();
        all.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        all
    }

    /// What needs a person, by kind.
    pub fn faults(&self) -> Vec<&str> {
        let faults = self.status.as_ref().ok().and_then(|whole| whole["faults"].as_array());
        faults.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

fn refused(shown: &Value) -> impl Iterator<Item = (&str, u64)> {
    let all = shown.pointer("/counters/refused").and_then(Value::as_object);
    all.into_iter().flatten().map(|(reason, n)| (reason.as_str(), n.as_u64().unwrap_or_default()))
}
