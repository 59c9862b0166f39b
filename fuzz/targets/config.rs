//! Any text as a configuration: findings with their places in the text, or what can be run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::config::{self, Error};
use passerelle::diagnostic::Source;
use passerelle_fuzz::findings::check;
use std::path::Path;
use std::sync::Arc;

/// What the configuration is relative to: the shipped mappings are there.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Whether all that may be taken for a file's name is a plain file's, or nobody's: a device never ends.
fn names_no_device(text: &str) -> bool {
    text.split(['"', '\'']).all(|name| {
        let path = Path::new(FOLDER).join(name);
        path.metadata().map_or(true, |found| found.is_file() || found.is_dir())
    })
}

fuzz_target!(|text: &str| {
    let _ = config::looks_like_one(text);
    if !names_no_device(text) {
        return;
    }
    let name = format!("{FOLDER}/passerelle.toml");
    match config::load(&Arc::new(Source { name, text: text.to_owned() })) {
        Ok(config) => {
            assert!(!config.channels.is_empty() && !config.instance.is_empty());
            assert!(config.limits.line > 0 && config.limits.calls > 0 && config.limits.depth > 0);
            assert!(config.table.dialects().next().is_some());
        }
        Err(Error::Findings(found)) => check(&found),
        Err(Error::Unreadable(why)) => assert!(!why.is_empty()),
    }
});
