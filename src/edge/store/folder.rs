//! The store's folder: whose logs there are, and what is in them.

use super::boot_id;
use super::budget::Budget;
use super::log::StoreLog;
use super::open;
use super::scan::{self, segments};
use crate::config::Store;
use crate::config::Sync;
use crate::edge::{private, regular};
use crate::engine::name::DomainName;
use crate::engine::store::{LogEntry, Record};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LOCK: &str = "lock";
/// Stands after a domain's name, and before a number when its domain has left the log: `..` is a name too.
const AFTER_NAME: char = '@';
/// How long the disk may take to open a log.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often and how long to try for the lock: a gateway that ends may hold it.
const TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// The folder, locked for this run.
#[derive(Debug, Clone)]
pub(in crate::edge) struct StoreFolder {
    path: PathBuf,
    boot: Result<String, String>,
    budget: Budget,
    pub sync: Sync,
    _lock: Arc<File>,
}

impl StoreFolder {
    /// Locks the folder, which need not be there.
    ///
    /// # Errors
    /// What keeps it from being used, and the way out.
    pub async fn open(store: &Store) -> Result<Self, String> {
        let path = store.dir.clone();
        let at = |error: io::Error| {
            format!(
                "{}: {error}; nothing is kept on disk: have the folder of `store.dir` belong to the \
                 gateway's user, and restart passerelle",
                path.display()
            )
        };
        make(&path).map_err(at)?;
        let lock = private::open(&path.join(LOCK)).map_err(at)?;
        let mut tries = TRIES.0;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            tries -= 1;
            if tries == 0 {
                return Err(format!(
                    "{}: {error}; another gateway has this `store.dir`: give each its own",
                    path.display()
                ));
            }
            tokio::time::sleep(TRIES.1).await;
        }
        Ok(Self {
            path,
            boot: boot_id(),
            budget: Budget::new(store.size),
            sync: store.sync,
            _lock: Arc::new(lock),
        })
    }

    /// What is not kept beyond the gateway's end though it should be, why, and the way out: calls, if nobody
    /// can tell later whether the machine was started in between.
    pub fn lacks(&self) -> Option<String> {
        let why = self.boot.as_ref().err()?;
        Some(format!(
            "calls under way, beyond a restart of the gateway: {why}; they will end as `expired` then: let \
             the gateway read that file, and restart passerelle"
        ))
    }

    /// The folder of a domain's log.
    pub fn of(&self, name: &DomainName) -> PathBuf {
        self.path.join(format!("{name}{AFTER_NAME}"))
    }

    /// Opens a log.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn log(&self, folder: PathBuf) -> io::Result<(StoreLog, open::FoundLog)> {
        let (share, boot) = (self.budget.share(), self.boot.clone().ok());
        let opened = tokio::task::spawn_blocking(move || StoreLog::open(&folder, share, boot));
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?
    }

    /// Where a log goes that its domain leaves.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn place_for(&self, name: &DomainName) -> io::Result<PathBuf> {
        let of_it = logs(&self.path)?.into_iter().filter(|log| log.name == *name);
        let last = of_it.filter_map(|log| log.left).max();
        let number = last.map_or(0, |last| last.saturating_add(1));
        Ok(self.path.join(format!("{name}{AFTER_NAME}{number}")))
    }

    /// The logs that no channel takes up, as `is_taken_up` says of those that their domain has not left.
    /// Those of the latter are moved.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn left(
        &self,
        is_taken_up: impl Fn(&DomainName) -> bool,
    ) -> io::Result<Vec<(DomainName, PathBuf)>> {
        let mut all = Vec::new();
        for LogPlace { name, left, path } in logs(&self.path)? {
            if left.is_some() {
                all.push((name, path));
            } else if !is_taken_up(&name) {
                let place = self.place_for(&name)?;
                fs::rename(&path, &place)?;
                all.push((name, place));
            }
        }
        Ok(all)
    }
}

/// Makes the folder of a store, for nobody else to look into; it may be there.
///
/// # Errors
/// Those of `mkdir(2)`.
pub(in crate::edge) fn make(path: &Path) -> io::Result<()> {
    private::folder(path)
}

/// A log in a store.
struct LogPlace {
    name: DomainName,
    /// Its number, if its domain has left it.
    left: Option<u64>,
    path: PathBuf,
}

/// The logs in a store: for each domain the oldest first.
fn logs(path: &Path) -> io::Result<Vec<LogPlace>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        let Some((name, number)) = file.split_once(AFTER_NAME) else { continue };
        let left = number.parse().ok();
        let path = entry.path();
        if let Ok(name) = DomainName::parse(name)
            && (left.is_some() || number.is_empty())
            && path.is_dir()
        {
            all.push(LogPlace { name, left, path });
        }
    }
    all.sort_by(|a, b| {
        let age = |log: &LogPlace| (log.left.is_none(), log.left);
        a.name.cmp(&b.name).then_with(|| age(a).cmp(&age(b)))
    });
    Ok(all)
}

/// What a store has of a domain.
#[derive(Debug)]
pub struct KeptLog {
    /// The domain.
    pub name: DomainName,
    /// How many bytes its segments have.
    pub size: u64,
    /// What is needed yet, in its order.
    pub content: Vec<Content>,
    /// What is wrong with its segments.
    pub faults: Vec<String>,
}

/// A record that is needed yet.
#[derive(Debug)]
pub struct Content {
    /// The record.
    pub entry: LogEntry,
    /// Whether the broker has the request of this call.
    pub landed: bool,
    /// Whether the machine has been started since.
    pub untimely: bool,
}

/// Everything that a store holds.
#[derive(Debug)]
pub struct Shown {
    /// By domain.
    pub domains: Vec<KeptLog>,
    /// Whether a gateway has it.
    pub running: bool,
}

/// Looks at a store, without changing anything; a gateway may write to it meanwhile.
///
/// # Errors
/// A line that names the folder and what the system says.
pub fn list(path: &Path) -> Result<Shown, String> {
    let at = |error: io::Error| format!("{}: {error}", path.display());
    let running = is_locked(path).map_err(at)?;
    let mut domains: Vec<KeptLog> = Vec::new();
    for log in logs(path).map_err(at)? {
        let kept = look(log.name, &log.path).map_err(at)?;
        match domains.iter_mut().find(|k| k.name == kept.name) {
            Some(same) => {
                same.size += kept.size;
                same.content.extend(kept.content);
                same.faults.extend(kept.faults);
            }
            None => domains.push(kept),
        }
    }
    Ok(Shown { domains, running })
}

fn is_locked(path: &Path) -> io::Result<bool> {
    match regular::open(&path.join(LOCK), File::options().read(true)) {
        Ok(lock) => Ok(flock(&lock, FlockOperation::NonBlockingLockShared).is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn look(name: DomainName, folder: &Path) -> io::Result<KeptLog> {
    let boot = boot_id().ok();
    let mut kept = KeptLog { name, size: 0, content: Vec::new(), faults: Vec::new() };
    let (mut landed, mut over) = (BTreeSet::new(), BTreeSet::new());
    let all = segments(folder)?;
    let last = all.last().map(|(number, _)| *number);
    for (number, path) in all {
        let mut found = Vec::new();
        let read = scan::read(&path, |entry, _| match entry.is {
            Record::Landed => drop(landed.insert(entry.n)),
            Record::Over => drop(over.insert(entry.n)),
            _ => found.push(entry),
        });
        let segment = match read {
            Ok(segment) => segment,
            // The gateway has removed it in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if regular::is_none(&error) => {
                kept.faults.push(format!("{}: {error}", path.display()));
                continue;
            }
            Err(error) => return Err(error),
        };
        if segment.length + segment.torn == 0 {
            kept.faults.extend(scan::empty(&path, Some(number) == last));
            continue;
        }
        let untimely = segment.boot.is_none() || segment.boot != boot;
        let size = segment.length + segment.torn;
        kept.size += u64::try_from(size).unwrap_or(u64::MAX);
        let shown = path.display();
        kept.faults.extend(segment.faults.iter().map(|why| format!("{shown}: {why}")));
        let content = found.into_iter().map(|entry| Content { entry, landed: false, untimely });
        kept.content.extend(content);
    }
    kept.content.retain(|content| !over.contains(&content.entry.n));
    let mut seen = BTreeSet::new();
    kept.content.retain(|content| seen.insert(content.entry.n));
    for content in &mut kept.content {
        content.landed = landed.contains(&content.entry.n);
    }
    Ok(kept)
}

/// Removes all that a store has of a domain. Says how much was needed yet.
///
/// # Errors
/// A line that says why not: a gateway has the store, or the system says no.
pub fn drop_domain(path: &Path, name: &DomainName) -> Result<Option<usize>, String> {
    let at = |error: io::Error| format!("{}: {error}", path.display());
    let lock = match regular::open(&path.join(LOCK), File::options().append(true)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(error)),
    };
    if let Some(lock) = &lock
        && flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Err(format!("{}: a gateway runs with it: stop it first", path.display()));
    }
    let mut dropped = None;
    for log in logs(path).map_err(at)? {
        if log.name == *name {
            let kept = look(log.name, &log.path).map_err(at)?;
            fs::remove_dir_all(&log.path).map_err(at)?;
            *dropped.get_or_insert(0) += kept.content.len();
        }
    }
    Ok(dropped)
}
