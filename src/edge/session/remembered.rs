//! The file that remembers which topic filters the broker's session may have.

use crate::edge::{private, regular};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};
use tokio::task::{JoinHandle, spawn_blocking};

/// Between these stands the client id.
const START: &str = "session-";
const END: &str = ".json";

/// What is written of one session.
#[derive(Debug)]
pub struct Remembered {
    /// Where; nowhere, if there is no such folder.
    folder: Option<PathBuf>,
    writing: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

/// What is remembered of all sessions, by their client ids. Of one whose file cannot be read nothing is
/// known.
#[must_use]
pub fn load(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let client_id = name.to_str().and_then(|n| n.strip_prefix(START)?.strip_suffix(END));
        let Some(client_id) = client_id else { continue };
        match read(&entry.path()) {
            Ok(held) => drop(all.insert(client_id.to_owned(), held)),
            Err(error) => tracing::error!(
                file = %entry.path().display(), %error,
                help = "remove the file: at worst the broker sends what nobody wants", "which subscriptions the broker has kept is not known"
            ),
        }
    }
    all
}

impl Remembered {
    /// That of a session whose file is in this folder.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, writing: None, failed: false }
    }

    /// Begins to write.
    pub fn write(&mut self, client_id: &str, held: &BTreeSet<String>) {
        let file = self.folder.as_ref().map(|f| f.join(format!("{START}{client_id}{END}")));
        let text = serde_json::to_vec(held);
        self.writing = Some(spawn_blocking(move || match file {
            Some(file) => private::replace_whole(&file, &text?),
            None => Ok(()),
        }));
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
                folder = ?self.folder, %error,
                "the subscriptions are not remembered: after a restart with another mapping the broker may \
                 still have them"
            );
        }
        self.failed = written.is_err();
    }
}

fn read(path: &Path) -> io::Result<BTreeSet<String>> {
    Ok(serde_json::from_slice(&regular::read(path)?)?)
}
