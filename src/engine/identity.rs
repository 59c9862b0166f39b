//! Whose a channel is.

use super::name::DomainName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Whose the channel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// One domain's, on Dom0: it can only speak as itself.
    Domain(DomainName),
    /// In a DomU: everything but these local names is behind it. The first one is the gateway's own
    /// name on the wire.
    Behind {
        /// The name under which the gateway writes.
        own: DomainName,
        /// More names of local applications.
        local: BTreeSet<DomainName>,
    },
}

impl Identity {
    /// Whether it is Dom0's own: the program of the MVP, on sockets that the gateway offers it.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        matches!(self, Self::Domain(name) if name.is_dom0())
    }

    /// The name under which the channel is known: its domain's, or the gateway's own on the wire.
    #[must_use]
    pub fn name(&self) -> &DomainName {
        match self {
            Self::Domain(name) => name,
            Self::Behind { own, .. } => own,
        }
    }
}
