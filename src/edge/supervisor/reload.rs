//! Configuration and mapping loaded anew while the gateway runs: all of it, or nothing.

use super::super::confine::Confined;
use super::super::files::Files;
use super::super::hub::ToHub;
use super::super::log::Log;
use super::super::secrets::Secrets;
use super::super::session::Credentials;
use super::super::station::Control;
use super::Supervisor;
use crate::config::{self, Config};
use crate::diagnostic::Finding;
use crate::translate::password::Password;
use crate::translate::proxy::Setting;
use crate::translate::status::MappingFile;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks for a reload, and what it loads.
pub(super) struct Reload {
    /// The configuration file.
    path: PathBuf,
    hangup: Signal,
    /// The files, if they are watched.
    files: Option<Files>,
    log: Log,
    confined: Arc<Confined>,
}

/// How a reload went.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Reloaded {
    /// What runs from now on; or what was found, one line for each, and nothing has changed.
    pub outcome: Result<Applied, Vec<String>>,
}

/// What runs from now on.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Applied {
    pub setting: Setting,
    /// The mapping files that it was made of.
    pub mappings: Vec<MappingFile>,
    /// What the gateway itself logs in with.
    pub own: Option<Credentials>,
}

/// What a reload changes for a domain.
pub(in crate::edge) struct Again {
    /// The mapping, the limits and the policy.
    pub setting: Arc<Setting>,
    /// For how long the broker keeps the session.
    pub kept: Duration,
    /// What the domain's session logs in with, from its next connection on.
    pub credentials: Option<Credentials>,
    /// What the domain itself logs in with, from its next connection on.
    pub password: Option<Password>,
}

impl Reload {
    /// # Errors
    /// No signal handler, or no inotify.
    pub fn new(config: &Config, log: Log, confined: Confined) -> Result<Self, String> {
        let path = PathBuf::from(&config.source.name);
        let hangup = signal(SignalKind::hangup()).map_err(|e| format!("signals: {e}"))?;
        let mut files = None;
        if config.watch {
            let mut watched = Files::new().map_err(|e| format!("watching files: {e}"))?;
            watched.add(&config::files(&path));
            files = Some(watched);
        }
        Ok(Self { path, hangup, files, log, confined: Arc::new(confined) })
    }

    /// Waits until a reload is asked for; says by what. Cancel-safe.
    pub async fn asked(&mut self) -> &'static str {
        loop {
            let changed = async {
                match &mut self.files {
                    Some(files) => files.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.hangup.recv() => return "SIGHUP",
                changed = changed => match changed {
                    Ok(()) => return "a file has changed",
                    Err(error) => {
                        tracing::error!(%error, "files are no longer watched");
                        self.files = None;
                    }
                },
            }
        }
    }

    /// Loads everything, and looks at the files that are named now.
    async fn load(&mut self, started: &Config) -> Result<(Config, Secrets), Vec<String>> {
        if let Some(files) = &mut self.files {
            files.add(&config::files(&self.path));
        }
        let (path, confined) = (self.path.clone(), Arc::clone(&self.confined));
        // Compiling a mapping takes longer than a domain's task should have to wait.
        let loaded = tokio::task::spawn_blocking(move || {
            let found = config::out_of_reach(&path, |file| confined.reaches(file));
            if found.is_empty() {
                config::load_file(&path)
            } else {
                Err(config::Error::Findings(found))
            }
        })
        .await;
        let on_lines = |found: Vec<Finding>| found.iter().map(Finding::on_a_line).collect();
        let config = match loaded.map_err(|e| vec![e.to_string()])? {
            Ok(config) => config,
            Err(config::Error::Unreadable(why)) => return Err(vec![why]),
            Err(config::Error::Findings(found)) => return Err(on_lines(found)),
        };
        let found = config.needs_restart(started);
        if !found.is_empty() {
            return Err(on_lines(found));
        }
        let secrets = Secrets::read(&config.broker, &config.state_dir).map_err(|why| vec![why])?;
        Ok((config, secrets))
    }
}

impl Supervisor {
    pub(super) async fn reload(&mut self, why: &str, reload: &mut Reload) {
        tracing::info!(why, "reloads");
        let loaded = reload.load(&self.config).await;
        let outcome = loaded.map(|(mut config, secrets)| {
            reload.log.reload(&config);
            self.secrets = secrets;
            let mappings = std::mem::take(&mut config.mappings);
            self.apply(config);
            Applied { setting: self.setting.clone(), mappings, own: self.secrets.own() }
        });
        match &outcome {
            Ok(Applied { setting, .. }) => {
                let rows = setting.table.commands().len() + setting.table.events().len();
                tracing::info!(rows, "reloaded");
            }
            Err(found) => {
                for finding in found {
                    tracing::error!("{finding}");
                }
                tracing::error!(findings = found.len(), "not reloaded: it goes on as before");
            }
        }
        let reloaded = Reloaded { outcome };
        let _ = self.hub.send(ToHub::Reloaded(Box::new(reloaded))).await;
    }

    fn apply(&mut self, config: Config) {
        self.ids.lock().know(config.domains().into_iter().chain(self.secrets.domains()));
        self.setting.table = Arc::new(config.table);
        self.setting.policy = Arc::new(config.policy);
        self.setting.limits = config.limits;
        let setting = Arc::new(self.setting.clone());
        let kept = self.config.broker.session_expiry.min(setting.limits.away);
        for (name, running) in &mut self.running {
            if let Some(mailbox) = &mut running.mailbox {
                mailbox.resize(setting.limits.queue);
            }
            let credentials = self.secrets.of_session(name);
            let password = self.secrets.password(name);
            let again = Again { setting: Arc::clone(&setting), kept, credentials, password };
            let _ = running.control.send(Control::Reload(Box::new(again)));
        }
        self.publish_directory();
        self.share_memory();
    }
}
