//! MQTT at a console port: a program that has moved speaks it there as to a broker's socket.

use crate::peers::Missing;
use crate::tty::Tty;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::copy;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A socket that leads to a port. The port is open for as long as a client is connected; one client is
/// served at a time.
pub struct Bridge {
    directory: TempDir,
    task: JoinHandle<()>,
}

impl Bridge {
    /// Begins to listen.
    pub fn start(port: &'static str) -> Result<Self, Missing> {
        let directory = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let listener = UnixListener::bind(directory.path().join("broker"));
        let listener = listener.map_err(|e| Missing::new(e.to_string()))?;
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // However it ends, the client comes back.
                let _ = serve(client, Path::new(port)).await;
            }
        });
        Ok(Self { directory, task })
    }

    /// Where to connect to.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("broker")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: UnixStream, port: &Path) -> Result<(), Missing> {
    let (mut reader, mut writer) = Tty::open(port).await?.raw()?.emptied()?.split()?;
    let (mut from, mut to) = client.split();
    let ended = tokio::select! {
        ended = copy(&mut from, &mut writer) => ended,
        ended = copy(&mut reader, &mut to) => ended,
    };
    ended.map(drop).map_err(|e| Missing::new(e.to_string()))
}
