//! A real Mosquitto on a private UNIX socket.

use super::{Inbox, Missing};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Whether what the broker holds outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Every change is written at once.
    Kept,
    /// Sessions and messages are gone when it is killed.
    Lost,
}

/// A running broker, killed when dropped.
pub struct Broker {
    directory: TempDir,
    running: Option<(Child, Inbox<String>)>,
}

impl Broker {
    /// Starts one that forgets everything when it is killed.
    pub async fn start() -> Result<Self, Missing> {
        Self::start_with(Persistence::Lost, "").await
    }

    /// Starts one, with more lines for its configuration.
    pub async fn start_with(persistence: Persistence, more: &str) -> Result<Self, Missing> {
        let mut broker = Self::prepare(persistence, more)?;
        broker.run().await?;
        Ok(broker)
    }

    /// Everything but the start: the socket's path is known, and nobody listens on it.
    pub fn prepare(persistence: Persistence, more: &str) -> Result<Self, Missing> {
        let made = tempfile::tempdir().and_then(|directory| {
            fs::write(
                directory.path().join("mosquitto.conf"),
                config(directory.path(), persistence, more),
            )?;
            let broker = Self { directory, running: None };
            symlink(broker.socket(), broker.gate())?;
            Ok(broker)
        });
        made.map_err(|e| Missing::new(format!("no place for a broker: {e}")))
    }

    /// Starts it, or starts it again after [`Broker::kill`]. Returns once it accepts connections.
    pub async fn run(&mut self) -> Result<(), Missing> {
        match fs::remove_file(self.socket()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Missing::new(format!("the old socket stays: {e}")));
            }
            _ => {}
        }
        let mut child = Command::new(program())
            .arg("-c")
            .arg(self.directory.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| {
                Missing::new(format!("mosquitto does not start: {e}; {HOW_TO_INSTALL}"))
            })?;
        let mut log = Inbox::new("mosquitto", log_of(&mut child));
        log.expect("its start", |line: &String| line.ends_with(" running")).await?;
        UnixStream::connect(self.socket())
            .await
            .map_err(|e| Missing::new(format!("mosquitto runs but refuses: {e}")))?;
        self.running = Some((child, log));
        Ok(())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("mqtt.sock")
    }

    /// Another path to its socket, which the gateway uses: [`Broker::shut`] keeps the gateway out
    /// while the peers come back.
    pub fn gate(&self) -> PathBuf {
        self.directory.path().join("gate.sock")
    }

    /// From now on nobody can connect through the gate.
    pub fn shut(&self) -> Result<(), Missing> {
        fs::remove_file(self.gate()).map_err(|e| Missing::new(format!("the gate stays open: {e}")))
    }

    /// The gate is open again.
    pub fn open(&self) -> Result<(), Missing> {
        symlink(self.socket(), self.gate())
            .map_err(|e| Missing::new(format!("the gate stays shut: {e}")))
    }

    /// Waits until `client` (or anyone, if it is `*`) has subscribed to all of these, seen from the broker's side.
    ///
    /// Each subscription is seen once: what is waited for here is not there for a second wait.
    pub async fn subscribed(
        &mut self,
        client: &str,
        filters: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), Missing> {
        let (_, log) =
            self.running.as_mut().ok_or_else(|| Missing::new("the broker is not running"))?;
        for filter in filters {
            // "1700000000: vm-gui 1 system/disks/list_disks/request"
            let wanted = |line: &String| {
                let mut words = line.split_whitespace().skip(1);
                words.next().is_some_and(|id| client == "*" || id == client)
                    && words.nth(1) == Some(filter.as_ref())
            };
            log.expect(&format!("{client} to subscribe to {}", filter.as_ref()), wanted).await?;
        }
        Ok(())
    }

    /// Kills it as a crash would (SIGKILL), and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), Missing> {
        let Some((mut child, _)) = self.running.take() else {
            return Ok(());
        };
        child.kill().await.map_err(|e| Missing::new(format!("the broker does not die: {e}")))
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing moves.
    pub fn freeze(&self) -> Result<(), Missing> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> Result<(), Missing> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Missing> {
        let pid = self.running.as_ref().and_then(|(child, _)| child.id());
        let pid = pid.and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| Missing::new("the broker is not running"))?;
        kill_process(pid, signal)
            .map_err(|e| Missing::new(format!("no signal for the broker: {e}")))
    }
}

const HOW_TO_INSTALL: &str =
    "install it with `apt-get install mosquitto` (Debian) or `apk add mosquitto` (Alpine)";

/// Debian keeps it out of an ordinary user's path.
fn program() -> &'static Path {
    let debian = Path::new("/usr/sbin/mosquitto");
    if debian.exists() { debian } else { Path::new("mosquitto") }
}

fn config(directory: &Path, persistence: Persistence, more: &str) -> String {
    let persistence = match persistence {
        Persistence::Lost => "persistence false".to_owned(),
        Persistence::Kept => format!(
            "persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1",
            directory.display()
        ),
    };
    format!(
        "listener 0 {}/mqtt.sock\nallow_anonymous true\nuser root\n{persistence}\n\
         max_queued_messages 0\nlog_dest stderr\n\
         log_type error\nlog_type warning\nlog_type notice\nlog_type information\nlog_type subscribe\n{more}\n",
        directory.display()
    )
}

fn log_of(child: &mut Child) -> mpsc::UnboundedReceiver<String> {
    let (tx, rx) = mpsc::unbounded_channel();
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Nobody may be waiting any more; the pipe is still to be kept empty.
                let _ = tx.send(line);
            }
        });
    }
    rx
}
