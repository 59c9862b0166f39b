//! `passerelle status`: what a running gateway says of itself.

mod table;

use super::{GOOD, load};
use crate::config::Config;
use crate::edge::retained::Look;
use crate::translate::publish::Received;
use crate::translate::status::Board;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Clears a terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";
const SECOND: Duration = Duration::from_secs(1);

const CODES: &str = "\
Exit codes: 0 the gateway is online, 1 the configuration is wrong, 2 a file cannot be read,
3 the broker is out of reach, 4 the gateway is offline or the broker does not know it";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = CODES)]
pub struct Args {
    /// The gateway's configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Show it again, each second on a terminal and else on each change, until interrupted
    #[arg(long)]
    watch: bool,
    /// One JSON object on a line instead of a table, on each change with --watch
    #[arg(long)]
    json: bool,
}

/// Runs it: 0 if the gateway is online, 1 if the configuration is wrong, 2 if a file cannot be read, 3
/// if the broker is out of reach, 4 if the gateway is offline or the broker does not know it.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = match runtime {
        Ok(runtime) if args.watch => runtime.block_on(watch(args, &config)),
        Ok(runtime) => runtime.block_on(once(args, &config)),
        Err(error) => Err(format!("the runtime: {error}")),
    };
    shown.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(3)
    })
}

/// What the broker has of a gateway.
struct Known {
    instance: String,
    gateway: Option<Value>,
    domains: BTreeMap<String, Value>,
}

impl Known {
    fn new(config: &Config) -> Self {
        Self { instance: config.instance.clone(), gateway: None, domains: BTreeMap::new() }
    }

    /// Takes a message in. What is no JSON is shown as null: nobody but the gateway should write it.
    fn take(&mut self, message: &Received) {
        let value: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        if message.topic == Board::state_topic(&self.instance) {
            self.gateway = (!message.payload.is_empty()).then_some(value);
            return;
        }
        let Some(name) = message.topic.rsplit('/').next() else { return };
        match message.payload.is_empty() {
            true => self.domains.remove(name),
            false => self.domains.insert(name.to_owned(), value),
        };
    }

    fn is_online(&self) -> bool {
        self.gateway.as_ref().is_some_and(|g| g["state"] == "online")
    }

    fn show(&self, as_json: bool) -> String {
        if as_json {
            let Self { instance, gateway, domains } = self;
            return format!(
                "{}\n",
                json!({"instance": instance, "gateway": gateway, "domains": domains})
            );
        }
        let now = now();
        table::table(&self.instance, self.gateway.as_ref(), &self.domains, now)
    }
}

#[allow(clippy::disallowed_methods, reason = "it says how long ago something was")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Writes to standard output; whether somebody still reads it.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

async fn once(args: &Args, config: &Config) -> Result<ExitCode, String> {
    let mut known = Known::new(config);
    let (_, messages) = Look::begin(config).await?;
    messages.iter().for_each(|m| known.take(m));
    print(&known.show(args.json));
    Ok(if known.is_online() { GOOD } else { ExitCode::from(4) })
}

async fn watch(args: &Args, config: &Config) -> Result<ExitCode, String> {
    let mut seconds = seconds();
    loop {
        seconds.tick().await;
        match follow(args, config, &mut seconds).await {
            Ok(()) => return Ok(GOOD),
            Err(error) => eprintln!("error: {error}"),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "--watch shows it again each second")]
fn seconds() -> Interval {
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds
}

/// Shows the status until nobody reads it any more.
async fn follow(args: &Args, config: &Config, seconds: &mut Interval) -> Result<(), String> {
    let mut known = Known::new(config);
    let (mut look, messages) = Look::begin(config).await?;
    messages.iter().for_each(|m| known.take(m));
    let on_terminal = std::io::stdout().is_terminal() && !args.json;
    let mut changed = true;
    loop {
        if changed || on_terminal {
            let text = known.show(args.json);
            let again = if on_terminal { format!("{CLEAR}{text}") } else { text };
            if !print(&again) {
                return Ok(());
            }
        }
        changed = false;
        loop {
            tokio::select! {
                message = look.next() => {
                    known.take(&message?);
                    changed = true;
                }
                _ = seconds.tick() => break,
            }
        }
    }
}
