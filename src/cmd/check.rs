//! `passerelle check`: what is wrong with mapping and configuration files.

use super::{GOOD, Out, bad, read, show, unreadable};
use crate::config;
use crate::diagnostic::Source;
use crate::translate::mapping::Table;
use crate::translate::mapping::table::Speaks;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mapping files, checked together as they would be loaded; and configuration files, each with the
    /// mapping files that it names
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs it: 0 if nothing is wrong, 1 with findings, 2 if a file cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let mut mappings: Vec<Arc<Source>> = Vec::new();
    let mut findings = Vec::new();
    for path in &args.files {
        let source = match read(path) {
            Ok(source) => source,
            Err(error) => {
                out.complain(format_args!("error: {error}\n"));
                return unreadable();
            }
        };
        if !config::looks_like_one(&source.text) {
            mappings.push(source);
            continue;
        }
        match config::load(&source) {
            Ok(_) => {}
            Err(config::Error::Findings(found)) => findings.extend(found),
            Err(config::Error::Unreadable(error)) => {
                out.complain(format_args!("error: {error}\n"));
                return unreadable();
            }
        }
    }
    if !mappings.is_empty() {
        findings.extend(Table::compile(&mappings, &Speaks::default()).err().unwrap_or_default());
    }
    if findings.is_empty() {
        return GOOD;
    }
    out.say(show(&findings));
    bad()
}
