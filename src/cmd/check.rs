//! `passerelle check`: what is wrong with mapping and configuration files.

use super::{GOOD, Out, bad, read, show, unreadable};
use crate::config::{self, Config};
use crate::diagnostic::Source;
use crate::translate::mapping::Table;
use crate::translate::mapping::table::Speaks;
use crate::translate::policy::Names;
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
            Ok(config) => warn(&config, out),
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

/// Says which rules of a policy others can use on MQTT than those whom they name.
fn warn(config: &Config, out: &mut Out) {
    let policy = &config.policy;
    for rule in policy.rules.iter().filter(|_| !policy.is_open()) {
        let Some(who) = rule.borrowed_by(policy.names) else { continue };
        let help = match policy.names {
            Names::Said => {
                "give each domain a password (`broker.passwords`) and the broker its ACL (`passerelle acl`)"
            }
            Names::Proved => "name a domain that asks on `<root>/request/<its name>`, if it can",
        };
        let place = &rule.place;
        out.complain(format_args!("warning: {place}: {rule} holds for {who}; help: {help}\n"));
    }
}
