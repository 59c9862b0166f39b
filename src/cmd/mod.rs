//! The subcommands, one file each.

pub mod check;
pub mod coverage;
pub mod run;
pub mod test;
pub mod translate;

use crate::diagnostic::{Finding, Source};
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
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Arc::new(Source { name: path.display().to_string(), text })),
        Err(error) => Err(format!("{}: {error}", path.display())),
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
