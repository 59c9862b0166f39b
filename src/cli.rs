//! The command line.

use crate::cmd;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A migration gateway between the PSEC MVP messaging protocol and MQTT.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
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
    /// Check mapping and configuration files: every finding, with its place and the way out
    Check(cmd::check::Args),
    /// Show what observing has found, and what of it the mapping does not cover
    Coverage(cmd::coverage::Args),
    /// Show or throw away what is kept on disk
    Store(cmd::store::Args),
    /// Say whether the policy lets a domain say something to another, and by which rule
    Explain(cmd::explain::Args),
    /// Write the broker's acl_file: what mapping and policy grant each domain
    Acl(cmd::acl::Args),
    /// Translate without sockets: inputs on standard input, effects on standard output
    Translate(cmd::translate::Args),
    /// Play conversations that were written down, and compare
    Test(cmd::test::Args),
}

impl Cli {
    /// Does what was asked for.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match &self.command {
            Command::Run(args) => cmd::run::run(args),
            Command::Status(args) => cmd::status::run(args),
            Command::Ready(args) => cmd::ready::run(args),
            Command::Check(args) => cmd::check::run(args),
            Command::Coverage(args) => cmd::coverage::run(args),
            Command::Store(args) => cmd::store::run(args),
            Command::Explain(args) => cmd::explain::run(args),
            Command::Acl(args) => cmd::acl::run(args),
            Command::Translate(args) => cmd::translate::run(args),
            Command::Test(args) => cmd::test::run(args),
        }
    }
}
