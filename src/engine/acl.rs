//! What each user may do on the broker, by the mapping and the policy.

use super::mapping::{Command, Event, Table};
use super::name::DomainName;
use super::policy::{Policy, Said};
use super::status::Board;
use super::subscriptions;
use std::collections::{BTreeMap, BTreeSet};

/// The event by which errors are told, the gateway's own too.
const ERROR: &str = "erreur";

/// What somebody may do with the topics of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Be sent them.
    Read,
    /// Publish to them.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Mosquitto's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        }
    }
}

/// A user's grants: by topic filter, whether it may read and write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    read: BTreeSet<String>,
    write: BTreeSet<String>,
}

impl Grants {
    /// Every filter once, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<(Access, &str)> {
        let access =
            |filter: &String| match (self.read.contains(filter), self.write.contains(filter)) {
                (true, true) => Access::ReadWrite,
                (true, false) => Access::Read,
                (false, _) => Access::Write,
            };
        self.read.union(&self.write).map(|filter| (access(filter), filter.as_str())).collect()
    }

    fn reads(&mut self, filters: impl IntoIterator<Item = String>) {
        self.read.extend(filters);
    }

    fn writes(&mut self, filters: impl IntoIterator<Item = String>) {
        self.write.extend(filters);
    }
}

/// The grants of a gateway's domains, while they are legacy and once they are migrated.
#[derive(Debug)]
pub struct Acl<'a> {
    table: &'a Table,
    policy: &'a Policy,
    domains: &'a BTreeSet<DomainName>,
}

impl<'a> Acl<'a> {
    /// For these domains: nobody else is granted anything.
    #[must_use]
    pub fn new(table: &'a Table, policy: &'a Policy, domains: &'a BTreeSet<DomainName>) -> Self {
        Self { table, policy, domains }
    }

    /// What each domain may do.
    #[must_use]
    pub fn of_domains(&self) -> BTreeMap<&'a DomainName, Grants> {
        self.domains.iter().map(|domain| (domain, self.of_domain(domain))).collect()
    }

    fn of_domain(&self, domain: &DomainName) -> Grants {
        let mut grants = Grants::default();
        for row in self.table.commands() {
            if self.handlers(row).iter().any(|handler| self.may_ask(domain, row, handler)) {
                grants.writes([row.request_topic(), format!("{}/{domain}", row.request_topic())]);
                grants.reads(answers(row, domain));
            }
            let asks = |from: &&DomainName| self.may_ask(from, row, domain);
            let requesters: Vec<_> = self.domains.iter().filter(asks).collect();
            if self.handlers(row).contains(domain) && !requesters.is_empty() {
                grants.reads([row.request_topic(), format!("{}/+", row.request_topic())]);
                grants.writes(requesters.iter().flat_map(|requester| answers(row, requester)));
            }
        }
        for event in self.table.events() {
            let Some(topic) = &event.topic else { continue };
            if self.may_tell(domain, event) {
                grants.writes([topic.clone()]);
            }
            // The gateway says what it refuses, whatever the policy.
            let notices = event.legacy == ERROR;
            if notices || self.domains.iter().any(|from| self.may_tell(from, event)) {
                grants.reads([topic.clone()]);
            }
        }
        grants
    }

    /// Whether a call may be made, to this domain or to everyone.
    fn may_ask(&self, from: &DomainName, row: &Command, to: &DomainName) -> bool {
        let everyone = row.handlers.iter().any(|h| h.domain.is_none());
        let to_all =
            everyone && self.policy.allows(from, &Said::command(row), &DomainName::everyone());
        to_all || self.policy.allows(from, &Said::command(row), to)
    }

    fn may_tell(&self, from: &DomainName, event: &Event) -> bool {
        self.policy.allows(from, &Said::event(event), &DomainName::everyone())
    }

    /// Who carries a row out; of those that are every domain's, everyone.
    fn handlers(&self, row: &Command) -> BTreeSet<DomainName> {
        if row.handlers.iter().any(|h| h.domain.is_none()) {
            return self.domains.clone();
        }
        row.handlers.iter().filter_map(|h| h.domain.clone()).collect()
    }

    /// What the gateway's own session and `passerelle status` need: notifications, its status, and what
    /// it publishes for a domain that is gone: that may be anything the domain might have published.
    #[must_use]
    pub fn of_gateway(&self, instance: &str) -> Grants {
        let mut grants = Grants::default();
        grants.reads(subscriptions::of_hub(self.table));
        for row in self.table.commands() {
            let (request, response) = (row.request_topic(), row.response_topic(None));
            grants.writes([format!("{request}/+"), request, format!("{response}/+"), response]);
        }
        grants.writes(self.table.events().iter().filter_map(|e| e.topic.clone()));
        let status = [Board::state_topic(instance), Board::domains_filter(instance)];
        grants.reads(status.clone());
        grants.writes(status);
        grants
    }
}

/// Where a requester is answered: by the name that it has, and in a dialect that says none, to everyone too.
fn answers(row: &Command, requester: &DomainName) -> impl Iterator<Item = String> {
    let bare = (!row.named).then(|| row.response_topic(None));
    bare.into_iter().chain([row.response_topic(Some(requester))])
}
