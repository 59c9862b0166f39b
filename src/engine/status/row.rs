//! One domain on the board.

use super::process::Other;
use super::{Losses, Report, Spoke, State, StoreUse};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::publish::Token;
use crate::engine::refusal::Counters;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The cause of Dom0's silence: no other program can hold what it is there on.
const NEVER_HEARD: &str = "connected and never heard: nobody there has had anything to say";

/// Why there is no serial port.
const NO_PORT: &str = "not open: there is no port of this name yet, or the gateway has ended";

/// What is known of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StatusRow {
    pub token: Token,
    pub state: State,
    /// Why its channel cannot be opened, or what is wrong with it.
    fault: Option<String>,
    since: String,
    last_legacy: Option<String>,
    calls: usize,
    held: usize,
    counters: Counters,
    /// Lines that were heard of it, by kind.
    heard: BTreeMap<Spoke, u64>,
    dropped: u64,
    published: u64,
    store: StoreUse,
    losses: Losses,
    /// Those of proxies and tunnels of this name that have ended.
    before: Counters,
    dropped_before: u64,
    published_before: u64,
    losses_before: Losses,
    /// Figures wait to be published.
    pub changed: bool,
    /// Not before then.
    pub next: Duration,
}

impl StatusRow {
    /// A domain that is new.
    pub fn new(token: Token, state: State, now: Now) -> Self {
        Self {
            token,
            state,
            fault: None,
            since: now.rfc3339(),
            last_legacy: None,
            calls: 0,
            held: 0,
            counters: Counters::default(),
            heard: BTreeMap::new(),
            dropped: 0,
            published: 0,
            store: StoreUse::default(),
            losses: Losses::default(),
            before: Counters::default(),
            dropped_before: 0,
            published_before: 0,
            losses_before: Losses::default(),
            changed: false,
            next: Duration::ZERO,
        }
    }

    /// Takes a report in. Says whether there is more in it than new figures.
    pub fn take(&mut self, report: &Report, last_legacy: Option<&str>, now: Now) -> bool {
        self.last_legacy = last_legacy.map(str::to_owned);
        (self.calls, self.held) = (report.calls, report.held);
        self.counters = report.counters.clone();
        for utterance in &report.heard {
            let count = self.heard.entry(utterance.spoke).or_default();
            *count = count.saturating_add(utterance.count);
        }
        (self.dropped, self.published) = (report.dropped, report.published);
        self.store = report.store;
        self.losses = report.losses;
        if report.ended {
            self.before.add(&std::mem::take(&mut self.counters));
            self.dropped_before = self.dropped_before.saturating_add(report.dropped);
            self.losses_before.add(&report.losses);
            self.published_before = self.published_before.saturating_add(report.published);
            (self.dropped, self.published, self.losses) = (0, 0, Losses::default());
        }
        let mut is_new = self.fault != report.cause;
        if std::mem::replace(&mut self.state, report.state) != report.state {
            self.since = now.rfc3339();
            is_new = true;
        }
        self.fault.clone_from(&report.cause);
        self.changed = true;
        is_new
    }

    /// How it is shown under its name. `other` is another gateway of this instance.
    pub fn shown(&self, name: &DomainName, other: Option<&Other>) -> Value {
        let mut counters = self.before.clone();
        counters.add(&self.counters);
        let mut losses = self.losses_before;
        losses.add(&self.losses);
        let held = other.filter(|_| self.state == State::Silent).map(|other| {
            let process = &other.process;
            format!(
                "connected and never heard: another gateway of this name may hold it: {process}"
            )
        });
        // Behind a serial port there is no old router.
        let cause = match self.state {
            State::Silent if name.is_dom0() => Some(NEVER_HEARD),
            State::Absent if name.is_dom0() => Some(NO_PORT),
            state => state.cause(),
        };
        json!({
            "state": self.state,
            "since": self.since,
            "cause": self.fault.as_deref().or(held.as_deref()).or(cause),
            "last_legacy": self.last_legacy,
            "calls_pending": self.calls,
            "held_bytes": self.held,
            "mqtt_bytes_dropped": self.dropped_before.saturating_add(self.dropped),
            "store_bytes": self.store.bytes,
            "store_records": self.store.records,
            "store_since": self.store.since.map(|wall| Now { monotonic: Duration::ZERO, wall }.rfc3339()),
            "mqtt_published": self.published_before.saturating_add(self.published),
            "mqtt_losses": losses,
            "heard": Spoke::ALL.map(|kind| (kind.as_str(), self.heard.get(&kind).copied().unwrap_or_default())).into_iter().collect::<BTreeMap<_, _>>(),
            "counters": shown(&counters),
            "call_seconds": counters.took.shown(),
        })
    }
}

fn shown(counters: &Counters) -> Value {
    let count = |(name, n): (&str, &u64)| (name.to_owned(), json!(n));
    let ignored: Map<_, _> = counters.ignored.iter().map(|(w, n)| count((w.as_str(), n))).collect();
    let refused: Map<_, _> = counters.refused.iter().map(|(r, n)| count((r.as_str(), n))).collect();
    json!({
        "received": counters.received,
        "delivered": counters.delivered,
        "answered": counters.answered,
        "stored": counters.stored,
        "ignored": ignored,
        "refused": refused,
    })
}
