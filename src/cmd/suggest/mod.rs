//! `passerelle suggest`: a draft of the rows that the mapping has not.

mod draft;
mod heard;
mod kinds;
mod names;
mod quoted;

use super::coverage::{learnt, now, setting};
use super::{ConfigFile, GOOD, Out, ask, bad, load, trouble};
use crate::config::Config;
use crate::edge::control::Request;
use crate::edge::regular;
use crate::engine::coverage::{self, Book};
use heard::Heard;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const MORE: &str = "\
Examples:
  passerelle suggest
  passerelle suggest -o draft.toml && passerelle check mappings/psec.toml draft.toml
  passerelle suggest coverage.json          what another gateway has heard

Exit codes:
  0  there is a draft
  1  there is nothing to draft: a row covers each message that was heard, or none was
  2  the configuration is wrong, or a file cannot be read or written";

/// Arguments of `suggest`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// What was heard, instead of what the configuration's gateway has: its coverage.json
    #[arg(value_name = "FILE")]
    heard: Option<PathBuf>,
    /// Write the draft there, to a file that is new
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs it: 0 if there is a draft, 1 if there is nothing to draft, 2 if the configuration is wrong or a file
/// cannot be read or written.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let book = match book(args, &config) {
        Ok(book) => book,
        Err(error) => {
            out.complain(error);
            return trouble();
        }
    };
    let setting = setting(config);
    let table = Arc::clone(&setting.table);
    let heard = Heard::of(&book.judged(&setting, now()), &table);
    if heard.is_nothing() {
        out.complain("nothing to draft: of what was heard, nothing is without a row\n");
        return bad();
    }
    let text = draft::draft(&heard, &table, &coverage::time(book.since));
    match &args.output {
        None => out.put(&text),
        Some(file) => {
            if let Err(error) = write(file, &text) {
                out.complain(format_args!("error: {}: {error}\n", file.display()));
                return trouble();
            }
        }
    }
    GOOD
}

/// What was heard: as the gateway has it now, or as it is written down.
fn book(args: &Args, config: &Config) -> Result<Book, String> {
    if let Some(file) = &args.heard {
        let at = |error: String| format!("error: {}: {error}\n", file.display());
        let text = regular::read(file).map_err(|e| at(e.to_string()))?;
        return coverage::read(&String::from_utf8_lossy(&text)).map_err(at);
    }
    let asked = crate::config::load_bare(&args.config.config).ok();
    let asked = asked.and_then(|bare| ask(&bare, Request::Coverage).ok());
    match asked.and_then(|book| coverage::read(book.as_str()?).ok()) {
        Some(book) => Ok(book),
        None => learnt(config),
    }
}

/// A draft that somebody has begun to fill in is not written over.
#[allow(clippy::disallowed_methods, reason = "the subcommands write what the user names")]
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.as_bytes())
}
