//! `[metrics]`: where a gateway that runs writes its metrics.

use super::Reader;
use crate::document::Fields;
use std::path::{Path, PathBuf};

impl Reader<'_, '_> {
    /// `[metrics]`: the file, if there is to be one.
    pub(super) fn metrics(&mut self, fields: &mut Fields<'_>) -> Option<PathBuf> {
        let mut table = fields.fields("metrics", self.found)?;
        let file = table.text("file", self.found);
        table.finish(self.found);
        let file = file?;
        if Path::new(&file.text).extension().is_none_or(|end| end != "prom") {
            let message = format!("{:?} is no file of metrics", file.text);
            let help =
                "write a path that ends with .prom, as the node exporter's text collector reads it";
            self.add(file.span.clone(), message, help);
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        Some(folder.join(&file.text))
    }
}
