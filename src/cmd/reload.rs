//! `passerelle reload`: has a gateway load its files anew, and says how that went.

use super::{ConfigFile, GOOD, Out, ask, bad, counted, load_bare, trouble};
use crate::edge::control::Request;
use serde_json::Value;
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle reload
  passerelle check && passerelle reload

Exit codes:
  0  all of it holds from now on
  1  something is wrong with it: nothing has changed
  2  the gateway cannot be asked, or the configuration is wrong";

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs it: 0 if it is reloaded, 1 if something is wrong with what was to be loaded, 2 if the gateway cannot be
/// asked.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match ask(&config, Request::Reload) {
        Ok(ended) => match ended.get("findings").and_then(Value::as_array) {
            Some(findings) => {
                for finding in findings {
                    out.say(format_args!("{}\n", finding.as_str().unwrap_or("?")));
                }
                let count = counted(findings.len(), "finding");
                out.say(format_args!("not reloaded: {count}: the gateway goes on as before\n"));
                bad()
            }
            None => {
                let rows = ended.get("rows").and_then(Value::as_u64);
                let rows = rows.and_then(|rows| usize::try_from(rows).ok());
                let rows = counted(rows.unwrap_or_default(), "row");
                out.say(format_args!("reloaded: the mapping has {rows}\n"));
                GOOD
            }
        },
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}
