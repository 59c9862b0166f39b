//! `make bench`: the gateway beside the direct path, in one run, on one machine and one broker.
//!
//! Each line is measured in several rounds; in each round what is compared takes turns, and a ratio is
//! the median of the rounds' ratios. Nothing here is a test: `BENCHMARKS.md` says what the goals are
//! for, and a goal that is missed is no failure. The exit code is 0 if everything could be measured.
//!
//! The environment says how long it takes:
//! - `ROUNDS`: how many rounds (10); with 1, every line is measured once and briefly, to see that it works.
//! - `ONLY`: the lines that are wanted, such as `L,T1` (all).
//! - `PASSERELLE`: another program than the one built with the benchmark, to compare the two.
//! - `PASSERELLE_STATIC`: the static program, for M1 and X1 (else the one built with the benchmark).

#![allow(clippy::disallowed_methods, reason = "the benchmark plays the edges")]

mod bulk;
mod callgrind;
mod flow;
mod legacy_end;
mod messages;
mod mqtt_end;
#[path = "../../tests/peers/mod.rs"]
mod peers;
mod process;
mod report;
mod scale;
mod small;
mod start;
mod stats;
mod world;

use report::Row;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use world::Floor;

/// What can go wrong here is only told.
type Res<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many notifications may be on their way: enough to keep everyone busy, and far from any limit.
const AHEAD: usize = 1000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How many rounds.
    pub rounds: usize,
    /// Whether it is only to be seen that it works.
    pub short: bool,
}

impl Extent {
    /// As many as wanted, or a few.
    pub fn of(self, full: usize) -> usize {
        if self.short { (full / 20).max(1) } else { full }
    }
}

/// The lines of the table that are measured together.
type Part = (&'static str, fn(&mut Floor, Extent) -> Res<Vec<Row>>);

const PARTS: [Part; 9] = [
    ("L1 L2 L3 C1", small::latency),
    ("T1", small::throughput),
    ("T2", flow::notifications),
    ("B1", bulk::listings),
    ("B2", bulk::files),
    ("M1", scale::idle),
    ("S1", scale::scale),
    ("F1", flow::fairness),
    ("X1", start::start),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Res {
    let rounds: usize = match std::env::var("ROUNDS") {
        Ok(text) => text.parse().map_err(|e| format!("ROUNDS={text}: {e}"))?,
        Err(_) => 10,
    };
    let extent = Extent { rounds: rounds.max(1), short: rounds <= 1 };
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |ids: &str| only.is_empty() || only.split(',').any(|o| ids.contains(o));
    let machine = report::machine();
    for (key, value) in &machine {
        println!("{key:<12} {value}");
    }
    println!();
    report::head();
    let mut rows = Vec::new();
    for (ids, measure) in PARTS.into_iter().filter(|(ids, _)| wanted(ids)) {
        // Each has a broker of its own, or what one leaves there would be in the way of the next.
        let part = measure(&mut Floor::start()?, extent).map_err(|e| format!("{ids}: {e}"))?;
        part.iter().for_each(Row::print);
        rows.extend(part);
    }
    if wanted("I1") {
        let part = callgrind::instructions(extent)?;
        part.iter().for_each(Row::print);
        rows.extend(part);
    }
    let file = target().join("bench.json");
    report::write(&file, extent.rounds, &machine, &rows)?;
    println!("\n{}", file.display());
    Ok(())
}

/// Cargo's directory: the program is built into it.
fn target() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_passerelle"));
    program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}
