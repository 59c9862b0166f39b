//! The log: one line an event, on standard error.

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Begins logging. `directives` is a level, or tracing's own directives.
///
/// # Errors
/// What is wrong with the directives.
pub fn start(directives: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives).map_err(|e| format!("log {directives:?}: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| e.to_string())
}
