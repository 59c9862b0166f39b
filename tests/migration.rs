//! MIGRATION.md, carried out: its `sh run` blocks in order, with a real Mosquitto, the built gateway
//! and domains of both generations.
//!
//! `/etc`, `/usr`, `/run` and `/var` are in a temporary folder, and what changes the machine itself
//! (`apk`, `adduser`, `rc-service`...) has stand-ins; `rc-service` starts what the installed service
//! and configuration say. What a `text` block says must come out of the block before it, which is
//! repeated until it does.
//!
//! With `PASSERELLE_BLESS` set, the table of calls of docs/mqtt-api.md is written anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the edges"
)]

#[path = "peers/mod.rs"]
mod peers;

use peers::{
    Console, DEADLINE, Dialect, Disks, LegacyDomain, Missing, MqttPeer, MqttServer, MvpRouter,
    MvpServer,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;
use tokio::process::Command;
use toml::de::{DeTable, DeValue};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIST: &str = "system/disks/list_files";
const ANSWERS: &str = "system/disks/list_files/response/vm-gui";
const PROGRAM: &str = env!("CARGO_BIN_EXE_passerelle");

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// A machine in a folder; its processes end with it.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for folder in
            ["bin", "etc/mosquitto", "run/mosquitto", "var/run", "var/log", "var/lib/mosquitto"]
        {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine.stand_in("rc-service", RC_SERVICE);
        machine.stand_in("apk", APK);
        machine.stand_in("su", SU);
        for name in ["addgroup", "adduser", "chown", "delgroup", "deluser", "rc-update"] {
            machine.stand_in(name, "");
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn stand_in(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh -eu\n{script}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The script with the machine's own folders in the place of the real ones.
    fn here(&self, script: &str) -> String {
        const CHECK: &str = "passerelle check /etc/passerelle/passerelle.toml";
        let script = script.replace(CHECK, "rc-service passerelle here; passerelle check");
        let mut text = format!("rc-service passerelle here\n{script}");
        for folder in ["etc", "usr", "run", "var"] {
            for before in [" ", "\"unix:"] {
                let real = format!("{before}/{folder}/");
                text = text.replace(&real, &format!("{before}{}/", self.path(folder).display()));
            }
        }
        text
    }

    /// Runs a script until it has said all of `expected`.
    async fn run(&self, script: &str, expected: &str) {
        let start = Instant::now();
        let path = std::env::var("PATH").unwrap();
        loop {
            let output = Command::new("sh")
                .args(["-eu", "-c", &self.here(script)])
                .current_dir(ROOT)
                .env("ROOT", self.0.path())
                .env("DESTDIR", self.0.path())
                .env("PROGRAM", PROGRAM)
                .env("INIT", "openrc")
                .env("PASSERELLE_CONFIG", self.path("etc/passerelle/here.toml"))
                .env(
                    "PATH",
                    format!("{0}/bin:{0}/usr/bin:{path}:/usr/sbin", self.0.path().display()),
                )
                .output()
                .await
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            let all = expected.lines().all(|line| said.contains(line));
            if output.status.success() && all {
                return;
            }
            let patient = !expected.is_empty() && start.elapsed() < DEADLINE;
            assert!(patient, "{script}says\n{said}{errors}not\n{expected}\n{}", self.log());
            tokio::task::yield_now().await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("var/log/passerelle.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for service in ["passerelle", "mosquitto"] {
            let id = fs::read_to_string(self.path(service).with_extension("pid"));
            let pid = id.ok().and_then(|id| Pid::from_raw(id.trim().parse().ok()?));
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Of the packages there is only this one, and it is made of what `make install` installs.
const APK: &str = r#"
case "$*" in
*passerelle_*) make --silent install PREFIX=/usr ;;
"del passerelle") make --silent uninstall PREFIX=/usr && rm -r "$ROOT/var/lib/passerelle" ;;
esac
"#;

/// `su -s /bin/sh -c COMMAND USER ARGUMENT...` for a machine on which everything belongs to one user.
const SU: &str = r#"
command=$4
shift 5
exec sh -c "$command" "$@"
"#;

/// Starts and stops the two services as OpenRC would.
const RC_SERVICE: &str = r#"
here() { sed 's#\([ :"]\)\(/run/\|/var/\|/etc/\)#\1'"$ROOT"'\2#; s|log_dest syslog|log_dest stderr|' "$1"; }
config() { here "$ROOT/etc/passerelle/passerelle.toml" > "$ROOT/here.new"; mv "$ROOT/here.new" "$ROOT/etc/passerelle/here.toml"; }
gone() { kill -TERM "$1"; while [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"; do :; done; }
case "$1 $2" in
"mosquitto restart")
    if [ -f "$ROOT/mosquitto.pid" ]; then gone "$(cat "$ROOT/mosquitto.pid")"; fi
    { here "$ROOT/etc/mosquitto/mosquitto.conf"; echo "user root"; } > "$ROOT/mosquitto.conf"
    mosquitto -c "$ROOT/mosquitto.conf" >/dev/null 2>&1 &
    echo $! > "$ROOT/mosquitto.pid" ;;
"passerelle start")
    config
    passerelle_config="$ROOT/etc/passerelle/here.toml"
    checkpath() { if [ "$1" = --directory ]; then for path; do :; done; mkdir -p "$ROOT$path"; fi; }
    . "$ROOT/etc/init.d/passerelle"
    command=$ROOT$command
    start_pre
    "$command" $command_args 2>> "$ROOT$error_log" >/dev/null &
    echo $! > "$ROOT/passerelle.pid" ;;
"passerelle reload")
    config
    kill -HUP "$(cat "$ROOT/passerelle.pid")" ;;
"passerelle checkconfig") "$ROOT/usr/bin/passerelle" check "$ROOT/etc/passerelle/passerelle.toml" ;;
"passerelle counters") kill -USR1 "$(cat "$ROOT/passerelle.pid")" ;;
"passerelle stop")
    pid=$(cat "$ROOT/passerelle.pid")
    gone "$pid"
    rm "$ROOT/passerelle.pid" ;;
"passerelle here") if [ -f "$ROOT/etc/passerelle/passerelle.toml" ]; then config; fi ;;
*) echo "no such service, or command: $*"; exit 1 ;;
esac
"#;

/// What the document has done, in its order.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Run { script: String, expected: String },
    Scene(String),
}

fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let mut block = || -> String {
            lines.by_ref().take_while(|l| *l != "```").map(|l| format!("{l}\n")).collect()
        };
        match line {
            "```sh run" => steps.push(Step::Run { script: block(), expected: String::new() }),
            "```text" => match steps.last_mut() {
                Some(Step::Run { expected, .. }) => *expected = block(),
                _ => panic!("a text block without a script before it"),
            },
            "```toml" => drop(block()),
            // tests/docs holds it against its file.
            shown if shown.starts_with("```") && shown.contains(" shown ") => drop(block()),
            other => {
                assert!(!other.starts_with("```"), "a block that nothing runs: {other}");
                let Some(scene) = other.strip_prefix("<!-- test: ") else { continue };
                let scene = scene.trim_end_matches(" -->");
                match scene.strip_prefix("run ") {
                    Some(page) => steps.extend(self::steps(&shipped(page))),
                    None => steps.push(Step::Scene(scene.to_owned())),
                }
            }
        }
    }
    steps
}

/// The steps by which Dom0 moves, put after this scene: they are written down once, and go at any time.
fn with_dom0_after(scene: &str, mut steps: Vec<Step>) -> Vec<Step> {
    let at = |steps: &[Step], scene: &str| {
        let is = |step: &Step| matches!(step, Step::Scene(name) if name == scene);
        steps.iter().position(is).unwrap_or_else(|| panic!("no scene {scene}"))
    };
    let (from, to) = (at(&steps, "Dom0, at any time"), at(&steps, "end of Dom0"));
    let moves: Vec<_> = steps.drain(from..=to).collect();
    let moves = &moves[1..moves.len() - 1];
    let place = at(&steps, scene) + 1;
    steps.splice(place..place, moves.to_vec());
    steps
}

/// Who is there beside the gateway and its broker: two domains, and the program that each runs; and Dom0's.
struct Cast {
    router: Option<MvpRouter>,
    moved_dom0: Option<MqttServer>,
    gui_console: Console,
    gui: Option<LegacyDomain>,
    moved_gui: Option<MqttPeer>,
    usb_console: Console,
    usb: Option<MvpServer>,
    moved_usb: Option<MqttServer>,
}

/// A program of the MVP opens a console's port.
async fn legacy(console: &Console, name: &str) -> Result<LegacyDomain, Missing> {
    let (reader, writer) = console.open().await?.into_split();
    Ok(LegacyDomain::over(name, reader, writer))
}

fn disks() -> Result<Disks, Missing> {
    Disks::new().map_err(|e| Missing::new(e.to_string()))
}

impl Cast {
    async fn new(machine: &Machine) -> Result<Self, Missing> {
        let sockets = machine.path("var/run");
        let gui_console = Console::start(&sockets, "vm-gui")?;
        let usb_console = Console::start(&sockets, "sys-usb")?;
        Ok(Self {
            router: None,
            moved_dom0: None,
            gui: Some(legacy(&gui_console, "vm-gui").await?),
            gui_console,
            moved_gui: None,
            usb: Some(MvpServer::over(legacy(&usb_console, "sys-usb").await?, disks()?)),
            usb_console,
            moved_usb: None,
        })
    }

    async fn play(&mut self, scene: &str, machine: &Machine) -> Result<(), Missing> {
        match scene {
            "the router starts" => {
                let mut router = MvpRouter::start(&machine.path("run/passerelle"))?;
                router.connected("vm-gui").await?;
                router.connected("sys-usb").await?;
                self.router = Some(router);
            }
            "the system is used" | "vm-gui calls it" => {
                let gui = self.gui.as_mut().expect("it has not moved");
                gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
            }
            "the router stops" => {
                let router = self.router.take();
                router.expect("it has started").stop().await;
            }
            "Dom0 moves" => {
                let router = self.router.take();
                router.expect("it has started").stop().await;
                let passwords = fs::read_to_string(machine.path("etc/passerelle/passwords"));
                let passwords = passwords.map_err(|e| Missing::new(e.to_string()))?;
                let secret = passwords.lines().find_map(|line| line.strip_prefix("Dom0:"));
                let (secret, socket) = (secret.unwrap(), machine.path("run/mosquitto/mqtt.sock"));
                let peer = MqttServer::start_as(
                    &socket,
                    ("Dom0", secret),
                    (Dialect::Psec, &[LIST]),
                    disks()?,
                )
                .await?;
                self.moved_dom0 = Some(peer);
            }
            "the repository is listed" => match (&mut self.gui, &mut self.moved_gui) {
                (Some(gui), _) => {
                    let asked = json!({"nom_disque": "__repository__"});
                    gui.call("Dom0", "liste_fichiers", &asked, "liste_fichiers").await?;
                }
                (None, gui) => {
                    let asked = json!({"disk": "__repository__"});
                    let gui = gui.as_mut().expect("it has moved");
                    gui.call(LIST, &asked).await?;
                }
            },
            "sys-usb moves" => {
                drop(self.usb.take());
                let port = self.usb_console.port();
                let server = MqttServer::start(port, "sys-usb", Dialect::Psec, disks()?).await?;
                self.moved_usb = Some(server);
            }
            "sys-usb goes back" => {
                drop(self.moved_usb.take());
                let domain = legacy(&self.usb_console, "sys-usb").await?;
                self.usb = Some(MvpServer::over(domain, disks()?));
            }
            "vm-gui moves" => {
                drop(self.gui.take());
                let port = self.gui_console.port();
                self.moved_gui = Some(MqttPeer::connect(port, "vm-gui", &[ANSWERS]).await?);
            }
            "before the first domain moves" => {}
            other => panic!("a scene that nobody plays: {other}"),
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_migration_goes_as_written_and_dom0_last() -> Result<(), Box<dyn std::error::Error>> {
    migrate("vm-gui moves").await
}

#[tokio::test]
async fn the_migration_goes_as_written_and_dom0_first() -> Result<(), Box<dyn std::error::Error>> {
    migrate("before the first domain moves").await
}

/// Dom0 moves after this scene.
async fn migrate(scene: &str) -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::new();
    let mut cast = Cast::new(&machine).await?;
    let mut scripts = 0;
    for step in with_dom0_after(scene, steps(&shipped("MIGRATION.md"))) {
        match step {
            Step::Run { script, expected } => {
                machine.run(&script, &expected).await;
                scripts += 1;
            }
            Step::Scene(scene) => cast.play(&scene, &machine).await?,
        }
    }
    assert!(cast.moved_usb.is_some() && cast.moved_gui.is_some() && cast.router.is_none());
    assert!(scripts >= 20, "{scripts}");
    assert!(!machine.path("etc/passerelle").exists());
    Ok(())
}

#[test]
fn the_table_of_calls_is_the_mappings() {
    let path = Path::new(ROOT).join("docs/mqtt-api.md");
    let document = shipped("docs/mqtt-api.md");
    let (before, rest) = document.split_once("<!-- rows -->\n").unwrap();
    let (kept, after) = rest.split_once("<!-- end of rows -->").unwrap();
    let table = table();
    if std::env::var_os("PASSERELLE_BLESS").is_some_and(|bless| !bless.is_empty()) {
        let text = format!("{before}<!-- rows -->\n{table}<!-- end of rows -->{after}");
        fs::write(&path, text).unwrap();
    } else {
        assert!(kept == table, "docs/mqtt-api.md has\n{kept}\nbut the mapping says\n{table}");
    }
}

/// The rows of psec.toml as a table.
fn table() -> String {
    let text = shipped("mappings/psec.toml");
    let document = DeTable::parse(&text).unwrap();
    let mut table = String::from(
        "| legacy | topic | MQTT member = legacy one | answered on the legacy wire by |\n|--|--|--|--|\n",
    );
    for kind in ["command", "event"] {
        for row in items(document.get_ref().get(kind).map(|v| v.get_ref())) {
            let Some(topic) = member(row, &["topic"]).and_then(DeValue::as_str) else { continue };
            let legacy = member(row, &["legacy"]).and_then(DeValue::as_str).unwrap();
            let path = if kind == "command" { &["request", "members"][..] } else { &["members"] };
            let members = member(row, path).and_then(DeValue::as_table);
            let members: Vec<String> = members
                .iter()
                .flat_map(|m| m.iter())
                .map(|(mqtt, legacy)| format!("{} = {}", mqtt.get_ref(), name(legacy.get_ref())))
                .collect();
            let mut answers: Vec<String> = Vec::new();
            for answer in items(member(row, &["answer"])) {
                let said = ["reponse", "evenement"].into_iter().find_map(|kind| {
                    let name = member(answer, &[kind])?.as_str()?;
                    Some(format!("{kind} `{name}`"))
                });
                answers.extend(said.filter(|s| !answers.contains(s)));
            }
            let _ = writeln!(
                table,
                "| {} `{legacy}` | `{topic}` | {} | {} |",
                if kind == "command" { "commande" } else { "evenement" },
                members.join(", "),
                answers.join(", ")
            );
        }
    }
    table
}

fn items<'d>(rows: Option<&'d DeValue<'d>>) -> impl Iterator<Item = &'d DeValue<'d>> {
    rows.and_then(DeValue::as_array).into_iter().flat_map(|a| a.iter()).map(|v| v.get_ref())
}

fn member<'d>(value: &'d DeValue<'d>, path: &[&str]) -> Option<&'d DeValue<'d>> {
    path.iter().try_fold(value, |value, key| Some(value.as_table()?.get(*key)?.get_ref()))
}

/// The legacy member that a declaration names.
fn name(value: &DeValue<'_>) -> String {
    let legacy = member(value, &["legacy"]).unwrap_or(value);
    let encoding = member(value, &["encoding"]).and_then(DeValue::as_str);
    match legacy.as_str() {
        Some(name) => encoding.map_or(name.to_owned(), |encoding| format!("{name}, in {encoding}")),
        None => items(Some(legacy)).filter_map(DeValue::as_str).collect::<Vec<_>>().join(" or "),
    }
}
