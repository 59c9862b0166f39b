//! Files that are written anew: found by inotify on their folders, since editors replace files.

use super::watch::{read, register};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Room for some hundred events of short names.
const BUFFER: usize = 8192;

/// Files that are looked at by their names: one of the same name in another of their folders counts too.
#[derive(Debug)]
pub(super) struct Files {
    notifier: AsyncFd<OwnedFd>,
    names: BTreeSet<OsString>,
}

impl Files {
    /// Nothing yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of inotify, of which a user has so many.
    pub fn new() -> io::Result<Self> {
        let notifier = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { notifier: register(notifier)?, names: BTreeSet::new() })
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
        let folder = parent.unwrap_or(Path::new("."));
        let done = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.notifier, folder, done) {
            Ok(_) => {
                self.names.insert(name.to_owned());
            }
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "not watched"),
        }
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
                    || name.as_ref().is_some_and(|name| self.names.contains(name))
            };
            if events?.iter().any(ours) {
                return Ok(());
            }
        }
    }
}
