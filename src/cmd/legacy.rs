//! `passerelle legacy`: a domain that went back to its old program.

use super::{ConfigFile, GOOD, Out, ask, bad, load_bare, trouble};
use crate::edge::control::{NoAnswer, Request};
use crate::engine::name::DomainName;
use serde_json::Value;
use std::process::ExitCode;

const MORE: &str = "\
A domain that has spoken MQTT is taken for a legacy one again when it sends a line, or when limits.away has
passed without a CONNECT. An old program that speaks only when it is asked need not be waited for.

Examples:
  passerelle legacy sys-usb

Exit codes:
  0  the domain is a legacy one now
  1  it cannot be: its new program is still connected, its channel is not there, or nobody knows it
  2  the gateway cannot be asked, or the configuration is wrong";

/// Arguments of `legacy`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The domain
    #[arg(value_name = "DOMAIN", value_parser = DomainName::parse)]
    domain: DomainName,
}

/// Runs it: 0 if the domain is a legacy one now, 1 if it cannot be, 2 if the gateway cannot be asked.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let domain = &args.domain;
    match ask(&config, Request::Legacy { domain: domain.clone() }) {
        Ok(taken) if taken.get("new") == Some(&Value::Bool(true)) => {
            out.say(format_args!("{domain} is taken for a legacy domain again\n"));
            GOOD
        }
        Ok(_) => {
            out.say(format_args!("{domain} is a legacy domain already\n"));
            GOOD
        }
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            if matches!(error, NoAnswer::Refused(_)) { bad() } else { trouble() }
        }
    }
}
