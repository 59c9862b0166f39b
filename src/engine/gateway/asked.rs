//! What the pumps ask, and what the gateway says of itself as a whole.

use super::Gateway;
use super::domain::{Domain, Mode};
use super::effect::{Effect, Pump};
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::refusal::Counters;
use crate::engine::status::MappingFile;
use std::collections::BTreeSet;
use std::time::Duration;

impl Gateway {
    /// The next effect of a pump, in order.
    pub fn next_effect(&mut self, pump: &Pump) -> Option<Effect> {
        let effect = self.effects.pop(pump)?;
        self.note_effect(pump, &effect);
        Some(effect)
    }

    /// The oldest effect of all pumps, for whoever carries out all of them.
    pub fn next_of_all(&mut self) -> Option<(Pump, Effect)> {
        let (pump, effect) = self.effects.pop_oldest()?;
        self.note_effect(&pump, &effect);
        Some((pump, effect))
    }

    /// The pumps that have to look again at what is to be done, and when.
    pub fn take_woken(&mut self) -> BTreeSet<Pump> {
        self.effects.take_woken()
    }

    /// The domains that there are, for each of which there is to be a pump.
    pub fn domains(&self) -> impl Iterator<Item = &DomainName> {
        self.domains.keys()
    }

    /// Whether there is to be such a pump.
    #[must_use]
    pub fn has(&self, pump: &Pump) -> bool {
        match pump {
            Pump::Own => true,
            Pump::Domain(name) => self.domains.contains_key(name),
            Pump::Socket(name) => self.has_socket(name),
        }
    }

    /// What it goes by.
    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The files that its mapping was made of.
    #[must_use]
    pub fn mappings(&self) -> &[MappingFile] {
        self.own.board.mappings()
    }

    /// The domains whose channels are open and carry lines.
    pub fn legacy_here(&self) -> impl Iterator<Item = &DomainName> {
        let here = |domain: &&Domain| domain.channel.is_open() && domain.is_legacy();
        self.domains.values().filter(here).map(|domain| &domain.name)
    }

    /// Whether a domain's channel carries its own MQTT.
    #[must_use]
    pub fn is_on_mqtt(&self, name: &DomainName) -> bool {
        self.domains.get(name).is_some_and(|domain| matches!(domain.mode, Mode::Mqtt(_)))
    }

    /// What is to be written to a domain's channel next.
    #[must_use]
    pub fn to_channel(&self, name: &DomainName) -> Option<&[u8]> {
        let domain = self.domains.get(name).filter(|domain| domain.channel.is_open())?;
        match &domain.mode {
            Mode::Legacy(legacy) => {
                let chunk = legacy.proxy.chunk()?;
                // An empty line says nothing, and ends what the line would be glued to.
                Some(if domain.channel.is_after_packets() { b"\n" } else { chunk })
            }
            Mode::Mqtt(tunnel) => tunnel.to_domain(),
            Mode::Gone | Mode::Leaving(_) => None,
        }
    }

    /// What is to be written next to the broker, for a domain's own MQTT.
    #[must_use]
    pub fn to_broker(&self, name: &DomainName) -> Option<&[u8]> {
        match &self.domains.get(name)?.mode {
            Mode::Mqtt(tunnel) => tunnel.to_broker(),
            _ => None,
        }
    }

    /// When [`Gateway::wake`] has something to do for a pump.
    #[must_use]
    pub fn deadline(&self, pump: &Pump) -> Option<Duration> {
        match pump {
            Pump::Socket(_) => None,
            Pump::Own => self.own.deadline().into_iter().chain(self.finishing).min(),
            Pump::Domain(name) => {
                let domain = self.domains.get(name)?;
                let limit = self.finishing.filter(|_| !domain.through);
                domain.deadline().into_iter().chain(limit).min()
            }
        }
    }

    /// How messages have ended, and how many are under way.
    #[must_use]
    pub fn ledger(&self) -> (Counters, usize) {
        let mut sum = self.gone.clone();
        sum.add(self.own.hub.counters());
        let mut under_way = self.own.hub.under_way();
        for proxy in self.domains.values().filter_map(Domain::proxy) {
            sum.add(proxy.counters());
            under_way += proxy.under_way();
        }
        (sum, under_way)
    }

    /// How many bytes of messages are held for all domains: what `limits.memory` bounds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.domains.values().map(Domain::count_held).sum()
    }

    /// Logs the counters: a line for each domain, and one for all.
    pub fn log_counters(&self) {
        for (name, domain) in &self.domains {
            let Some(proxy) = domain.proxy() else { continue };
            let (under_way, counters) = (proxy.under_way(), proxy.counters());
            tracing::info!(domain = %name, under_way, %counters, "counters");
        }
        let counters = self.own.hub.counters();
        tracing::info!(domain = "(notifications)", under_way = 0, %counters, "counters");
        let (sum, under_way) = self.ledger();
        tracing::info!(under_way, counters = %sum, "counters in all");
    }
}
