//! The gateway with an edge and a broker that do at once what they are asked: for conversations, tests
//! and fuzzers. What decides is the very gateway that runs.

mod broker;
mod pumps;

use super::clock::Now;
use super::gateway::{Gateway, NotLegacy, Parts, Pump, Reloadable};
use super::limits::Limits;
use super::mapping::Table;
use super::name::DomainName;
use super::password::Logins;
use super::policy::Policy;
use super::proxy::Setting;
use super::publish::Publish;
use super::refusal::{Counters, IgnoreReason, Refusal};
use super::session::Settings;
use super::status::{About, Memory, Process, State};
use super::tap::Crossing;
use broker::Known;
use bytes::Bytes;
use pumps::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Something that the gateway has done, as it can be seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// It publishes, in the session of this client id.
    Published(String, Publish),
    /// It writes a line to a domain.
    Written(DomainName, Bytes),
    /// It writes a line to Dom0's program, on this socket.
    WrittenOn(DomainName, Bytes),
    /// It offers Dom0's program a socket of this name, or no longer does.
    Offered(DomainName, bool),
    /// It refuses a message.
    Refused(Refusal),
    /// It has nothing to do.
    Ignored(IgnoreReason, DomainName),
    /// What a domain's channel does has changed; [`State::Silent`] is not told from legacy.
    Mode(DomainName, State),
    /// A domain's own MQTT goes through: to the broker, or to the domain.
    Tunnelled(DomainName, Towards, Bytes),
    /// A channel or a session is tried again after so long.
    Retry(DomainName, Duration),
    /// A session subscribes to these filters.
    Subscribed(String, Vec<String>),
    /// A session unsubscribes from these.
    Unsubscribed(String, Vec<String>),
}

/// Whither a domain's own MQTT goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// From the domain to the broker.
    ToBroker,
    /// From the broker to the domain.
    ToDomain,
}

/// A gateway, its edge and its broker.
#[derive(Debug)]
pub struct Rehearsal {
    gateway: Gateway,
    setting: Setting,
    now: Now,
    effects: Vec<Observed>,
    sessions: BTreeMap<Pump, Known>,
    /// The order of the domains.
    names: Vec<DomainName>,
    paths: BTreeMap<DomainName, Path>,
    /// Domains that do not read.
    stalled: BTreeSet<DomainName>,
    /// Domains whose own MQTT has a connection to the broker.
    tunnels: BTreeSet<DomainName>,
    /// Topics to which nobody on MQTT subscribes.
    deserted: BTreeSet<String>,
    /// What the broker says to the next publish on a topic.
    codes: BTreeMap<String, u8>,
    /// Whether Dom0's program goes on; the sockets that it is offered, and whether it has connected to them.
    relayed: bool,
    sockets: BTreeMap<DomainName, bool>,
    broker_is_there: bool,
    keeps_sessions: bool,
    shows_sessions: bool,
}

impl Rehearsal {
    /// A gateway to which these legacy domains are connected.
    #[must_use]
    pub fn new(setting: Setting, legacy: &[DomainName], now: Now) -> Self {
        Self::made(setting, legacy, now, false)
    }

    /// The same; what its sessions subscribe to is an effect too.
    #[must_use]
    pub fn with_sessions(setting: Setting, legacy: &[DomainName], now: Now) -> Self {
        Self::made(setting, legacy, now, true)
    }

    fn made(setting: Setting, legacy: &[DomainName], now: Now, shows_sessions: bool) -> Self {
        let parts = Parts {
            behind: None,
            relayed: false,
            logins: Logins::default(),
            session: Settings {
                client_id: String::new(),
                broker: "the broker".to_owned(),
                credentials: None,
                keep_alive: Duration::ZERO,
                session_expiry: Duration::from_secs(3600),
                max_packet: u32::MAX,
                filters: Vec::new(),
                held: Some(BTreeSet::new()),
                will: None,
                stuck: setting.limits.stuck,
                seed: 0,
            },
            session_expiry: Duration::from_secs(3600),
            user: None,
            known: setting.table.domains(),
            held: BTreeMap::new(),
            knows_sessions: false,
            has_store: false,
            suspended: BTreeMap::new(),
            about: About {
                instance: setting.instance.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                mappings: Vec::new(),
                memory_error: None,
                store_error: None,
                process: Process::default(),
            },
            memory: Memory::new(Arc::clone(&setting.nonce), Duration::ZERO, None, now),
            remembers: false,
            setting: setting.clone(),
        };
        let mut rehearsal = Self {
            gateway: Gateway::new(parts, now),
            setting,
            now,
            effects: Vec::new(),
            sessions: BTreeMap::new(),
            names: Vec::new(),
            paths: BTreeMap::new(),
            stalled: BTreeSet::new(),
            tunnels: BTreeSet::new(),
            deserted: BTreeSet::new(),
            codes: BTreeMap::new(),
            relayed: false,
            sockets: BTreeMap::new(),
            broker_is_there: true,
            keeps_sessions: true,
            shows_sessions,
        };
        rehearsal.carry_out();
        for name in legacy {
            rehearsal.connect(name);
        }
        rehearsal
    }

    /// What has been done since the last call.
    pub fn take_effects(&mut self) -> Vec<Observed> {
        std::mem::take(&mut self.effects)
    }

    /// The counts of all, and how many messages are under way.
    #[must_use]
    pub fn ledger(&self) -> (Counters, usize) {
        self.gateway.ledger()
    }

    /// How many bytes of messages are held: what the limits bound.
    #[must_use]
    pub fn held(&self) -> usize {
        self.gateway.held()
    }

    /// What crosses is kept from now on.
    pub fn watch(&mut self) {
        self.gateway.watch(true);
    }

    /// What has crossed since this was last called.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        self.gateway.take_crossings()
    }

    /// What the gateway is told and does is recorded from now on; see [`Gateway::take_recorded`].
    pub fn set_recorded(&mut self) {
        self.gateway.set_recorded(true);
    }

    /// What was recorded since this was last called.
    pub fn take_recorded(&mut self) -> Vec<String> {
        self.gateway.take_recorded()
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
        let reloaded = Reloadable {
            table: Arc::clone(&self.setting.table),
            policy: Arc::clone(&self.setting.policy),
            limits: self.setting.limits.clone(),
            logins: Logins::default(),
            known: self.setting.table.domains(),
            mappings: Vec::new(),
            relayed: self.relayed,
        };
        self.gateway.reload(reloaded, self.now);
        self.carry_out();
    }

    /// A person has a domain that spoke MQTT taken for a legacy one again.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn take_for_legacy(&mut self, name: &DomainName) -> Result<bool, NotLegacy> {
        let taken = self.gateway.take_for_legacy(name, self.now);
        self.carry_out();
        taken
    }

    /// Lets time pass, with everything that falls due on the way.
    pub fn elapse(&mut self, span: Duration) {
        let end = self.now.monotonic.saturating_add(span);
        loop {
            let pumps = self.pumps();
            let next = pumps.iter().filter_map(|pump| self.deadline(pump)).min();
            let Some(next) = next.filter(|&due| due <= end) else { break };
            self.advance_to(next.max(self.now.monotonic));
            self.carry_out();
        }
        self.advance_to(end);
    }

    /// When a pump has to wake the gateway. What is due at the end of time never is.
    fn deadline(&self, pump: &Pump) -> Option<Duration> {
        self.gateway.deadline(pump).filter(|due| *due < Duration::MAX)
    }

    fn advance_to(&mut self, monotonic: Duration) {
        let passed = monotonic.saturating_sub(self.now.monotonic);
        // Where the wall clock can show no more, it stands still.
        self.now.wall = self.now.wall.checked_add(passed).unwrap_or(self.now.wall);
        self.now.monotonic = monotonic;
    }

    /// The domains' pumps in the order in which they came, and the gateway's own.
    fn pumps(&self) -> Vec<Pump> {
        let domains = self.names.iter().cloned().map(Pump::Domain);
        domains.chain([Pump::Own]).collect()
    }

    /// Does what the gateway wants done, until it wants nothing more.
    fn carry_out(&mut self) {
        loop {
            while let Some((pump, effect)) = self.gateway.next_of_all() {
                self.do_one(&pump, effect);
            }
            if !self.offer() && !self.pass_through() && !self.wake_those_due() {
                self.gateway.take_woken();
                return;
            }
        }
    }

    /// Wakes the gateway for the pumps whose time has come. Says whether there were any.
    fn wake_those_due(&mut self) -> bool {
        let mut any = false;
        for pump in self.pumps() {
            if self.deadline(&pump).is_some_and(|due| due <= self.now.monotonic) {
                self.gateway.wake(&pump, self.now);
                any = true;
            }
        }
        any
    }
}
