//! `passerelle.lock` in `state_dir`: it is locked (flock) while a gateway runs there, whether that observes or
//! not, and says which one it is.

use super::{private, regular};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

const LOCK: &str = "passerelle.lock";
/// What the file takes, filled up with blanks: on a disk that is full, it can still be written over.
const SIZE: usize = 256;
/// How often and how long to try for the lock: a gateway that ends, or `passerelle ready`, may hold it.
const TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// The gateway that has a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Whether it observes.
    pub observes: bool,
    /// Since when it runs, by the wall clock.
    pub since: String,
    /// Its run, while what it remembers is written: not before the first time.
    pub run: Option<String>,
    /// Whether it could not be written the last time.
    pub failed: bool,
}

/// Why a folder is not this gateway's.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Another gateway has it.
    Held(String),
    /// It cannot be used.
    Unusable(String),
}

/// A folder that is this gateway's.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    holder: Holder,
}

impl Lock {
    /// Takes a folder for this process.
    ///
    /// # Errors
    /// Whose it is, or what keeps it from being used; and the way out.
    pub async fn take(folder: &Path, observes: bool) -> Result<Self, NotTaken> {
        let path = folder.join(LOCK);
        let unusable = |error: io::Error| NotTaken::Unusable(unusable(&path, &error));
        let file = private::keep(&path).map_err(unusable)?;
        let mut tries = TRIES.0;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            tries -= 1;
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(unusable(error.into()));
            }
            if tries == 0 {
                return Err(NotTaken::Held(held(&path, read(&file).as_ref())));
            }
            sleep(TRIES.1).await;
        }
        let since = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (pid, run, failed) = (std::process::id(), None, false);
        let lock = Self { file, holder: Holder { pid, observes, since, run, failed } };
        // What the one before has said is not this one's, even if nothing can be written now.
        lock.file.set_len(0).map_err(unusable)?;
        let _ = lock.write();
        Ok(lock)
    }

    /// Whether somebody has removed the lock, and so the folder may be another's.
    pub fn is_lost(&self, folder: &Path) -> bool {
        let file = |found: Metadata| (found.dev(), found.ino());
        let there = folder.join(LOCK).symlink_metadata().map(file);
        !self.file.metadata().is_ok_and(|own| there.is_ok_and(|there| there == file(own)))
    }

    /// Takes the folder again if somebody has removed it, and makes it anew for that.
    ///
    /// # Errors
    /// Those of making it; and another gateway has it by now.
    pub fn take_again(&mut self, folder: &Path) -> io::Result<()> {
        if !self.is_lost(folder) {
            return Ok(());
        }
        private::folder(folder)?;
        let file = private::keep(&folder.join(LOCK))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.file = file;
        Ok(())
    }

    /// Who has the folder.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Says whose memory is up to date; `None`: it could not be written.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn say(&mut self, run: Option<&str>) -> io::Result<()> {
        self.holder.run = run.map(str::to_owned);
        self.holder.failed = run.is_none();
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_string(&self.holder)?;
        self.file.write_all_at(format!("{text:<SIZE$}").as_bytes(), 0)
    }
}

/// Why `state_dir` cannot be used, and the way out.
pub(super) fn unusable(file: &Path, error: &io::Error) -> String {
    format!(
        "{}: {error}; make the folder of `state_dir`, and have it belong to the gateway's user",
        file.display()
    )
}

fn held(path: &Path, holder: Option<&Holder>) -> String {
    let who = holder.map_or("another process".to_owned(), |h| format!("process {}", h.pid));
    format!(
        "{}: {who} has this `state_dir`, a gateway that runs: stop it, or give each its own",
        path.display()
    )
}

fn read(file: &File) -> Option<Holder> {
    let mut bytes = [0; SIZE];
    let size = file.read_at(&mut bytes, 0).ok()?;
    serde_json::from_slice(bytes.get(..size)?).ok()
}

/// Whether a gateway has a folder, and which, if it could say so.
///
/// # Errors
/// A line that names the file and what the system says.
pub fn look(folder: &Path) -> Result<Option<Option<Holder>>, String> {
    let path: PathBuf = folder.join(LOCK);
    match regular::open(&path, File::options().read(true)) {
        Ok(file) if flock(&file, FlockOperation::NonBlockingLockShared).is_err() => {
            Ok(Some(read(&file)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
