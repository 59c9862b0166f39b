//! The program: reads its arguments and does what they say.

use clap::Parser as _;
use passerelle::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    Cli::parse().run()
}
