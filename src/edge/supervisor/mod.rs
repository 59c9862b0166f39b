//! Starts a station for each domain and ends them: the only task that knows all.

mod finish;
mod reload;
mod start;
mod store;

use super::clock::Clock;
use super::confine::Confined;
use super::exchange::{Directory, Mailbox};
use super::hub::ToHub;
use super::ids::SharedIds;
use super::lock::{Lock, NotTaken};
use super::log::Log;
use super::port::Place;
use super::secrets::Secrets;
use super::session::ReadRoom;
use super::station::{self, Control, ToSupervisor};
use super::store::Folder;
use super::tunnel;
use super::watch::{Change, Watch};
use crate::config::{Channel, Config, domain_of};
use crate::translate::limits::level;
use crate::translate::name::DomainName;
use crate::translate::proxy::{Identity, Setting};
use crate::translate::refusal::Counters;
use crate::translate::roster::Roster;
use reload::Reload;
pub(super) use reload::{Again, Applied, Reloaded};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many refusals and handed-over publishes may wait for the hub.
const HUB_MAIL: usize = 1024;

struct Running {
    control: mpsc::UnboundedSender<Control>,
    /// None, if its channel carries MQTT.
    mailbox: Option<Mailbox>,
    place: Place,
    /// It has left the directory.
    leaving: bool,
    /// It has made its subscriptions on MQTT.
    arrived: bool,
    /// How many bytes of messages it holds, about.
    held: usize,
    /// Its socket came back after that.
    again: bool,
}

/// How a domain's task ended.
enum End {
    Station(Box<station::End>),
    Tunnel(Box<tunnel::End>),
}

struct Supervisor {
    setting: Setting,
    /// What it started with; of what has been reloaded since, `setting` has it.
    config: Config,
    secrets: Secrets,
    clock: Clock,
    running: BTreeMap<DomainName, Running>,
    tasks: JoinSet<End>,
    /// Whose the client ids are. It knows every domain that has had a channel here, or that the configuration,
    /// its mapping, its passwords or the memory of earlier runs name.
    ids: SharedIds,
    directory: watch::Sender<Arc<Directory>>,
    hub: mpsc::Sender<ToHub>,
    told: mpsc::UnboundedSender<ToSupervisor>,
    level: watch::Sender<Option<usize>>,
    spoken: watch::Sender<Option<(DomainName, Duration)>>,
    limit: watch::Receiver<Option<Instant>>,
    read_room: ReadRoom,
    gone: Counters,
    /// Domains that spoke MQTT to an earlier run, and have not been seen in this one.
    on_mqtt: BTreeSet<DomainName>,
    /// Where logs are, if there is a store.
    store: Option<Folder>,
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting: a folder that is not there, a password file that cannot be read.
pub async fn run(mut config: Config, log: Log, confined: Confined) -> Result<(), String> {
    let secrets = Secrets::read(&config.broker, &config.state_dir)?;
    let lock = match Lock::take(&config.state_dir, false).await {
        Ok(lock) => Ok(lock),
        Err(NotTaken::Held(why)) => return Err(why),
        // Without a memory it goes on.
        Err(NotTaken::Unusable(why)) => Err(why),
    };
    let ids = SharedIds::default();
    ids.lock().know(config.domains().into_iter().chain(secrets.domains()));
    let nonce = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let setting = Setting {
        table: Arc::new(std::mem::take(&mut config.table)),
        policy: Arc::new(std::mem::take(&mut config.policy)),
        limits: config.limits.clone(),
        instance: config.instance.as_str().into(),
        nonce: nonce.into(),
    };
    let mut watches = Vec::new();
    for channel in &config.channels {
        if let Channel::Unix(pattern) = channel {
            let watch = Watch::new(pattern).map_err(|e| format!("{}: {e}", pattern.display()))?;
            watches.push(watch);
        }
    }
    confined.log();
    let reload = Reload::new(&config, log, confined)?;
    let signals = Signals::new().map_err(|e| format!("signals: {e}"))?;
    let (directory, directory_seen) = watch::channel(Arc::<Directory>::default());
    let (hub, hub_mail) = mpsc::channel(HUB_MAIL);
    let (told, telling) = mpsc::unbounded_channel();
    let (stop_at, limit) = watch::channel(None);
    let stop_hub = CancellationToken::new();
    let mut supervisor = Supervisor {
        secrets,
        ids,
        setting,
        clock: Clock::start(),
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        directory,
        hub,
        told,
        level: watch::channel(None).0,
        spoken: watch::channel(None).0,
        limit: limit.clone(),
        read_room: ReadRoom::new(start::max_packet(config.limits.line)),
        gone: Counters::default(),
        on_mqtt: BTreeSet::new(),
        store: None,
        config,
    };
    let store_error = supervisor.open_store().await;
    let status = supervisor.start_status(store_error, lock);
    supervisor.on_mqtt = status.on_mqtt();
    supervisor.ids.lock().know(status.remembered());
    let left = supervisor.find_left();
    let hub_task =
        supervisor.start_hub(status, left, directory_seen, hub_mail, stop_hub.clone(), limit);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = %supervisor.setting.instance,
        rows = supervisor.setting.table.commands().len() + supervisor.setting.table.events().len(),
        "passerelle starts"
    );
    super::service::ready();
    supervisor.watch_until_told(watches, telling, signals, reload).await;
    supervisor.finish(hub_task, stop_hub, stop_at).await;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    count: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            count: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Supervisor {
    async fn watch_until_told(
        &mut self,
        mut watches: Vec<Watch>,
        mut telling: mpsc::UnboundedReceiver<ToSupervisor>,
        mut signals: Signals,
        mut reload: Reload,
    ) {
        for channel in self.config.channels.clone() {
            if let (Channel::Serial(path, _), Some(identity)) = (channel, self.config.behind()) {
                self.start(identity, Place::Serial(path), None);
            }
        }
        let (changes_sent, mut changes) = mpsc::channel(64);
        for mut watch in watches.drain(..) {
            let changes = changes_sent.clone();
            tokio::spawn(async move {
                loop {
                    match watch.next().await {
                        Ok(change) => {
                            if changes.send(change).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            return tracing::error!(%error, "the folder of sockets is lost");
                        }
                    }
                }
            });
        }
        loop {
            tokio::select! {
                Some(change) = changes.recv() => self.changed(change),
                Some(told) = telling.recv() => match told {
                    ToSupervisor::Retired(name) => self.remove(&name),
                    ToSupervisor::Holds(name, held) => self.holds(&name, held),
                    ToSupervisor::Arrived(name, there) => self.arrived(&name, there),
                },
                Some(end) = self.tasks.join_next(), if !self.tasks.is_empty() => match end {
                    Ok(end) => self.ended(end),
                    Err(error) => tracing::error!(%error, "a domain's task failed"),
                },
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.count.recv() => self.report().await,
                why = reload.asked() => self.reload(why, &mut reload).await,
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Appeared(path) => {
                let Some(name) = domain_of(&path) else {
                    return tracing::warn!(path = %path.display(), "no domain's name: not connected");
                };
                let user = self.config.broker.user.as_deref();
                // Under the gateway's own name a domain would have the gateway's rights.
                let users =
                    (user == Some(name.as_str())).then_some("the gateway's user on the broker");
                if let Some(meaning) = users.or_else(|| name.meaning()) {
                    return tracing::warn!(
                        domain = %name,
                        meaning,
                        help = "give its socket another",
                        "this name is not a domain's: not connected"
                    );
                }
                match self.running.get_mut(&name) {
                    Some(running) if running.leaving => running.again = true,
                    Some(running) => {
                        let _ = running.control.send(Control::Appeared);
                    }
                    // Until it says something else, no line is written into what may be MQTT.
                    None if self.on_mqtt.remove(&name) => {
                        self.start_tunnel(name, Place::Unix(path), None);
                    }
                    None => self.start(Identity::Domain(name), Place::Unix(path), None),
                }
            }
            Change::Disappeared(path) => {
                let running = domain_of(&path).and_then(|name| self.running.get_mut(&name));
                if let Some(running) = running {
                    running.again = false;
                    let _ = running.control.send(Control::Disappeared);
                }
            }
        }
    }

    fn publish_directory(&self) {
        let present = || self.running.iter().filter(|(_, r)| !r.leaving);
        let legacy = present().filter_map(|(n, r)| Some((n.clone(), r.mailbox.clone()?)));
        // One that leaves comes over to MQTT, or else it is away: then nobody is there for it.
        let mqtt = self.running.iter().filter(|(_, r)| r.mailbox.is_none() || r.leaving);
        let roster = Roster {
            legacy: BTreeSet::new(),
            arriving: mqtt.clone().filter(|(_, r)| !r.arrived).map(|(n, _)| n.clone()).collect(),
            mqtt: mqtt.map(|(n, _)| n.clone()).collect(),
        };
        let directory = Directory::new(legacy.collect(), roster);
        self.directory.send_replace(directory);
    }

    /// A domain holds more or less than before. While all together hold too many bytes, those who hold
    /// the most are held back.
    fn holds(&mut self, name: &DomainName, held: usize) {
        if let Some(running) = self.running.get_mut(name) {
            running.held = held;
        }
        self.share_memory();
    }

    fn share_memory(&self) {
        let mut all: Vec<usize> = self.running.values().map(|r| r.held).collect();
        let level = level(self.setting.limits.memory, &mut all);
        if self.level.send_if_modified(|now| std::mem::replace(now, level) != level) {
            tracing::debug!(?level, "what each domain may hold");
        }
    }

    /// A station wants to end: it leaves the directory first, so that nobody passes it anything more.
    fn remove(&mut self, name: &DomainName) {
        let Some(running) = self.running.get_mut(name) else { return };
        running.leaving = true;
        let control = running.control.clone();
        self.publish_directory();
        let _ = control.send(Control::Removed);
    }

    fn arrived(&mut self, name: &DomainName, there: bool) {
        if let Some(running) = self.running.get_mut(name) {
            running.arrived = there;
            self.publish_directory();
        }
    }

    fn ended(&mut self, end: End) {
        let name = match &end {
            End::Station(end) => &end.name,
            End::Tunnel(end) => &end.name,
        };
        let Some(running) = self.running.remove(name) else { return };
        self.share_memory();
        match end {
            End::Station(end) => {
                self.gone.add(&end.counters);
                match end.migrated {
                    migrated @ Some(_) => self.start_tunnel(end.name, running.place, migrated),
                    None if running.again || (running.leaving && end.connected) => {
                        self.start(Identity::Domain(end.name), running.place, None);
                    }
                    None => self.publish_directory(),
                }
            }
            End::Tunnel(end) => {
                let tunnel::End { name, legacy } = *end;
                self.ids.lock().release(&name);
                self.start(Identity::Domain(name), running.place, legacy);
            }
        }
    }
}
