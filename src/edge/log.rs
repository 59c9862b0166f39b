//! The log: one line an event, on standard error.

use super::stderr::Stderr;
use crate::config::{Config, LogFormat};
use std::sync::Mutex;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// A log that knows what is logged.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
/// How it is written.
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The running log. What the command line says of it holds whatever the configuration says.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
    level: Option<String>,
    format: Option<LogFormat>,
}

/// Begins logging. `level` is a level, or tracing's own directives, and comes before the
/// configuration's, as `format` does.
///
/// # Errors
/// What is wrong with the directives.
pub fn start(
    level: Option<&str>,
    format: Option<LogFormat>,
    config: &Config,
) -> Result<Log, String> {
    let filter = filter(level.or(config.log_level.as_deref()))?;
    let (filter, filter_handle) = reload::Layer::new(filter);
    let (lines, lines_handle) = reload::Layer::new(lines(format.unwrap_or(config.log_format)));
    let log = tracing_subscriber::registry().with(filter).with(lines);
    log.try_init().map_err(|e| e.to_string())?;
    let level = level.map(str::to_owned);
    Ok(Log { filter: filter_handle, lines: lines_handle, level, format })
}

impl Log {
    /// Goes on as a new configuration says.
    pub fn reload(&self, config: &Config) {
        let level = self.level.as_deref().or(config.log_level.as_deref());
        let format = self.format.unwrap_or(config.log_format);
        let changed = filter(level).and_then(|filter| {
            self.lines.reload(lines(format)).map_err(|e| e.to_string())?;
            self.filter.reload(filter).map_err(|e| e.to_string())
        });
        if let Err(error) = changed {
            tracing::error!(error, "the log goes on as it was");
        }
    }
}

fn filter(level: Option<&str>) -> Result<EnvFilter, String> {
    let level = level.unwrap_or("info");
    EnvFilter::try_new(level).map_err(|e| format!("log {level:?}: {e}"))
}

fn lines(format: LogFormat) -> Lines {
    let stderr = Mutex::new(Stderr::new(format));
    let lines = fmt::layer().with_writer(stderr).with_target(false).with_ansi(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}
