//! Configuration and mapping loaded anew while the gateway runs: all of it, or nothing.

use super::super::files::Files;
use super::super::hub::ToHub;
use super::super::log::Log;
use super::super::station::Control;
use super::Supervisor;
use crate::config::{self, Config};
use crate::translate::proxy::Setting;
use crate::translate::status::MappingFile;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks for a reload, and what it loads.
pub(super) struct Reload {
    /// The configuration file.
    path: PathBuf,
    hangup: Signal,
    /// The files, if they are watched.
    files: Option<Files>,
    log: Log,
}

/// How a reload went.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Reloaded {
    /// What runs from now on, and the mapping files that it was made of; or what was found, one line
    /// for each, and nothing has changed.
    pub outcome: Result<(Setting, Vec<MappingFile>), Vec<String>>,
}

impl Reload {
    /// # Errors
    /// No signal handler, or no inotify.
    pub fn new(config: &Config, log: Log) -> Result<Self, String> {
        let path = PathBuf::from(&config.source.name);
        let hangup = signal(SignalKind::hangup()).map_err(|e| format!("signals: {e}"))?;
        let mut files = None;
        if config.watch {
            let mut watched = Files::new().map_err(|e| format!("watching files: {e}"))?;
            watched.add(&config::files(&path));
            files = Some(watched);
        }
        Ok(Self { path, hangup, files, log })
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
    async fn load(&mut self) -> Result<Config, Vec<String>> {
        if let Some(files) = &mut self.files {
            files.add(&config::files(&self.path));
        }
        let path = self.path.clone();
        // Compiling a mapping takes longer than a domain's task should have to wait.
        let loaded = tokio::task::spawn_blocking(move || config::load_file(&path)).await;
        match loaded.map_err(|e| vec![e.to_string()])? {
            Ok(config) => Ok(config),
            Err(config::Error::Unreadable(why)) => Err(vec![why]),
            Err(config::Error::Findings(found)) => {
                Err(found.iter().map(|finding| finding.on_a_line()).collect())
            }
        }
    }
}

impl Supervisor {
    pub(super) async fn reload(&mut self, why: &str, reload: &mut Reload) {
        tracing::info!(why, "reloads");
        let loaded = reload.load().await.and_then(|config| {
            let found = config.needs_restart(&self.config);
            let found: Vec<_> = found.iter().map(|finding| finding.on_a_line()).collect();
            if found.is_empty() { Ok(config) } else { Err(found) }
        });
        let outcome = loaded.map(|mut config| {
            reload.log.reload(&config);
            let mappings = std::mem::take(&mut config.mappings);
            self.apply(config);
            (self.setting.clone(), mappings)
        });
        match &outcome {
            Ok((setting, _)) => {
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
        self.setting.table = Arc::new(config.table);
        self.setting.limits = config.limits;
        let setting = Arc::new(self.setting.clone());
        let kept = self.config.broker.session_expiry.min(setting.limits.away);
        Arc::make_mut(&mut self.known).extend(setting.table.domains());
        for running in self.running.values_mut() {
            if let Some(mailbox) = &mut running.mailbox {
                mailbox.resize(setting.limits.queue);
            }
            let _ = running.control.send(Control::Reload(Arc::clone(&setting), kept));
        }
        self.publish_directory();
        self.share_memory();
    }
}
