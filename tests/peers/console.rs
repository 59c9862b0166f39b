//! A domain's console: the backend's socket on Dom0, and in the guest a port that one program after
//! another opens.

use super::{DEADLINE, Missing};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A console. As with a real one the gateway sees nothing of programs that come and go, nor do they of
/// the gateway; what it writes while there is none is lost, as a program that opens its port drops what
/// it finds there.
pub struct Console {
    path: PathBuf,
    guest: PathBuf,
    connected: watch::Sender<bool>,
    backend: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Console {
    /// Listens on `<directory>/<name>-msg.sock`, and for the guest's programs on a path of its own.
    pub fn start(directory: &Path, name: &str) -> Result<Self, Missing> {
        let guest = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let mut console = Self {
            path: directory.join(format!("{name}-msg.sock")),
            guest: guest.path().join("hvc2"),
            connected: watch::Sender::new(false),
            backend: None,
            _directory: guest,
        };
        console.listen()?;
        Ok(console)
    }

    /// Where a program of the guest connects to: a broker's socket, for one that speaks MQTT.
    pub fn port(&self) -> &Path {
        &self.guest
    }

    /// Opens the port.
    pub async fn open(&self) -> Result<UnixStream, Missing> {
        UnixStream::connect(&self.guest).await.map_err(|e| Missing::new(format!("hvc2: {e}")))
    }

    /// Waits until the gateway is connected.
    pub async fn connected(&self) -> Result<(), Missing> {
        let mut state = self.connected.subscribe();
        match tokio::time::timeout(DEADLINE, state.wait_for(|now| *now)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Missing::new("nobody connects to the console")),
        }
    }

    /// Waits until no gateway is connected.
    pub async fn disconnected(&self) -> Result<(), Missing> {
        let mut state = self.connected.subscribe();
        match tokio::time::timeout(DEADLINE, state.wait_for(|now| !*now)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Missing::new("somebody stays at the console")),
        }
    }

    /// The whole domain goes away.
    pub async fn stop(&mut self) -> Result<(), Missing> {
        if let Some(backend) = self.backend.take() {
            backend.abort();
            // It ends as cancelled, which is what was asked for.
            let _ = backend.await;
        }
        self.connected.send_replace(false);
        for path in [&self.path, &self.guest] {
            fs::remove_file(path).map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }

    /// It comes (back).
    pub fn listen(&mut self) -> Result<(), Missing> {
        let bind = |path: &Path| {
            UnixListener::bind(path).map_err(|e| Missing::new(format!("{}: {e}", path.display())))
        };
        let (dom0, guest) = (bind(&self.path)?, bind(&self.guest)?);
        let connected = self.connected.clone();
        self.backend = Some(tokio::spawn(async move {
            let mut program = None;
            while let Ok((gateway, _)) = dom0.accept().await {
                connected.send_replace(true);
                // However the connection ends, the next client is served.
                let _ = serve(gateway, &guest, &mut program).await;
                connected.send_replace(false);
            }
        }));
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            backend.abort();
        }
    }
}

/// One program after another, until the gateway goes; the last one stays.
async fn serve(
    mut gateway: UnixStream,
    guest: &UnixListener,
    program: &mut Option<UnixStream>,
) -> io::Result<()> {
    loop {
        let running = match program {
            Some(program) => program,
            None => tokio::select! {
                next = guest.accept() => program.insert(next?.0),
                end = drop_all(&mut gateway) => return end,
            },
        };
        if pump(&mut gateway, running).await? {
            return Ok(());
        }
        *program = None;
    }
}

async fn drop_all(from: &mut UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Passes bytes until one side ends; says whether it was the gateway.
async fn pump(gateway: &mut UnixStream, program: &mut UnixStream) -> io::Result<bool> {
    let (mut from_gateway, mut to_gateway) = gateway.split();
    let (mut from_program, mut to_program) = program.split();
    tokio::select! {
        end = pass(&mut from_program, &mut to_gateway) => end.map(|()| false),
        gone = async {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match from_gateway.read(&mut buffer).await? {
                    0 => return Ok(true),
                    size => if to_program.write_all(&buffer[..size]).await.is_err() {
                        // The program has closed its port, and its last bytes come first.
                        std::future::pending::<()>().await;
                    },
                }
            }
        } => gone,
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(size) => to.write_all(&buffer[..size]).await?,
        }
    }
}
