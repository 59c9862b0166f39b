//! What the gateway says of itself: the state of each domain, and who has spoken legacy until when.
//!
//! A channel's [`Reporter`] says when there is something to report, the [`Board`] makes of it the
//! retained messages, and the [`Memory`] what outlives the gateway.

mod board;
mod heard;
mod history;
mod memory;
mod metrics;
mod process;
mod record;
mod reporter;
mod row;

pub use board::{About, Board, MappingFile, Reloaded};
pub use heard::{Heard, Spoke, Utterance};
pub use history::{History, Traffic};
pub use memory::Memory;
pub use metrics::{MetricsForm, faults, metrics, metrics_of};
pub use process::Process;
pub use record::{Quiet, Readiness, Seen, SeenRecord};
pub use reporter::{Carries, Reporter, View};

use super::refusal::Counters;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// What a channel is doing. The names do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its channel is not there.
    Absent,
    /// Its channel is connected, and nothing was heard since.
    Silent,
    /// It has spoken legacy on this connection.
    Legacy,
    /// Its channel carries MQTT.
    Mqtt,
    /// Another client has its name on the broker.
    Contested,
    /// Its channel carries MQTT, and nothing goes through before its next CONNECT.
    WaitingForConnect,
    /// Its channel is there, and cannot be opened.
    Unavailable,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::Silent,
        Self::Legacy,
        Self::Mqtt,
        Self::Contested,
        Self::WaitingForConnect,
        Self::Unavailable,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Silent => "silent",
            Self::Legacy => "legacy",
            Self::Mqtt => "mqtt",
            Self::Contested => "contested",
            Self::WaitingForConnect => "waiting_for_connect",
            Self::Unavailable => "unavailable",
        }
    }

    /// What is the likely cause, and what to look at; `None` where all is as it should be.
    #[must_use]
    pub fn cause(self) -> Option<&'static str> {
        match self {
            // Why not is said with the report.
            Self::Absent | Self::Legacy | Self::Mqtt | Self::Unavailable => None,
            Self::Silent => Some(
                "connected and never heard: it has had nothing to say, or another program, such as \
                 the old router, holds the socket",
            ),
            Self::Contested => Some(
                "another client has its name on the broker: its new program may be running while \
                 the old one still has the channel",
            ),
            Self::WaitingForConnect => Some(
                "nothing of it goes through before its next CONNECT: it has just started, or the \
                      broker has closed its connection, or was out of reach",
            ),
        }
    }
}

/// What has become of a domain's own connections that the broker has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// How many have gone on by another one, and the domain noticed nothing.
    pub healed: u64,
    /// How many the domain was told of.
    pub told: u64,
    /// Why it was told last.
    #[serde(with = "crate::engine::snapshot::word")]
    pub why: Option<crate::engine::snapshot::Word>,
    /// How many packets were said again.
    pub repeated: u64,
    /// How many subscriptions were made again.
    pub subscribed: u64,
}

impl Losses {
    /// Counts these as well.
    pub fn add(&mut self, other: &Self) {
        self.healed = self.healed.saturating_add(other.healed);
        self.told = self.told.saturating_add(other.told);
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.subscribed = self.subscribed.saturating_add(other.subscribed);
        self.why = other.why.or(self.why);
    }
}

/// What is kept on disk for a domain that is legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreUse {
    /// Bytes on disk.
    pub bytes: usize,
    /// Records that are still needed.
    pub records: usize,
    /// Since when there has been one without a pause: none of them is older.
    pub since: Option<SystemTime>,
}

/// What a channel reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: State,
    /// Why the channel cannot be opened, if that is the state; or what is wrong with it.
    pub cause: Option<String>,
    /// Calls that are pending, its own and those that it is to answer.
    pub calls: usize,
    /// Bytes of messages that are held for it, or of it.
    pub held: usize,
    /// How messages have ended since its proxy began.
    pub counters: Counters,
    /// Bytes of its MQTT that went nowhere since its tunnel began.
    pub dropped: u64,
    /// What is kept on disk for it.
    pub store: StoreUse,
    /// Messages that it has published by its own MQTT since then.
    pub published: u64,
    /// What has become of its connections that the broker has lost since then.
    pub losses: Losses,
    /// What was heard of it since the last report.
    pub heard: Vec<Utterance>,
    /// Whether its proxy or tunnel has ended: another one of the same name counts from 0.
    pub ended: bool,
}
