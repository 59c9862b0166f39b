//! The running gateway: it is made of its configuration, told of sockets and signals, and ended.

use super::broker::Dialer;
use super::clock::Clock;
use super::confine::Confined;
use super::control::{self, Answer, Asked, Reply, Request};
use super::handle::Handle;
use super::lock::{Lock, NotTaken};
use super::log::Log;
use super::memory::{self, LOST, monotonic};
use super::metrics::MetricsFile;
use super::offered::OfferFolder;
use super::own_pump::{Left, OwnPump};
use super::pump::{DomainPump, Offers, Place, Shared, SocketPump};
use super::reload::Reload;
use super::secrets;
use super::session::{ReadRoom, load};
use super::store::StoreFolder;
use super::suspended;
use super::watch::{Change, Watch};
use crate::config::{Channel, Config, domain_of};
use crate::engine::gateway::{Gateway, Parts, Pump};
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::session;
use crate::engine::status::{About, Memory, Process};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How much longer than the grace period a domain's end may take. One whose disk hangs is left behind.
const LAST: Duration = Duration::from_secs(8);

/// What is told of sockets, and of what asks for the end.
struct Gate {
    config: Config,
    shared: Shared,
    pumps: JoinSet<()>,
    /// Where the domains' channels are.
    places: BTreeMap<DomainName, Place>,
    /// Where Dom0's program finds the sockets that it is offered.
    offers: Option<OfferFolder>,
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting: a folder that is not there, a password file that cannot be read.
pub async fn run(mut config: Config, log: Log, confined: Confined) -> Result<(), String> {
    let signals = Signals::new().map_err(|e| format!("signals: {e}"))?;
    let logins = secrets::read(&config.broker, &config.state_dir)?;
    let broker = Dialer::new(&config.broker, &config.state_dir)?;
    let lock = match Lock::take(&config.state_dir, false).await {
        Ok(lock) => Ok(lock),
        Err(NotTaken::Held(why)) => return Err(why),
        // Without a memory it goes on.
        Err(NotTaken::Unusable(why)) => Err(why),
    };
    let known = config.domains().into_iter().chain(logins.domains()).collect();
    let random = RandomState::new().hash_one(std::process::id());
    let setting = Setting {
        table: Arc::new(std::mem::take(&mut config.table)),
        policy: Arc::new(std::mem::take(&mut config.policy)),
        limits: config.limits.clone(),
        instance: config.instance.as_str().into(),
        nonce: format!("{random:016x}").into(),
    };
    let changes = watch(&config)?;
    let offers = open_offers(&config).await?;
    confined.log();
    let asked = control::serve(config.control.as_deref(), &config.state_dir).await;
    let reload = Reload::new(&config, broker.clone(), log, confined)?;
    let clock = Clock::start();
    let (store, store_error) = open_store(&config).await;
    let (about, memory, saver, fresh) = remember(&mut config, &setting, lock, store_error, clock);
    let left = store.clone().and_then(|folder| find_left(&config, folder, memory.on_mqtt()));
    let state_dir = saver.as_ref().map(|_| config.state_dir.clone());
    let rows = setting.table.commands().len() + setting.table.events().len();
    let max_packet = max_packet(setting.limits.line);
    let parts = Parts {
        behind: config.behind(),
        relayed: config.dom0.is_some(),
        logins,
        session: session::Settings {
            client_id: String::new(),
            broker: config.broker.shown(),
            credentials: None,
            keep_alive: config.broker.keep_alive,
            session_expiry: config.broker.session_expiry,
            max_packet,
            filters: Vec::new(),
            held: None,
            will: None,
            stuck: setting.limits.stuck,
            seed: random,
        },
        session_expiry: config.broker.session_expiry,
        user: config.broker.user.clone(),
        known,
        held: state_dir.as_deref().map(load).unwrap_or_default(),
        knows_sessions: fresh,
        has_store: store.is_some(),
        suspended: match (&state_dir, &store) {
            (Some(folder), Some(_)) => suspended::take(folder, setting.limits.heal, clock.now()),
            _ => BTreeMap::new(),
        },
        about,
        memory,
        remembers: saver.is_some(),
        setting,
    };
    let instance = config.instance.clone();
    let engine = Handle::new(Gateway::new(parts, clock.now()), clock);
    let shared = Shared {
        engine: Arc::clone(&engine),
        read_room: ReadRoom::new(max_packet),
        broker,
        state_dir,
        store,
        farewell: farewell(config.grace),
    };
    let own = tokio::spawn(OwnPump::new(shared.clone(), saver).run(left));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %instance, rows, "passerelle starts");
    super::service::ready();
    let (pumps, places) = (JoinSet::new(), BTreeMap::new());
    let metrics = config.metrics.clone();
    let metrics = metrics.map(|file| MetricsFile::start(file, Arc::clone(&engine)));
    let mut gate = Gate { config, shared, pumps, places, offers };
    gate.open_serial();
    gate.until_told(changes, asked, signals, reload).await;
    gate.finish(own).await;
    if let Some(metrics) = metrics {
        metrics.end(&instance).await;
    }
    Ok(())
}

/// Watches the folders of sockets.
fn watch(config: &Config) -> Result<mpsc::Receiver<Change>, String> {
    let (sender, changes) = mpsc::channel(64);
    for channel in &config.channels {
        if let Channel::Unix(pattern) = channel {
            let watch = Watch::new(pattern).map_err(|e| format!("{}: {e}", pattern.display()))?;
            tokio::spawn(watch.forward(sender.clone()));
        }
    }
    Ok(changes)
}

/// The folder of the sockets that Dom0's program is offered.
async fn open_offers(config: &Config) -> Result<Option<OfferFolder>, String> {
    let Some(relay) = &config.dom0 else { return Ok(None) };
    let folder = OfferFolder::open(relay.clone()).await;
    folder.map(Some).map_err(|error| format!("{}: {error}", relay.display()))
}

/// Opens the store, if there is to be one. Says why it cannot be used, or what it cannot keep.
async fn open_store(config: &Config) -> (Option<StoreFolder>, Option<String>) {
    let Some(store) = &config.store else { return (None, None) };
    match StoreFolder::open(store).await {
        Ok(folder) => {
            let lacks = folder.lacks();
            if let Some(what) = &lacks {
                tracing::warn!("not kept on disk: {what}");
            }
            (Some(folder), lacks)
        }
        Err(error) => {
            tracing::error!("{error}");
            (None, Some(error))
        }
    }
}

/// Opens the memory of who speaks legacy. A folder that cannot be used is told in the log and in the status,
/// and stops nothing.
fn remember(
    config: &mut Config,
    setting: &Setting,
    lock: Result<Lock, String>,
    store_error: Option<String>,
    clock: Clock,
) -> (About, Memory, Option<memory::Saver>, bool) {
    let mut about = About {
        instance: setting.instance.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mappings: std::mem::take(&mut config.mappings),
        memory_error: None,
        store_error,
        process: process(config),
    };
    let run = Arc::clone(&setting.nonce);
    let now = clock.now();
    let system = monotonic().saturating_sub(now.monotonic);
    let opened =
        lock.and_then(|lock| memory::MemoryFolder::open(&config.state_dir, lock, Arc::clone(&run)));
    match opened {
        Ok((folder, found)) => {
            let fresh = found.record.is_none() && found.set_aside.is_none();
            let mut memory = Memory::new(run, system, found.record, now);
            if let Some(place) = found.set_aside {
                memory.set_aside(place);
            }
            (about, memory, Some(memory::Saver::start(folder)), fresh)
        }
        Err(error) => {
            let error = format!("{error}; {LOST}");
            tracing::error!("{error}");
            about.memory_error = Some(error);
            (about, Memory::new(run, system, None, now), None, false)
        }
    }
}

/// What tells this gateway from another of its name.
fn process(config: &Config) -> Process {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let folder = &config.state_dir;
    let state_dir = folder.canonicalize().unwrap_or_else(|_| folder.clone());
    Process { id: std::process::id(), host, state_dir: state_dir.display().to_string() }
}

/// The logs of domains that are not there, or have come over to MQTT.
fn find_left(config: &Config, folder: StoreFolder, on_mqtt: &BTreeSet<DomainName>) -> Option<Left> {
    match folder.left(|name| is_there(config, on_mqtt, name)) {
        Ok(logs) => Some(Left { folder, logs }),
        Err(error) => {
            tracing::error!(%error, help = "mend `store.dir`, and restart passerelle", "the store cannot be listed: what domains have left there stays there");
            None
        }
    }
}

fn is_there(config: &Config, on_mqtt: &BTreeSet<DomainName>, name: &DomainName) -> bool {
    if let Some(Identity::Behind { own, .. }) = config.behind() {
        return *name == own;
    }
    if name.is_dom0() && config.dom0.is_some() {
        return true;
    }
    let socket = |channel: &Channel| match channel {
        Channel::Unix(pattern) => has_socket(pattern, name),
        Channel::Serial(..) => false,
    };
    !on_mqtt.contains(name) && config.channels.iter().any(socket)
}

/// How much of the grace period a good-bye may take.
fn farewell(grace: Duration) -> Duration {
    (grace / 10).max(Duration::from_millis(100))
}

/// Whether the socket of a pattern that is this domain's is there.
fn has_socket(pattern: &Path, name: &DomainName) -> bool {
    let own = pattern.with_file_name(format!("{name}-msg.sock"));
    let (Some(file), Some(fits)) = (own.file_name(), pattern.file_name()) else { return false };
    super::watch::fits(fits, file) && own.symlink_metadata().is_ok()
}

/// What the broker may send in one packet: well over a line, for Base64 and properties; anything larger
/// it would drop without a word.
fn max_packet(line: usize) -> u32 {
    const PROPERTIES: usize = 256 * 1024;
    u32::try_from(line.saturating_mul(2).saturating_add(PROPERTIES)).unwrap_or(u32::MAX)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    count: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            count: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Gate {
    fn open_serial(&mut self) {
        for channel in self.config.channels.clone() {
            if let (Channel::Serial(path, _), Some(identity)) = (channel, self.config.behind()) {
                self.appeared(identity, Place::Serial(path));
            }
        }
    }

    async fn until_told(
        &mut self,
        mut changes: mpsc::Receiver<Change>,
        mut asked: mpsc::Receiver<Asked>,
        mut signals: Signals,
        mut reload: Reload,
    ) {
        let engine = Arc::clone(&self.shared.engine);
        loop {
            tokio::select! {
                Some(change) = changes.recv() => self.changed(change),
                pump = engine.born() => self.start(pump),
                Some(ended) = self.pumps.join_next(), if !self.pumps.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, help = "this is a fault of passerelle: report it, and restart it", "a domain's task has failed: it is not served any more");
                    }
                }
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.count.recv() => engine.ask(Gateway::log_counters),
                why = reload.asked() => drop(reload.reload(why, &self.config, &engine).await),
                Some(asked) = asked.recv() => {
                    let answer = self.answer(&asked.request, &mut reload).await;
                    asked.answer(answer);
                }
            }
        }
    }

    /// What a client of the control socket is told.
    async fn answer(&self, request: &Request, reload: &mut Reload) -> Answer {
        let engine = &self.shared.engine;
        let value = match request {
            Request::Status => engine.tell(None, Gateway::status).0,
            Request::Ready => {
                let (record, _) = engine.tell(None, Gateway::record);
                serde_json::to_value(record).map_err(|error| error.to_string())?
            }
            Request::Coverage => return Err("the gateway does not observe".to_owned()),
            Request::Legacy { domain } => {
                let (taken, _) =
                    engine.tell(None, |gateway, now| gateway.take_for_legacy(domain, now));
                json!({"new": taken.map_err(|why| format!("{domain}: {why}"))?})
            }
            Request::Log { level } => reload.log().set_level(*level)?,
            Request::Reload => match reload.reload("asked for", &self.config, engine).await {
                Ok(rows) => json!({"rows": rows}),
                Err(findings) => json!({"findings": findings}),
            },
            Request::Tap(wanted) => return engine.watch(wanted.clone()).map(Reply::Watcher),
            Request::Record => return engine.record().map(Reply::Recording),
        };
        Ok(value.into())
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Appeared(path) => match domain_of(&path) {
                Some(name) => self.appeared(Identity::Domain(name), Place::Unix(path)),
                None => {
                    tracing::warn!(path = %path.display(), help = "name it `<domain>-msg.sock`", "no domain's name: not connected")
                }
            },
            Change::Disappeared(path) => {
                if let Some(name) = domain_of(&path) {
                    self.shared.engine.tell(None, |gateway, now| gateway.vanished(&name, now));
                }
            }
            Change::Failing(folder, error) => {
                let folder = folder.display().to_string();
                let told = |gateway: &mut Gateway, now| gateway.folder_failing(folder, error, now);
                self.shared.engine.tell(None, told);
            }
        }
    }

    fn appeared(&mut self, identity: Identity, place: Place) {
        self.places.insert(identity.name().clone(), place);
        self.shared.engine.tell(None, |gateway, now| gateway.appeared(&identity, now));
    }

    /// Starts a pump.
    fn start(&mut self, pump: Pump) {
        let shared = self.shared.clone();
        match pump {
            Pump::Domain(name) => {
                let offered = Some(&Place::Offered).filter(|_| name.is_dom0());
                let Some(place) = offered.or_else(|| self.places.get(&name)).cloned() else {
                    return;
                };
                self.pumps.spawn(DomainPump::new(shared, name, place).run());
            }
            Pump::Socket(name) => {
                let Some(folder) = self.offers.clone() else { return };
                let like = self.socket_like(&name).unwrap_or(folder.path()).to_owned();
                let pump = SocketPump::new(shared, name, Offers { folder, like });
                self.pumps.spawn(pump.run());
            }
            Pump::Own => {}
        }
    }

    /// Whoever may connect to this may connect to what is offered in its place: the domain's own socket, or that of
    /// another one.
    fn socket_like(&self, name: &DomainName) -> Option<&Path> {
        let mut places = self.places.get(name).into_iter().chain(self.places.values());
        places.find_map(|place| match place {
            Place::Unix(path) => Some(path.as_path()),
            Place::Serial(_) | Place::Offered => None,
        })
    }

    /// Takes nothing more in, lets everything out, for the grace period at most.
    async fn finish(mut self, own: JoinHandle<usize>) {
        let (engine, grace) = (Arc::clone(&self.shared.engine), self.config.grace);
        tracing::info!(?grace, "passerelle ends");
        let limit = Instant::now() + grace;
        // After that the domains say good-bye, and then the gateway itself.
        let out = grace.saturating_sub(2 * farewell(grace));
        engine.tell(None, |gateway, now| gateway.finish(now.monotonic.saturating_add(out), now));
        while let Ok(Some(ended)) = timeout_at(limit + LAST, self.pumps.join_next()).await {
            if let Err(error) = ended {
                tracing::error!(%error, help = "this is a fault of passerelle: report it, and restart it", "a domain's task has failed: it is not served any more");
            }
        }
        engine.tell(None, Gateway::finish_own_session);
        let notices_left = own.await.unwrap_or(0);
        if let (Some(text), _) = engine.tell(None, Gateway::take_suspended)
            && let Some(folder) = &self.shared.state_dir
        {
            suspended::keep(folder, &text);
        }
        let (counters, left) = engine.ask(|gateway| (gateway.ledger().0, gateway.left_behind()));
        tracing::info!(left, notices_left, %counters, "passerelle has ended");
    }
}
