//! The subcommands, one file each.

pub mod acl;
pub mod check;
pub mod coverage;
pub mod explain;
mod out;
pub mod ready;
pub mod run;
pub mod status;
pub mod store;
pub mod test;
pub mod translate;

use crate::config::{self, Config};
use crate::diagnostic::{Finding, Source};
pub use out::Out;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// All is well.
pub const GOOD: ExitCode = ExitCode::SUCCESS;

/// What was looked at is wrong.
#[must_use]
pub fn bad() -> ExitCode {
    ExitCode::from(1)
}

/// It could not be looked at.
#[must_use]
pub fn unreadable() -> ExitCode {
    ExitCode::from(2)
}

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
/// The exit code: 1 if it is wrong, 2 if a file cannot be read.
pub fn load(path: &Path, out: &mut Out) -> Result<Config, ExitCode> {
    match config::load_file(path) {
        Ok(config) => Ok(config),
        Err(config::Error::Findings(findings)) => {
            out.complain(show(&findings));
            Err(bad())
        }
        Err(config::Error::Unreadable(error)) => {
            out.complain(format_args!("error: {error}\n"));
            Err(unreadable())
        }
    }
}

/// Findings as they are shown.
#[must_use]
pub fn show(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}\n");
    }
    let _ = match findings.len() {
        1 => writeln!(text, "1 finding"),
        n => writeln!(text, "{n} findings"),
    };
    text
}
