//! How many messages came from domains that are legacy and from those on MQTT, by hour and by day. Bounded.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many hours and days are kept: those that are latest by the wall clock.
const HOURS: usize = 48;
const DAYS: usize = 90;

/// Messages of one hour or day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Lines of legacy domains.
    pub legacy: u64,
    /// What domains on MQTT have published over their channels. What a domain says straight to the broker the
    /// gateway does not see.
    pub mqtt: u64,
}

/// The traffic over time, in UTC by the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// By hour, `2026-01-01T08`; those without a message are left out.
    pub hours: BTreeMap<String, Traffic>,
    /// By day, `2026-01-01`, likewise.
    pub days: BTreeMap<String, Traffic>,
}

impl History {
    /// Messages at a time, in RFC 3339.
    pub fn note(&mut self, traffic: Traffic, at: &str) {
        if traffic == Traffic::default() {
            return;
        }
        for (all, size, most) in [(&mut self.hours, 13, HOURS), (&mut self.days, 10, DAYS)] {
            let Some(span) = at.get(..size) else { continue };
            let sum = all.entry(span.to_owned()).or_default();
            sum.legacy = sum.legacy.saturating_add(traffic.legacy);
            sum.mqtt = sum.mqtt.saturating_add(traffic.mqtt);
            while all.len() > most {
                all.pop_first();
            }
        }
    }

    /// Keeps no more than is kept.
    pub(super) fn bound(&mut self) {
        for (all, most) in [(&mut self.hours, HOURS), (&mut self.days, DAYS)] {
            while all.len() > most {
                all.pop_first();
            }
        }
    }
}
