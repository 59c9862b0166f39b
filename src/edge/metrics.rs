//! The file of metrics, for the node exporter's text collector.

use super::handle::Handle;
use super::private;
use crate::engine::gateway::Gateway;
use crate::engine::status::{MetricsForm, metrics_of};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(15);
/// How long after the start for the first time: by then the broker has mostly answered.
const SOON: Duration = Duration::from_secs(1);
/// Another user's collector reads it.
const MODE: u32 = 0o644;

/// Writes the file for as long as the gateway runs.
pub(super) struct MetricsFile {
    file: PathBuf,
    task: JoinHandle<()>,
}

impl MetricsFile {
    pub fn start(file: PathBuf, engine: Arc<Handle>) -> Self {
        let task = tokio::spawn(keep_writing(file.clone(), engine));
        Self { file, task }
    }

    /// Says in it that the gateway does not run any more.
    pub async fn end(self, instance: &str) {
        self.task.abort();
        // However it ended, nobody writes there any more.
        let _ = self.task.await;
        let whole = serde_json::json!({"instance": instance, "gateway": null, "domains": {}});
        if let Err(error) = write(&self.file, &metrics_of(MetricsForm::Prometheus, &whole)) {
            tracing::debug!(%error, "the metrics do not say that the gateway has ended");
        }
    }
}

async fn keep_writing(file: PathBuf, engine: Arc<Handle>) {
    let mut pace = interval_at(Instant::now() + SOON, EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        pace.tick().await;
        let text = metrics_of(MetricsForm::Prometheus, &engine.tell(None, Gateway::status).0);
        let to = file.clone();
        // A slow disk holds up nobody.
        let written = spawn_blocking(move || write(&to, &text)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if !failed => {
                tracing::warn!(file = %file.display(), %error, help = "have its folder belong to the gateway's user or group, or name another as `metrics.file`", "the metrics cannot be written: tried again every 15 s");
                failed = true;
            }
            Ok(()) if failed => {
                tracing::info!(file = %file.display(), "the metrics are written again");
                failed = false;
            }
            _ => {}
        }
    }
}

/// Writes it whole: whoever reads it finds the old or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let (file, new) = private::write_beside(path, text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    fs::rename(&new, path)
}
