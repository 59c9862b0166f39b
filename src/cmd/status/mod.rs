//! `passerelle status`: what a running gateway says of itself.

mod table;

use super::{ConfigFile, GOOD, Out, ask, bad, load_bare, no_broker};
use crate::config::Bare;
use crate::edge::control::{NoAnswer, Request};
use crate::edge::lock::{self, Holder};
use crate::edge::retained::Look;
use crate::engine::publish::Received;
use crate::engine::status::{Board, MetricsForm, faults, metrics};
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
  passerelle status --prometheus | promtool check metrics

Exit codes:
  0  the gateway is online
  1  it is offline, does not answer, or the broker does not know it
  2  the configuration is wrong or a file cannot be read
  3  the broker is out of reach: of the gateway, or of this program if the gateway cannot be asked
  4  the gateway is online, and something needs a person: the status says what";

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
    /// Metrics in Prometheus's text format, 0.0.4; without a gateway, that it does not run
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    prometheus: bool,
    /// The same in OpenMetrics, 1.0
    #[arg(long, conflicts_with_all = ["watch", "json", "prometheus"])]
    openmetrics: bool,
}

impl Args {
    /// Which metrics are wanted, if they are.
    fn metrics(&self) -> Option<MetricsForm> {
        let openmetrics = self.openmetrics.then_some(MetricsForm::OpenMetrics);
        openmetrics.or(self.prometheus.then_some(MetricsForm::Prometheus))
    }
}

/// Runs it: 0 if the gateway is online, 1 if it is offline or the broker does not know it, 2 if the
/// configuration is wrong or a file cannot be read, 3 if the broker is out of reach, 4 if something needs a person.
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

/// What a gateway, or the broker, says of it.
#[derive(Clone, PartialEq)]
struct Known {
    instance: String,
    gateway: Option<Value>,
    domains: BTreeMap<String, Value>,
    /// Whether the gateway itself says it.
    is_of_now: bool,
}

impl Known {
    fn new(config: &Bare) -> Self {
        Self {
            instance: config.instance.clone(),
            gateway: None,
            domains: BTreeMap::new(),
            is_of_now: false,
        }
    }

    /// What the gateway itself says, if it can be asked.
    ///
    /// # Errors
    /// It is there, and says nothing: what the broker has of it is not how it is doing.
    fn asked(config: &Bare) -> Result<Option<Self>, String> {
        match ask(config, Request::Status) {
            Ok(whole) => Ok(Self::read(whole).or_else(|| Self::observing(config))),
            Err(silent @ NoAnswer::Silent(_)) => Err(silent.to_string()),
            Err(_) => Ok(Self::observing(config)),
        }
    }

    fn read(mut whole: Value) -> Option<Self> {
        let domains = whole.get_mut("domains")?.as_object_mut().map(std::mem::take)?;
        Some(Self {
            instance: whole.get("instance")?.as_str()?.to_owned(),
            gateway: whole.get_mut("gateway").map(Value::take),
            domains: domains.into_iter().collect(),
            is_of_now: true,
        })
    }

    /// A gateway that observes says nothing to the broker, but in its folder.
    fn observing(config: &Bare) -> Option<Self> {
        let holder = lock::look(&config.state_dir).ok().flatten().flatten();
        let Holder { pid, since, .. } = holder.filter(|holder| holder.observes)?;
        let gateway = json!({"state": "observing", "since": since, "pid": pid});
        Some(Self { gateway: Some(gateway), is_of_now: true, ..Self::new(config) })
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

    /// The broker cannot know of a gateway that observes, whatever it has.
    fn observes(&self) -> bool {
        self.is_of_now && self.gateway.as_ref().is_some_and(|g| g["state"] == "observing")
    }

    /// The exit code.
    fn code(&self) -> ExitCode {
        match &self.gateway {
            Some(_) if self.observes() => GOOD,
            Some(gateway) if gateway["broker_error"].is_string() => no_broker(),
            Some(gateway) if gateway["state"] != "online" => bad(),
            Some(gateway) if self.needs_a_person(gateway) => ExitCode::from(4),
            Some(_) => GOOD,
            None => bad(),
        }
    }

    /// Whether something does not mend itself.
    fn needs_a_person(&self, gateway: &Value) -> bool {
        let contested = |domain: &Value| domain["state"] == "contested";
        faults(gateway).iter().any(|(_, is)| *is) || self.domains.values().any(contested)
    }

    fn show(&self, args: &Args, out: &mut Out) {
        let Self { instance, gateway, domains, is_of_now } = self;
        if let Some(form) = args.metrics() {
            return out.say(metrics(form, instance, gateway.as_ref(), domains));
        }
        if args.json {
            let all = json!({"instance": instance, "gateway": gateway, "domains": domains});
            return out.say_json(format_args!("{all}\n"));
        }
        let gateway = gateway.as_ref();
        if let Some(gateway) = gateway.filter(|_| self.observes()) {
            return out.say(table::observing(instance, gateway, now()));
        }
        out.say_painted(&table::table(instance, gateway, domains, *is_of_now, now()));
    }
}

#[allow(clippy::disallowed_methods, reason = "it says how long ago something was")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// What a gateway, or the broker, says of it; for a page.
///
/// # Errors
/// Neither of them can be asked.
pub(super) fn whole(config: &Bare) -> Result<Value, String> {
    let known = match Known::asked(config)? {
        Some(known) => known,
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
            let (_, messages) = runtime.block_on(Look::begin(config))?;
            let mut known = Known::new(config);
            messages.iter().for_each(|message| known.take(message));
            known
        }
    };
    let Known { instance, gateway, domains, is_of_now } = known;
    let faults = gateway.as_ref().map(faults).unwrap_or_default();
    let faults: Vec<&str> = faults.iter().filter(|(_, is)| *is).map(|(kind, _)| *kind).collect();
    Ok(
        json!({"instance": instance, "gateway": gateway, "domains": domains, "is_of_now": is_of_now, "faults": faults}),
    )
}

async fn once(args: &Args, config: &Bare, out: &mut Out) -> Result<ExitCode, String> {
    let known = match Known::asked(config) {
        Ok(Some(known)) => known,
        Err(silent) => {
            if args.metrics().is_some() {
                Known::new(config).show(args, out);
            }
            complain(&silent, out);
            return Ok(bad());
        }
        Ok(None) => {
            let mut known = Known::new(config);
            match Look::begin(config).await {
                Ok((_, messages)) => messages.iter().for_each(|m| known.take(m)),
                Err(error) => {
                    // Whoever scrapes is to see that it does not run.
                    if args.metrics().is_some() {
                        known.show(args, out);
                    }
                    return Err(error);
                }
            }
            known
        }
    };
    known.show(args, out);
    Ok(known.code())
}

/// Shows the status until nobody reads it any more. On a terminal it is shown again each second, and else when
/// it has changed.
async fn watch(args: &Args, config: &Bare, out: &mut Out) -> Result<ExitCode, String> {
    let mut seconds = seconds();
    let mut shown = Shown { on_terminal: out.is_terminal() && !args.json, last: None };
    loop {
        seconds.tick().await;
        if !out.flush() {
            return Ok(GOOD);
        }
        match Known::asked(config) {
            Ok(Some(known)) => match shown.show(known, args, out) {
                true => continue,
                false => return Ok(GOOD),
            },
            Err(silent) => {
                complain(&silent, out);
                continue;
            }
            Ok(None) => {}
        }
        match follow(args, config, &mut seconds, &mut shown, out).await {
            Ok(true) => {}
            Ok(false) => return Ok(GOOD),
            Err(error) => complain(&error, out),
        }
    }
}

/// What was shown last.
struct Shown {
    on_terminal: bool,
    last: Option<Known>,
}

impl Shown {
    /// Says whether anybody reads it.
    fn show(&mut self, known: Known, args: &Args, out: &mut Out) -> bool {
        if !self.on_terminal && self.last.as_ref() == Some(&known) {
            return out.flush();
        }
        if self.on_terminal {
            out.put(CLEAR);
        }
        known.show(args, out);
        self.last = Some(known);
        out.flush()
    }
}

#[allow(clippy::disallowed_methods, reason = "--watch shows it again each second")]
fn seconds() -> Interval {
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds
}

/// Shows what the broker has, for as long as the gateway itself cannot be asked. Says whether anybody reads it.
async fn follow(
    args: &Args,
    config: &Bare,
    seconds: &mut Interval,
    shown: &mut Shown,
    out: &mut Out,
) -> Result<bool, String> {
    let mut known = Known::new(config);
    let (mut look, messages) = Look::begin(config).await?;
    messages.iter().for_each(|m| known.take(m));
    loop {
        if !shown.show(known.clone(), args, out) {
            return Ok(false);
        }
        loop {
            tokio::select! {
                message = look.next() => known.take(&message?),
                _ = seconds.tick() => break,
            }
        }
        if !matches!(Known::asked(config), Ok(None)) {
            return Ok(true);
        }
    }
}
