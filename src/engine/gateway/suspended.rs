//! Domains on MQTT, from one run of the gateway to the next.

use super::Gateway;
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::snapshot::whole;
use crate::engine::tunnel::Tunnel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The tunnels of domains that the last run has kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Suspended {
    at: SystemTime,
    tunnels: BTreeMap<DomainName, Tunnel>,
}

impl Suspended {
    /// Reads them.
    ///
    /// # Errors
    /// They are older than `limit`, or another version has written them.
    pub fn parse(
        text: &str,
        limit: Duration,
        now: Now,
    ) -> Result<BTreeMap<DomainName, Tunnel>, String> {
        let read: Self = whole(|| serde_json::from_str(text)).map_err(|error| error.to_string())?;
        let age = now.wall.duration_since(read.at).unwrap_or_default();
        if age > limit {
            return Err("no gateway has run for longer than `limits.heal`".to_owned());
        }
        Ok(read.tunnels)
    }
}

impl Gateway {
    /// Whether a domain's channel is to be read to its end, for its tunnel goes on in the next run.
    #[must_use]
    pub fn is_suspended(&self, name: &DomainName) -> bool {
        let tunnel = self.domains.get(name).and_then(|domain| domain.tunnel());
        tunnel.is_some_and(Tunnel::is_suspended)
    }

    /// What the next run needs for the domains on MQTT, as a text; `None`: there is none.
    pub fn take_suspended(&mut self, now: Now) -> Option<String> {
        let tunnels = std::mem::take(&mut self.suspended);
        let suspended = Suspended { at: now.wall, tunnels };
        let text = || whole(|| serde_json::to_string(&suspended)).ok();
        (!suspended.tunnels.is_empty()).then(text).flatten()
    }

    /// The tunnel of a domain that spoke MQTT last: that of the last run, if it was kept.
    pub(super) fn tunnel_of_before(&mut self, name: &DomainName, now: Now) -> Option<Tunnel> {
        use crate::engine::tunnel::detector::Detector;
        let on_mqtt = self.on_mqtt.remove(name);
        let Some(mut tunnel) = self.suspended.remove(name) else {
            // Until it says something else, no line is written into what may be MQTT.
            return on_mqtt.then(|| self.tunnel(name, Detector::mqtt()));
        };
        let limits = &self.setting.limits;
        tunnel.set_limit(limits.outbox, now.monotonic);
        tunnel.set_away(limits.away);
        tunnel.set_heal(limits.heal);
        tunnel.set_password(self.logins.password(name));
        tunnel.resume(&mut self.ids, now.monotonic);
        tracing::info!(domain = %name, "its connection to the broker goes on where the last run has left it");
        Some(tunnel)
    }
}
