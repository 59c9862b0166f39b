//! The command line.

use crate::cmd::{self, Out};
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The version; and the commit, where `make` has said it.
const VERSION: &str = match option_env!("PASSERELLE_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// How help is shown on a terminal.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const MORE: &str = "\
Examples:
  passerelle check && passerelle run
  passerelle status --watch
  passerelle ready
  passerelle translate --help

Exit codes, of every subcommand:
  0  yes, or done
  1  no: something is wrong with what was looked at, or the answer is no
  2  it cannot be told or done: wrong arguments, a wrong configuration, or a file cannot be read
  3  the broker is out of reach
  4  all is well, but for something that needs a person";

/// A migration gateway between the PSEC MVP messaging protocol and MQTT.
#[derive(Debug, Parser)]
#[command(version = VERSION, about, arg_required_else_help = true, styles = STYLES, after_help = MORE)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM; SIGHUP reloads, SIGUSR1 logs the counters
    Run(cmd::run::Args),
    /// Show what a running gateway and its domains are doing
    Status(cmd::status::Args),
    /// Say whether any domain still speaks legacy: exit 0 when the gateway can go
    Ready(cmd::ready::Args),
    /// Write how the migration stands, as a page for those who decide
    Report(cmd::report::Args),
    /// Watch what crosses a running gateway, live: each message in both of its forms
    Tap(cmd::tap::Args),
    /// Record what a running gateway is told, with all that it knows, into a file
    Record(cmd::record::Args),
    /// Play a recording again: whether it does the same, or what another mapping would do
    Replay(cmd::replay::Args),
    /// Load the configuration and the mapping anew in a running gateway, and say what is wrong with them
    Reload(cmd::reload::Args),
    /// Change what a running gateway logs
    Log(cmd::log::Args),
    /// Take a domain for a legacy one again whose old program speaks only when it is asked
    Legacy(cmd::legacy::Args),
    /// Check mapping and configuration files: every finding, with its place and the way out
    Check(cmd::check::Args),
    /// Show what observing has found, and what of it the mapping does not cover
    Coverage(cmd::coverage::Args),
    /// Draft rows for what observing has heard and no row covers
    Suggest(cmd::suggest::Args),
    /// Show or throw away what is kept on disk
    Store(cmd::store::Args),
    /// Say whether the policy lets a domain say something to another, and by which rule
    Explain(cmd::explain::Args),
    /// Write the broker's acl_file: what mapping and policy grant each domain
    Acl(cmd::acl::Args),
    /// Write what a domain on MQTT says and hears: as tables, or as an AsyncAPI document
    Api(cmd::api::Args),
    /// Translate without sockets: inputs on standard input, effects on standard output
    Translate(cmd::translate::Args),
    /// Play conversations that were written down, and compare
    Test(cmd::test::Args),
}

impl Cli {
    /// Does what the program's arguments ask for.
    #[must_use]
    pub fn main() -> ExitCode {
        let mut out = Out::new();
        let code = match Self::try_parse() {
            Ok(cli) => cli.run(&mut out),
            Err(answer) => tell(&answer, &mut out),
        };
        out.end(code)
    }

    fn run(&self, out: &mut Out) -> ExitCode {
        match &self.command {
            Command::Run(args) => cmd::run::run(args, out),
            Command::Status(args) => cmd::status::run(args, out),
            Command::Ready(args) => cmd::ready::run(args, out),
            Command::Report(args) => cmd::report::run(args, out),
            Command::Tap(args) => cmd::tap::run(args, out),
            Command::Record(args) => cmd::record::run(args, out),
            Command::Replay(args) => cmd::replay::run(args, out),
            Command::Reload(args) => cmd::reload::run(args, out),
            Command::Log(args) => cmd::log::run(args, out),
            Command::Legacy(args) => cmd::legacy::run(args, out),
            Command::Check(args) => cmd::check::run(args, out),
            Command::Coverage(args) => cmd::coverage::run(args, out),
            Command::Suggest(args) => cmd::suggest::run(args, out),
            Command::Store(args) => cmd::store::run(args, out),
            Command::Explain(args) => cmd::explain::run(args, out),
            Command::Acl(args) => cmd::acl::run(args, out),
            Command::Api(args) => cmd::api::run(args, out),
            Command::Translate(args) => cmd::translate::run(args, out),
            Command::Test(args) => cmd::test::run(args, out),
        }
    }
}

/// Shows the help or the version, or what is wrong with the arguments.
fn tell(answer: &clap::Error, out: &mut Out) -> ExitCode {
    let text = answer.render();
    match answer.use_stderr() {
        true => out.complain(text),
        // Nothing in it is from outside.
        false => out.say_painted(&text.ansi().to_string()),
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(u8::MAX))
}
