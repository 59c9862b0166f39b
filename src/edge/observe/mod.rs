//! Observing: the gateway stands between the domains and the router that they had before, passes
//! every byte on, and learns. Nothing goes to MQTT.

mod backlog;
mod learner;
mod pipe;
mod relay;

use super::clock::Clock;
use super::confine::Confined;
use super::control::{self, Asked, Reply, Request};
use super::lock::{Holder, Lock, NotTaken};
use super::log::Log;
use super::offered::OfferFolder;
use super::watch::{Change, Watch};
use crate::config::{Channel, Config, Observe, domain_of};
use crate::engine::proxy::Setting;
pub use learner::FILE;
use learner::Learner;
use relay::{Control, Relay};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

const NOTHING_TO_RELOAD: &str = "observing: `passerelle coverage` reads the mapping anew each time; anything else needs a restart";

struct Observer {
    config: Config,
    folder: OfferFolder,
    learner: Learner,
    log: Log,
    /// Who this is.
    holder: Holder,
    /// By the file's name: a router is offered a socket whose name is no domain's as well.
    running: BTreeMap<OsString, (PathBuf, mpsc::UnboundedSender<Control>)>,
    tasks: JoinSet<()>,
    /// The folders of sockets that cannot be watched, and why.
    lost: BTreeMap<PathBuf, String>,
}

/// Observes until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting: a directory that is not there, a state file that cannot be written.
pub async fn run(
    mut config: Config,
    observe: Observe,
    log: Log,
    confined: &Confined,
) -> Result<(), String> {
    let setting = Setting {
        table: Arc::new(std::mem::take(&mut config.table)),
        policy: Arc::new(std::mem::take(&mut config.policy)),
        limits: config.limits.clone(),
        instance: config.instance.as_str().into(),
        nonce: "observed".into(),
    };
    let lock = Lock::take(&config.state_dir, true).await.map_err(|not_taken| match not_taken {
        NotTaken::Held(why) | NotTaken::Unusable(why) => why,
    })?;
    let holder = lock.holder().clone();
    let (learner, learning) = Learner::start(setting, &config.state_dir, lock, Clock::start())?;
    let relay = observe.relay;
    let folder =
        OfferFolder::open(relay.clone()).await.map_err(|e| format!("{}: {e}", relay.display()))?;
    let (changed, changes) = mpsc::channel(64);
    for channel in &config.channels {
        if let Channel::Unix(pattern) = channel {
            let watch = Watch::new(pattern).map_err(|e| format!("{}: {e}", pattern.display()))?;
            tokio::spawn(watch.forward(changed.clone()));
        }
    }
    let relayed = Watch::new(&relay.join("*")).map_err(|e| e.to_string())?;
    let (removed, looks) = mpsc::channel(64);
    tokio::spawn(relayed.forward(removed));
    confined.log();
    let asked = control::serve(config.control.as_deref(), &config.state_dir).await;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        relay = %relay.display(),
        "passerelle observes: nothing goes to MQTT"
    );
    super::service::ready();
    let (running, tasks) = (BTreeMap::new(), JoinSet::new());
    let lost = BTreeMap::new();
    let mut observer = Observer { config, folder, learner, log, holder, running, tasks, lost };
    observer.until_told(changes, looks, asked).await.map_err(|e| format!("signals: {e}"))?;
    observer.finish(learning).await;
    Ok(())
}

impl Observer {
    async fn until_told(
        &mut self,
        mut changes: mpsc::Receiver<Change>,
        mut relayed: mpsc::Receiver<Change>,
        mut asked: mpsc::Receiver<Asked>,
    ) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut count = signal(SignalKind::user_defined1())?;
        let mut reload = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                Some(change) = changes.recv() => self.changed(change),
                Some(change) = relayed.recv() => self.relay_changed(change),
                Some(end) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = end {
                        tracing::error!(%error, help = "this is a fault of passerelle: report it", "a relay has failed: its domain has none until the next start");
                    }
                }
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = count.recv() => self.tell_all(|| Control::Report),
                _ = reload.recv() => tracing::warn!("{NOTHING_TO_RELOAD}"),
                Some(asked) = asked.recv() => self.answer(asked),
            }
        }
    }

    /// Answers a client of the control socket.
    fn answer(&mut self, asked: Asked) {
        let Holder { pid, since, .. } = &self.holder;
        let answer = match &asked.request {
            Request::Status => {
                let lost =
                    |(folder, why): (&PathBuf, &String)| format!("{}: {why}", folder.display());
                let errors: Vec<_> = self.lost.iter().map(lost).collect();
                let gateway = json!({
                    "state": "observing", "since": since, "pid": pid, "socket_errors": errors
                });
                let instance = &self.config.instance;
                Ok(json!({"instance": instance, "gateway": gateway, "domains": {}}).into())
            }
            Request::Coverage => {
                let book = self.learner.book();
                // What is still to be learnt before holds up nobody.
                tokio::spawn(async move {
                    asked.answer(book.await.map(|text| Value::String(text).into()))
                });
                return;
            }
            Request::Record => {
                let recording = self.learner.record();
                tokio::spawn(async move { asked.answer(recording.await.map(Reply::Recording)) });
                return;
            }
            Request::Log { level } => self.log.set_level(*level).map(Into::into),
            Request::Reload => Err(NOTHING_TO_RELOAD.to_owned()),
            Request::Ready | Request::Legacy { .. } | Request::Tap(_) => {
                Err("the gateway observes: the old router is in charge".to_owned())
            }
        };
        asked.answer(answer);
    }

    fn tell_all(&self, control: impl Fn() -> Control) {
        for (_, relay) in self.running.values() {
            let _ = relay.send(control());
        }
    }

    fn changed(&mut self, change: Change) {
        let (path, control) = match change {
            Change::Appeared(path) => (path, Control::Appeared),
            Change::Disappeared(path) => (path, Control::Disappeared),
            Change::Failing(folder, why) => return self.failing(folder, why),
        };
        let Some(name) = path.file_name().map(OsString::from) else { return };
        match self.running.get(&name) {
            Some((own, relay)) if *own == path => {
                let _ = relay.send(control);
            }
            Some((own, _)) => {
                let (path, own) = (path.display(), own.display());
                tracing::warn!(%path, %own, help = "rename one of them", "two sockets of one name: only the first is relayed");
            }
            None if matches!(control, Control::Appeared) => self.start(name, path),
            None => {}
        }
    }

    fn failing(&mut self, folder: PathBuf, why: Option<String>) {
        match why {
            Some(why) => drop(self.lost.insert(folder, why)),
            None => drop(self.lost.remove(&folder)),
        }
    }

    /// The relay's own sockets come and go, too.
    fn relay_changed(&mut self, change: Change) {
        if let Change::Failing(folder, why) = change {
            self.failing(folder, why);
        } else if let Change::Disappeared(path) = change
            && let Some((_, relay)) = path.file_name().and_then(|name| self.running.get(name))
        {
            let _ = relay.send(Control::Look);
        }
    }

    fn start(&mut self, file: OsString, own: PathBuf) {
        let domain = domain_of(&own).filter(|name| name.meaning().is_none());
        let name = match &domain {
            Some(name) => name.to_string(),
            None => {
                tracing::warn!(path = %own.display(), help = "name it `<domain>-msg.sock`", "no domain's name: relayed, and not learnt from");
                file.to_string_lossy().into_owned()
            }
        };
        let (control, controls) = mpsc::unbounded_channel();
        let names = (name, own.clone(), self.folder.at(&file));
        let ear = self.learner.ear(domain);
        let relay =
            Relay::new(names, self.folder.clone(), controls, ear, self.config.limits.clone());
        self.tasks.spawn(relay.run());
        self.running.insert(file, (own, control));
    }

    /// Lets everything out, for the grace period at most, and has what was learnt written.
    async fn finish(mut self, learning: JoinHandle<()>) {
        tracing::info!(grace = ?self.config.grace, "passerelle ends");
        let limit = Instant::now() + self.config.grace;
        self.tell_all(|| Control::Finish(limit));
        while let Some(end) = self.tasks.join_next().await {
            if let Err(error) = end {
                tracing::error!(%error, help = "this is a fault of passerelle: report it", "a relay has failed: its domain has none until the next start");
            }
        }
        drop(self.learner);
        if let Err(error) = learning.await {
            tracing::error!(%error, help = "this is a fault of passerelle: report it", "what was learnt last is not kept");
        }
        tracing::info!("passerelle has ended");
    }
}
