//! The guest, as its host sees it: booted, ordered about, powered off.

use crate::control::Control;
use crate::peers::Missing;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// How long a guest may take until its agent is there: everything is emulated.
const BOOT: Duration = Duration::from_secs(120);
/// How long the agent may take for one order: longer than anything that it waits for itself.
const ORDER: Duration = Duration::from_secs(150);

/// Where guests run, and what they are made of.
#[derive(Debug, Clone)]
pub enum Host {
    /// QEMU: their ports are virtio consoles.
    Qemu {
        /// Its program.
        program: PathBuf,
        /// A kernel, and an initial file system, which is all that a guest has.
        kernel: PathBuf,
        initrd: PathBuf,
    },
    /// Xen, and this is its Dom0: their ports are the channels of a PV domain.
    Xen {
        /// QEMU's program that serves the channels.
        backend: PathBuf,
        kernel: PathBuf,
        initrd: PathBuf,
    },
}

/// A running guest. Dropping it ends it in QEMU; in Xen it ends with Dom0.
pub struct Guest {
    machine: Machine,
    control: Control,
    directory: TempDir,
}

enum Machine {
    Qemu(Child),
    Xen(String),
}

impl Host {
    /// Boots a guest whose `/dev/hvc2` is `<sockets>/<name>-msg.sock`, and waits for its agent.
    pub async fn boot(&self, sockets: &Path, name: &str) -> Result<Guest, Missing> {
        let directory = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let port = sockets.join(format!("{name}-msg.sock"));
        let machine = match self {
            Self::Qemu { program, kernel, initrd } => {
                let mut command = Command::new(program);
                command.args(qemu_arguments(directory.path(), &port));
                command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
                let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
                let failed = |e| Missing::new(format!("{}: {e}", program.display()));
                Machine::Qemu(child.map_err(failed)?)
            }
            Self::Xen { backend, kernel, initrd } => {
                let text = xen_config(name, directory.path(), &port)
                    + &format!("kernel=\"{}\"\n", kernel.display())
                    + &format!("ramdisk=\"{}\"\n", initrd.display())
                    + &format!("device_model_override=\"{}\"\n", backend.display())
                    + "device_model_version=\"qemu-xen\"\n";
                let config = directory.path().join("domain.cfg");
                fs::write(&config, text).map_err(|e| Missing::new(e.to_string()))?;
                xl(&["create", "-q", &config.display().to_string()]).await?;
                Machine::Xen(name.to_owned())
            }
        };
        Guest::booted(machine, directory).await
    }

    /// Whether a running guest can be given more ports.
    pub fn plugs_in(&self) -> bool {
        matches!(self, Self::Qemu { .. })
    }
}

fn qemu_arguments(directory: &Path, port: &Path) -> Vec<String> {
    let at = |file: &str| directory.join(file).display().to_string();
    let socket = |id: &str, path: &str| format!("socket,id={id},path={path},server=on,wait=off");
    let mut arguments: Vec<String> = [
        "-machine q35 -accel tcg -cpu qemu64 -m 256M",
        "-nodefaults -display none -no-reboot -nic none",
        "-device virtio-serial-pci,max_ports=8",
        "-chardev null,id=hvc0 -device virtconsole,chardev=hvc0",
    ]
    .iter()
    .flat_map(|line| line.split(' '))
    .map(str::to_owned)
    .collect();
    for (id, path) in [("hvc1", at("control")), ("hvc2", port.display().to_string())] {
        arguments.extend(["-chardev".to_owned(), socket(id, &path)]);
        arguments.extend(["-device".to_owned(), format!("virtconsole,chardev={id}")]);
    }
    arguments.extend(["-append".to_owned(), "console=ttyS0 quiet panic=-1".to_owned()]);
    arguments.extend(["-serial".to_owned(), format!("file:{}", at("console"))]);
    arguments.extend(["-qmp".to_owned(), format!("unix:{},server=on,wait=off", at("qmp"))]);
    arguments
}

/// A PV domain. The first channel of a list gets the number of the domain's own console and is refused;
/// the second is hvc1, and the third hvc2.
fn xen_config(name: &str, directory: &Path, port: &Path) -> String {
    let channel = |role: &str, path: &Path| {
        format!("\"connection=socket,name=org.passerelle.{role},path={}\"", path.display())
    };
    let channels = [
        channel("none", &directory.join("none")),
        channel("control", &directory.join("control")),
        channel("msg", port),
    ]
    .join(",");
    format!(
        "name=\"{name}\"\ntype=\"pv\"\nextra=\"console=hvc0 quiet\"\nmemory=256\nvcpus=1\n\
         on_crash=\"destroy\"\nchannel=[{channels}]\n"
    )
}

impl Guest {
    async fn booted(machine: Machine, directory: TempDir) -> Result<Self, Missing> {
        let stream = connect(&directory.path().join("control")).await?;
        let (reader, writer) = stream.into_split();
        let control = Control::new(reader, writer);
        let mut guest = Self { machine, control, directory };
        match guest.control.report(BOOT).await {
            Ok(_) => Ok(guest),
            Err(missing) => Err(Missing::new(format!("{missing}\n{}", guest.console()))),
        }
    }

    /// Gives an order, and waits for the report.
    pub async fn order(&mut self, order: Value) -> Result<Value, Missing> {
        let sent = self.control.send(&order).await;
        sent.map_err(|e| Missing::new(format!("the guest takes no orders: {e}")))?;
        self.control.report(ORDER).await
    }

    /// What the guest has written to its console.
    pub fn console(&self) -> String {
        let file = match &self.machine {
            Machine::Qemu(_) => self.directory.path().join("console"),
            Machine::Xen(name) => PathBuf::from(format!("/var/log/xen/console/guest-{name}.log")),
        };
        let log = fs::read(file).unwrap_or_default();
        format!("--- the guest's console\n{}---", String::from_utf8_lossy(&log))
    }

    /// Gives the guest one more port, `/dev/hvc3`, which is `<sockets>/<name>-msg.sock`.
    pub async fn plug_in(&self, sockets: &Path, name: &str) -> Result<(), Missing> {
        let path = sockets.join(format!("{name}-msg.sock"));
        let address = json!({"type": "unix", "data": {"path": path.display().to_string()}});
        let backend = json!({"type": "socket",
                             "data": {"addr": address, "server": true, "wait": false}});
        let requests = [
            json!({"execute": "qmp_capabilities"}),
            json!({"execute": "chardev-add", "arguments": {"id": "hvc3", "backend": backend}}),
            json!({"execute": "device_add",
                   "arguments": {"driver": "virtconsole", "chardev": "hvc3", "id": "port3"}}),
        ];
        let broken = |e: std::io::Error| Missing::new(format!("QEMU's monitor: {e}"));
        let mut monitor = BufReader::new(connect(&self.directory.path().join("qmp")).await?);
        for request in requests {
            monitor.write_all(format!("{request}\n").as_bytes()).await.map_err(broken)?;
            loop {
                let mut line = String::new();
                monitor.read_line(&mut line).await.map_err(broken)?;
                if line.contains("\"error\"") || line.is_empty() {
                    return Err(Missing::new(format!("QEMU's monitor: {request}: {line}")));
                }
                if line.contains("\"return\"") {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Ends what runs in the guest; it powers itself off.
    pub async fn power_off(mut self) -> Result<(), Missing> {
        self.order(json!({"do": "end"})).await?;
        let off = async {
            match &mut self.machine {
                Machine::Qemu(process) => process.wait().await.map(|status| status.success()),
                Machine::Xen(name) => {
                    let mut pace = tokio::time::interval(Duration::from_millis(100));
                    while xl(&["domid", name]).await.is_ok() {
                        pace.tick().await;
                    }
                    Ok(true)
                }
            }
        };
        match tokio::time::timeout(BOOT, off).await {
            Ok(Ok(true)) => Ok(()),
            Ok(ended) => Err(Missing::new(format!("it ended badly: {ended:?}"))),
            Err(_) => Err(Missing::new(format!("it does not power off\n{}", self.console()))),
        }
    }
}

/// Runs Xen's tool.
async fn xl(arguments: &[&str]) -> Result<String, Missing> {
    let output = Command::new("xl").args(arguments).output().await;
    let output = output.map_err(|e| Missing::new(format!("xl: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let mut why = String::from_utf8_lossy(&output.stderr).into_owned();
    for log in fs::read_dir("/var/log/xen").into_iter().flatten().flatten() {
        if log.file_name().to_string_lossy().starts_with("qemu-dm-") {
            why += &fs::read_to_string(log.path()).unwrap_or_default();
        }
    }
    Err(Missing::new(format!("xl {arguments:?}: {why}")))
}

/// Connects to a socket as soon as it is there.
pub async fn connect(path: &Path) -> Result<UnixStream, Missing> {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let attempts = async {
        loop {
            pace.tick().await;
            if let Ok(stream) = UnixStream::connect(path).await {
                return stream;
            }
        }
    };
    tokio::time::timeout(crate::peers::DEADLINE, attempts)
        .await
        .map_err(|_| Missing::new(format!("{}: nobody listens", path.display())))
}
