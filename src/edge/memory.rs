//! The file that remembers who has spoken legacy, `seen.json` in `state_dir`, and the task that
//! writes it.
//!
//! `seen.lock` beside it is locked (flock) while a gateway runs that writes there. It names that run
//! while the file is up to date, and is empty while it is not: before the first writing, and when one
//! has failed.

use super::private;
use crate::translate::status::Record;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

const FILE: &str = "seen.json";
const LOCK: &str = "seen.lock";
/// After how long what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How often and how long to try for the lock: a gateway that ends, or `passerelle ready`, may hold it.
const TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// The system's monotonic clock.
pub(crate) fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// What an earlier run has left.
pub(super) struct Found {
    pub record: Option<Record>,
    /// Where a file that could not be read was put.
    pub set_aside: Option<String>,
}

/// The folder, locked for this run.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: File,
    run: Arc<str>,
}

impl Folder {
    /// Locks the folder for a run, and reads what is there. A file that cannot be understood is put
    /// aside.
    ///
    /// # Errors
    /// What keeps it from being used, and the way out.
    pub async fn open(path: &Path, run: Arc<str>) -> Result<(Self, Found), String> {
        let at = |file: &Path, error: io::Error| {
            format!(
                "{}: {error}; who speaks legacy is not remembered, and `passerelle ready` cannot tell: \
                 make the folder of `state_dir`, and have it belong to the gateway's user",
                file.display()
            )
        };
        let file = path.join(LOCK);
        let lock = private::open(&file).map_err(|e| at(&file, e))?;
        let mut tries = TRIES.0;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            tries -= 1;
            if tries == 0 {
                let why = format!(
                    "{}: {error}; another gateway has this `state_dir`: give each its own",
                    file.display()
                );
                return Err(why);
            }
            sleep(TRIES.1).await;
        }
        lock.set_len(0).map_err(|e| at(&file, e))?;
        let folder = Self { path: path.to_owned(), lock, run };
        let found = folder.read().map_err(|e| at(&path.join(FILE), e))?;
        Ok((folder, found))
    }

    fn read(&self) -> io::Result<Found> {
        let file = self.path.join(FILE);
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found { record: None, set_aside: None });
            }
            text => text?,
        };
        match Record::parse(&text) {
            Ok(record) => Ok(Found { record: Some(record), set_aside: None }),
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
                Ok(Found { record: None, set_aside: Some(place) })
            }
        }
    }

    /// Writes the file, whole or not at all.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.replace(text);
        self.lock.set_len(0)?;
        written?;
        self.lock.write_all(self.run.as_bytes())
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let new = self.path.join(format!("{FILE}.new"));
        let mut file = private::replace(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }
}

/// Writes the newest record that it is given. Dropping it ends the task, which writes what it has.
#[derive(Debug)]
pub(super) struct Saver {
    records: watch::Sender<Option<Arc<Record>>>,
    task: JoinHandle<()>,
}

impl Saver {
    pub fn start(folder: Folder) -> Self {
        let (records, newest) = watch::channel(None);
        Self { records, task: tokio::spawn(save(folder, newest)) }
    }

    pub fn save(&self, record: Record) {
        self.records.send_replace(Some(Arc::new(record)));
    }

    /// Waits, but not for ever, until everything is written.
    pub async fn end(self, limit: Duration) {
        drop(self.records);
        if timeout(limit, self.task).await.is_err() {
            tracing::error!("who has spoken legacy is still being written: given up");
        }
    }
}

async fn save(mut folder: Folder, mut records: watch::Receiver<Option<Arc<Record>>>) {
    let mut failed = false;
    loop {
        tokio::select! {
            changed = records.changed() => if changed.is_err() { return },
            () = sleep(AGAIN), if failed => {}
        }
        let Some(record) = records.borrow_and_update().clone() else { continue };
        let Ok(text) = serde_json::to_vec_pretty(&*record) else { continue };
        // A slow disk holds up nobody.
        let written = spawn_blocking(move || {
            let written = folder.write(&text);
            (folder, written)
        });
        let error = match written.await {
            Ok((back, written)) => {
                folder = back;
                written.err()
            }
            Err(error) => return tracing::error!(%error, "who speaks legacy is no longer written"),
        };
        if let Some(error) = error.as_ref().filter(|_| !failed) {
            let folder = folder.path.display();
            tracing::error!(%folder, %error, "who speaks legacy cannot be written; tried again");
        }
        failed = error.is_some();
    }
}

/// What `passerelle ready` finds.
#[derive(Debug)]
pub struct Kept {
    /// The memory, if there is one.
    pub record: Option<Record>,
    /// Whether a gateway runs that keeps it.
    pub running: bool,
    /// Whether that gateway has written all that it has heard, but for the last seconds.
    pub up_to_date: bool,
}

/// Looks at a folder, without changing anything.
///
/// # Errors
/// A line that names the file, what is wrong and the way out.
pub fn look(folder: &Path) -> Result<Kept, String> {
    let (file, lock) = (folder.join(FILE), folder.join(LOCK));
    let none = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let at = |path: &Path, error: String| format!("{}: {error}", path.display());
    let mut holder = String::new();
    let running = match File::open(&lock) {
        Err(error) if none(&error) => false,
        Err(error) => return Err(at(&lock, error.to_string())),
        Ok(mut lock_file) => {
            let held = flock(&lock_file, FlockOperation::NonBlockingLockShared).is_err();
            let read = lock_file.read_to_string(&mut holder);
            read.map_err(|e| at(&lock, e.to_string()))?;
            held
        }
    };
    let record = match fs::read(&file) {
        Err(error) if none(&error) => None,
        Err(error) => return Err(at(&file, error.to_string())),
        Ok(text) => {
            let unreadable =
                |e| at(&file, format!("{e}; the gateway sets it aside when it starts"));
            Some(Record::parse(&text).map_err(unreadable)?)
        }
    };
    let up_to_date = running && record.as_ref().is_some_and(|r| r.run == holder);
    Ok(Kept { record, running, up_to_date })
}
