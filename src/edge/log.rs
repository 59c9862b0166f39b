//! The log: one line an event, on standard error, and no more of them than the configuration says.

use super::memory::monotonic;
use super::stderr::Stderr;
use crate::config::{Config, LogFormat, LogLevel};
use crate::engine::quota::{LineKind, Quota, Unwritten, Weight};
use crate::printable;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt as lines, reload};

/// A log that knows what is logged.
type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
/// How it is written.
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// Whose events are always written: the count of what was not.
const COUNT: &str = "passerelle::count";
/// How much of a message or of a name tells one kind of line from another.
const HEAD: usize = 80;

/// The running log. What the command line says of it holds whatever the configuration says.
pub struct Log {
    filter: reload::Handle<LevelFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
    bound: Bound,
    /// The level that holds now.
    now: LogLevel,
    level: Option<LogLevel>,
    format: Option<LogFormat>,
}

/// Begins logging. `level` and `format` come before the configuration's.
///
/// # Errors
/// There is a log already.
pub fn start(
    level: Option<LogLevel>,
    format: Option<LogFormat>,
    config: &Config,
) -> Result<Log, String> {
    let now = level.unwrap_or(config.log.level);
    let (filter, filter_handle) = reload::Layer::new(now.into());
    let (lines, lines_handle) = reload::Layer::new(as_lines(format.unwrap_or(config.log.format)));
    let bound = Bound::new(config.log.rate);
    let log = tracing_subscriber::registry().with(filter).with(lines).with(bound.clone());
    log.try_init().map_err(|e| e.to_string())?;
    Ok(Log { filter: filter_handle, lines: lines_handle, bound, now, level, format })
}

impl Log {
    /// Goes on as a new configuration says.
    pub fn reload(&mut self, config: &Config) {
        let level = self.level.unwrap_or(config.log.level);
        self.now = level;
        let format = self.format.unwrap_or(config.log.format);
        let changed = self.lines.reload(as_lines(format)).and_then(|()| self.filter.reload(level));
        self.bound.set_rate(config.log.rate);
        if let Err(error) = changed {
            tracing::error!(%error, help = "restart passerelle", "the level or the format of the log could not be changed");
        }
    }

    /// Has this level hold until the next reload, if there is one. Says which holds, as `{"level":...}`.
    ///
    /// # Errors
    /// It cannot be changed.
    pub fn set_level(&mut self, level: Option<LogLevel>) -> Result<Value, String> {
        if let Some(level) = level {
            self.filter.reload(level).map_err(|error| error.to_string())?;
            self.now = level;
        }
        Ok(json!({"level": self.now}))
    }

    /// What bounds it.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound.clone()
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

fn as_lines(format: LogFormat) -> Lines {
    let stderr = Mutex::new(Stderr::new(format));
    let lines = lines::layer().with_writer(stderr).with_target(false).with_ansi(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// What keeps anybody from filling the disk with log lines: lines beyond the [`Quota`] are counted instead,
/// and a line says so within a second.
#[derive(Debug, Clone)]
pub struct Bound(Arc<Quotas>);

#[derive(Debug)]
struct Quotas {
    quota: Mutex<Quota>,
    /// Something was not written.
    some: Notify,
}

impl Bound {
    fn new(rate: usize) -> Self {
        Self(Arc::new(Quotas { quota: Mutex::new(Quota::new(rate)), some: Notify::new() }))
    }

    fn set_rate(&self, rate: usize) {
        self.tell();
        self.with(|quota| *quota = Quota::new(rate));
    }

    fn with<T>(&self, look: impl FnOnce(&mut Quota) -> T) -> T {
        look(&mut self.0.quota.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says each second what was not written in it, if anything.
    pub async fn tell_each_second(self) {
        loop {
            self.0.some.notified().await;
            sleep(Duration::from_secs(1)).await;
            self.tell();
        }
    }

    /// Says what was not written since the last time, if anything.
    pub fn tell(&self) {
        match self.with(Quota::unwritten) {
            None => {}
            Some(Unwritten { lines, errors: true, what }) => {
                tracing::error!(target: COUNT, lines, what, help = "raise `log.rate`, or stop what causes them", "more lines were not written");
            }
            Some(Unwritten { lines, errors: false, what }) => {
                tracing::warn!(target: COUNT, lines, what, help = "raise `log.rate`, or stop what causes them", "more lines were not written");
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Bound {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().target() == COUNT {
            return true;
        }
        let weight = match *event.metadata().level() {
            Level::ERROR => Weight::Error,
            Level::WARN | Level::INFO => Weight::Usual,
            Level::DEBUG | Level::TRACE => Weight::Detail,
        };
        let mut kind = KindOf::default();
        event.record(&mut kind);
        let taken = self.with(|quota| quota.take(weight, kind.0, monotonic()));
        if !taken {
            self.0.some.notify_one();
        }
        taken
    }
}

/// Finds the message, and the domain that it is about.
#[derive(Default)]
struct KindOf(LineKind);

impl Visit for KindOf {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => &mut self.0.0,
            "domain" => &mut self.0.1,
            _ => return,
        };
        // Fails where it ends.
        let _ = write!(Head(text), "{value:?}");
    }
}

/// Takes the head of a text.
struct Head<'a>(&'a mut String);

impl fmt::Write for Head<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = HEAD.saturating_sub(self.0.len());
        let head = printable::head(text, left);
        self.0.push_str(head);
        if head.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
