//! `[control]`: where a gateway that runs can be asked.

use super::Reader;
use crate::document::Fields;
use std::path::{Path, PathBuf};

/// Where the socket is, if the configuration does not say. The folder is the gateway's own: no gateway may make
/// anything in `/run` itself, for it does not run as root.
pub const CONTROL: &str = "/run/passerelle/control.sock";

impl Reader<'_, '_> {
    /// `[control]`: the socket; `None` if there is to be none.
    pub(super) fn control(&mut self, fields: &mut Fields<'_>) -> Option<PathBuf> {
        let Some(mut table) = fields.fields("control", self.found) else {
            return Some(CONTROL.into());
        };
        let socket = table.text("socket", self.found);
        table.finish(self.found);
        let Some(socket) = socket else { return Some(CONTROL.into()) };
        if socket.text.is_empty() {
            return None;
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        let path = folder.join(&socket.text);
        if !socket.text.ends_with(".sock") || socket.text.ends_with(super::SOCKET) {
            let message = format!("{:?} is no control socket", socket.text);
            let help = format!(
                "write a path that ends with .sock and not with -msg.sock, as {CONTROL:?}, or \"\" for none"
            );
            self.add(socket.span.clone(), message, help);
        }
        self.short_enough(&path, &socket);
        Some(path)
    }
}
