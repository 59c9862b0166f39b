//! The retained messages that say how the gateway and each of its domains are doing.

use super::process::Other;
use super::row::StatusRow;
use super::{Process, Report, State};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Qos, Token};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long figures that have changed may wait to be published.
const EVERY: Duration = Duration::from_secs(10);
/// How many findings of a reload are shown.
const FINDINGS: usize = 20;
/// How many domains are listed. Those that are absent make room.
const DOMAINS: usize = 1024;
/// The token of the gateway's own state; the domains' follow. The hub's own are far below.
const STATE: u64 = 1 << 62;
/// Tokens of publishes that clear what an earlier run has left.
const CLEARED: u64 = STATE + (1 << 61);

/// A mapping file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingFile {
    /// Its path, as the configuration and its own place make it.
    pub file: String,
    /// The SHA-256 of what was read, in hexadecimal: what `sha256sum` says of the file.
    pub sha256: String,
}

/// What does not change while the gateway runs, but for a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// `instance`
    pub instance: String,
    /// The program's version.
    pub version: String,
    /// The mapping files.
    pub mappings: Vec<MappingFile>,
    /// Why what was heard is not remembered beyond the gateway's end, if it is not.
    pub memory_error: Option<String>,
    /// Why nothing is kept on disk, if it should be.
    pub store_error: Option<String>,
    /// Which gateway this is.
    pub process: Process,
}

/// How a reload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// It is in force, with these mapping files.
    Applied(Vec<MappingFile>),
    /// The old configuration stays in force: the findings, one line for each.
    Refused(Vec<String>),
}

/// The board. It publishes while it is [`Board::connected`], everything at its beginning.
#[derive(Debug, Serialize, Deserialize)]
pub struct Board {
    about: About,
    since: String,
    /// When it was told to end.
    ended: Option<String>,
    reload: Value,
    /// Domains whose logs take nothing, and why.
    unstored: BTreeMap<DomainName, String>,
    /// Folders of sockets that cannot be watched, and why.
    lost_folders: BTreeMap<String, String>,
    other: Option<Other>,
    domains: BTreeMap<DomainName, StatusRow>,
    connected: bool,
    /// Why the broker is out of reach, while it is.
    broker_error: Option<String>,
    tokens: u64,
    cleared: u64,
    publishes: Vec<Publish>,
}

impl Board {
    /// The files that the mapping was made of.
    #[must_use]
    pub fn mappings(&self) -> &[MappingFile] {
        &self.about.mappings
    }

    /// The board of a gateway that starts.
    #[must_use]
    pub fn new(about: About, now: Now) -> Self {
        Self {
            about,
            since: now.rfc3339(),
            ended: None,
            reload: Value::Null,
            unstored: BTreeMap::new(),
            lost_folders: BTreeMap::new(),
            other: None,
            domains: BTreeMap::new(),
            connected: false,
            broker_error: Some("not connected yet".to_owned()),
            tokens: STATE,
            cleared: CLEARED,
            publishes: Vec::new(),
        }
    }

    /// The topic of the gateway's own state.
    #[must_use]
    pub fn state_topic(instance: &str) -> String {
        format!("passerelle/{instance}/state")
    }

    /// The filter for the topics of all domains.
    #[must_use]
    pub fn domains_filter(instance: &str) -> String {
        format!("passerelle/{instance}/domains/+")
    }

    /// What the session of a gateway reads of its own status: what earlier runs have left, and whether there is
    /// another gateway of its name.
    #[must_use]
    pub fn filters(instance: &str) -> [String; 2] {
        [Self::state_topic(instance), Self::domains_filter(instance)]
    }

    /// Those of this gateway.
    #[must_use]
    pub fn own_filters(&self) -> [String; 2] {
        Self::filters(&self.about.instance)
    }

    /// What the broker says on [`Board::state_topic`] when the gateway is killed or cut off.
    #[must_use]
    pub fn will() -> String {
        let cause = "it was killed, or cut off from the broker";
        json!({"state": "offline", "since": null, "cause": cause}).to_string()
    }

    /// What is to be published, in order. Empty it after each call.
    pub fn take_publishes(&mut self) -> Vec<Publish> {
        std::mem::take(&mut self.publishes)
    }

    /// The broker can be reached: everything is published. It may have forgotten all, and the will
    /// may have said that the gateway is gone.
    pub fn connected(&mut self, now: Now) {
        self.connected = true;
        self.broker_error = None;
        self.publish_all(now);
    }

    fn publish_all(&mut self, now: Now) {
        self.publish_state();
        let names: Vec<_> = self.domains.keys().cloned().collect();
        for name in names {
            self.publish(&name, now);
        }
    }

    /// The broker can no longer be reached.
    pub fn lost(&mut self) {
        self.connected = false;
    }

    /// The broker can no longer be reached, for this reason.
    pub fn lost_for(&mut self, why: &str) {
        self.lost();
        self.broker_error = Some(why.to_owned());
    }

    /// The store does not take what comes from a domain, or does again.
    pub fn store(&mut self, name: &DomainName, error: Option<String>) {
        match error {
            Some(error) => self.unstored.insert(name.clone(), error),
            None => self.unstored.remove(name),
        };
        self.publish_state();
    }

    /// A folder of sockets cannot be watched for this reason, or can be again.
    pub fn folder(&mut self, folder: String, error: Option<String>) {
        match error {
            Some(error) => self.lost_folders.insert(folder, error),
            None => self.lost_folders.remove(&folder),
        };
        self.publish_state();
    }

    /// What the broker has as the state of a gateway of this name. Gives another gateway that is online, if that
    /// is news.
    pub fn found_state(&mut self, state: &[u8], now: Now) -> Option<Process> {
        let other = Other::read(state, &self.about.process, now.monotonic)?;
        let process = other.process.clone();
        let before = self.other.replace(other);
        let is_new = before.is_none_or(|before| before.process != process);
        if is_new {
            self.publish_all(now);
        }
        is_new.then_some(process)
    }

    /// What was heard cannot be written, or can again.
    pub fn memory(&mut self, error: Option<String>) {
        self.about.memory_error = error;
        self.publish_state();
    }

    /// A domain's channel reports; `last_legacy` is when it last spoke legacy, in RFC 3339.
    pub fn report(
        &mut self,
        name: &DomainName,
        report: &Report,
        last_legacy: Option<&str>,
        now: Now,
    ) {
        self.make_room(name);
        let tokens = &mut self.tokens;
        let (known, mut is_new) = (self.domains.len(), false);
        let row = self.domains.entry(name.clone()).or_insert_with(|| {
            is_new = true;
            *tokens += 1;
            StatusRow::new(Token(*tokens), report.state, now)
        });
        is_new |= row.take(report, last_legacy, now);
        let is_due = is_new || row.next <= now.monotonic;
        if self.domains.len() != known {
            self.publish_state();
        }
        if is_due {
            self.publish(name, now);
        }
    }

    /// Keeps the number of domains within bounds: one that is absent goes.
    fn make_room(&mut self, name: &DomainName) {
        if self.domains.len() < DOMAINS || self.domains.contains_key(name) {
            return;
        }
        let absent = self.domains.iter().find(|(_, e)| e.state == State::Absent);
        if let Some(gone) = absent.map(|(name, _)| name.clone()) {
            self.domains.remove(&gone);
            self.clear(self.topic(&gone));
        }
    }

    /// A reload has ended.
    pub fn reloaded(&mut self, outcome: Reloaded, now: Now) {
        let at = now.rfc3339();
        self.reload = match outcome {
            Reloaded::Applied(mappings) => {
                self.about.mappings = mappings;
                json!({"at": at, "outcome": "applied", "findings": []})
            }
            Reloaded::Refused(mut findings) => {
                let more = findings.len().saturating_sub(FINDINGS);
                findings.truncate(FINDINGS);
                findings.extend((more > 0).then(|| format!("and {more} more: see the log")));
                json!({"at": at, "outcome": "refused", "findings": findings})
            }
        };
        self.publish_state();
    }

    /// The gateway ends as it was told to. From now on this is its state.
    pub fn ended(&mut self, now: Now) {
        self.ended = Some(now.rfc3339());
        self.publish_state();
    }

    /// Whether the broker can be reached.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// A retained message of [`Board::domains_filter`] that this session has not published: what an
    /// earlier run has left of a domain that is not here is cleared.
    pub fn found(&mut self, topic: &str, payload_is_empty: bool) {
        let name = topic.rsplit('/').next().and_then(|n| DomainName::parse(n).ok());
        let known = name.is_some_and(|n| self.topic(&n) == topic && self.domains.contains_key(&n));
        if !known && !payload_is_empty {
            self.clear(topic.to_owned());
        }
    }

    /// Whether a topic is that of this gateway's own state.
    #[must_use]
    pub fn is_own(&self, topic: &str) -> bool {
        topic == Self::state_topic(&self.about.instance)
    }

    /// Whether a topic is a domain's state, of this gateway.
    #[must_use]
    pub fn is_domains(&self, topic: &str) -> bool {
        let rest = topic.strip_prefix("passerelle/");
        let rest = rest.and_then(|r| r.strip_prefix(self.about.instance.as_str()));
        rest.is_some_and(|r| r.starts_with("/domains/"))
    }

    /// When [`Board::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let waiting = self.domains.values().filter(|e| e.changed && self.connected);
        waiting.map(|e| e.next).chain(self.other.as_ref().map(|other| other.until)).min()
    }

    /// Time has passed: figures that have waited are published.
    pub fn wake(&mut self, now: Now) {
        if self.other.take_if(|other| other.until <= now.monotonic).is_some() {
            self.publish_all(now);
        }
        let due = |e: &StatusRow| e.changed && e.next <= now.monotonic;
        let names: Vec<_> =
            self.domains.iter().filter(|(_, e)| due(e)).map(|(n, _)| n.clone()).collect();
        for name in names {
            self.publish(&name, now);
        }
    }

    fn topic(&self, name: &DomainName) -> String {
        format!("passerelle/{}/domains/{name}", self.about.instance)
    }

    /// All that is on it, as `passerelle status --json` shows it.
    #[must_use]
    pub fn whole(&self) -> Value {
        let domains = self
            .domains
            .iter()
            .map(|(name, entry)| (name.to_string(), entry.shown(name, self.other.as_ref())));
        json!({
            "instance": self.about.instance,
            "gateway": self.state(),
            "domains": domains.collect::<Map<_, _>>(),
        })
    }

    /// The topics of the domains that a gateway's state lists. A broker may have no other way to find them: to
    /// RabbitMQ, what is retained is for who asks for its very topic.
    #[must_use]
    pub fn listed(instance: &str, state: &[u8]) -> Vec<String> {
        let state: Value = serde_json::from_slice(state).unwrap_or_default();
        let names = state.get("domains").and_then(Value::as_array).into_iter().flatten();
        let names = names.filter_map(|name| DomainName::parse(name.as_str()?).ok());
        names.take(DOMAINS).map(|name| format!("passerelle/{instance}/domains/{name}")).collect()
    }

    fn publish_state(&mut self) {
        if self.connected {
            let topic = Self::state_topic(&self.about.instance);
            self.retain(Token(STATE), topic, self.state().to_string());
        }
    }

    fn state(&self) -> Value {
        let About { instance: _, version, mappings, memory_error, store_error, process } =
            &self.about;
        let unstored = self.unstored.iter().map(|(name, why)| format!("{name}: {why}"));
        let unstored: Vec<_> = store_error.iter().cloned().chain(unstored).collect();
        let lost = self.lost_folders.iter().map(|(folder, why)| format!("{folder}: {why}"));
        let sockets: Vec<_> = lost.collect();
        let domains: Vec<_> = self.domains.keys().collect();
        match &self.ended {
            Some(ended) => {
                json!({
                    "state": "offline",
                    "since": ended,
                    "cause": "it was told to end",
                    "domains": domains,
                })
            }
            None => json!({
                "state": "online",
                "since": self.since,
                "version": version,
                "process": process,
                "other_gateway": self.other.as_ref().map(|other| other.process.to_string()),
                "mappings": mappings,
                "reload": self.reload,
                "broker_error": self.broker_error,
                "memory_error": memory_error,
                "store_errors": unstored,
                "socket_errors": sockets,
                "domains": domains,
            }),
        }
    }

    fn publish(&mut self, name: &DomainName, now: Now) {
        let topic = self.topic(name);
        let Some(entry) = self.domains.get_mut(name).filter(|_| self.connected) else { return };
        entry.changed = false;
        entry.next = now.monotonic.saturating_add(EVERY);
        let (token, state) = (entry.token, entry.shown(name, self.other.as_ref()));
        self.retain(token, topic, state.to_string());
    }

    fn clear(&mut self, topic: String) {
        self.cleared += 1;
        self.retain(Token(self.cleared), topic, String::new());
    }

    fn retain(&mut self, token: Token, topic: String, payload: String) {
        let publish = Publish::new(token, topic, payload, Qos::AtLeastOnce);
        self.publishes.push(Publish { retain: true, ..publish });
    }
}
