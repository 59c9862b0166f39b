//! The subcommands, one file each.

pub mod acl;
pub mod api;
pub mod check;
pub mod coverage;
pub mod explain;
pub mod legacy;
pub mod log;
mod out;
pub mod ready;
pub mod record;
pub mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod status;
pub mod store;
pub mod suggest;
pub mod tap;
pub mod test;
pub mod translate;

use crate::config::{self, Bare, Config};
use crate::diagnostic::{Finding, Source};
use crate::edge::control::{self, NoAnswer, Request};
use clap::builder::{OsStringValueParser, TypedValueParser};
pub use out::Out;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Yes, or done: all is as it should be.
pub const GOOD: ExitCode = ExitCode::SUCCESS;

/// No: what was asked about is not as it should be.
#[must_use]
pub fn bad() -> ExitCode {
    ExitCode::from(1)
}

/// It cannot be told or done: wrong arguments, a wrong configuration or mapping, or a file that cannot be
/// read or written.
#[must_use]
pub fn trouble() -> ExitCode {
    ExitCode::from(2)
}

/// It cannot be told: the broker is out of reach.
#[must_use]
pub fn no_broker() -> ExitCode {
    ExitCode::from(3)
}

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    /// English
    En,
    /// French
    Fr,
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The gateway's configuration file
    #[arg(
        short,
        long,
        env = CONFIG_VARIABLE,
        hide_env_values = true,
        default_value = CONFIG,
        value_parser = named(),
        value_name = "FILE"
    )]
    pub config: PathBuf,
}

/// Takes a path that is not empty.
fn named() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|path| match path.is_empty() {
        true => Err(format!("it is empty: name a file, or unset {CONFIG_VARIABLE}")),
        false => Ok(PathBuf::from(path)),
    })
}

/// Where the configuration is if nobody says otherwise.
const CONFIG: &str = "/etc/passerelle/passerelle.toml";

/// Says what is logged.
const LOG_VARIABLE: &str = "PASSERELLE_LOG";

/// Says where it is instead.
const CONFIG_VARIABLE: &str = "PASSERELLE_CONFIG";

/// Reads a file.
///
/// # Errors
/// A line that names the file and what the system says.
#[allow(clippy::disallowed_methods, reason = "the subcommands read what the user names")]
pub fn read(path: &Path) -> Result<Arc<Source>, String> {
    Source::read(path)
}

/// Reads a configuration, or tells on standard error what is wrong.
///
/// # Errors
/// The exit code, [`trouble`].
pub fn load(file: &ConfigFile, out: &mut Out) -> Result<Config, ExitCode> {
    config::load_file(&file.config).map_err(|error| tell(&error, out))
}

/// What a configuration says of the gateway alone, or tells on standard error what is wrong with that.
///
/// # Errors
/// As for [`load`].
pub fn load_bare(file: &ConfigFile, out: &mut Out) -> Result<Bare, ExitCode> {
    config::load_bare(&file.config).map_err(|error| tell(&error, out))
}

/// Asks the gateway that runs with a configuration, over its control socket.
///
/// # Errors
/// There is none that can be asked, or it says why it has no answer.
pub fn ask(config: &Bare, request: Request) -> Result<Value, NoAnswer> {
    control::ask(config.control.as_deref(), &config.state_dir, request)
}

/// Tells on standard error what is wrong with a configuration or a mapping; the exit code.
pub fn tell(error: &config::Error, out: &mut Out) -> ExitCode {
    match error {
        config::Error::Findings(findings) => out.complain_painted(&show(findings)),
        config::Error::Unreadable(error) => out.complain(format_args!("error: {error}\n")),
    }
    trouble()
}

/// Findings as they are shown, in colour.
#[must_use]
pub fn show(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{}\n", finding.painted());
    }
    let _ = writeln!(text, "{}", counted(findings.len(), "finding"));
    text
}

/// "1 file", "2 files".
#[must_use]
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
