//! What crossed, printed as it does: the demo's table, and the virtual machines'.

use super::Missing;
use std::process::ExitCode;
use std::time::Instant;

/// The rows so far, and what did not arrive.
#[derive(Default)]
pub struct Table {
    rows: usize,
    missing: Vec<String>,
    under_way: String,
}

impl Table {
    /// Begins a scene.
    pub fn scene(&self, title: &str) {
        println!("\n{title}\n{}", "-".repeat(79));
    }

    /// Waits for one crossing, and prints it with the time that it took. What it gave, if it arrived.
    pub async fn row<T>(
        &mut self,
        what: &str,
        crossing: impl Future<Output = Result<T, Missing>>,
    ) -> Option<T> {
        self.under_way = what.to_owned();
        let start = Instant::now();
        let result = crossing.await;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        self.rows += 1;
        let end = if result.is_ok() { "ok" } else { "--" };
        println!("{what:<62} {took:>9.2} ms  {end}");
        result.map_err(|missing| self.missing(format!("{what}: {missing}"))).ok()
    }

    /// Something that was seen besides, which is neither right nor wrong.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// The row that was waited for last.
    pub fn under_way(&self) -> &str {
        &self.under_way
    }

    /// Whether something has not arrived.
    pub fn lacks(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Something that did not arrive.
    pub fn missing(&mut self, what: String) {
        self.missing.push(what);
    }

    /// The summary. The exit code is 0 only if all arrived.
    pub fn end(self) -> ExitCode {
        if self.missing.is_empty() {
            println!("\n{} crossings, all arrived.", self.rows);
            return ExitCode::SUCCESS;
        }
        println!("\nMissing:");
        for what in self.missing {
            println!("  {what}");
        }
        ExitCode::FAILURE
    }
}
