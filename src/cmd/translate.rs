//! `passerelle translate`: the production path without sockets.

use super::{GOOD, Out, read, tell, trouble};
use crate::config::{self, Error, meant};
use crate::conversation::{apply, gateway, parse, render};
use crate::engine::mapping::Table;
use crate::engine::mapping::table::Speaks;
use crate::engine::name::DomainName;
use crate::engine::policy::Policy;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle translate -m mappings/psec.toml --legacy vm-gui <inputs.jsonl
  echo '{\"elapse\":\"30s\"}' | passerelle translate -m mappings/psec.toml

Exit codes:
  0  all inputs are taken
  2  a mapping or an input is wrong, or a file cannot be read";

/// Arguments of `translate`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    /// A mapping file, or a folder of them (*.toml, at any depth); repeat it for more
    #[arg(short, long = "mapping", required = true, num_args = 1.., value_name = "FILE-or-DIR")]
    mappings: Vec<PathBuf>,
    /// The domains that are connected as legacy domains; all others are migrated
    #[arg(long, value_delimiter = ',', value_parser = domain, value_name = "DOMAINS")]
    legacy: Vec<DomainName>,
    /// A configuration file, of which `policy` and `[[allow]]` hold; everything is allowed otherwise
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The dialect of a migrated domain, if it is not the first file's; repeat it for more
    #[arg(long, value_parser = dialect, value_name = "DOMAIN=NAME")]
    dialect: Vec<(DomainName, String)>,
    /// Show what the sessions subscribe to, too
    #[arg(long)]
    sessions: bool,
}

fn domain(text: &str) -> Result<DomainName, String> {
    match DomainName::parse(text) {
        Ok(name) if name.is_everyone() => Err("`tous` is a destination, and no domain".into()),
        Ok(name) if !name.is_dom0() && name.meaning().is_some() => {
            Err(format!("`{name}` is {}, and no domain", name.meaning().unwrap_or_default()))
        }
        parsed => parsed.map_err(|e| e.to_string()),
    }
}

fn dialect(text: &str) -> Result<(DomainName, String), String> {
    let (domain, name) = text.split_once('=').ok_or("write DOMAIN=NAME")?;
    Ok((DomainName::parse(domain).map_err(|e| e.to_string())?, name.to_owned()))
}

/// Compiles the mapping files that these paths mean.
///
/// # Errors
/// What is wrong with them.
pub fn compile(paths: &[PathBuf], speaks: &Speaks) -> Result<Table, Error> {
    let mut sources = Vec::new();
    for path in paths {
        for file in meant(path, "toml").map_err(Error::Unreadable)?.files {
            sources.push(read(&file).map_err(Error::Unreadable)?);
        }
    }
    let table = Table::compile(&sources, speaks).map_err(Error::Findings)?;
    let known: Vec<&str> = table.dialects().collect();
    if let Some(name) = speaks.domains.values().find(|n| !known.contains(&n.as_str())) {
        let known = known.join(", ");
        return Err(Error::Unreadable(format!(
            "no dialect {name:?} is loaded; there are: {known}"
        )));
    }
    Ok(table)
}

/// Reads the policy of a configuration file.
///
/// # Errors
/// What is wrong with it.
pub fn policy(file: &Path) -> Result<Policy, Error> {
    let source = read(file).map_err(Error::Unreadable)?;
    config::policy_of(&source).map_err(Error::Findings)
}

/// Runs it: reads inputs from standard input, writes effects to standard output.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let speaks = Speaks { default: None, domains: args.dialect.iter().cloned().collect() };
    let table = match compile(&args.mappings, &speaks) {
        Ok(table) => table,
        Err(error) => return tell(&error, out),
    };
    let mut gateway = gateway(table, &args.legacy, args.sessions);
    match args.policy.as_deref().map(policy).transpose() {
        Ok(policy) => gateway.set_policy(policy.unwrap_or_default()),
        Err(error) => return tell(&error, out),
    }
    let load = |files: &[String]| {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        compile(&files, &speaks).map_err(|error| error.to_string())
    };
    let mut input = std::io::stdin().lock();
    let (mut line, mut number) = (String::new(), 0);
    loop {
        line.clear();
        number += 1;
        match input.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                out.complain(format_args!("error: line {number}: {error}\n"));
                return trouble();
            }
        }
        if line.trim().is_empty() {
            continue;
        }
        let effects = match parse(&line).and_then(|input| apply(&mut gateway, input, load)) {
            Ok(effects) => effects,
            Err(error) => {
                out.complain(format_args!("error: line {number}: {error}\n"));
                return trouble();
            }
        };
        for effect in effects {
            out.say_json(format_args!("{}\n", render(&effect)));
        }
        // Whoever no longer reads it has seen enough.
        if !out.flush() {
            break;
        }
    }
    GOOD
}
