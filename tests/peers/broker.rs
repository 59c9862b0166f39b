//! A real Mosquitto on a private UNIX socket, with the configuration that the project ships.

use super::foreign::{self, Gate};
use super::{Inbox, Missing, secret_of};
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
    /// Every change is written at once: the choice that the shipped configuration describes.
    Kept,
    /// As shipped, and it is killed before the first minute is over: sessions and messages are gone.
    Lost,
}

/// A running broker, killed when dropped.
pub struct Broker {
    directory: TempDir,
    persistence: Persistence,
    running: Option<(Child, Inbox<String>)>,
    /// The way to one that is no Mosquitto.
    foreign: Option<Gate>,
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

    /// Starts one that lets these users in alone, each with its secret, and to what `acl` grants them.
    pub async fn start_guarded(acl: &str, users: &[&str]) -> Result<Self, Missing> {
        let mut broker = Self::prepare(Persistence::Lost, "")?;
        broker.guard(acl, users)?;
        broker.run().await?;
        Ok(broker)
    }

    fn guard(&self, acl: &str, users: &[&str]) -> Result<(), Missing> {
        let failed = |e: io::Error| Missing::new(format!("the broker is not guarded: {e}"));
        let place = self.directory.path();
        let (conf, passwords) = (place.join("mosquitto.conf"), place.join("passwords"));
        let text: String = users.iter().map(|u| format!("{u}:{}\n", secret_of(u))).collect();
        fs::write(&passwords, text).map_err(failed)?;
        let mut hash = std::process::Command::new("mosquitto_passwd");
        let hashed = hash.arg("-U").arg(&passwords).output().map_err(failed)?;
        if !hashed.status.success() {
            let said = String::from_utf8_lossy(&hashed.stderr).into_owned();
            return Err(Missing::new(format!("mosquitto_passwd: {said}")));
        }
        fs::write(place.join("acl"), acl).map_err(failed)?;
        let guarded = format!(
            "allow_anonymous false\npassword_file {place}/passwords\nacl_file {place}/acl",
            place = place.display()
        );
        let text = fs::read_to_string(&conf).map_err(failed)?;
        fs::write(conf, text.replace("\nallow_anonymous true\n", &format!("\n{guarded}\n")))
            .map_err(failed)
    }

    /// Waits until it has logged a line with this text, which is not there for a second wait.
    pub async fn logged(&mut self, text: &str) -> Result<(), Missing> {
        let (_, log) =
            self.running.as_mut().ok_or_else(|| Missing::new("the broker is not running"))?;
        log.expect(text, |line: &String| line.contains(text)).await.map(drop)
    }

    /// Everything but the start: the socket's path is known, and nobody listens on it.
    pub fn prepare(persistence: Persistence, more: &str) -> Result<Self, Missing> {
        let directory = tempfile::tempdir();
        let directory =
            directory.map_err(|e| Missing::new(format!("no place for a broker: {e}")))?;
        let text = config(directory.path(), persistence, more)?;
        let broker = Self { directory, persistence, running: None, foreign: None };
        fs::write(broker.directory.path().join("mosquitto.conf"), text)
            .and_then(|()| symlink(broker.socket(), broker.gate()))
            .map_err(|e| Missing::new(format!("no place for a broker: {e}")))?;
        Ok(broker)
    }

    /// Starts it, or starts it again after [`Broker::kill`]. Returns once it accepts connections.
    pub async fn run(&mut self) -> Result<(), Missing> {
        remove(&self.socket())?;
        if let Some(program) = foreign::program() {
            return self.run_foreign(&program).await;
        }
        if self.persistence == Persistence::Lost {
            remove(&self.directory.path().join("mosquitto.db"))?;
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

    /// Starts one that is no Mosquitto. Its configuration is its own.
    async fn run_foreign(&mut self, program: &Path) -> Result<(), Missing> {
        let data = self.directory.path().join("data");
        let failed = |e: io::Error| Missing::new(format!("{}: {e}", program.display()));
        if self.persistence == Persistence::Lost && data.exists() {
            fs::remove_dir_all(&data).map_err(failed)?;
        }
        fs::create_dir_all(&data).map_err(failed)?;
        let port = foreign::free_port()?;
        let log = fs::File::create(self.directory.path().join("broker.log")).map_err(failed)?;
        let child = Command::new(program)
            .arg(port.to_string())
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        foreign::ready(port).await?;
        let (seen, log) = mpsc::unbounded_channel();
        self.foreign = Some(Gate::open(&self.socket(), port, seen)?);
        self.running = Some((child, Inbox::new("the broker", log)));
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
        self.foreign = None;
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

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().and_then(|(child, _)| child.id())
    }

    fn signal(&self, signal: Signal) -> Result<(), Missing> {
        let pid = self.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| Missing::new("the broker is not running"))?;
        kill_process(pid, signal)
            .map_err(|e| Missing::new(format!("no signal for the broker: {e}")))
    }
}

const HOW_TO_INSTALL: &str =
    "install it with `apt-get install mosquitto` (Debian) or `apk add mosquitto` (Alpine)";

/// What `MOSQUITTO` names, or the installed one. Debian keeps that out of an ordinary user's path.
fn program() -> PathBuf {
    let debian = Path::new("/usr/sbin/mosquitto");
    let installed = if debian.exists() { debian } else { Path::new("mosquitto") };
    std::env::var_os("MOSQUITTO").map_or_else(|| installed.to_owned(), PathBuf::from)
}

/// Removes a file that may not be there.
fn remove(file: &Path) -> Result<(), Missing> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Missing::new(format!("{} stays: {e}", file.display())))
        }
        _ => Ok(()),
    }
}

/// The configuration that is shipped; other are only the places, where the log goes and, for
/// [`Persistence::Kept`], how often the data is written.
fn config(directory: &Path, persistence: Persistence, more: &str) -> Result<String, Missing> {
    // Within the program, so that it need not find it in a virtual machine.
    const SHIPPED: &str = "packaging/mosquitto.conf";
    let mut text = include_str!("../../packaging/mosquitto.conf").to_owned();
    let place = directory.display();
    let mut replaced = vec![
        ("listener 0 /run/mosquitto/mqtt.sock", format!("listener 0 {place}/mqtt.sock")),
        ("persistence_location /var/lib/mosquitto/", format!("persistence_location {place}/")),
        ("log_dest syslog", "log_dest stderr".to_owned()),
    ];
    if persistence == Persistence::Kept {
        let often = "autosave_on_changes true\nautosave_interval 1";
        replaced.push(("autosave_interval 60", often.to_owned()));
    }
    for (shipped, here) in replaced {
        let line = format!("\n{shipped}\n");
        if text.matches(&line).count() != 1 {
            return Err(Missing::new(format!("{SHIPPED} has no line {shipped:?}, or several")));
        }
        text = text.replace(&line, &format!("\n{here}\n"));
    }
    // It keeps root's rights, if it has them: only root may enter a temporary directory of root's.
    text += &format!("user root\nlog_type information\nlog_type subscribe\n{more}\n");
    Ok(text)
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
