//! `passerelle translate`: the production path without sockets.

use super::{GOOD, Out, bad, read, show, unreadable};
use crate::config;
use crate::conversation::{apply, gateway, parse, render};
use crate::translate::mapping::Table;
use crate::translate::mapping::table::Speaks;
use crate::translate::name::DomainName;
use crate::translate::policy::Policy;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `translate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A mapping file; repeat it for more
    #[arg(short, long = "mapping", required = true, num_args = 1.., value_name = "FILE")]
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

/// Compiles mapping files, or says why it cannot.
///
/// # Errors
/// What is to be printed, and the exit code.
pub fn compile(files: &[PathBuf], speaks: &Speaks) -> Result<Table, (String, ExitCode)> {
    let sources: Result<Vec<_>, String> =
        files.iter().map(|p: &PathBuf| read(Path::new(p))).collect();
    let sources = sources.map_err(|e| (format!("error: {e}\n"), unreadable()))?;
    let table = Table::compile(&sources, speaks).map_err(|found| (show(&found), bad()))?;
    let known: Vec<&str> = table.dialects().collect();
    if let Some(name) = speaks.domains.values().find(|n| !known.contains(&n.as_str())) {
        let message =
            format!("error: no dialect {name:?} is loaded; there are: {}\n", known.join(", "));
        return Err((message, bad()));
    }
    Ok(table)
}

/// Reads the policy of a configuration file, or says why it cannot.
///
/// # Errors
/// What is to be printed, and the exit code.
pub fn policy(file: &Path) -> Result<Policy, (String, ExitCode)> {
    let source = read(file).map_err(|e| (format!("error: {e}\n"), unreadable()))?;
    config::policy_of(&source).map_err(|found| (show(&found), bad()))
}

/// Runs it: reads inputs from standard input, writes effects to standard output.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let speaks = Speaks { default: None, domains: args.dialect.iter().cloned().collect() };
    let table = match compile(&args.mappings, &speaks) {
        Ok(table) => table,
        Err((message, code)) => {
            out.complain(message);
            return code;
        }
    };
    let mut gateway = gateway(table, &args.legacy);
    match args.policy.as_deref().map(policy).transpose() {
        Ok(policy) => gateway.set_policy(policy.unwrap_or_default()),
        Err((message, code)) => {
            out.complain(message);
            return code;
        }
    }
    let load = |files: &[String]| {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        compile(&files, &speaks).map_err(|(message, _)| message)
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
                return bad();
            }
        }
        if line.trim().is_empty() {
            continue;
        }
        let effects = match parse(&line).and_then(|input| apply(&mut gateway, input, load)) {
            Ok(effects) => effects,
            Err(error) => {
                out.complain(format_args!("error: line {number}: {error}\n"));
                return bad();
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
