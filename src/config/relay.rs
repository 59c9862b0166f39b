//! `relay`: where Dom0's old program finds the sockets that the gateway offers it, in the place of the domains' own.

use super::{Channel, Observe, Reader};
use crate::document::{Fields, Text};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

impl Reader<'_, '_> {
    /// `[observe]`. Without `relay` it says nothing, so that one key begins and ends observing.
    pub(super) fn observe(
        &mut self,
        fields: &mut Fields<'_>,
        channels: &[Channel],
    ) -> Option<Observe> {
        self.relay("observe", fields, channels).map(|relay| Observe { relay })
    }

    /// `[dom0]`. Without `relay` it says nothing, so that one key ends Dom0's time as a legacy domain.
    pub(super) fn dom0(
        &mut self,
        fields: &mut Fields<'_>,
        channels: &[Channel],
    ) -> Option<PathBuf> {
        self.relay("dom0", fields, channels)
    }

    fn relay(
        &mut self,
        table: &'static str,
        fields: &mut Fields<'_>,
        channels: &[Channel],
    ) -> Option<PathBuf> {
        let mut table = fields.fields(table, self.found)?;
        let relay = table.text("relay", self.found);
        table.finish(self.found);
        let text = relay?;
        let relay = PathBuf::from(&text.text);
        for channel in channels {
            self.relayed(channel, &relay, &text);
        }
        self.usable(&relay, &text);
        Some(relay)
    }

    fn relayed(&mut self, channel: &Channel, relay: &Path, text: &Text) {
        match channel {
            Channel::Serial(path, _) => {
                let message = format!("{} has no old router on this side", path.display());
                let help = "it is on Dom0, where `[[channel]]` has `unix`; leave `relay` out here";
                self.add(text.span.clone(), message, help);
            }
            Channel::Unix(pattern) if same(pattern.parent().unwrap_or(Path::new("")), relay) => {
                let message = "the relay's directory is that of the domains' own sockets";
                let help = "name another directory, such as \"/run/passerelle\"";
                self.add(text.span.clone(), message, help);
            }
            Channel::Unix(_) => {}
        }
    }

    /// Whether sockets can be put there.
    fn usable(&mut self, relay: &Path, text: &Text) {
        let (shown, span) = (relay.display(), text.span.clone());
        if !relay.is_absolute() {
            let help = "write the whole path, as the router will have it";
            self.add(span, format!("{shown} is no absolute path"), help);
        } else if !relay.is_dir() {
            let help = format!("make it: mkdir -p {shown}");
            self.add(span, format!("there is no directory {shown}"), help);
        } else if access(relay, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let help = "let the gateway's user write there";
            self.add(span, format!("no sockets can be put into {shown}"), help);
        }
    }
}

/// Whether two paths are one directory: `/var/run` is `/run` on many a system.
fn same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}
