//! What each session subscribes to.

use super::identity::Identity;
use super::mapping::shape::Side;
use super::mapping::{Command, Table};
use std::collections::BTreeSet;

/// The filters of a channel's session: the requests that it carries out, and the answers to its own.
#[must_use]
pub fn of_channel(table: &Table, identity: &Identity) -> BTreeSet<String> {
    let mut filters = BTreeSet::new();
    for row in table.commands() {
        let handles = match identity {
            Identity::Domain(own) => {
                // Dom0's program would pass on to everyone once more what is everyone's.
                let is_one_of_all = !identity.is_relayed();
                row.handlers.iter().any(|h| h.domain.as_ref().map_or(is_one_of_all, |d| d == own))
            }
            Identity::Behind { .. } => true,
        };
        if row.direction.goes_from(Side::Mqtt) && handles {
            filters.insert(row.request_topic());
            filters.insert(format!("{}/+", row.request_topic()));
        }
        if row.direction.goes_from(Side::Legacy) {
            filters.insert(of_answers(row, identity));
        }
    }
    filters
}

/// The filter of the answers to a channel's calls of a row.
#[must_use]
pub fn of_answers(row: &Command, identity: &Identity) -> String {
    let bare = row.response_topic(None);
    match identity {
        _ if !row.named => bare,
        Identity::Domain(own) => format!("{bare}/{own}"),
        Identity::Behind { .. } => format!("{bare}/+"),
    }
}

/// The filters of the gateway's own session: the notifications.
#[must_use]
pub fn of_hub(table: &Table) -> BTreeSet<String> {
    let from_mqtt = table.events().iter().filter(|e| e.direction.goes_from(Side::Mqtt));
    from_mqtt.filter_map(|e| e.topic.clone()).collect()
}

/// Whether it is a filter of requests, rather than of answers or notifications.
#[must_use]
pub fn has_requests(filter: &str) -> bool {
    filter.strip_suffix("/+").unwrap_or(filter).ends_with("/request")
}

/// Whether a topic matches one of these filters, of which only the last level may be `+`.
#[must_use]
pub fn matches(filters: &BTreeSet<String>, topic: &str) -> bool {
    let above = topic.rsplit_once('/').map(|(above, _)| format!("{above}/+"));
    filters.contains(topic) || above.is_some_and(|wild| filters.contains(&wild))
}

/// The name of a channel's session: the domain's own, so that everyone on MQTT finds it there.
#[must_use]
pub fn client_id(identity: &Identity, instance: &str) -> String {
    match identity {
        Identity::Domain(name) => name.as_str().to_owned(),
        Identity::Behind { .. } => format!("passerelle-{instance}-channel"),
    }
}
