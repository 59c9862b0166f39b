//! `passerelle check`: what is wrong with mapping and configuration files.

use super::{
    CONFIG, CONFIG_VARIABLE, GOOD, LOG_VARIABLE, Out, bad, counted, named, read, show, tell,
};
use crate::config::{self, Config, Error, LogLevel, meant};
use crate::diagnostic::{Finding, Source};
use crate::edge::grounds::grounds;
use crate::engine::mapping::table::Speaks;
use crate::engine::mapping::{RowOrigin, Table};
use crate::engine::policy::Names;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const MORE: &str = "\
Examples:
  passerelle check                          the configuration that the gateway runs with
  passerelle check new.toml                 another, before it takes its place
  passerelle check mappings/psec.toml business.toml
  passerelle check /etc/passerelle          everything there

Exit codes:
  0  nothing is wrong
  1  something is
  2  a file cannot be read";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    /// Mapping files, checked together as they would be loaded; configuration files, each with the
    /// mapping files that it names; or folders of either (*.toml, at any depth)
    #[arg(
        env = CONFIG_VARIABLE,
        hide_env_values = true,
        default_value = CONFIG,
        value_parser = named(),
        value_name = "FILE-or-DIR"
    )]
    files: Vec<PathBuf>,
    /// As for `run`, which does not start if its environment names no level
    #[arg(long = "log", env = LOG_VARIABLE, hide = true, hide_env_values = true, value_enum)]
    _log: Option<LogLevel>,
}

/// Runs it: 0 if nothing is wrong, 1 with findings, 2 if a file cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let checked = match check(&args.files, out) {
        Ok(checked) => checked,
        Err(error) => return tell(&error, out),
    };
    if checked.findings.is_empty() {
        out.say(format_args!("{}: nothing wrong\n", checked.looked_at()));
        return GOOD;
    }
    out.say_painted(&show(&checked.findings));
    bad()
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
struct Checked {
    files: BTreeSet<PathBuf>,
    /// Rows are told apart by their place.
    commands: BTreeSet<(PathBuf, usize)>,
    events: BTreeSet<(PathBuf, usize)>,
    findings: Vec<Finding>,
}

impl Checked {
    fn file(&mut self, name: &str) {
        self.files.insert(real(name));
    }

    fn table(&mut self, table: &Table) {
        let place = |o: &RowOrigin| (real(&o.source.name), o.span.start);
        self.commands.extend(table.commands().iter().map(|row| place(&row.origin)));
        self.events.extend(table.events().iter().map(|row| place(&row.origin)));
    }

    fn found(&mut self, more: Vec<Finding>) {
        for finding in more {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    fn looked_at(&self) -> String {
        let Self { files, commands, events, .. } = self;
        let all = [(files.len(), "file"), (commands.len(), "command"), (events.len(), "event")];
        all.map(|(n, what)| counted(n, what)).join(", ")
    }
}

/// One file may have several names.
fn real(name: &str) -> PathBuf {
    let path = Path::new(name);
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn check(paths: &[PathBuf], out: &mut Out) -> Result<Checked, Error> {
    let mut checked = Checked::default();
    let mut mappings: Vec<Arc<Source>> = Vec::new();
    for path in paths {
        for file in meant(path, "toml").map_err(Error::Unreadable)?.files {
            let source = read(&file).map_err(Error::Unreadable)?;
            checked.file(&source.name);
            if !config::looks_like_one(&source.text) {
                mappings.push(source);
                continue;
            }
            match config::load(&source) {
                Ok(config) => {
                    config.mappings.iter().for_each(|mapping| checked.file(&mapping.file));
                    checked.table(&config.table);
                    checked.found(grounds(&config));
                    warn(&config, out);
                    shared(&config.table, out);
                }
                Err(Error::Findings(found)) => checked.found(found),
                Err(unreadable) => return Err(unreadable),
            }
        }
    }
    if !mappings.is_empty() {
        match Table::compile(&mappings, &Speaks::default()) {
            Ok(table) => {
                shared(&table, out);
                checked.table(&table);
            }
            Err(found) => checked.found(found),
        }
    }
    Ok(checked)
}

/// Says where rows of several dialects cannot share their topic.
fn shared(table: &Table, out: &mut Out) {
    for finding in table.contradictions() {
        out.complain(format_args!("warning: {}\n", finding.on_a_line()));
    }
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
