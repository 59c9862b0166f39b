//! The file that remembers which topic filters the broker's session may have.

use rustix::fs::{Mode, OFlags, open};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// The most bytes that are read.
const MOST: u64 = 16 << 20;

/// Where sessions are remembered.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The folder, which is there.
    pub folder: PathBuf,
    /// Whether nothing has ever been remembered there: then a session without a file is unknown.
    pub fresh: bool,
}

/// One session's file.
#[derive(Debug)]
pub(super) struct Remembered {
    file: PathBuf,
    writing: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl Memory {
    /// A session's file, and what it says; `None` if nobody knows what the broker may have.
    pub(super) fn of(&self, client_id: &str) -> (Remembered, Option<BTreeSet<String>>) {
        let file = self.folder.join(format!("session-{client_id}.json"));
        let held = match read(&file) {
            Ok(held) => Some(held),
            // A folder that an older version has used: its sessions have what the mapping says.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (!self.fresh).then(BTreeSet::new)
            }
            Err(error) => {
                tracing::error!(
                    file = %file.display(), %error,
                    "which subscriptions the broker has kept is not known: it begins anew"
                );
                None
            }
        };
        (Remembered { file, writing: None, failed: false }, held)
    }
}

impl Remembered {
    /// Begins to write.
    pub fn write(&mut self, held: &BTreeSet<String>) {
        let file = self.file.clone();
        let text = serde_json::to_vec(held);
        self.writing = Some(spawn_blocking(move || replace(&file, &text?)));
    }

    /// Waits until that is written, or cannot be: then a later run may not know all that it has to
    /// unsubscribe. For ever, if there is nothing. Cancel-safe.
    pub async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writing = None;
        if let Err(error) = &written
            && !self.failed
        {
            tracing::error!(
                file = %self.file.display(), %error,
                "the subscriptions are not remembered: after a restart with another mapping the broker may \
                 still have them"
            );
        }
        self.failed = written.is_err();
    }
}

/// Anything may lie there: a FIFO has no end.
fn read(path: &Path) -> io::Result<BTreeSet<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Writes a file, whole or not at all.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = || {
        let mut file = File::create(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}
