//! `[store]`: where and how what waits for the broker is kept on disk.

use super::{Reader, Store};
use crate::document::Fields;
use std::path::Path;
use std::time::Duration;

const SIZE: usize = 256 * 1024 * 1024;
/// Below that one long line, or one folder too many, would fill it.
const LEAST: usize = 1024 * 1024;
const SYNC: Duration = Duration::from_secs(1);

/// When what was written is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// After each writing.
    Always,
    /// So long after it.
    After(Duration),
}

impl Reader<'_, '_> {
    /// `[store]`. Without `dir` there is none, so that one key begins and ends it.
    pub(super) fn store(&mut self, fields: &mut Fields<'_>) -> Option<Store> {
        let mut table = fields.fields("store", self.found)?;
        let dir = table.text("dir", self.found);
        let size = self.size(&mut table, "size").unwrap_or(SIZE);
        if size < LEAST {
            let message = format!("`store.size` cannot be {size} bytes");
            self.add(table.span_of("size"), message, "write \"1 MiB\" or more");
        }
        let sync = self.sync(&mut table);
        table.finish(self.found);
        let dir = dir?;
        if dir.text.is_empty() {
            let help = "name a folder, such as \"/var/lib/passerelle/store\", or leave it out";
            self.add(dir.span, "`store.dir` is empty", help);
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        Some(Store { dir: folder.join(dir.text), size, sync })
    }

    fn sync(&mut self, table: &mut Fields<'_>) -> Sync {
        let Some(text) = table.text("sync", self.found) else { return Sync::After(SYNC) };
        match humantime::parse_duration(&text.text) {
            _ if text.text == "always" => Sync::Always,
            Ok(after) if !after.is_zero() => Sync::After(after),
            _ => {
                let message = format!("{:?} is no time after which to sync", text.text);
                self.add(text.span, message, "write a time such as \"1s\", or \"always\"");
                Sync::After(SYNC)
            }
        }
    }
}
