//! `passerelle log`: what a gateway that runs logs.

use super::{ConfigFile, GOOD, Out, ask, load_bare, trouble};
use crate::config::LogLevel;
use crate::edge::control::Request;
use serde_json::Value;
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle log          which level holds
  passerelle log debug    from now on, until the next reload or start

Exit codes:
  0  done
  2  the gateway cannot be asked, or the configuration is wrong";

/// Arguments of `log`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// What is logged until the next reload; without it, what is logged now is shown
    #[arg(value_enum, value_name = "LEVEL")]
    level: Option<LogLevel>,
}

/// Runs it: 0 if it is done, 2 if the gateway cannot be asked.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match ask(&config, Request::Log { level: args.level }) {
        Ok(now) => {
            let level = now.get("level").and_then(Value::as_str);
            out.say(format_args!("{}\n", level.unwrap_or("?")));
            GOOD
        }
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}
