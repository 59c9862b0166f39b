//! `passerelle coverage`: what observing has found.

mod show;

use super::{ConfigFile, GOOD, Out, ask, bad, tell, trouble};
use crate::config::{self, Config};
use crate::edge::control::Request;
use crate::edge::observe::FILE;
use crate::edge::regular;
use crate::engine::clock::Now;
use crate::engine::coverage::{self, Book, Row};
use crate::engine::proxy::Setting;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const MORE: &str = "\
Examples:
  passerelle coverage
  passerelle coverage --json | jq .

Exit codes:
  0  the mapping covers all that was heard
  1  it does not, or nothing was heard
  2  the configuration is wrong or a file cannot be read";

/// Arguments of `coverage`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs it: 0 if the mapping covers everything that was heard, 1 if it does not, or if nothing was
/// heard, 2 if the configuration is wrong or a file cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let file = &args.config.config;
    let asked = config::load_bare(file).ok().and_then(|bare| ask(&bare, Request::Coverage).ok());
    let asked = asked.and_then(|book| coverage::read(book.as_str()?).ok());
    let (book, config) = match (asked, config::load_file(file)) {
        (Some(book), Ok(config)) => (book, Some(config)),
        (Some(book), Err(error)) => {
            tell(&error, out);
            out.complain("warning: judged by the mapping that the gateway runs with\n");
            (book, None)
        }
        (None, Err(error)) => return tell(&error, out),
        (None, Ok(config)) => match learnt(&config) {
            Ok(book) => (book, Some(config)),
            Err(error) => {
                out.complain(error);
                return trouble();
            }
        },
    };
    let now = now();
    let by = config.as_ref().map_or("that the gateway runs with", |_| "as it is now");
    let rows = config.map_or_else(|| book.rows(), |config| book.judged(&setting(config), now));
    match args.json {
        true => out.say_json(show::json(&book, &rows)),
        false => out.say(show::table(&book, &rows, by, now)),
    }
    if is_covered(&book, &rows) { GOOD } else { bad() }
}

pub(super) fn learnt(config: &Config) -> Result<Book, String> {
    let file = config.state_dir.join(FILE);
    let text = regular::read(&file).map_err(|e| {
        let file = file.display();
        format!(
            "error: {file}: {e}\nhelp: `passerelle run` with [observe] writes it: see docs/observing.md\n"
        )
    })?;
    let text = String::from_utf8_lossy(&text);
    coverage::read(&text).map_err(|e| format!("error: {}: {e}\n", file.display()))
}

/// The mapping and the limits as they are now.
pub(super) fn setting(config: Config) -> Setting {
    Setting {
        table: Arc::new(config.table),
        policy: Arc::new(config.policy),
        limits: config.limits,
        instance: config.instance.as_str().into(),
        nonce: "observed".into(),
    }
}

#[allow(clippy::disallowed_methods, reason = "it says how long ago things were")]
pub(super) fn now() -> Now {
    Now { monotonic: Duration::ZERO, wall: SystemTime::now() }
}

/// What there was no room to tell apart may be anything.
fn is_covered(book: &Book, rows: &[Row]) -> bool {
    let others = book.others + book.pages.values().map(|p| p.others).sum::<u64>();
    !rows.is_empty() && others == 0 && rows.iter().all(|r| r.key.verdict.is_covered())
}
