//! The gateway with an edge and a broker that do at once what they are asked: for conversations, tests
//! and fuzzers. What decides is the very gateway that runs.

use super::clock::Now;
use super::gateway::{self, Gateway, NotLegacy, OpenError, Parts, Pump, Reloadable};
use super::identity::Identity;
use super::limits::Limits;
use super::mapping::{Table, Topic};
use super::name::DomainName;
use super::password::Logins;
use super::policy::Policy;
use super::proxy::Setting;
use super::publish::{Publish, Received};
use super::refusal::{Counters, IgnoreReason, Reason, Refusal, brief, head};
use super::session::SessionEffect;
use super::session::{Cause, Connack, Packet, SessionInput, Settings, WINDOW};
use super::status::{About, Memory, Process, State};
use super::subscriptions;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The reason code of a PUBACK for a topic that nobody subscribes to (MQTT 5, 3.4.2.1).
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

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

/// What the broker knows of a session.
#[derive(Debug, Default)]
struct Known {
    client_id: String,
    filters: BTreeSet<String>,
    connected: bool,
    /// What it keeps for a session that is not connected.
    queue: Vec<Received>,
    next_id: u16,
}

/// What there is at the end of a domain's path.
#[derive(Debug, Clone)]
enum Path {
    Socket,
    Unavailable(String),
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
            about: About {
                instance: setting.instance.to_string(),
                version: env!("CARGO_PKG_VERSION"),
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

    /// From now on Dom0 is the MVP's program, on sockets that it is offered, or is so no longer.
    pub fn relay(&mut self, relayed: bool) {
        let dom0 = DomainName::dom0();
        if !self.names.contains(&dom0) {
            self.names.push(dom0);
        }
        self.relayed = relayed;
        self.apply();
    }

    /// Dom0's program connects to a socket, or closes it. Says whether it is offered.
    pub fn connect_socket(&mut self, name: &DomainName, connects: bool) -> bool {
        let Some(is_open) = self.sockets.get_mut(name) else { return false };
        *is_open = connects;
        match connects {
            true => self.gateway.socket_opened(name, self.now),
            false => self.gateway.socket_closed(name, "disconnected", self.now),
        }
        self.carry_out();
        true
    }

    /// Bytes of Dom0's program, on a socket. Says whether it has connected to it.
    pub fn receive_on(&mut self, name: &DomainName, bytes: &[u8]) -> bool {
        let is_open = self.sockets.get(name) == Some(&true);
        if is_open {
            self.gateway.socket_received(name, bytes, false, self.now);
            self.carry_out();
        }
        is_open
    }

    /// A domain's channel is there.
    pub fn connect(&mut self, name: &DomainName) {
        self.appear(name, Path::Socket);
    }

    /// A domain's channel is there, and cannot be opened.
    pub fn make_unavailable(&mut self, name: &DomainName, why: &str) {
        self.gateway.closed(name, "made unavailable", self.now);
        self.appear(name, Path::Unavailable(why.to_owned()));
    }

    fn appear(&mut self, name: &DomainName, path: Path) {
        if !self.names.contains(name) {
            self.names.push(name.clone());
        }
        self.stalled.remove(name);
        self.paths.insert(name.clone(), path);
        self.gateway.appeared(&Identity::Domain(name.clone()), self.now);
        self.carry_out();
    }

    /// A domain's channel is gone.
    pub fn disconnect(&mut self, name: &DomainName) {
        if self.paths.remove(name).is_some() {
            self.gateway.closed(name, "disconnected", self.now);
            self.gateway.vanished(name, self.now);
            self.carry_out();
        }
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

    /// A domain no longer reads.
    pub fn stall(&mut self, name: &DomainName) {
        self.stalled.insert(name.clone());
    }

    /// From now on nobody on MQTT subscribes to this topic: the broker says so with its PUBACK.
    pub fn desert(&mut self, topic: String) {
        self.deserted.insert(topic);
    }

    /// The broker answers the next publish on this topic with this reason code.
    pub fn answer_with(&mut self, topic: String, code: u8) {
        self.codes.insert(topic, code);
    }

    /// Bytes from a domain's channel. Says whether it is connected.
    pub fn receive(&mut self, name: &DomainName, bytes: &[u8]) -> bool {
        let connected = matches!(self.paths.get(name), Some(Path::Socket));
        if connected {
            self.gateway.received(name, bytes, false, self.now);
            self.carry_out();
        }
        connected
    }

    /// The connections to the broker are lost: all, or those of one client id. It does not come back before
    /// [`Rehearsal::broker_is_back`].
    pub fn lose_broker(&mut self, client_id: Option<&str>) {
        self.broker_is_there = client_id.is_some();
        for pump in self.pumps() {
            let Some(known) = self.sessions.get_mut(&pump) else { continue };
            if known.connected && client_id.is_none_or(|id| known.client_id == id) {
                known.connected = false;
                self.gateway.session(&pump, SessionInput::Lost(Cause::Closed), self.now);
            }
        }
        let lost = |name: &DomainName| client_id.is_none_or(|id| id == name.as_str());
        let tunnels: Vec<_> = self.tunnels.iter().filter(|name| lost(name)).cloned().collect();
        for name in tunnels {
            self.close_tunnel(&name);
        }
        self.carry_out();
    }

    /// The broker can be reached, and everyone, or one client id, connects at once; `kept` says whether it
    /// still has their sessions.
    pub fn broker_is_back(&mut self, kept: bool, client_id: Option<&str>) {
        (self.broker_is_there, self.keeps_sessions) = (true, kept);
        for pump in self.pumps() {
            let is_one = |known: &Known| client_id.is_none_or(|id| known.client_id == id);
            if self.sessions.get(&pump).is_some_and(|known| !known.connected && is_one(known)) {
                self.gateway.dial_now(&pump, self.now);
                self.carry_out();
            }
        }
        self.keeps_sessions = true;
    }

    /// What the broker says to a domain on MQTT.
    pub fn say_in_tunnel(&mut self, name: &DomainName, bytes: &[u8]) {
        self.gateway.from_broker(name, bytes, self.now);
        self.carry_out();
    }

    /// The broker closes the connection of a domain on MQTT.
    pub fn close_tunnel(&mut self, name: &DomainName) {
        if self.tunnels.remove(name) {
            self.gateway.broker_gone(name, self.now);
            self.carry_out();
        }
    }

    /// A message that the broker hands to whoever subscribes to its topic.
    pub fn publish(&mut self, message: &Received) {
        let mut taken = false;
        for pump in self.pumps() {
            let Some(known) = self.sessions.get_mut(&pump) else { continue };
            if !subscriptions::matches(&known.filters, &message.topic) {
                continue;
            }
            taken = true;
            if known.connected {
                self.deliver(&pump, message.clone());
            } else {
                known.queue.push(message.clone());
            }
        }
        if !taken {
            self.not_taken(message);
        }
    }

    fn deliver(&mut self, pump: &Pump, message: Received) {
        let Some(known) = self.sessions.get_mut(pump) else { return };
        known.next_id = known.next_id.checked_add(1).unwrap_or(1);
        let input = SessionInput::Received(Box::new(message), known.next_id, 1);
        self.gateway.session(pump, input, self.now);
        self.carry_out();
    }

    /// Nobody here subscribes to it: in the running gateway it would not even come in.
    fn not_taken(&mut self, message: &Received) {
        let named = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        let from = named.unwrap_or_else(DomainName::anonymous);
        let table = &self.setting.table;
        let root_is_known = |root: &str| table.commands().iter().any(|c| c.root == root);
        let effect = match Topic::parse(&message.topic) {
            Topic::Request(root, _) if root_is_known(root) => {
                Observed::Ignored(IgnoreReason::OtherHandler, from)
            }
            Topic::Response(root, _) if root_is_known(root) => {
                Observed::Ignored(IgnoreReason::OtherRequester, from)
            }
            _ => Observed::Refused(Refusal {
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

    /// Does what the pumps of the sockets do. Says whether there was anything.
    fn offer(&mut self) -> bool {
        let before = self.effects.len();
        let offered: BTreeSet<_> = self.gateway.sockets().cloned().collect();
        for name in self.sockets.keys().filter(|name| !offered.contains(*name)) {
            self.effects.push(Observed::Offered(name.clone(), false));
        }
        self.sockets.retain(|name, _| offered.contains(name));
        for name in offered {
            if !self.sockets.contains_key(&name) {
                self.sockets.insert(name.clone(), false);
                self.effects.push(Observed::Offered(name, true));
            }
        }
        for (name, _) in self.sockets.iter().filter(|(_, is_open)| **is_open) {
            while let Some(line) = self.gateway.to_socket(name).map(Bytes::copy_from_slice) {
                self.gateway.socket_written(name, line.len(), self.now);
                self.effects.push(Observed::WrittenOn(name.clone(), line));
            }
        }
        self.effects.len() > before
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

    fn do_one(&mut self, pump: &Pump, effect: gateway::Effect) {
        let domain = match pump {
            Pump::Own | Pump::Socket(_) => None,
            Pump::Domain(name) => Some(name.clone()),
        };
        match (effect, domain) {
            (gateway::Effect::Session(effect), _) => self.session(pump, effect),
            (gateway::Effect::Refused(refusal), _) => self.effects.push(Observed::Refused(refusal)),
            (gateway::Effect::Ignored(why, from), _) => {
                self.effects.push(Observed::Ignored(why, from))
            }
            (gateway::Effect::Open, Some(name)) => self.open(&name),
            (gateway::Effect::Write, Some(name)) => drop(self.write_one(&name)),
            (gateway::Effect::Mode(state), Some(name)) => {
                self.effects.push(Observed::Mode(name, state))
            }
            (gateway::Effect::Retry(after), Some(name)) => {
                self.effects.push(Observed::Retry(name, after));
            }
            (gateway::Effect::Dial, Some(name)) => self.dial(&name),
            (gateway::Effect::HangUp(left), Some(name)) => {
                if self.tunnels.remove(&name) && !left.is_empty() {
                    self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToBroker, left));
                }
                self.gateway.hung_up(&name, self.now);
            }
            // There is no store, no memory, and no pump that could end.
            _ => {}
        }
    }

    fn open(&mut self, name: &DomainName) {
        match self.paths.get(name) {
            Some(Path::Socket) => {
                self.gateway.opened(name, self.now);
                self.carry_out();
                while self.write_one(name) {}
                let queue = self.sessions.get_mut(&Pump::Domain(name.clone()));
                let queue = queue.filter(|known| known.connected);
                for message in
                    queue.map(|known| std::mem::take(&mut known.queue)).unwrap_or_default()
                {
                    self.deliver(&Pump::Domain(name.clone()), message);
                }
            }
            Some(Path::Unavailable(why)) => {
                let error = OpenError { absent: false, starting: false, why: why.clone() };
                self.gateway.not_opened(name, error, self.now);
            }
            None => {
                let why = "No such file or directory".to_owned();
                let error = OpenError { absent: true, starting: false, why };
                self.gateway.not_opened(name, error, self.now);
            }
        }
    }

    /// Writes one whole line to a domain that reads. Says whether there was one.
    fn write_one(&mut self, name: &DomainName) -> bool {
        if self.stalled.contains(name) || self.tunnels.contains(name) {
            return false;
        }
        let Some(line) = self.gateway.to_channel(name).map(Bytes::copy_from_slice) else {
            return false;
        };
        self.gateway.written(name, line.len(), self.now);
        if &*line == b"\n" {
            // Nobody reads anything from an empty line.
            return self.write_one(name);
        }
        self.effects.push(Observed::Written(name.clone(), line));
        true
    }

    fn session(&mut self, pump: &Pump, effect: SessionEffect) {
        let now = self.now;
        match effect {
            SessionEffect::Dial(_) if !self.broker_is_there => {
                let cause = Cause::Unreachable("there is no broker".to_owned());
                self.gateway.session(pump, SessionInput::Lost(cause), now);
            }
            SessionEffect::Dial(connect) => {
                let kept = self.keeps_sessions && !connect.clean_start;
                let known = self.sessions.entry(pump.clone()).or_default();
                let session_present = kept && known.client_id == connect.client_id;
                if !session_present {
                    *known = Known { client_id: connect.client_id, ..Known::default() };
                }
                known.connected = true;
                let queue = std::mem::take(&mut known.queue);
                let connack =
                    Connack { session_present, receive_maximum: WINDOW, ..Connack::default() };
                self.gateway.session(pump, SessionInput::Connected(Box::new(connack)), now);
                for message in queue {
                    self.deliver(pump, message);
                }
            }
            SessionEffect::Send(packet) => self.packet(pump, packet),
            SessionEffect::HangUp => {
                if let Some(known) = self.sessions.get_mut(pump) {
                    known.connected = false;
                }
            }
            SessionEffect::Remember { .. } => {
                self.gateway.session(pump, SessionInput::Remembered, now)
            }
            SessionEffect::Warn(_) => {}
        }
    }

    fn packet(&mut self, pump: &Pump, packet: Packet) {
        let Some(known) = self.sessions.get_mut(pump) else { return };
        let client = known.client_id.clone();
        let input = match packet {
            Packet::Subscribe { id, filters } => {
                let topics: Vec<_> = filters.into_iter().map(|filter| filter.topic).collect();
                known.filters.extend(topics.iter().cloned());
                let codes = vec![1; topics.len()];
                if self.shows_sessions {
                    self.effects.push(Observed::Subscribed(client, topics));
                }
                SessionInput::Suback(id, codes)
            }
            Packet::Unsubscribe { id, topics } => {
                known.filters.retain(|filter| !topics.contains(filter));
                if self.shows_sessions {
                    self.effects.push(Observed::Unsubscribed(client, topics));
                }
                SessionInput::Unsuback(id)
            }
            Packet::Publish { id, publish, .. } => {
                let topic = publish.topic.clone();
                let deserted = self.deserted.contains(&topic);
                let code = if deserted { NO_MATCHING_SUBSCRIBERS } else { 0 };
                let code = self.codes.remove(&topic).unwrap_or(code);
                // What the status says is no message's effect.
                if !topic.starts_with("passerelle/") {
                    self.effects.push(Observed::Published(client, *publish));
                }
                if id == 0 { SessionInput::Written } else { SessionInput::Puback(id, code) }
            }
            Packet::Acknowledge { .. } => return,
            Packet::Ping => SessionInput::Pong,
            Packet::Disconnect { .. } => {
                known.connected = false;
                return;
            }
        };
        self.gateway.session(pump, input, self.now);
    }

    fn dial(&mut self, name: &DomainName) {
        if self.broker_is_there {
            self.tunnels.insert(name.clone());
        } else {
            self.gateway.not_dialled(name, "there is no broker", self.now);
        }
    }

    /// Passes on what domains on MQTT and the broker say to each other. Says whether there was anything.
    fn pass_through(&mut self) -> bool {
        let mut any = false;
        for name in self.names.clone() {
            if self.tunnels.contains(&name)
                && let Some(bytes) = self.gateway.to_broker(&name).map(Bytes::copy_from_slice)
            {
                any = true;
                self.gateway.written_to_broker(&name, bytes.len(), self.now);
                self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToBroker, bytes));
            }
            if self.gateway.is_on_mqtt(&name)
                && !self.stalled.contains(&name)
                && let Some(bytes) = self.gateway.to_channel(&name).map(Bytes::copy_from_slice)
            {
                any = true;
                self.gateway.written(&name, bytes.len(), self.now);
                self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToDomain, bytes));
            }
        }
        any
    }
}
