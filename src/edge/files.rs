//! Files that are written anew, and folders of them: found by inotify on the folders, since editors replace files.

use super::watch::{read, register};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// A file is written or replaced, or a folder takes another's place.
const WRITTEN: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::MOVED_TO);
/// Room for some hundred events of short names.
const BUFFER: usize = 8192;

/// Files that are looked at by their names: one of the same name in another of their folders counts too. Of a
/// folder that is looked at itself, all that a mapping may be in.
#[derive(Debug)]
pub(super) struct Files {
    notifier: AsyncFd<OwnedFd>,
    names: BTreeSet<OsString>,
    folders: bool,
}

impl Files {
    /// Nothing yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of inotify, of which a user has so many.
    pub fn new() -> io::Result<Self> {
        let notifier = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { notifier: register(notifier)?, names: BTreeSet::new(), folders: false })
    }

    /// Looks at these too, whether they are there or not. A symbolic link counts as what it leads to, as
    /// well. A folder that cannot be watched is logged.
    pub fn add(&mut self, files: &[PathBuf]) {
        for file in files {
            let real = file.canonicalize().ok().filter(|real| real != file);
            for path in [Some(file), real.as_ref()].into_iter().flatten() {
                self.add_one(path);
            }
        }
    }

    fn add_one(&mut self, path: &Path) {
        let Some(name) = path.file_name() else { return };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        if self.watch(parent.unwrap_or(Path::new(".")), WRITTEN) {
            self.names.insert(name.to_owned());
        }
        if path.is_dir() {
            self.folders |= self.watch(path, WRITTEN.union(WatchFlags::CREATE));
        }
    }

    /// A folder may be looked at for more than one reason.
    fn watch(&self, folder: &Path, what: WatchFlags) -> bool {
        let what = what | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let watched = inotify::add_watch(&self.notifier, folder, what);
        if let Err(error) = &watched {
            tracing::warn!(folder = %folder.display(), %error, help = "reload with SIGHUP after a change", "its files are not watched");
        }
        watched.is_ok()
    }

    /// Whether an event means that there is more to load. One that goes may come back at once, as editors have it:
    /// it goes with the next reload.
    fn counts(&self, flags: ReadFlags, name: &OsStr) -> bool {
        let is_folder = flags.contains(ReadFlags::ISDIR);
        // Nothing is in a file yet that begins to be.
        let begins = flags.contains(ReadFlags::CREATE) && !is_folder;
        let is_mapping = Path::new(name).extension().is_some_and(|ending| ending == "toml");
        !begins && (self.names.contains(name) || (self.folders && (is_folder || is_mapping)))
    }

    /// Waits until one of the files has been written or replaced. Cancel-safe.
    ///
    /// # Errors
    /// Those of reading from inotify.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut guard = self.notifier.readable().await?;
            let events =
                guard.try_io(|fd| read(fd.get_ref(), &mut buffer).map_err(io::Error::from));
            // Not readable after all: wait again.
            let Ok(events) = events else { continue };
            let ours = |(flags, name): &(ReadFlags, Option<OsString>)| {
                flags.contains(ReadFlags::QUEUE_OVERFLOW)
                    || name.as_ref().is_some_and(|name| self.counts(*flags, name))
            };
            if events?.iter().any(ours) {
                return Ok(());
            }
        }
    }
}
