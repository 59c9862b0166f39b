//! Which domains have a channel here, and what it carries.

use super::name::DomainName;
use std::collections::BTreeSet;

/// Never changed, only replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Domains that are still legacy.
    pub legacy: BTreeSet<DomainName>,
    /// Domains whose channel carries MQTT. Somebody who carries out requests to them may be about to
    /// subscribe.
    pub mqtt: BTreeSet<DomainName>,
    /// Those of them that have not made their subscriptions yet.
    pub arriving: BTreeSet<DomainName>,
}
