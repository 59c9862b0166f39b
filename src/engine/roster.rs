//! Which domains have a channel here, and what it carries.

use super::name::DomainName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long to wait before a request is looked at again that nobody was there for.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a domain that comes over to MQTT, or goes back, may take to make its subscriptions.
const PATIENCE: Duration = Duration::from_secs(10);

/// Never changed, only replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Domains that are still legacy.
    pub legacy: BTreeSet<DomainName>,
    /// Domains whose channel carries MQTT. Somebody who carries out requests to them may be about to
    /// subscribe.
    pub mqtt: BTreeSet<DomainName>,
    /// Those of them that have not made their subscriptions yet.
    pub arriving: BTreeSet<DomainName>,
}

impl Roster {
    /// When a request that was made then is looked at again, for its domain is only about to subscribe. `None`: it
    /// is to be published.
    #[must_use]
    pub fn waits_until(&self, to: &DomainName, made: Duration, now: Duration) -> Option<Duration> {
        again(made, now).filter(|_| self.arriving.contains(to))
    }

    /// When a request that was made then is published again, for nobody was there for it. `None`: nobody comes. One
    /// that has just gone back is about to subscribe, too.
    #[must_use]
    pub fn again_at(&self, to: &DomainName, made: Duration, now: Duration) -> Option<Duration> {
        again(made, now).filter(|_| self.mqtt.contains(to) || self.legacy.contains(to))
    }
}

fn again(made: Duration, now: Duration) -> Option<Duration> {
    (now.saturating_sub(made) < PATIENCE).then(|| now.saturating_add(PAUSE))
}

/// What a caller is told when nobody comes.
#[must_use]
pub fn nobody_takes(to: &DomainName) -> String {
    format!("nobody on MQTT carries out requests to {to}")
}
