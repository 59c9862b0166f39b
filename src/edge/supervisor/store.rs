//! The store at the gateway's start: it is opened, and what no channel will take up is sent all the same.

use super::super::hub::Left;
use super::super::store::Folder;
use super::Supervisor;
use crate::config::Channel;
use crate::translate::name::DomainName;
use crate::translate::proxy::Identity;
use std::path::Path;

impl Supervisor {
    /// Opens the store, if there is to be one. Says why it cannot be used.
    pub(super) async fn open_store(&mut self) -> Option<String> {
        match Folder::open(self.config.store.as_ref()?).await {
            Ok(folder) => {
                self.store = Some(folder);
                None
            }
            Err(error) => {
                tracing::error!("{error}");
                Some(error)
            }
        }
    }

    /// The logs of domains that are not there, or have come over to MQTT.
    pub(super) fn find_left(&self) -> Option<Left> {
        let folder = self.store.clone()?;
        match folder.left(|name| self.is_there(name)) {
            Ok(logs) => Some(Left { folder, logs }),
            Err(error) => {
                tracing::error!(%error, "what domains have left in the store stays there");
                None
            }
        }
    }

    fn is_there(&self, name: &DomainName) -> bool {
        if let Some(Identity::Behind { own, .. }) = self.config.behind() {
            return *name == own;
        }
        let socket = |channel: &Channel| match channel {
            Channel::Unix(pattern) => has_socket(pattern, name),
            Channel::Serial(..) => false,
        };
        !self.on_mqtt.contains(name) && self.config.channels.iter().any(socket)
    }
}

/// Whether the socket of a pattern that is this domain's is there.
fn has_socket(pattern: &Path, name: &DomainName) -> bool {
    let Some(file) = pattern.file_name().and_then(|file| file.to_str()) else { return false };
    let own = format!("{name}-msg.sock");
    let fits = match file.split_once('*') {
        Some((start, end)) => {
            own.len() >= start.len() + end.len() && own.starts_with(start) && own.ends_with(end)
        }
        None => own == file,
    };
    fits && pattern.with_file_name(own).exists()
}
