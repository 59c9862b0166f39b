//! `passerelle status`: what a running gateway says of itself.

mod table;

use super::{ConfigFile, GOOD, Out, bad, load_bare, no_broker};
use crate::config::Bare;
use crate::edge::lock::{self, Holder};
use crate::edge::retained::Look;
use crate::engine::publish::Received;
use crate::engine::status::Board;
use crate::printable;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Clears a terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";
const SECOND: Duration = Duration::from_secs(1);

const MORE: &str = "\
Examples:
  passerelle status
  passerelle status --watch
  passerelle status --json | jq .domains

Exit codes:
  0  the gateway is online
  1  it is offline or the broker does not know it
  2  the configuration is wrong or a file cannot be read
  3  the broker is out of reach";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Show it again, each second on a terminal and else on each change, until interrupted
    #[arg(long)]
    watch: bool,
    /// One JSON object on a line instead of a table, on each change with --watch
    #[arg(long)]
    json: bool,
}

/// Runs it: 0 if the gateway is online, 1 if it is offline or the broker does not know it, 2 if the
/// configuration is wrong or a file cannot be read, 3 if the broker is out of reach.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = match runtime {
        Ok(runtime) if args.watch => runtime.block_on(watch(args, &config, out)),
        Ok(runtime) => runtime.block_on(once(args, &config, out)),
        Err(error) => Err(format!("the runtime: {error}")),
    };
    shown.unwrap_or_else(|error| {
        complain(&error, out);
        no_broker()
    })
}

/// The broker may have put anything into it.
fn complain(error: &str, out: &mut Out) {
    out.complain(format_args!("error: {}\n", printable::text(error)));
}

/// What the broker has of a gateway.
struct Known {
    instance: String,
    gateway: Option<Value>,
    domains: BTreeMap<String, Value>,
}

impl Known {
    fn new(config: &Bare) -> Self {
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

    fn show(&self, as_json: bool, out: &mut Out) {
        let Self { instance, gateway, domains } = self;
        if as_json {
            let all = json!({"instance": instance, "gateway": gateway, "domains": domains});
            return out.say_json(format_args!("{all}\n"));
        }
        out.say_painted(&table::table(instance, gateway.as_ref(), domains, now()));
    }
}

#[allow(clippy::disallowed_methods, reason = "it says how long ago something was")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A gateway that observes says nothing to the broker. One whose folder this user may not look into is asked
/// for there.
fn show_observer(args: &Args, config: &Bare, out: &mut Out) -> bool {
    let holder = lock::look(&config.state_dir).ok().flatten().flatten();
    let Some(Holder { pid, since, .. }) = holder.filter(|holder| holder.observes) else {
        return false;
    };
    let instance = &config.instance;
    if args.json {
        let gateway = json!({"state": "observing", "since": since, "pid": pid});
        let all = json!({"instance": instance, "gateway": gateway, "domains": {}});
        out.say_json(format_args!("{all}\n"));
    } else {
        out.say(table::observing(instance, pid, &since, now()));
    }
    true
}

async fn once(args: &Args, config: &Bare, out: &mut Out) -> Result<ExitCode, String> {
    if show_observer(args, config, out) {
        return Ok(GOOD);
    }
    let mut known = Known::new(config);
    let (_, messages) = Look::begin(config).await?;
    messages.iter().for_each(|m| known.take(m));
    known.show(args.json, out);
    Ok(if known.is_online() { GOOD } else { bad() })
}

async fn watch(args: &Args, config: &Bare, out: &mut Out) -> Result<ExitCode, String> {
    let mut seconds = seconds();
    loop {
        seconds.tick().await;
        if !out.flush() {
            return Ok(GOOD);
        }
        if show_observer(args, config, out) {
            continue;
        }
        match follow(args, config, &mut seconds, out).await {
            Ok(()) => return Ok(GOOD),
            Err(error) => complain(&error, out),
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
async fn follow(
    args: &Args,
    config: &Bare,
    seconds: &mut Interval,
    out: &mut Out,
) -> Result<(), String> {
    let mut known = Known::new(config);
    let (mut look, messages) = Look::begin(config).await?;
    messages.iter().for_each(|m| known.take(m));
    let on_terminal = out.is_terminal() && !args.json;
    let mut changed = true;
    loop {
        if changed || on_terminal {
            if on_terminal {
                out.put(CLEAR);
            }
            known.show(args.json, out);
        }
        if !out.flush() {
            return Ok(());
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
