//! The whole gateway, as one state machine: events and the time in, [`Effect`]s out.
//!
//! Each domain and the gateway's own session have a [`Pump`] outside, which moves bytes: it tells what
//! has happened, carries out its effects in their order, and decides nothing. Every method that is told
//! `now` may have effects for any pump; [`Gateway::take_woken`] says for which.

mod act;
mod asked;
mod channel;
mod control;
mod domain;
mod effect;
mod finish;
mod from_broker;
mod from_channel;
mod mode;
mod own;
mod own_act;
mod playing;
mod recording;
mod relay;
mod share;
mod skipped;
mod stored;
mod suspended;
mod watch;

pub use channel::OpenError;
pub use control::NotLegacy;
pub use effect::{Effect, Pump};
pub use recording::{Difference, FORMAT, GatewayInput, Recorded, Sum};
pub use relay::STRANGERS;
pub use share::CHUNK;
pub use stored::Restored;
pub use suspended::Suspended;

use super::clock::Now;
use super::hub::Hub;
use super::identity::Identity;
use super::limits::Limits;
use super::mapping::Table;
use super::name::DomainName;
use super::password::Logins;
use super::policy::Policy;
use super::proxy::Setting;
use super::refusal::Counters;
use super::roster::Roster;
use super::session::{self, Session, SessionLog};
use super::status::{About, Board, MappingFile, Memory, Reloaded};
use super::subscriptions;
use super::tunnel::Tunnel;
use super::tunnel::detector::Detector;
use super::tunnel::ids::Ids;
use domain::{Domain, Mode};
use effect::Effects;
use own::Own;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use watch::Watch;

/// What a gateway is made of, and cannot be reloaded.
#[derive(Debug)]
pub struct Parts {
    /// The mapping, the policy and the limits.
    pub setting: Setting,
    /// Whose the serial channel is, in a DomU.
    pub behind: Option<Identity>,
    /// Whether Dom0 is the MVP's program, on sockets that it is offered.
    pub relayed: bool,
    /// What everyone logs in with.
    pub logins: Logins,
    /// What all sessions have in common.
    pub session: session::Settings,
    /// How long the broker keeps a session at most; whole seconds.
    pub session_expiry: Duration,
    /// The gateway's user on the broker: a domain of that name would have its rights.
    pub user: Option<String>,
    /// The domains that the configuration names.
    pub known: BTreeSet<DomainName>,
    /// The topic filters that the broker's sessions may have, by their client ids.
    pub held: BTreeMap<String, BTreeSet<String>>,
    /// Whether a session that is not among them is new; or else an earlier version did not remember it.
    pub knows_sessions: bool,
    /// Whether there is a store on disk.
    pub has_store: bool,
    /// Domains on MQTT, as the last run has left them; see [`Suspended`].
    pub suspended: BTreeMap<DomainName, Tunnel>,
    /// What the status says of the gateway.
    pub about: About,
    /// Who has spoken legacy until when.
    pub memory: Memory,
    /// Whether that is written to disk.
    pub remembers: bool,
}

/// What the broker's session of a client id may have: `None` if nobody knows.
fn held_by(
    client_id: &str,
    held: &BTreeMap<String, BTreeSet<String>>,
    knows_sessions: bool,
) -> Option<BTreeSet<String>> {
    held.get(client_id).cloned().or_else(|| (!knows_sessions).then(BTreeSet::new))
}

/// What a reload changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloadable {
    /// The mapping.
    #[serde(with = "crate::engine::snapshot::shared")]
    pub table: Arc<Table>,
    /// Who may say what to whom.
    #[serde(with = "crate::engine::snapshot::shared")]
    pub policy: Arc<Policy>,
    /// The limits.
    pub limits: Limits,
    /// What everyone logs in with, from the next connection on.
    pub logins: Logins,
    /// The domains that the configuration names.
    pub known: BTreeSet<DomainName>,
    /// The files that the mapping was made of.
    pub mappings: Vec<MappingFile>,
    /// Whether Dom0 is the MVP's program.
    pub relayed: bool,
}

/// The whole gateway.
#[derive(Debug, Serialize, Deserialize)]
pub struct Gateway {
    setting: Setting,
    logins: Logins,
    session: session::Settings,
    session_expiry: Duration,
    user: Option<String>,
    knows_sessions: bool,
    has_store: bool,
    domains: BTreeMap<DomainName, Domain>,
    /// How many domains there have been.
    count: u64,
    own: Own,
    #[serde(with = "crate::engine::snapshot::shared")]
    roster: Arc<Roster>,
    /// What Dom0's program is offered, if it goes on.
    relay: Option<relay::Relay>,
    /// Whose the client ids are. It knows every domain that has had a channel here, or that the configuration,
    /// its mapping, its passwords or the memory of earlier runs name.
    ids: Ids,
    /// Domains that spoke MQTT to an earlier run, and have not been seen in this one.
    on_mqtt: BTreeSet<DomainName>,
    /// Those whose connections go on: of the last run, until they are seen, and for the next one.
    suspended: BTreeMap<DomainName, Tunnel>,
    /// Who spoke last that does not say very much, and when.
    spoken: Option<(DomainName, Duration)>,
    /// How many bytes all domains hold, and the most that each may while that is too much.
    held: usize,
    level: Option<usize>,
    /// It ends, and nothing is waited for after this.
    finishing: Option<Duration>,
    /// Those of proxies that have ended.
    gone: Counters,
    /// Messages that were left behind at the end.
    left_behind: usize,
    effects: Effects,
    #[serde(skip)]
    watch: Watch,
    #[serde(skip)]
    recording: Option<recording::Recording>,
    /// Domains to which something has happened, whose modes are looked at when all actions are done.
    touched: BTreeSet<DomainName>,
    following_up: bool,
}

impl Gateway {
    /// A gateway without any domain. Its own session connects at once.
    #[must_use]
    pub fn new(parts: Parts, now: Now) -> Self {
        let Parts { setting, behind, logins, session, about, memory, .. } = parts;
        let mut own = session.clone();
        own.client_id = Hub::client_id(&setting.instance);
        own.held = held_by(&own.client_id, &parts.held, parts.knows_sessions);
        own.credentials = logins.own();
        own.session_expiry = parts.session_expiry;
        own.filters = session::Filter::others(subscriptions::of_hub(&setting.table));
        own.filters.extend(Board::filters(&setting.instance).map(session::Filter::each_time));
        own.will = Some(session::Will {
            topic: Board::state_topic(&setting.instance),
            payload: Board::will().into(),
            retain: true,
        });
        let own = Own {
            hub: Hub::new(&setting, behind.as_ref()),
            log: SessionLog::new(None),
            session: Session::new(own, now.monotonic),
            board: Board::new(about, now),
            remembers: parts.remembers,
            left: own::Left::default(),
            farewell: false,
            ending: false,
            memory,
        };
        let mut ids = Ids::default();
        ids.know(parts.known);
        ids.know(own.memory.domains().chain(own.memory.on_mqtt()).cloned());
        let mut gateway = Self {
            ids,
            on_mqtt: own.memory.on_mqtt().clone(),
            session_expiry: parts.session_expiry,
            user: parts.user,
            knows_sessions: parts.knows_sessions,
            has_store: parts.has_store,
            suspended: parts.suspended,
            setting,
            logins,
            session,
            domains: BTreeMap::new(),
            count: 0,
            own,
            roster: Arc::default(),
            relay: None,
            spoken: None,
            held: 0,
            level: None,
            finishing: None,
            gone: Counters::default(),
            left_behind: 0,
            effects: Effects::new(parts.held),
            watch: Watch::default(),
            recording: None,
            touched: BTreeSet::new(),
            following_up: false,
        };
        gateway.set_relayed(parts.relayed, now);
        gateway.run_own(now);
        gateway
    }

    // -- Time and configuration --------------------------------------------------------------------

    /// The time of [`Gateway::deadline`] has come.
    pub fn wake(&mut self, pump: &Pump, now: Now) {
        self.note(now, |_| GatewayInput::Wake { of: pump.clone() });
        match pump {
            Pump::Socket(_) => {}
            Pump::Own => {
                self.own.hub.wake(now);
                self.own.board.wake(now);
                self.own.session.wake(now.monotonic);
                self.run_own(now);
            }
            Pump::Domain(name) => {
                let has_broker = self.own.session.is_connected();
                let due = self.with(name, now, |domain| {
                    domain.paused = domain.paused.filter(|until| *until > now.monotonic);
                    match &mut domain.mode {
                        Mode::Legacy(legacy) => legacy.proxy.wake(now),
                        Mode::Mqtt(tunnel) => tunnel.wake(now.monotonic, has_broker),
                        Mode::Gone | Mode::Leaving(_) => {}
                    }
                    if let Some(session) = &mut domain.session {
                        session.wake(now.monotonic);
                    }
                    let settings = domain.channel.is_to_be_checked(now.monotonic);
                    (domain.channel.is_due(now.monotonic), settings)
                });
                let (is_due, (is_suspect, times)) = due.unwrap_or_default();
                from_channel::tell_of_settings(name, times);
                self.effects.extend(pump, is_due.then_some(Effect::Open));
                self.effects.extend(pump, is_suspect.then_some(Effect::PutRight));
            }
        }
    }

    /// Other things hold from now on.
    pub fn reload(&mut self, reloaded: Reloadable, now: Now) {
        self.note(now, |_| GatewayInput::Reload(Box::new(reloaded.clone())));
        let Reloadable { table, policy, limits, logins, known, mappings, relayed } = reloaded;
        self.setting.table = table;
        self.setting.policy = policy;
        self.setting.limits = limits;
        self.logins = logins;
        self.ids.know(known);
        let limits = self.setting.limits.clone();
        let expiry = self.session_expiry.min(limits.away);
        for name in self.names() {
            let credentials = self.logins.of_session(&name);
            let password = self.logins.password(&name);
            let setting = self.setting.clone();
            self.with(&name, now, |domain| {
                match &mut domain.mode {
                    Mode::Gone => {}
                    Mode::Legacy(domain::Legacy { proxy, .. })
                    | Mode::Leaving(domain::Leaving { proxy, .. }) => proxy.reload(&setting, now),
                    Mode::Mqtt(tunnel) => {
                        tunnel.set_away(limits.away);
                        tunnel.set_heal(limits.heal);
                        tunnel.set_password(password);
                    }
                }
                if let Some(session) = &mut domain.session {
                    session.set_credentials(credentials, now.monotonic);
                    session.set_expiry(expiry);
                }
            });
        }
        self.set_relayed(relayed, now);
        self.share_memory(now);
        self.own.session.set_credentials(self.logins.own(), now.monotonic);
        self.own.hub.reload(&self.setting, now);
        self.own.board.reloaded(Reloaded::Applied(mappings), now);
        self.run_own(now);
    }

    /// A reload was refused for these findings: everything goes on as before.
    pub fn not_reloaded(&mut self, findings: Vec<String>, now: Now) {
        self.note(now, |_| GatewayInput::NotReloaded { findings: findings.clone() });
        self.own.board.reloaded(Reloaded::Refused(findings), now);
        self.run_own(now);
    }

    // -- Within ------------------------------------------------------------------------------------

    fn tunnel(&self, name: &DomainName, detector: Detector) -> Tunnel {
        let limits = &self.setting.limits;
        let mut tunnel = Tunnel::new(name.clone(), detector, limits.outbox, limits.away);
        tunnel.set_heal(limits.heal);
        tunnel.set_password(self.logins.password(name));
        tunnel
    }

    /// The domains in the order in which they came.
    fn names(&self) -> Vec<DomainName> {
        let mut all: Vec<_> = self.domains.values().map(|d| (d.order, d.name.clone())).collect();
        all.sort_unstable_by_key(|(order, _)| *order);
        all.into_iter().map(|(_, name)| name).collect()
    }

    /// Does something to a domain, and everything that follows from it.
    fn with<R>(
        &mut self,
        name: &DomainName,
        now: Now,
        act: impl FnOnce(&mut Domain) -> R,
    ) -> Option<R> {
        let result = self.only_with(name, now, act);
        self.follow_up(name, now);
        result
    }

    /// Does something to a domain. What follows is left to the caller.
    fn only_with<R>(
        &mut self,
        name: &DomainName,
        now: Now,
        act: impl FnOnce(&mut Domain) -> R,
    ) -> Option<R> {
        let domain = self.domains.get_mut(name)?;
        if let Some(proxy) = domain.proxy_mut() {
            proxy.see_time(now);
        }
        Some(act(domain))
    }

    fn with_tunnel(
        &mut self,
        name: &DomainName,
        now: Now,
        act: impl FnOnce(&mut Tunnel, Duration),
    ) {
        self.with(name, now, |domain| {
            if let Mode::Mqtt(tunnel) = &mut domain.mode {
                act(tunnel, now.monotonic);
            }
        });
    }

    fn new_roster(&mut self) {
        let of = |is: fn(&Domain) -> bool| -> BTreeSet<DomainName> {
            self.domains.values().filter(|d| is(d)).map(|d| d.name.clone()).collect()
        };
        let roster = Arc::new(Roster {
            legacy: of(Domain::is_legacy),
            mqtt: of(Domain::is_on_mqtt),
            arriving: of(|domain| domain.is_on_mqtt() && !domain.arrived),
        });
        for proxy in self.domains.values_mut().filter_map(Domain::proxy_mut) {
            proxy.set_roster(Arc::clone(&roster));
            proxy.set_watched(self.watch.is_on());
        }
        self.own.hub.set_roster(Arc::clone(&roster));
        self.roster = roster;
    }
}
