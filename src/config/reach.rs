//! The files that a configuration is made of, and whether a running gateway can read them.

use super::broker::FILES;
use super::meant;
use crate::diagnostic::{Finding, Findings, Source};
use crate::document::{Fields, Text};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, and where it is named.
type Named = (PathBuf, Range<usize>);

/// The files that a configuration is made of, its own first, and the folders in which more of them may appear; as
/// far as they can be read.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let (_, made_of, _) = named(path);
    made_of.into_iter().map(|(file, _)| file).collect()
}

/// A finding for each file that a configuration is made of, or that has its passwords or certificates, and that the
/// gateway does not reach: it would read `Permission denied`, and nothing about its being confined.
#[must_use]
pub fn out_of_reach(path: &Path, reaches: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let (source, made_of, secrets) = named(path);
    let mut found = Findings::default();
    for (file, span) in made_of.into_iter().chain(secrets) {
        if !reaches(&file) {
            let message = format!(
                "{} needs a restart: the gateway is confined to the folders that it started with",
                file.display()
            );
            let help = "restart passerelle, or put the file where the others are";
            found.add(&source, span, message, help);
        }
    }
    found.into_sorted()
}

/// The files that a configuration is made of, and those with secrets.
#[allow(clippy::disallowed_methods, reason = "it reads the file that the user names")]
fn named(path: &Path) -> (Arc<Source>, Vec<Named>, Vec<Named>) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let source = Arc::new(Source { name: path.display().to_string(), text });
    let (table, _) = toml::de::DeTable::parse_recoverable(&source.text);
    let mut fields = Fields::new(&source, table.get_ref(), 0..0, "the configuration");
    // What is wrong with it is for whoever loads it to tell.
    let ignored = &mut Findings::default();
    let mappings = fields.texts("mappings", ignored);
    let mut secrets = Vec::new();
    if let Some(mut broker) = fields.fields("broker", ignored) {
        secrets.extend(FILES.iter().filter_map(|key| broker.text(key, ignored)));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let in_folder = |name: Text| (folder.join(name.text), name.span);
    let own = std::iter::once((path.to_owned(), 0..0));
    let mappings = mappings.into_iter().map(in_folder).flat_map(|(named, span)| {
        // One that is not there may come.
        let found = meant(&named, "toml").unwrap_or_default();
        let all = std::iter::once(named).chain(found.folders).chain(found.files);
        all.map(move |file| (file, span.clone()))
    });
    let made_of = own.chain(mappings).collect();
    let secrets = secrets.into_iter().map(in_folder).collect();
    (source, made_of, secrets)
}
