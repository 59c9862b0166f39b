//! `passerelle report`: how the migration stands, as one page that needs nothing else.

mod chart;
mod facts;
mod page;
mod words;

use super::coverage::{learnt, now, setting};
use super::ready::{remembered, time_span};
use super::{ConfigFile, GOOD, Language, Out, ask, load_bare, status, trouble};
use crate::config::{self, Bare};
use crate::edge::control::Request;
use crate::engine::coverage::{self, Row};
use facts::{Facts, Learnt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const MORE: &str = "\
Examples:
  passerelle report -o migration.html
  passerelle report --lang fr -o migration.html

Exit codes:
  0  the page is written, whatever it says
  2  the configuration is wrong, or the page cannot be written";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Where the page is written
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The page's language
    #[arg(long, value_enum, default_value_t = Language::En)]
    lang: Language,
    /// How long no domain may have spoken legacy for the gateway to go, as for `ready`
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time_span)]
    quiet_for: Duration,
}

/// Runs it: 0 if the page is written, 2 if the configuration is wrong or the page cannot be written.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let Ok(config) = load_bare(&args.config, out) else { return trouble() };
    let facts = Facts {
        instance: config.instance.clone(),
        made: now().rfc3339(),
        quiet_for: args.quiet_for,
        status: status::whole(&config),
        remembered: remembered(&config),
        learnt: heard(&config, &args.config),
    };
    let page = page::page(&facts, args.lang);
    #[allow(clippy::disallowed_methods, reason = "the subcommands write what the user names")]
    let written = std::fs::write(&args.output, page);
    match written {
        Ok(()) => GOOD,
        Err(error) => {
            out.complain(format_args!("error: {}: {error}\n", args.output.display()));
            trouble()
        }
    }
}

/// What observing has found, if it has.
fn heard(bare: &Bare, file: &ConfigFile) -> Option<Learnt> {
    let asked = ask(bare, Request::Coverage).ok();
    let asked = asked.and_then(|book| coverage::read(book.as_str()?).ok());
    let config = config::load_file(&file.config).ok();
    let book = asked.or_else(|| learnt(config.as_ref()?).ok())?;
    let since = coverage::time(book.since);
    let rows: Vec<Row> = match config {
        Some(config) => book.judged(&setting(config), now()),
        None => book.rows(),
    };
    Some(Learnt { since, rows })
}
