//! The table, for people and as JSON.

use crate::Res;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// The goal's name.
    pub id: &'static str,
    /// What was measured.
    pub what: String,
    /// Of what it is.
    pub unit: &'static str,
    /// What it is compared with: the direct path, in most lines.
    pub reference: Option<f64>,
    /// What was measured.
    pub measured: f64,
    /// What the goal is about: the ratio, in most lines.
    pub figure: f64,
    /// The goal for `figure`; `None`: there is none.
    pub goal: Option<Goal>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
        }
    }
}

impl Row {
    /// A ratio to something that was measured in the same rounds.
    pub fn ratio(
        id: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        (reference, measured, figure): (f64, f64, f64),
        goal: Option<Goal>,
    ) -> Self {
        Self { id, what: what.into(), unit, reference: Some(reference), measured, figure, goal }
    }

    /// A figure that stands for itself.
    pub fn plain(
        id: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        measured: f64,
        goal: Option<Goal>,
    ) -> Self {
        let what = what.into();
        Self { id, what, unit, reference: None, measured, figure: measured, goal }
    }

    /// The line of the table.
    pub fn print(&self) {
        let reference = self.reference.map(number).unwrap_or_default();
        let ratio = self.reference.map(|_| format!("{:.2}", self.figure)).unwrap_or_default();
        let goal = self.goal.map(Goal::shown).unwrap_or_default();
        let met = self.goal.map_or("", |g| if g.is_met(self.figure) { "met" } else { "MISSED" });
        let (id, what, unit, measured) = (self.id, &self.what, self.unit, number(self.measured));
        println!(
            "{id:<3} {what:<58} {reference:>10} {measured:>10} {unit:<9} {ratio:>6} {goal:>8} {met}"
        );
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "what": self.what,
            "unit": self.unit,
            "reference": self.reference,
            "measured": self.measured,
            "figure": self.figure,
            "goal": self.goal.map(Goal::shown),
            "met": self.goal.map(|g| g.is_met(self.figure)),
        })
    }
}

/// The head of the table.
pub fn head() {
    println!(
        "{:<3} {:<58} {:>10} {:>10} {:<9} {:>6} {:>8}",
        "id", "what", "reference", "measured", "", "ratio", "goal"
    );
}

fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The machine and the programs, a line each.
pub fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: String, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|l| Some(l.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        ("processor", format!("{cores} x {}", field(read("/proc/cpuinfo"), "model name"))),
        ("memory", field(read("/proc/meminfo"), "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("load before", read("/proc/loadavg").trim().to_owned()),
        (
            "broker",
            std::env::var("MOSQUITTO")
                .map_or_else(|_| said_by("mosquitto", "-h"), |program| said_by(&program, "-h"))
                .or(said_by("/usr/sbin/mosquitto", "-h"))
                .unwrap_or_default(),
        ),
        ("compiler", said_by("rustc", "--version").unwrap_or_default()),
        ("passerelle", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}

fn said_by(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}

/// Writes everything as JSON.
pub fn write(path: &Path, rounds: usize, machine: &[(&str, String)], rows: &[Row]) -> Res {
    let machine: serde_json::Map<_, _> =
        machine.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    let all = json!({ "rounds": rounds, "machine": machine, "rows": rows });
    Ok(fs::write(path, format!("{all:#}\n"))?)
}
