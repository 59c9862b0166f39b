//! `make test-faults`: the built gateway between a real Mosquitto, legacy domains and domains on MQTT, while
//! one of them fails, again and again. Every message has a number, and at the end each is accounted for:
//! sent = delivered + refused + ignored + stored + what is told apart beside it; nothing is lost. `make soak`:
//! an hour of it, with what it costs.
//!
//! What the broker had acknowledged to the gateway and nobody has seen since, because it was killed, is the
//! broker's (`forgot`). What the gateway had read last when it was killed, and what was in its memory for a
//! legacy domain, may be lost (`risk`). What a backend has thrown away was never sent (`thrown`).

#![allow(clippy::disallowed_methods, reason = "the test plays the edges")]
#![allow(clippy::indexing_slicing, reason = "a JSON value has null for what is not there")]

mod backend;
mod broker_rows;
mod domain_rows;
mod gateway_rows;
mod guest;
mod hostile;
mod ledger;
mod log;
mod mqtt;
#[path = "../../tests/peers/mod.rs"]
mod peers;
mod recording;
mod rows;
mod soak;
mod tap;
mod wire;
mod world;

use clap::{Parser, ValueEnum as _};
use peers::broker::Persistence;
use rows::Row;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use world::{STORE, Setting};

/// Faults, and a ledger that balances.
#[derive(Debug, Parser)]
struct Arguments {
    /// The gateway's program [default: the one that was built with this]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where the random numbers begin [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Some rows, some times
    #[arg(long)]
    short: bool,
    /// These rows only
    #[arg(long, value_delimiter = ',')]
    only: Vec<Row>,
    /// No rows, but all of it mixed, for so many seconds
    #[arg(long, conflicts_with = "only")]
    soak: Option<u64>,
    /// It is recorded, and played again
    #[arg(long, requires = "soak")]
    record: bool,
    /// How many seconds there are between two lines of it [default: a sixtieth, 60 at most]
    #[arg(long)]
    each: Option<u64>,
}

// One thread: what happens at once happens in an order.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(program) = arguments.program.clone().or_else(built) else {
        eprintln!("faults: give the path of the gateway's program");
        return ExitCode::FAILURE;
    };
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() % 100_000)
    });
    let setting = Setting {
        program,
        persistence: Persistence::Lost,
        key: "",
        tables: STORE.to_owned(),
        seed,
        pace: Duration::from_millis(10),
    };
    println!("SEED={seed}");
    // Whoever is told to end ends those whom it has started.
    let mut told = match signal(SignalKind::terminate()) {
        Ok(told) => told,
        Err(error) => {
            eprintln!("faults: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        done = run(&setting, &arguments) => done,
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        _ = told.recv() => ExitCode::FAILURE,
    }
}

async fn run(setting: &Setting, arguments: &Arguments) -> ExitCode {
    if let Some(time) = arguments.soak {
        let each = arguments.each.unwrap_or((time / 60).clamp(1, 60));
        let (time, each) = (Duration::from_secs(time), Duration::from_secs(each));
        return soak::soak(setting, time, each, arguments.record).await;
    }
    println!("{}", rows::TITLE);
    let mut failed = 0;
    let chosen = Row::value_variants().iter();
    for row in chosen.filter(|row| arguments.only.is_empty() || arguments.only.contains(row)) {
        failed += usize::from(!row.run(setting, arguments.short).await);
    }
    match failed {
        0 => println!("every ledger balances"),
        _ => println!("{failed} FAILED; SEED={} begins with the same numbers", setting.seed),
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The program that was built with this one.
fn built() -> Option<PathBuf> {
    let examples = std::env::current_exe().ok()?;
    Some(examples.parent()?.parent()?.join("passerelle"))
}
