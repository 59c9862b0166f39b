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
const BOOT: Duration = Duration::from_secs(90);
/// How long the agent may take for one order: longer than anything that it waits for itself.
const ORDER: Duration = Duration::from_secs(60);

/// What a guest is made of.
#[derive(Debug, Clone)]
pub struct Images {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// A kernel.
    pub kernel: PathBuf,
    /// The initial file system, which is all it has.
    pub initrd: PathBuf,
}

/// A running guest. Dropping it ends it.
pub struct Guest {
    machine: Machine,
    control: Control,
    directory: TempDir,
}

/// What the guest runs on.
enum Machine {
    /// QEMU: the ports are virtio consoles.
    Qemu { process: Child },
    /// Xen: the ports are the channels of a PV domain.
    Xen { name: String },
}

impl Guest {
    /// Boots one in QEMU. Its `/dev/hvc2` is `<sockets>/<name>-msg.sock`.
    pub async fn boot_in_qemu(
        images: &Images,
        sockets: &Path,
        name: &str,
    ) -> Result<Self, Missing> {
        let directory = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let at = |file: &str| directory.path().join(file);
        let socket = |id: &str, path: &Path| {
            format!("socket,id={id},path={},server=on,wait=off", path.display())
        };
        let mut command = Command::new(&images.qemu);
        command
            .args(["-machine", "q35", "-accel", "tcg", "-cpu", "qemu64", "-m", "256M"])
            .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(&images.kernel)
            .arg("-initrd")
            .arg(&images.initrd)
            .arg("-serial")
            .arg(format!("file:{}", at("console").display()))
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", at("qmp").display()))
            .args(["-device", "virtio-serial-pci,max_ports=8"])
            .args(["-chardev", "null,id=hvc0", "-device", "virtconsole,chardev=hvc0"])
            .args(["-chardev", &socket("hvc1", &at("control"))])
            .args(["-device", "virtconsole,chardev=hvc1"])
            .args(["-chardev", &socket("hvc2", &sockets.join(format!("{name}-msg.sock")))])
            .args(["-device", "virtconsole,chardev=hvc2"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let process = command
            .spawn()
            .map_err(|e| Missing::new(format!("{}: {e}", images.qemu.display())))?;
        let machine = Machine::Qemu { process };
        Self::booted(machine, &at("control"), directory).await
    }

    async fn booted(
        machine: Machine,
        control: &Path,
        directory: TempDir,
    ) -> Result<Self, Missing> {
        let stream = connect(control).await?;
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
        let file = self.directory.path().join("console");
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
        match &mut self.machine {
            Machine::Qemu { process } => {
                match tokio::time::timeout(BOOT, process.wait()).await {
                    Ok(Ok(status)) if status.success() => Ok(()),
                    Ok(status) => Err(Missing::new(format!("QEMU ended: {status:?}"))),
                    Err(_) => {
                        Err(Missing::new(format!("it does not power off\n{}", self.console())))
                    }
                }
            }
            Machine::Xen { name } => xl(&["list", name]).await.map(drop),
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
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
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
