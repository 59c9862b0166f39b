//! `passerelle api`: what a domain on MQTT says and hears, as the mapping has it.

mod asyncapi;
mod payload;
mod tables;

use super::translate::compile;
use super::{ConfigFile, GOOD, Language, Out, load, tell};
use crate::engine::mapping::table::{Speaks, Table};
use std::path::PathBuf;
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle api                            what the configuration's mapping says
  passerelle api mappings/psec.toml --lang fr
  passerelle api --asyncapi >api.json

Exit codes:
  0  done
  2  a file is wrong or cannot be read";

/// Arguments of `api`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Mapping files, or folders of them, instead of the configuration's
    #[arg(value_name = "FILE-or-DIR")]
    mappings: Vec<PathBuf>,
    /// An AsyncAPI 3.0 document, in JSON
    #[arg(long)]
    asyncapi: bool,
    /// The language of the tables' headings
    #[arg(long, value_enum, default_value_t = Language::En, conflicts_with = "asyncapi")]
    lang: Language,
}

/// Runs it: 0 if it could tell, 2 if a file is wrong or cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let table = match args.mappings.is_empty() {
        true => match load(&args.config, out) {
            Ok(config) => config.table,
            Err(code) => return code,
        },
        false => match compile(&args.mappings, &Speaks::default()) {
            Ok(table) => table,
            Err(error) => return tell(&error, out),
        },
    };
    match args.asyncapi {
        true => out.say_json(format_args!("{:#}\n", asyncapi::document(&table))),
        false => out.say(tables::tables(&table, args.lang)),
    }
    GOOD
}

/// The names of a table's dialects, where there is more than one.
fn dialects(table: &Table) -> Vec<&str> {
    let all: Vec<&str> = table.dialects().collect();
    if all.len() > 1 { all } else { Vec::new() }
}
