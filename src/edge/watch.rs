//! Sockets that come and go: found when the watch begins, and by inotify from then on.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Room for some hundred events of short names; one event of the longest name has 272 bytes.
const BUFFER: usize = 8192;
/// How often is looked whether the directory is still the one that is watched. inotify follows a directory that
/// is moved away, and tells nothing of one that is mounted over it.
const LOOK: Duration = Duration::from_secs(1);
/// How soon one that is lost is looked for again.
const SOON: Duration = Duration::from_millis(50);
/// How many names are remembered of a directory that is made anew.
const NAMES: usize = 1024;

/// What happened to a path that fits the pattern. Whether it is a socket that accepts connections
/// is for `connect` to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there.
    Appeared(PathBuf),
    /// It is gone. One that was replaced comes as gone and then as there.
    Disappeared(PathBuf),
    /// The directory cannot be watched for this reason, or can be again.
    Failing(PathBuf, Option<String>),
}

/// The paths of one directory that fit a pattern such as `/var/run/*-msg.sock`.
#[derive(Debug)]
pub struct Watch {
    directory: PathBuf,
    pattern: OsString,
    /// `None` while the directory cannot be watched.
    notifier: Option<Notifier>,
    known: BTreeSet<OsString>,
    /// The names that were ever there: what they name can be looked at where the directory cannot be listed.
    seen: BTreeSet<OsString>,
    changes: VecDeque<Change>,
    look: Interval,
    /// Why it cannot be watched, as was said.
    fault: Option<String>,
}

/// inotify on one directory.
#[derive(Debug)]
struct Notifier {
    fd: AsyncFd<OwnedFd>,
    /// The directory: device and number.
    directory: (u64, u64),
}

impl Watch {
    /// Begins to watch. What exists already is reported by the first calls of [`Watch::next`].
    /// `*` stands for any bytes of the file name; the directory is taken word for word, and may be
    /// a symbolic link. One that goes later is waited for. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A directory that does not exist or cannot be watched or listed; the error names it.
    pub fn new(pattern: &Path) -> io::Result<Self> {
        let name = pattern.file_name().ok_or_else(|| {
            let text = format!("{}: the pattern has no file name", pattern.display());
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let parent = pattern.parent().unwrap_or(Path::new(""));
        let here = Path::new(".");
        let directory = if parent.as_os_str().is_empty() { here } else { parent };
        let at = |error: io::Error| {
            let text = format!("{}: {error}", directory.display());
            io::Error::new(error.kind(), text)
        };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self {
            directory: directory.to_owned(),
            pattern: name.to_owned(),
            notifier: None,
            known: BTreeSet::new(),
            seen: BTreeSet::new(),
            changes: VecDeque::new(),
            look,
            fault: None,
        };
        watch.begin().map_err(at)?;
        Ok(watch)
    }

    /// The next change. Cancel-safe.
    ///
    /// # Errors
    /// Those of reading from inotify.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            tokio::select! {
                events = events(self.notifier.as_ref()) => {
                    for (flags, name) in events? {
                        self.take(flags, name);
                    }
                }
                _ = self.look.tick() => self.look_again(),
            }
        }
    }

    /// Passes all changes on, for as long as somebody takes them.
    pub async fn forward(mut self, changes: mpsc::Sender<Change>) {
        loop {
            match self.next().await {
                Ok(change) => {
                    if changes.send(change).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    return tracing::error!(%error, help = "this is a fault of passerelle: report it, and restart it", "the folder of sockets is no longer watched: no domain is found that comes");
                }
            }
        }
    }

    /// Begins with the directory that is there now.
    fn begin(&mut self) -> io::Result<()> {
        let directory = identity(&self.directory)?;
        let fd = register(start(&self.directory)?)?;
        self.notifier = Some(Notifier { fd, directory });
        // Listing after the watch has begun finds some twice and misses none.
        self.list()
    }

    /// Begins anew if the directory is not the one that is watched.
    fn look_again(&mut self) {
        let there = identity(&self.directory).ok();
        if self.notifier.as_ref().is_some_and(|notifier| Some(notifier.directory) == there) {
            return;
        }
        self.notifier = None;
        for name in std::mem::take(&mut self.known) {
            self.changes.push_back(Change::Disappeared(self.directory.join(name)));
        }
        let begun = self.begin();
        let directory = self.directory.display();
        match &begun {
            Ok(()) => tracing::info!(%directory, "the folder of sockets is another: watched anew"),
            // The gateway is confined to the directory that it began with.
            Err(error) if self.notifier.is_some() => tracing::warn!(
                %directory, %error,
                help = "restart the gateway if one that is new does not appear",
                "the folder of sockets is another, and cannot be listed: watched anew"
            ),
            Err(error) if !self.fault.as_ref().is_some_and(|f| f.ends_with(&error.to_string())) => {
                tracing::error!(%directory, %error, help = "make it again: it is found then", "the folder of sockets is lost: tried again");
            }
            Err(_) => {}
        }
        if begun.is_err() && self.notifier.is_some() {
            self.look_for_seen();
        }
        if self.notifier.is_none() {
            self.look.reset_after(SOON);
        }
        self.note(begun.err().map(|error| match self.notifier {
            Some(_) => {
                format!("cannot be listed: a domain may be missing: restart the gateway: {error}")
            }
            None => format!("lost, and tried again: {error}"),
        }));
    }

    /// Passes on why the directory cannot be watched, if that has changed.
    fn note(&mut self, fault: Option<String>) {
        if self.fault != fault {
            self.fault.clone_from(&fault);
            self.changes.push_back(Change::Failing(self.directory.clone(), fault));
        }
    }

    fn look_for_seen(&mut self) {
        for name in self.seen.clone() {
            if self.directory.join(&name).symlink_metadata().is_ok() {
                self.appeared(name);
            }
        }
    }

    /// Notes one event of inotify.
    fn take(&mut self, flags: ReadFlags, name: Option<OsString>) {
        let lost_track = flags.contains(ReadFlags::QUEUE_OVERFLOW);
        if lost_track {
            tracing::warn!(directory = ?self.directory, help = "nothing need be done", "more has changed in the folder of sockets than could be followed: it is listed anew");
        }
        let gone = flags.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT);
        if gone || (lost_track && self.list().is_err()) {
            self.notifier = None;
            return self.look_again();
        }
        let Some(name) = name.filter(|name| self.fits(name)) else { return };
        if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            // A rename over a name that is there replaces it, without a DELETE. A CREATE of a known
            // name is one that the listing had seen already.
            if flags.contains(ReadFlags::MOVED_TO) {
                self.disappeared(&name);
            }
            self.appeared(name);
        } else {
            self.disappeared(&name);
        }
    }

    /// Compares what is there with what is known.
    fn list(&mut self) -> io::Result<()> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if self.fits(&name) {
                found.insert(name);
            }
        }
        let gone: Vec<_> = self.known.difference(&found).cloned().collect();
        gone.iter().for_each(|name| self.disappeared(name));
        found.into_iter().for_each(|name| self.appeared(name));
        Ok(())
    }

    fn appeared(&mut self, name: OsString) {
        let path = self.directory.join(&name);
        if self.seen.len() < NAMES {
            self.seen.insert(name.clone());
        }
        if self.known.insert(name) {
            self.changes.push_back(Change::Appeared(path));
        }
    }

    fn disappeared(&mut self, name: &OsStr) {
        if self.known.remove(name) {
            let path = self.directory.join(name);
            self.changes.push_back(Change::Disappeared(path));
        }
    }

    fn fits(&self, name: &OsStr) -> bool {
        fits(&self.pattern, name)
    }
}

fn start(directory: &Path) -> Result<OwnedFd, Errno> {
    let notifier = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    let goes = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
    inotify::add_watch(&notifier, directory, comes | goes | WatchFlags::ONLYDIR)?;
    Ok(notifier)
}

/// The next events; never, if nothing is watched. Cancel-safe.
async fn events(notifier: Option<&Notifier>) -> io::Result<Vec<(ReadFlags, Option<OsString>)>> {
    let Some(Notifier { fd, .. }) = notifier else { return std::future::pending().await };
    loop {
        let mut guard = fd.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        // Not readable after all: wait again.
        if let Ok(events) = guard.try_io(|fd| Ok(read(fd.get_ref(), &mut buffer)?)) {
            return events;
        }
    }
}

/// What a directory is known by: another that takes its place is another.
fn identity(directory: &Path) -> io::Result<(u64, u64)> {
    directory.metadata().map(|found| (found.dev(), found.ino()))
}

/// Has the runtime look after the descriptor.
#[allow(unsafe_code)]
pub(super) fn register(notifier: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor until it is dropped, and the `AsyncFd` that
    // owns it gives it up first.
    let registered = unsafe { AsyncFd::register_with_interest(notifier, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// One read of inotify, whole: what one read gives is consumed with it.
pub(super) fn read(
    fd: impl AsFd,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<Vec<(ReadFlags, Option<OsString>)>, Errno> {
    let mut reader = inotify::Reader::new(fd, buffer);
    let mut events = Vec::new();
    loop {
        let event = reader.next()?;
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        events.push((event.events(), name));
        if reader.is_buffer_empty() {
            return Ok(events);
        }
    }
}

/// Whether a name fits a pattern in which `*` stands for any bytes, none included. As in a shell,
/// a leading `*` does not stand for a dot.
pub(super) fn fits(pattern: &OsStr, name: &OsStr) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    if pattern.first() == Some(&b'*') && name.first() == Some(&b'.') {
        return false;
    }
    let mut parts = pattern.split(|&byte| byte == b'*');
    let head = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let Some(tail) = parts.next_back() else {
        return rest.is_empty();
    };
    // The first place that fits leaves the most for the next part.
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes() {
        let cases: [(&str, &str, bool); 12] = [
            ("*-msg.sock", "sys-usb-msg.sock", true),
            ("*-msg.sock", "-msg.sock", true),
            ("*-msg.sock", ".hidden-msg.sock", false),
            ("*-msg.sock", "vm-gui-msg.sock.old", false),
            ("vm-*-msg.sock", "vm-gui-msg.sock", true),
            ("vm-*-msg.sock", "vm-msg.sock", false),
            ("one.sock", "one.sock", true),
            ("one.sock", "one.sockets", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**b", "ab", true),
            ("*", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern.as_ref(), name.as_ref()), expected, "{pattern} {name}");
        }
    }
}
