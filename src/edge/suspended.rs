//! What the next run needs for the domains on MQTT: a file in `state_dir`, for as long as no gateway runs.

use super::{private, regular};
use crate::engine::clock::Now;
use crate::engine::gateway::Suspended;
use crate::engine::name::DomainName;
use crate::engine::tunnel::Tunnel;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "tunnels.json";

/// Takes up what the last run has left, if it is no older than `limit`. What is begun once is not begun again.
pub(super) fn take(state_dir: &Path, limit: Duration, now: Now) -> BTreeMap<DomainName, Tunnel> {
    let file = state_dir.join(FILE);
    let Ok(text) = regular::read(&file) else { return BTreeMap::new() };
    let removed = fs::remove_file(&file);
    let text = String::from_utf8_lossy(&text);
    let read = Suspended::parse(&text, limit, now);
    match removed.map_err(|error| error.to_string()).and(read) {
        Ok(tunnels) => tunnels,
        Err(error) => {
            tracing::warn!(file = %file.display(), error, help = "restart their programs, if they do not connect by themselves", "the connections of domains on MQTT do not go on");
            BTreeMap::new()
        }
    }
}

/// Keeps it for the next run.
pub(super) fn keep(state_dir: &Path, text: &str) {
    let file = state_dir.join(FILE);
    if let Err(error) = private::replace_whole(&file, text.as_bytes()) {
        tracing::error!(file = %file.display(), %error, help = "make room in `state_dir`, or mend it", "the connections of domains on MQTT are not kept for the next run");
    }
}
