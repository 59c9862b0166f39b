//! The file that remembers who has spoken legacy, `seen.json` in `state_dir`, and the task that
//! writes it.
//!
//! The folder's lock names the run while the file is up to date: not before the first writing, nor when one
//! has failed.

use super::lock::{self, Holder, Lock, unusable};
use super::{private, regular};
use crate::engine::status::SeenRecord;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

/// The file's name in `state_dir`.
pub(super) const FILE: &str = "seen.json";
/// After how long what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How often is looked whether the folder is there.
const LOOK: Duration = Duration::from_secs(1);
/// What that means.
pub(super) const LOST: &str =
    "who speaks legacy is not remembered, and `passerelle ready` cannot tell";

/// The system's monotonic clock.
pub(crate) fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// What an earlier run has left.
pub(super) struct FoundMemory {
    pub record: Option<SeenRecord>,
    /// Where a file that could not be read was put.
    pub set_aside: Option<String>,
}

/// The folder, locked for this run.
#[derive(Debug)]
pub(super) struct MemoryFolder {
    path: PathBuf,
    lock: Lock,
    run: Arc<str>,
}

impl MemoryFolder {
    /// Reads what is in the folder that is locked for a run. A file that cannot be understood is put aside.
    ///
    /// # Errors
    /// What keeps it from being used, and the way out.
    pub fn open(path: &Path, lock: Lock, run: Arc<str>) -> Result<(Self, FoundMemory), String> {
        let folder = Self { path: path.to_owned(), lock, run };
        let found = folder.read().map_err(|e| unusable(&path.join(FILE), &e))?;
        Ok((folder, found))
    }

    fn read(&self) -> io::Result<FoundMemory> {
        let file = self.path.join(FILE);
        let record = match regular::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(FoundMemory { record: None, set_aside: None });
            }
            Err(error) if regular::is_none(&error) => {
                tracing::error!(file = %file.display(), help = "find out who has put it there", "no regular file: it is replaced");
                return Ok(FoundMemory { record: None, set_aside: None });
            }
            text => SeenRecord::parse(&text?),
        };
        match record {
            Ok(record) => Ok(FoundMemory { record: Some(record), set_aside: None }),
            Err(error) => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let now = since.unwrap_or_default().as_millis();
                let place = self.path.join(format!("{FILE}.unreadable-{now}"));
                fs::rename(&file, &place)?;
                let place = place.display().to_string();
                tracing::error!(
                    file = %file.display(),
                    error,
                    kept_as = place,
                    "the memory of who has spoken legacy cannot be read: it is set aside, and begins anew"
                );
                Ok(FoundMemory { record: None, set_aside: Some(place) })
            }
        }
    }

    /// Writes the file, whole or not at all. A folder that somebody has removed is made anew.
    fn write(&mut self, record: Option<&SeenRecord>) -> io::Result<()> {
        let write = |record| {
            private::replace_whole(&self.path.join(FILE), &serde_json::to_vec_pretty(record)?)
        };
        let written = self.lock.take_again(&self.path).and_then(|()| record.map_or(Ok(()), write));
        let written = written.map_err(|error| private::explained(&self.path, error));
        let up_to_date = written.is_ok().then_some(&*self.run).filter(|_| record.is_some());
        let said = self.lock.say(up_to_date);
        written.and(said)
    }
}

/// Writes the newest record that it is given. Dropping it ends the task, which writes what it has.
#[derive(Debug)]
pub(super) struct Saver {
    records: watch::Sender<Option<Arc<SeenRecord>>>,
    error: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Saver {
    pub fn start(folder: MemoryFolder) -> Self {
        let (records, newest) = watch::channel(None);
        let (failed, error) = watch::channel(None);
        Self { records, error, task: tokio::spawn(save(folder, newest, failed)) }
    }

    /// Waits until it can no longer be written, or can again: says why not. Cancel-safe.
    pub async fn changed(&mut self) -> Option<String> {
        if self.error.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.error.borrow_and_update().clone()
    }

    pub fn save(&self, record: SeenRecord) {
        self.records.send_replace(Some(Arc::new(record)));
    }

    /// Waits, but not for ever, until everything is written.
    pub async fn end(self, limit: Duration) {
        drop(self.records);
        if timeout(limit, self.task).await.is_err() {
            tracing::error!(
                help = "look at the disk of `state_dir`",
                "who has spoken legacy was not written in time: the last of it is lost"
            );
        }
    }
}

async fn save(
    mut folder: MemoryFolder,
    mut records: watch::Receiver<Option<Arc<SeenRecord>>>,
    told: watch::Sender<Option<String>>,
) {
    let mut failed = false;
    loop {
        tokio::select! {
            changed = records.changed() => if changed.is_err() { return },
            () = sleep(AGAIN), if failed => {}
            () = sleep(LOOK), if !failed => if !folder.lock.is_lost(&folder.path) { continue },
        }
        let record = records.borrow_and_update().clone();
        // A slow disk holds up nobody.
        let written = spawn_blocking(move || {
            let written = folder.write(record.as_deref());
            (folder, written)
        });
        let error = match written.await {
            Ok((back, written)) => {
                folder = back;
                written.err()
            }
            Err(error) => {
                return tracing::error!(%error, help = "this is a fault of passerelle: report it, and restart it", "who speaks legacy is no longer written");
            }
        };
        failed = error.is_some();
        let error = error.map(|e| format!("{}: {e}; {LOST}", folder.path.join(FILE).display()));
        let changed =
            told.send_if_modified(|before| std::mem::replace(before, error.clone()) != error);
        match error {
            Some(error) if changed => tracing::error!("{error}; tried again"),
            None if changed => tracing::info!("who speaks legacy is written again"),
            _ => {}
        }
    }
}

/// What `passerelle ready` finds.
#[derive(Debug)]
pub struct KeptMemory {
    /// The memory, if there is one.
    pub record: Option<SeenRecord>,
    /// The gateway that runs, if one does and if it could say so.
    pub running: Option<Option<Holder>>,
}

impl KeptMemory {
    /// Whether the gateway that runs has written all that it has heard, but for the last seconds; or has just
    /// begun.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        match (&self.running, &self.record) {
            (None, _) => true,
            (Some(None), _) => false,
            (Some(Some(holder)), Some(record)) => holder.run.as_ref() == Some(&record.run),
            (Some(Some(holder)), None) => !holder.failed,
        }
    }

    /// The gateway that observes.
    #[must_use]
    pub fn observer(&self) -> Option<&Holder> {
        self.running.iter().flatten().find(|holder| holder.observes)
    }
}

/// Looks at a folder, without changing anything.
///
/// # Errors
/// A line that names the file, what is wrong and the way out.
pub fn look(folder: &Path) -> Result<KeptMemory, String> {
    let file = folder.join(FILE);
    let at = |error: String| format!("{}: {error}", file.display());
    let running = lock::look(folder)?;
    let record = match regular::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(error.to_string())),
        Ok(text) => {
            let unreadable = |e| at(format!("{e}; the gateway sets it aside when it starts"));
            Some(SeenRecord::parse(&text).map_err(unreadable)?)
        }
    };
    Ok(KeptMemory { record, running })
}
