//! `passerelle run`: the gateway.

use super::{ConfigFile, GOOD, LOG_VARIABLE, Out, load, trouble};
use crate::config::{Config, LogFormat, LogLevel};
use crate::edge;
use std::process::ExitCode;
use tokio::runtime::Runtime;

const MORE: &str = "\
Examples:
  passerelle run
  passerelle run --config ./passerelle.toml --log debug
  kill -HUP PID     load the configuration and the mapping anew
  kill -USR1 PID    log the counters

Exit codes:
  0  ended by SIGTERM or SIGINT
  2  the configuration is wrong, a file cannot be read, or it cannot start";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// What is logged; the configuration's `log.level` otherwise
    #[arg(long, env = LOG_VARIABLE, hide_env_values = true, value_enum, value_name = "LEVEL")]
    log: Option<LogLevel>,
    /// How log lines look; the configuration's `log.format` otherwise
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Runs it: 0 after SIGTERM, 2 if the configuration is wrong, a file cannot be read or the gateway cannot
/// start.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    // One thread: a call goes through several tasks, and to wake another thread for each step takes
    // longer than the steps do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("the runtime: {e}"));
    let runtime = runtime.and_then(|runtime| edge::signals::hold(&runtime).map(|()| runtime));
    let config = match load(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match runtime.and_then(|runtime| start(args, config, runtime)) {
        Ok(()) => GOOD,
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}

fn start(args: &Args, config: Config, runtime: Runtime) -> Result<(), String> {
    edge::heap::keep_small();
    edge::secrets::keep_out_of_dumps()?;
    let log = edge::log::start(args.log, args.log_format, &config)?;
    let bound = log.bound();
    // Before there is another thread: what holds for this one holds for those that it starts.
    let confined = edge::confine::confine(&config)?;
    runtime.spawn(bound.clone().tell_each_second());
    runtime.spawn(edge::service::keep_alive());
    let ended = match config.observe.clone() {
        Some(observe) => runtime.block_on(edge::observe::run(config, observe, log, &confined)),
        None => runtime.block_on(edge::run(config, log, confined)),
    };
    bound.tell();
    // A disk that hangs does not hold up the end.
    runtime.shutdown_background();
    ended
}
