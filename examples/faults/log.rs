//! What the gateway says of itself: its refusals by the number of the message, its counters, and what is
//! in its store.

use super::peers::{DEADLINE, Gateway, Missing};
use super::wire;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The gateway's log, read as it grows.
pub struct Log {
    path: PathBuf,
    at: u64,
    /// Which messages were refused, and why.
    pub refused: BTreeMap<u64, String>,
    /// How many needed nothing done, in runs that have ended.
    pub ignored: u64,
    /// How many the last run left behind.
    pub left: u64,
}

impl Log {
    /// Nothing is read yet.
    pub fn new(gateway: &Gateway) -> Self {
        let path = gateway.log_file();
        Self { path, at: 0, refused: BTreeMap::new(), ignored: 0, left: 0 }
    }

    /// Reads what is new.
    pub fn read(&mut self) {
        let mut text = Vec::new();
        let Ok(mut file) = File::open(&self.path) else { return };
        if file.seek(SeekFrom::Start(self.at)).is_err() || file.read_to_end(&mut text).is_err() {
            return;
        }
        // A line that is not whole yet comes with the next reading.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.at += u64::try_from(whole).unwrap_or_default();
        for line in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
            if let Ok(value) = serde_json::from_slice::<Value>(line) {
                self.take(&value);
            }
        }
    }

    fn take(&mut self, line: &Value) {
        match line["message"].as_str() {
            Some("refused") => {
                let head = line["head"].as_str().unwrap_or_default();
                let detail = line["detail"].as_str().unwrap_or_default();
                // What is for everyone is counted where it is for all.
                let is_copy = detail.contains("has not been given what is for everyone");
                if let Some(number) = wire::asked(head.as_bytes()).filter(|_| !is_copy) {
                    let reason = line["reason"].as_str().unwrap_or_default();
                    self.refused.entry(number).or_insert_with(|| reason.to_owned());
                }
            }
            Some("passerelle has ended") => {
                self.left = line["left"].as_u64().unwrap_or_default();
                let counters = line["counters"].as_str().unwrap_or_default();
                let counts = counters.split("ignored[").skip(1);
                let counts = counts.filter_map(|rest| rest.split_once("]=")?.1.split(' ').next());
                self.ignored += counts.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
            }
            _ => {}
        }
    }

    /// The messages that are in the store of a gateway that has ended.
    pub async fn stored(
        &mut self,
        program: &Path,
        gateway: &Gateway,
    ) -> Result<BTreeSet<u64>, Missing> {
        let mut show = Command::new(program);
        show.args(["store", "show", "--config"]).arg(gateway.config_file()).kill_on_drop(true);
        let shown = tokio::time::timeout(DEADLINE, show.output()).await;
        let shown = shown.map_err(|_| Missing::new("`store show` does not end"))?;
        let shown = shown.map_err(|e| Missing::new(format!("`store show`: {e}")))?;
        let lines = shown.stdout.split(|byte| *byte == b'\n');
        let texts = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let numbers = texts.filter_map(|line| {
            let text = ["payload", "line", "head"].iter().find_map(|key| line[*key].as_str());
            wire::number_of(text.unwrap_or_default().as_bytes())
        });
        Ok(numbers.collect())
    }
}
