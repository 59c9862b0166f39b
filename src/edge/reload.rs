//! Configuration and mapping loaded anew while the gateway runs: all of it, or nothing.

use super::broker::Dialer;
use super::confine::Confined;
use super::files::Files;
use super::handle::Handle;
use super::log::Log;
use super::secrets;
use crate::config::{self, Config};
use crate::diagnostic::Finding;
use crate::engine::gateway::Reloadable;
use crate::engine::password::Logins;
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
    /// Its certificates and keys are read anew too.
    broker: Dialer,
    log: Log,
    confined: Arc<Confined>,
}

impl Reload {
    /// # Errors
    /// No signal handler, or no inotify.
    pub fn new(
        config: &Config,
        broker: Dialer,
        log: Log,
        confined: Confined,
    ) -> Result<Self, String> {
        let path = PathBuf::from(&config.source.name);
        let hangup = signal(SignalKind::hangup()).map_err(|e| format!("signals: {e}"))?;
        let mut files = None;
        if config.watch {
            let mut watched = Files::new().map_err(|e| format!("watching files: {e}"))?;
            watched.add(&config::files(&path));
            files = Some(watched);
        }
        Ok(Self { path, hangup, files, broker, log, confined: Arc::new(confined) })
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
                        tracing::error!(%error, help = "reload with SIGHUP after a change", "files are no longer watched");
                        self.files = None;
                    }
                },
            }
        }
    }

    /// Loads everything, and looks at the files that are named now.
    async fn load(&mut self, started: &Config) -> Result<(Config, Logins, Dialer), Vec<String>> {
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
        let logins = secrets::read(&config.broker, &config.state_dir).map_err(|why| vec![why])?;
        let broker = Dialer::new(&config.broker, &config.state_dir).map_err(|why| vec![why])?;
        Ok((config, logins, broker))
    }

    /// The log, which a reload changes too.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Loads everything anew and has it apply, whole or not at all. Says how many rows the mapping has.
    ///
    /// # Errors
    /// What is wrong, a line for each finding.
    pub async fn reload(
        &mut self,
        why: &str,
        started: &Config,
        engine: &Handle,
    ) -> Result<usize, Vec<String>> {
        tracing::info!(why, "reloads");
        match self.load(started).await {
            Ok((config, logins, broker)) => {
                self.log.reload(&config);
                self.broker.renew(&broker);
                let rows = config.table.commands().len() + config.table.events().len();
                let known = config.domains().into_iter().chain(logins.domains()).collect();
                let reloaded = Reloadable {
                    known,
                    table: Arc::new(config.table),
                    policy: Arc::new(config.policy),
                    limits: config.limits,
                    logins,
                    mappings: config.mappings,
                    relayed: config.dom0.is_some(),
                };
                engine.tell(None, |gateway, now| gateway.reload(reloaded, now));
                tracing::info!(rows, "reloaded");
                Ok(rows)
            }
            Err(found) => {
                for finding in &found {
                    tracing::error!("{finding}");
                }
                tracing::error!(
                    findings = found.len(),
                    help = "mend what is named, and reload again",
                    "not reloaded: it goes on as before"
                );
                engine.tell(None, |gateway, now| gateway.not_reloaded(found.clone(), now));
                Err(found)
            }
        }
    }
}
