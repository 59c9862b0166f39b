//! A whole gateway without sockets: the proxies, the hub and what passes between them, in one thread
//! and in a fixed order. `passerelle translate`, tests and fuzzers drive it.

use super::clock::Now;
use super::hub::Hub;
use super::limits::Limits;
use super::mapping::{Table, Topic};
use super::name::DomainName;
use super::policy::Policy;
use super::proxy::{Action, Identity, Passed, Proxy, Setting};
use super::publish::{Publish, Received};
use super::refusal::{Counters, Reason, Refusal, Why, brief, head};
use super::roster::Roster;
use super::subscriptions;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Something that the gateway does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It publishes, in the session of this client id.
    Published(String, Publish),
    /// It writes a line to a domain.
    Written(DomainName, Bytes),
    /// It refuses a message.
    Refused(Refusal),
    /// It has nothing to do.
    Ignored(Why, DomainName),
}

#[derive(Debug)]
struct Station {
    name: DomainName,
    proxy: Proxy,
    filters: BTreeSet<String>,
    connected: bool,
    stalled: bool,
    /// What the broker keeps while the domain is away.
    kept: Vec<Received>,
}

/// The whole gateway.
#[derive(Debug)]
pub struct Gateway {
    setting: Setting,
    hub: Hub,
    hub_filters: BTreeSet<String>,
    stations: Vec<Station>,
    now: Now,
    effects: Vec<Effect>,
    gone: Counters,
    /// Topics to which nobody on MQTT subscribes.
    deserted: BTreeSet<String>,
}

impl Gateway {
    /// A gateway to which these legacy domains are connected.
    #[must_use]
    pub fn new(setting: Setting, legacy: &[DomainName], now: Now) -> Self {
        let mut gateway = Self {
            hub: Hub::new(&setting, None),
            hub_filters: subscriptions::of_hub(&setting.table),
            setting,
            stations: Vec::new(),
            now,
            effects: Vec::new(),
            gone: Counters::default(),
            deserted: BTreeSet::new(),
        };
        for name in legacy {
            gateway.connect(name);
        }
        gateway
    }

    /// What has been done since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The counts of all, and how many messages are under way.
    #[must_use]
    pub fn ledger(&self) -> (Counters, usize) {
        let mut sum = self.gone.clone();
        sum.add(self.hub.counters());
        let mut under_way = 0;
        for station in &self.stations {
            sum.add(station.proxy.counters());
            under_way += station.proxy.under_way();
        }
        under_way += self.hub.under_way();
        (sum, under_way)
    }

    /// From now on another mapping and other limits hold.
    pub fn reload(&mut self, table: Arc<Table>, limits: Limits) {
        self.setting.table = table;
        self.setting.limits = limits;
        self.apply();
    }

    /// From now on another policy holds.
    pub fn set_policy(&mut self, policy: Policy) {
        self.setting.policy = Arc::new(policy);
        self.apply();
    }

    fn apply(&mut self) {
        let (setting, now) = (self.setting.clone(), self.now);
        let names: Vec<_> = self.stations.iter().map(|s| s.name.clone()).collect();
        for name in names {
            self.with(&name, |station| station.proxy.reload(&setting, now));
        }
        self.hub.reload(&setting, now);
        self.run_hub();
    }

    /// How many bytes of messages all proxies hold: what the limits bound.
    #[must_use]
    pub fn held(&self) -> usize {
        self.stations.iter().map(|station| station.proxy.held()).sum()
    }

    /// A domain's channel is there.
    pub fn connect(&mut self, name: &DomainName) {
        if self.find(name).is_none() {
            let identity = Identity::Domain(name.clone());
            let filters = subscriptions::of_channel(&self.setting.table, &identity);
            let proxy = Proxy::new(identity, &self.setting, self.now.monotonic);
            let (connected, stalled) = (false, false);
            let kept = Vec::new();
            let station = Station { name: name.clone(), proxy, filters, connected, stalled, kept };
            self.stations.push(station);
            self.new_roster();
        }
        let now = self.now;
        let mut kept = Vec::new();
        self.with(name, |station| {
            if !station.connected {
                station.connected = true;
                station.stalled = false;
                station.proxy.connected(now);
                kept = std::mem::take(&mut station.kept);
            }
        });
        while self.write_one(name) {}
        for message in kept {
            self.with(name, |station| station.proxy.deliver(message, 0, now));
        }
    }

    /// A domain's channel is gone.
    pub fn disconnect(&mut self, name: &DomainName) {
        let now = self.now;
        self.with(name, |station| {
            if station.connected {
                station.connected = false;
                station.proxy.disconnected(now);
            }
        });
    }

    /// A domain no longer reads.
    pub fn stall(&mut self, name: &DomainName) {
        self.with(name, |station| station.stalled = true);
    }

    /// From now on nobody on MQTT subscribes to this topic: the broker says so with its PUBACK.
    pub fn desert(&mut self, topic: String) {
        self.deserted.insert(topic);
    }

    /// Bytes from a domain. Says whether it is connected.
    pub fn receive(&mut self, name: &DomainName, bytes: &[u8]) -> bool {
        let now = self.now;
        let connected =
            self.find(name).and_then(|i| self.stations.get(i)).is_some_and(|s| s.connected);
        if connected {
            self.with(name, |station| station.proxy.receive(bytes, now));
        }
        connected
    }

    /// A message that the broker hands to whoever subscribes to its topic.
    pub fn publish(&mut self, message: &Received) {
        let now = self.now;
        let mut taken = false;
        let names: Vec<_> = self.stations.iter().map(|s| s.name.clone()).collect();
        for name in names {
            self.with(&name, |station| {
                if !subscriptions::matches(&station.filters, &message.topic) {
                    return;
                }
                taken = true;
                if station.connected {
                    station.proxy.deliver(message.clone(), 0, now);
                } else {
                    station.kept.push(message.clone());
                }
            });
        }
        if subscriptions::matches(&self.hub_filters, &message.topic) {
            taken = true;
            self.hub.deliver(message, 0, now);
            self.run_hub();
        }
        if !taken {
            self.not_taken(message);
        }
    }

    /// Nobody here subscribes to it: in the running gateway it would not even come in.
    fn not_taken(&mut self, message: &Received) {
        let named = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        let from = named.unwrap_or_else(DomainName::anonymous);
        let table = &self.setting.table;
        let root_is_known = |root: &str| table.commands().iter().any(|c| c.root == root);
        let effect = match Topic::parse(&message.topic) {
            Topic::Request(root, _) if root_is_known(root) => {
                Effect::Ignored(Why::OtherHandler, from)
            }
            Topic::Response(root, _) if root_is_known(root) => {
                Effect::Ignored(Why::OtherRequester, from)
            }
            _ => Effect::Refused(Refusal {
                reason: Reason::NotMapped,
                from,
                detail: brief(format!("no row has the topic {:?}", message.topic)),
                head: head(&message.payload),
            }),
        };
        self.effects.push(effect);
    }

    /// Lets time pass, with everything that falls due on the way.
    pub fn elapse(&mut self, span: Duration) {
        let end = self.now.monotonic.saturating_add(span);
        loop {
            let proxies = self.stations.iter().filter_map(|s| s.proxy.deadline());
            let next = proxies.chain(self.hub.deadline()).min();
            let Some(next) = next.filter(|&d| d <= end) else { break };
            self.advance_to(next.max(self.now.monotonic));
            let now = self.now;
            let due = |s: &&Station| s.proxy.deadline().is_some_and(|d| d <= now.monotonic);
            let names: Vec<_> = self.stations.iter().filter(due).map(|s| s.name.clone()).collect();
            for name in names {
                self.with(&name, |station| station.proxy.wake(now));
            }
            self.hub.wake(now);
            self.run_hub();
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, monotonic: Duration) {
        let passed = monotonic.saturating_sub(self.now.monotonic);
        // Where the wall clock can show no more, it stands still.
        self.now.wall = self.now.wall.checked_add(passed).unwrap_or(self.now.wall);
        self.now.monotonic = monotonic;
    }

    fn find(&self, name: &DomainName) -> Option<usize> {
        self.stations.iter().position(|s| s.name == *name)
    }

    fn with(&mut self, name: &DomainName, act: impl FnOnce(&mut Station)) {
        if let Some(station) = self.find(name).and_then(|i| self.stations.get_mut(i)) {
            act(station);
            self.run(name);
        }
    }

    /// Carries out what a proxy wants done, in its order.
    fn run(&mut self, name: &DomainName) {
        loop {
            let station = self.find(name).and_then(|i| self.stations.get_mut(i));
            let actions = station.map(|s| s.proxy.take_actions()).unwrap_or_default();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(name, action);
            }
        }
    }

    fn act(&mut self, name: &DomainName, action: Action) {
        let now = self.now;
        match action {
            Action::Publish(publish) => {
                let token = publish.token;
                let matched = !self.deserted.contains(&publish.topic);
                self.effects.push(Effect::Published(name.as_str().to_owned(), publish));
                if let Some(station) = self.find(name).and_then(|i| self.stations.get_mut(i)) {
                    station.proxy.acknowledged(token, matched, now);
                }
            }
            Action::Tell(publish) => {
                self.effects.push(Effect::Published(name.as_str().to_owned(), *publish));
            }
            Action::HandOver(call) => {
                self.hub.hand_over(call, now);
                self.run_hub();
            }
            Action::Subscribe(filters) => {
                if let Some(station) = self.find(name).and_then(|i| self.stations.get_mut(i)) {
                    station.filters = filters;
                }
            }
            Action::Queued => {
                self.write_one(name);
            }
            Action::Pass(to, passed) => self.pass(name, &to, passed),
            Action::PassAll(passed) => {
                let names: Vec<_> = self.stations.iter().map(|s| s.name.clone()).collect();
                for to in names {
                    self.with(&to, |station| station.proxy.accept(passed.clone(), now));
                }
            }
            Action::Refused(refusal) => self.refused(refusal),
            Action::Ignored(why, from) => self.effects.push(Effect::Ignored(why, from)),
            Action::Retire => self.retire(name),
            // There is no store.
            Action::Store(..) | Action::Hold(..) | Action::Over(_) => {}
            Action::Withdraw(_) | Action::Acknowledge(_) => {}
        }
    }

    fn pass(&mut self, from: &DomainName, to: &DomainName, passed: Passed) {
        let now = self.now;
        if self.find(to).is_some() {
            self.with(to, |station| station.proxy.accept(passed, now));
        } else if let Passed::Line { line, .. } = passed {
            self.with(from, |station| station.proxy.accept(Passed::Returned(line), now));
        }
    }

    fn publish_as_hub(&mut self, publish: Publish) {
        let hub = Hub::client_id(&self.setting.instance);
        let (token, matched) = (publish.token, !self.deserted.contains(&publish.topic));
        self.effects.push(Effect::Published(hub, publish));
        self.hub.acknowledged(token, matched, self.now);
    }

    fn refused(&mut self, refusal: Refusal) {
        self.effects.push(Effect::Refused(refusal.clone()));
        self.hub.refused(refusal, self.now);
        self.run_hub();
    }

    fn run_hub(&mut self) {
        let here = DomainName::dom0();
        for action in self.hub.take_actions() {
            match action {
                Action::Publish(publish) => self.publish_as_hub(publish),
                Action::Subscribe(filters) => self.hub_filters = filters,
                other => self.act(&here, other),
            }
        }
    }

    /// Writes one whole line to a domain that reads. Says whether there was one.
    fn write_one(&mut self, name: &DomainName) -> bool {
        let now = self.now;
        let station = self.find(name).and_then(|i| self.stations.get_mut(i));
        let Some(station) = station.filter(|s| s.connected && !s.stalled) else { return false };
        let Some(line) = station.proxy.chunk().map(Bytes::copy_from_slice) else { return false };
        station.proxy.written(line.len(), now);
        self.effects.push(Effect::Written(name.clone(), line));
        true
    }

    fn retire(&mut self, name: &DomainName) {
        let Some(at) = self.find(name) else { return };
        let mut station = self.stations.remove(at);
        self.new_roster();
        station.proxy.set_roster(self.roster());
        for message in std::mem::take(&mut station.kept) {
            station.proxy.deliver(message, 0, self.now);
        }
        station.proxy.retire(false, self.now);
        for action in station.proxy.take_actions() {
            self.act(name, action);
        }
        self.gone.add(station.proxy.counters());
    }

    fn roster(&self) -> Arc<Roster> {
        let legacy = self.stations.iter().map(|s| s.name.clone()).collect();
        Arc::new(Roster { legacy, ..Roster::default() })
    }

    fn new_roster(&mut self) {
        let roster = self.roster();
        for station in &mut self.stations {
            station.proxy.set_roster(Arc::clone(&roster));
        }
        self.hub.set_roster(roster);
    }
}
