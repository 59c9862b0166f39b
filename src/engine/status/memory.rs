//! What was heard of whom, and how it spoke, for [`Record`]: it outlives the gateway.

use super::record::FORMAT;
use super::{History, Seen, SeenRecord, State, Traffic, Utterance};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The least time between two writings.
const EVERY: Duration = Duration::from_secs(5);
/// The same for what a channel carries: a gateway that is killed must not mistake it in the next run.
const SOON: Duration = Duration::from_millis(250);
/// How old what is written may be when something happens, so that less is forgotten in a crash.
const OLD: Duration = Duration::from_secs(10 * 60);
/// How long a gateway may have been away for its watch to go on.
const GAP: Duration = Duration::from_secs(60 * 60);
/// How many domains, and how many names of each, are remembered. Whoever was quiet for longest makes
/// room, and the verdict stays the same: the others would have to be quiet for longer still.
const DOMAINS: usize = 1024;
const NAMES: usize = 128;

/// The memory of a gateway that runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memory {
    run: Arc<str>,
    watching_since: String,
    /// Seconds watched before this run.
    before: u64,
    /// What the system's monotonic clock showed when this run's own was 0.
    system: Duration,
    set_aside: Option<String>,
    domains: BTreeMap<DomainName, Vec<Seen>>,
    mqtt: BTreeSet<DomainName>,
    /// What each domain's tunnel had published when it was last counted.
    published: BTreeMap<DomainName, u64>,
    traffic: History,
    /// It has changed since it was written.
    changed: bool,
    /// When it was written last, and when it may be written next.
    written: Duration,
    next: Duration,
}

impl Memory {
    /// The memory of a run that begins `now`, when the run's own clock shows 0 and the system's
    /// monotonic clock shows `system`; `earlier` is what an earlier run has left.
    ///
    /// The watch goes on if that was written at most an hour ago. If the gateway was away for longer,
    /// or the wall clock was set back, it begins anew, with all that was heard taken for just heard.
    #[must_use]
    pub fn new(run: Arc<str>, system: Duration, earlier: Option<SeenRecord>, now: Now) -> Self {
        let mut memory = Self {
            run,
            watching_since: now.rfc3339(),
            before: 0,
            system,
            set_aside: None,
            domains: BTreeMap::new(),
            mqtt: BTreeSet::new(),
            published: BTreeMap::new(),
            traffic: History::default(),
            changed: true,
            written: now.monotonic,
            next: now.monotonic,
        };
        let Some(earlier) = earlier else { return memory };
        let away = humantime::parse_rfc3339(&earlier.saved)
            .ok()
            .and_then(|saved| now.wall.duration_since(saved).ok());
        let goes_on = away.is_some_and(|away| away <= GAP);
        if goes_on {
            memory.before = earlier.watched;
            memory.watching_since = earlier.watching_since;
        }
        memory.set_aside = earlier.set_aside;
        memory.traffic = earlier.traffic;
        memory.mqtt = earlier.mqtt.iter().filter_map(|n| DomainName::parse(n).ok()).collect();
        for (name, mut all) in earlier.domains {
            let Ok(name) = DomainName::parse(&name) else { continue };
            for seen in &mut all {
                seen.watched = seen.watched.min(memory.before);
            }
            memory.domains.insert(name, all);
        }
        memory
    }

    /// A memory that could not be read was put here.
    pub fn set_aside(&mut self, place: String) {
        self.set_aside = Some(place);
    }

    /// What a domain's channel carries, as far as its state tells.
    pub fn carries(&mut self, name: &DomainName, state: State) {
        let changed = match state {
            State::Mqtt | State::WaitingForConnect if self.mqtt.len() < DOMAINS => {
                self.mqtt.insert(name.clone())
            }
            State::Legacy => self.mqtt.remove(name),
            State::Mqtt | State::WaitingForConnect => false,
            State::Absent | State::Silent | State::Contested | State::Unavailable => false,
        };
        if changed {
            self.changed = true;
            self.next = self.next.min(self.written.saturating_add(SOON));
        }
    }

    /// A domain's tunnel has published so much in all; `ended`: another one counts from 0.
    pub fn published(&mut self, name: &DomainName, all: u64, ended: bool, now: Now) {
        let before = self.published.get(name).copied().unwrap_or_default();
        let mqtt = all.saturating_sub(before);
        self.traffic.note(Traffic { legacy: 0, mqtt }, &now.rfc3339());
        self.changed |= mqtt > 0;
        match ended {
            true => self.published.remove(name),
            false if all > before => self.published.insert(name.clone(), all),
            false => None,
        };
    }

    /// Domains that last spoke MQTT over their channel.
    #[must_use]
    pub fn on_mqtt(&self) -> &BTreeSet<DomainName> {
        &self.mqtt
    }

    /// Domains that have spoken legacy.
    pub fn domains(&self) -> impl Iterator<Item = &DomainName> {
        self.domains.keys()
    }

    /// Something has happened to a domain, and this was heard of it.
    pub fn heard(&mut self, name: &DomainName, heard: &[Utterance], now: Now) {
        self.changed |= now.monotonic.saturating_sub(self.written) >= OLD;
        if heard.is_empty() {
            return;
        }
        self.changed = true;
        let legacy = heard.iter().map(|utterance| utterance.count).sum();
        self.traffic.note(Traffic { legacy, mqtt: 0 }, &now.rfc3339());
        let watched = self.watched(now);
        self.make_room(name);
        let all = self.domains.entry(name.clone()).or_default();
        for utterance in heard {
            let Utterance { spoke, name, count, last } = utterance;
            let last = wall(*last);
            match all.iter_mut().find(|s| s.spoke == *spoke && s.name == *name) {
                Some(seen) => {
                    seen.count = seen.count.saturating_add(*count);
                    (seen.last, seen.watched) = (last, watched);
                }
                None => {
                    let (spoke, name, count) = (*spoke, name.clone(), *count);
                    all.push(Seen { spoke, name, count, last, watched });
                }
            }
        }
        while all.len() > NAMES {
            let quietest = all.iter().enumerate().min_by_key(|(_, s)| s.watched).map(|(at, _)| at);
            all.remove(quietest.unwrap_or_default());
        }
    }

    fn make_room(&mut self, name: &DomainName) {
        if self.domains.len() < DOMAINS || self.domains.contains_key(name) {
            return;
        }
        let last = |all: &Vec<Seen>| all.iter().map(|s| s.watched).max();
        let quietest = self.domains.iter().min_by_key(|(_, all)| last(all));
        if let Some(name) = quietest.map(|(name, _)| name.clone()) {
            self.domains.remove(&name);
        }
    }

    /// When a domain last spoke legacy, by the wall clock.
    #[must_use]
    pub fn last(&self, name: &DomainName) -> Option<&str> {
        let all = self.domains.get(name)?;
        // Of those heard at the same time by the watch, the wall clock tells the last.
        all.iter().max_by_key(|s| (s.watched, &s.last)).map(|s| s.last.as_str())
    }

    fn watched(&self, now: Now) -> u64 {
        self.before.saturating_add(now.monotonic.as_secs())
    }

    /// When it is to be written; `None` while nothing has changed.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.changed.then_some(self.next)
    }

    /// The record, if it is to be written now.
    pub fn take_due(&mut self, now: Now) -> Option<SeenRecord> {
        self.deadline().is_some_and(|at| at <= now.monotonic).then(|| self.take(now))
    }

    /// The record as it is now; it counts as written.
    pub fn take(&mut self, now: Now) -> SeenRecord {
        self.changed = false;
        self.written = now.monotonic;
        self.next = now.monotonic.saturating_add(EVERY);
        self.record(now)
    }

    /// The record as it is now.
    #[must_use]
    pub fn record(&self, now: Now) -> SeenRecord {
        let domains = self.domains.iter();
        SeenRecord {
            format: FORMAT,
            run: self.run.to_string(),
            watching_since: self.watching_since.clone(),
            saved: now.rfc3339(),
            watched: self.watched(now),
            monotonic: self.system.saturating_add(now.monotonic).as_secs(),
            set_aside: self.set_aside.clone(),
            domains: domains.map(|(n, all)| (n.as_str().to_owned(), all.clone())).collect(),
            mqtt: self.mqtt.iter().map(|n| n.as_str().to_owned()).collect(),
            traffic: self.traffic.clone(),
        }
    }
}

fn wall(time: SystemTime) -> String {
    Now { monotonic: Duration::ZERO, wall: time }.rfc3339()
}
