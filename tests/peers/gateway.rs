//! The built program, run as a user runs it.

use super::{DEADLINE, Dialect, Missing, secret_of};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A gateway's configuration, and the program when it runs. Killed when dropped.
pub struct Gateway {
    directory: TempDir,
    program: PathBuf,
    mappings: Vec<PathBuf>,
    url: String,
    channel: String,
    rows: Option<(String, String)>,
    arguments: Vec<String>,
    starter: Vec<String>,
    keys: String,
    broker_keys: String,
    dialects: String,
    control: String,
    more: String,
    running: Option<Child>,
}

impl Gateway {
    /// A gateway that serves `program` with the mapping `psec.toml` of `mappings` and the broker on
    /// `broker`. It has no channel yet.
    pub fn new(
        program: impl Into<PathBuf>,
        mappings: &Path,
        broker: &Path,
    ) -> Result<Self, Missing> {
        let directory =
            tempfile::tempdir().map_err(|e| Missing::new(format!("no directory: {e}")))?;
        fs::create_dir(directory.path().join("state"))
            .map_err(|e| Missing::new(format!("no directory: {e}")))?;
        Ok(Self {
            directory,
            program: program.into(),
            mappings: vec![mappings.join("psec.toml")],
            url: format!("\"unix:{}\"", broker.display()),
            channel: String::new(),
            rows: None,
            arguments: Vec::new(),
            starter: Vec::new(),
            keys: String::new(),
            broker_keys: String::new(),
            dialects: "default = \"psec\"\n".to_owned(),
            control: String::new(),
            more: String::new(),
            running: None,
        })
    }

    /// On Dom0: the domains whose sockets are in `directory`.
    #[must_use]
    pub fn on_dom0(mut self, directory: &Path) -> Self {
        self.channel = format!("unix = \"{}/*-msg.sock\"\n", directory.display());
        self
    }

    /// In a DomU: `local` is here, and everything else behind `port`.
    #[must_use]
    pub fn in_domu(mut self, port: &Path, local: &str) -> Self {
        self.channel = format!("serial = \"{}\"\nlocal = [\"{local}\"]\n", port.display());
        self
    }

    /// Reaches one of several brokers.
    #[must_use]
    pub fn with_urls(mut self, urls: &[String]) -> Self {
        self.url = format!("{urls:?}");
        self
    }

    /// Reaches the broker another way.
    #[must_use]
    pub fn with_url(mut self, url: String) -> Self {
        self.url = format!("{url:?}");
        self
    }

    /// One more mapping file, from where the first one is.
    #[must_use]
    pub fn with_mapping(mut self, file: &str) -> Self {
        if let Some(directory) = self.mappings.first().and_then(|first| first.parent()) {
            self.mappings.push(directory.join(file));
        }
        self
    }

    /// Another mapping, in the place of `psec.toml`: a file, or a folder of them.
    #[must_use]
    pub fn with_mappings(mut self, place: &Path) -> Self {
        self.mappings = vec![place.to_owned()];
        self
    }

    /// Loads a dialect, which `domain` speaks.
    #[must_use]
    pub fn with_dialect(mut self, domain: &str, dialect: Dialect) -> Self {
        self.dialects += &format!("{domain} = \"{}\"\n", dialect.name());
        self.with_mapping(&format!("{}.toml", dialect.name()))
    }

    /// A mapping file of one's own, beside the configuration.
    #[must_use]
    pub fn with_rows(mut self, file: &str, rows: &str) -> Self {
        self.mappings.push(self.directory.path().join(file));
        self.rows = Some((file.to_owned(), rows.to_owned()));
        self
    }

    /// One more argument.
    #[must_use]
    pub fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Started by another program, which runs what follows its own arguments.
    #[must_use]
    pub fn started_by(mut self, words: &[&str]) -> Self {
        self.starter = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// More keys for `[broker]`.
    #[must_use]
    pub fn with_broker_keys(mut self, lines: &str) -> Self {
        self.broker_keys += lines;
        self
    }

    /// One more key for the configuration's beginning.
    #[must_use]
    pub fn with_key(mut self, line: &str) -> Self {
        self.keys += line;
        self.keys.push('\n');
        self
    }

    /// Everyone logs in as who they are: the gateway as `passerelle`, and each of these domains.
    pub fn with_passwords(mut self, domains: &[&str]) -> io::Result<Self> {
        let all = domains.iter().chain([&"passerelle"]);
        let text: String = all.map(|user| format!("{user}:{}\n", secret_of(user))).collect();
        let file = self.folder().join("passwords");
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        self.broker_keys = "user = \"passerelle\"\npasswords = \"passwords\"\n".to_owned();
        Ok(self)
    }

    /// It can be asked itself, and not through the broker alone.
    #[must_use]
    pub fn with_control(self) -> Self {
        self.with_control_at("control.sock")
    }

    /// The same, at this socket.
    #[must_use]
    pub fn with_control_at(mut self, socket: &str) -> Self {
        socket.clone_into(&mut self.control);
        self
    }

    /// More tables for the configuration.
    #[must_use]
    pub fn with(mut self, tables: &str) -> Self {
        self.more.push_str(tables);
        self
    }

    /// Starts the program.
    pub fn start(mut self) -> Result<Self, Missing> {
        self.run().map_err(|e| Missing::new(format!("{}: {e}", self.program.display())))?;
        Ok(self)
    }

    /// Writes its configuration, without starting it.
    pub fn write(&self) -> io::Result<()> {
        fs::write(self.config_file(), self.config())?;
        match &self.rows {
            Some((file, rows)) => fs::write(self.folder().join(file), rows),
            None => Ok(()),
        }
    }

    /// Starts it (again).
    pub fn run(&mut self) -> io::Result<()> {
        self.write()?;
        self.run_as_it_is()
    }

    /// Starts it (again) with the configuration that was edited.
    pub fn run_as_it_is(&mut self) -> io::Result<()> {
        let config = self.config_file();
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut words = self.starter.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.running = Some(child);
        Ok(())
    }

    /// Where its configuration is.
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces a text in the configuration, `passerelle.toml`, or in a file beside it. The file is
    /// renamed into its place, as editors do.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> io::Result<()> {
        let path = self.directory.path().join(file);
        let text = fs::read_to_string(&path)?;
        if text.matches(from).count() != 1 {
            let what = format!("{file} has {from:?} not once:\n{text}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let new = path.with_extension("new");
        fs::write(&new, text.replace(from, to))?;
        fs::rename(new, path)
    }

    /// Tells it to load everything anew (SIGHUP).
    pub fn reload(&self) -> Result<(), Missing> {
        self.signal(Signal::HUP)
    }

    /// Waits until it has logged a text so many times in all.
    pub async fn logged(&self, text: &str, times: usize) -> Result<(), Missing> {
        let there = async {
            // Paces the looks: nobody tells when a file has grown.
            let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
            while self.log().matches(text).count() < times {
                pace.tick().await;
            }
        };
        tokio::time::timeout(DEADLINE, there).await.map_err(|_| {
            Missing::new(format!("{text:?} not {times} times in the log:\n{}", self.log()))
        })
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Result<u32, Missing> {
        let pid = self.running.as_ref().and_then(Child::id);
        pid.ok_or_else(|| Missing::new("the gateway is not running"))
    }

    /// How many bytes of memory of its own it has in use.
    pub fn memory(&self) -> Result<usize, Missing> {
        self.size("RssAnon:")
    }

    /// The most bytes of memory that it has had in use, the program itself among them: as large as the
    /// one that is installed is, for one with all its checks in it has three times the code.
    pub fn peak_memory(&self) -> Result<usize, Missing> {
        const INSTALLED: usize = 6 << 20;
        let code = self.size("RssFile:")?;
        Ok(self.size("VmHWM:")? - code + code.min(INSTALLED))
    }

    /// How much of the processors' time it has had.
    pub fn processor_time(&self) -> Result<Duration, Missing> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()?));
        let stat = stat.map_err(|e| Missing::new(format!("the gateway's times: {e}")))?;
        // Its name, in brackets, may have blanks in it.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        // Hundredths of a second, whatever the kernel's own clock is.
        Ok(Duration::from_millis(10 * ticks.sum::<u64>()))
    }

    fn size(&self, field: &str) -> Result<usize, Missing> {
        let pid = self.id()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.map_err(|e| Missing::new(format!("the gateway's status: {e}")))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        size.map(|kib| kib * 1024).ok_or_else(|| Missing::new("the gateway's status has no size"))
    }

    /// Kills it as a crash would (SIGKILL), and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), Missing> {
        let Some(mut child) = self.running.take() else {
            return Ok(());
        };
        child.kill().await.map_err(|e| Missing::new(format!("the gateway does not die: {e}")))
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) -> Result<(), Missing> {
        self.signal(Signal::TERM)
    }

    /// Stops it in its tracks (SIGSTOP).
    pub fn freeze(&self) -> Result<(), Missing> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> Result<(), Missing> {
        self.signal(Signal::CONT)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Missing> {
        let pid = self.running.as_ref().and_then(Child::id);
        let pid = pid.and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| Missing::new("the gateway is not running"))?;
        kill_process(pid, signal)
            .map_err(|e| Missing::new(format!("no signal for the gateway: {e}")))
    }

    /// Waits until it ends of itself, for as long as it takes; what to say then.
    pub async fn gave_up(&mut self) -> Missing {
        let status = match &mut self.running {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        };
        let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        Missing::new(format!("the gateway ended: {status}; its log:\n{}", self.log()))
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus, Missing> {
        let Some(mut child) = self.running.take() else {
            return Err(Missing::new("the gateway is not running"));
        };
        match tokio::time::timeout(DEADLINE, child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            _ => Err(Missing::new(format!("the gateway does not end; its log:\n{}", self.log()))),
        }
    }

    /// Its configuration file, once it has been started.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("passerelle.toml")
    }

    /// Where it can be asked.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Where it remembers who has spoken legacy.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where its log is.
    pub fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn config(&self) -> String {
        let mut text = String::from("mappings = [");
        for file in &self.mappings {
            // Writing to a String cannot fail.
            let _ = write!(text, "\"{}\", ", file.display());
        }
        let _ = write!(
            text,
            "]
instance = \"dom0\"
state_dir = \"state\"
{}
[broker]
url = {}
{}
[dialects]
{}
[control]
socket = \"{}\"

[[channel]]
{}
{}",
            self.keys,
            self.url,
            self.broker_keys,
            self.dialects,
            self.control,
            self.channel,
            self.more
        );
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The test harness shows it when the test fails.
        if cfg!(test) {
            eprintln!("--- the gateway's log\n{}---", self.log());
        }
    }
}
