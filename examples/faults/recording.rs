//! Everything that the gateway is told is recorded, and played again: it does the same, whatever failed.

use super::peers::{Gateway, Missing};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Somebody who records a gateway until it ends.
pub struct Recording {
    program: PathBuf,
    recorder: Child,
    folder: TempDir,
}

impl Recording {
    /// It records when this returns.
    pub async fn start(program: &Path, gateway: &Gateway) -> Result<Self, Missing> {
        let folder = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let recorder = Command::new(program)
            .args(["record", "--size", "100GiB", "--config"])
            .arg(gateway.config_file())
            .arg(folder.path().join("recording"))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Missing::new(e.to_string()))?;
        gateway.logged("somebody records", 1).await?;
        Ok(Self { program: program.to_owned(), recorder, folder })
    }

    /// Plays it again, after the gateway's end. Says how that went, and whether there is no difference.
    pub async fn play(mut self) -> Result<(String, bool), Missing> {
        let failed = |e: std::io::Error| Missing::new(e.to_string());
        self.recorder.wait().await.map_err(failed)?;
        let file = self.folder.path().join("recording");
        let played = Command::new(&self.program).arg("replay").arg(&file).output();
        let played = played.await.map_err(failed)?;
        let said = [played.stdout, played.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), played.status.success()))
    }
}
