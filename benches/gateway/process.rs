//! The gateway's process, and what the kernel tells of a process.

use crate::Res;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The built program, run as a user runs it. Killed when dropped.
pub struct Gateway {
    /// The domains' sockets are in it.
    pub directory: TempDir,
    child: Child,
}

/// What differs from one gateway of the benchmark to the other.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Its name.
    pub instance: String,
    /// Rows that nobody uses, besides the benchmark's own.
    pub more_rows: usize,
    /// What it is run under, valgrind say.
    pub under: Vec<String>,
    /// Another program than [`program`].
    pub program: Option<PathBuf>,
}

impl Setup {
    /// A gateway of this name.
    pub fn named(instance: &str) -> Self {
        Self { instance: instance.to_owned(), ..Self::default() }
    }
}

/// The program that is measured.
pub fn program() -> PathBuf {
    let other = std::env::var_os("PASSERELLE").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_passerelle").into())
}

/// The program as it is installed, if it was built that way, and of which kind it is.
pub fn installed() -> (PathBuf, &'static str) {
    match std::env::var_os("PASSERELLE_STATIC") {
        Some(named) => (named.into(), "static"),
        None => (program(), "not static"),
    }
}

/// The directory of a gateway that is not started yet, so that its domains can be there before it.
pub fn directory() -> Res<TempDir> {
    Ok(tempfile::tempdir()?)
}

impl Gateway {
    /// Starts it on the sockets in `directory`.
    pub fn start(setup: &Setup, directory: TempDir, broker: &Path) -> Res<Self> {
        let place = directory.path();
        let config = place.join("passerelle.toml");
        fs::write(place.join("more.toml"), more_rows(setup.more_rows))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::write(
            &config,
            format!(
                "mappings = [\"{}\", \"{}\", \"more.toml\"]\ninstance = \"{}\"\nstate_dir = \"{}\"\n\
                 [broker]\nurl = \"unix:{}\"\nkeep_alive = \"1h\"\n\
                 [[channel]]\nunix = \"{}/*-msg.sock\"\n",
                root.join("mappings/psec.toml").display(),
                root.join("benches/gateway/rows.toml").display(),
                setup.instance,
                place.display(),
                broker.display(),
                place.display(),
            ),
        )?;
        let program = setup.program.clone().unwrap_or_else(program);
        let mut words = setup.under.iter().map(Into::into).chain([program.into_os_string()]);
        let first = words.next().ok_or("nothing to run")?;
        let child = Command::new(first)
            .args(words)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(place.join("log"))?)
            .spawn()?;
        Ok(Self { directory, child })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for that; gives what it has logged.
    pub fn end(mut self) -> Res<String> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        let status = self.child.wait()?;
        let log = fs::read_to_string(self.directory.path().join("log"))?;
        if status.success() {
            return Ok(log);
        }
        Err(format!("the gateway ended with {status}:\n{log}").into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn more_rows(count: usize) -> String {
    let mut text =
        "dialect = \"psec\"\nrequesters = \"named\"\nrequester_member = \"source\"\n".to_owned();
    for i in 0..count {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[command]]\nname = \"MORE_{i}\"\nlegacy = \"more_{i}\"\ntopic = \"more/row_{i}\"\n\
             handler = \"srv-more\"\n[[command.answer]]\nreponse = \"more_{i}\"\n"
        );
    }
    text
}

/// The processor time, user and system, that a process's threads have used so far.
pub fn cpu_time(process: u32) -> Res<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // "run-time wait-time slices", in nanoseconds
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let run = text.split(' ').next().unwrap_or_default();
        sum += run.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// How often each of a process's threads has waited for something so far: each wait ends with a wake-up.
pub type Waits = BTreeMap<OsString, u64>;

/// See [`Waits`].
pub fn waits(process: u32) -> Res<Waits> {
    let mut waits = Waits::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        let count = field(&task.path().join("status"), "voluntary_ctxt_switches")?;
        waits.insert(task.file_name(), count);
    }
    Ok(waits)
}

/// How many wake-ups there were since `before`, of the threads that are there now.
pub fn wake_ups(process: u32, before: &Waits) -> Res<u64> {
    let now = waits(process)?;
    Ok(now.iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0)).sum())
}

/// The resident memory, in bytes.
pub fn resident(process: u32) -> Res<u64> {
    Ok(1024 * field(Path::new(&format!("/proc/{process}/status")), "VmRSS")?)
}

/// The most resident memory since [`forget_peak`], in bytes.
pub fn peak(process: u32) -> Res<u64> {
    Ok(1024 * field(Path::new(&format!("/proc/{process}/status")), "VmHWM")?)
}

/// The peak is what there is now.
pub fn forget_peak(process: u32) -> Res {
    Ok(fs::write(format!("/proc/{process}/clear_refs"), "5")?)
}

fn field(file: &Path, name: &str) -> Res<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("{}: no {name}", file.display()))?.parse()?)
}
