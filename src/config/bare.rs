//! What a configuration says of the gateway alone: `status` and `ready` work whatever is wrong with the rest,
//! which is just when they are needed.

use super::{Broker, Error, Reader, Store};
use crate::diagnostic::{Findings, Source};
use crate::document::{self, Fields};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a gateway is, and who it is.
#[derive(Debug)]
pub struct Bare {
    /// `instance`
    pub instance: String,
    /// `[broker]`
    pub broker: Broker,
    /// `[control]`
    pub control: Option<PathBuf>,
    /// `[store]`
    pub store: Option<Store>,
    /// `state_dir`
    pub state_dir: PathBuf,
}

/// Reads these keys of a configuration file, and no other file.
///
/// # Errors
/// What is wrong with these keys, or the file cannot be read.
#[allow(clippy::disallowed_methods, reason = "it reads the file that the user names")]
pub fn load_bare(path: &Path) -> Result<Bare, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Unreadable(format!("{name}: {error}")))?;
    let source = Arc::new(Source { name, text });
    let mut found = Findings::default();
    let read = document::parse(&source, &mut found).and_then(|root| {
        let mut fields = Fields::new(&source, root.get_ref(), 0..0, "the configuration");
        let mut reader = Reader { source: &source, found: &mut found };
        let instance = reader.instance(&mut fields);
        let broker = reader.broker(&mut fields);
        let control = reader.control(&mut fields);
        let store = reader.store(&mut fields);
        let state_dir = reader.state_dir(&mut fields);
        Some(Bare { instance, broker: broker?, control, store, state_dir })
    });
    match read {
        Some(bare) if found.is_empty() => Ok(bare),
        _ => Err(Error::Findings(found.into_sorted())),
    }
}
