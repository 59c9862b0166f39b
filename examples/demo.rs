//! `make demo`: legacy and migrated domains talk to each other through the built gateway.
//!
//! In the first scene `sys-usb` is still MVP and `vm-scan`, which is migrated, calls it; in the second
//! `sys-usb` is migrated and `vm-gui`, which is still MVP, calls it. Every command of the dictionary
//! and both notifications cross in each. In the third `sys-usb` comes over to MQTT on its own channel,
//! and goes back, while both call it; what `passerelle status` says is printed beside. In the fourth `sys-usb` is
//! built on Safecor 1.2. In the fifth Dom0 is the last that is legacy. The exit code is 0 only if all arrived.

#![allow(clippy::disallowed_methods, reason = "the demo plays the edges")]
#![allow(clippy::indexing_slicing, reason = "a JSON value has null for what is not there")]

#[path = "../tests/peers/mod.rs"]
mod peers;

use peers::disks::REPOSITORY;
use peers::mqtt_peer::Message;
use peers::{
    Broker, Console, DEADLINE, Dialect, Disks, Dom0, ERROR, Gateway, LegacyDomain, Line, Missing,
    MqttPeer, MqttServer, MvpRouter, MvpServer, NEW_FILE, ROOTS, Table,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const MD5: &str = "6f5902ac237024bdd0c176cb93063dc4";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(program) = program() else {
        eprintln!("demo: give the path of the gateway's program");
        return ExitCode::FAILURE;
    };
    let mut table = Table::default();
    table.scene("vm-scan (MQTT) calls sys-usb (MVP)");
    let first = to_legacy(&program, &mut table).await;
    table.scene("vm-gui (MVP) calls sys-usb (MQTT)");
    let second = to_mqtt(&program, &mut table).await;
    table.scene("sys-usb comes over to MQTT on its own channel, and goes back");
    let third = there_and_back(&program, &mut table).await;
    table.scene("vm-gui (MVP) calls sys-usb (Safecor 1.2)");
    let fourth = to_safecor(&program, &mut table).await;
    table.scene("everyone calls Dom0, which is the last that is MVP");
    let fifth = to_dom0(&program, &mut table).await;
    for broken in [first, second, third, fourth, fifth].into_iter().filter_map(Result::err) {
        table.missing(broken.to_string());
    }
    table.end()
}

/// The gateway's program: the first argument, or the one that was built with this demo.
fn program() -> Option<PathBuf> {
    if let Some(given) = std::env::args_os().nth(1) {
        return Some(given.into());
    }
    let examples = std::env::current_exe().ok()?;
    Some(examples.parent()?.parent()?.join("passerelle"))
}

async fn dom0(program: &Path) -> Result<Dom0, Missing> {
    dom0_with(program, |gateway| gateway).await
}

async fn dom0_with(
    program: &Path,
    configure: impl FnOnce(Gateway) -> Gateway,
) -> Result<Dom0, Missing> {
    let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    Dom0::start(program, &mappings, Broker::start().await?, configure).await
}

/// Scene 1.
async fn to_legacy(program: &Path, table: &mut Table) -> Result<(), Missing> {
    let mut dom0 = dom0(program).await?;
    let filters = ["system/+/+/response/vm-scan", NEW_FILE, ERROR];
    let mut scan = MqttPeer::connect(&dom0.broker.socket(), "vm-scan", &filters).await?;
    let mut gui = dom0.legacy("vm-gui").await?;
    let usb = dom0.mvp_server().await?;

    let file = json!({"disk": "DISK1", "filepath": "hello.txt"});
    let read = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
    let copy = json!({"source_disk": "DISK1", "filepath": "hello.txt", "target_disk": "Clé Élève"});
    let create = json!({"disk": "DISK1", "filepath": "new.txt", "data": "Y29udGVudQ=="});
    let [
        list_disks,
        list_files,
        read_file,
        copy_file,
        remove,
        benchmark,
        footprint,
        create_file,
        discover,
    ] = ROOTS;
    let calls: [Request; 10] = [
        (list_disks, "liste_disques", json!({}), |a| a["disks"][1]["id"] == "DISK1"),
        (list_files, "liste_fichiers", json!({"disk": "DISK1"}), |a| a["files"][2]["size"] == 12),
        (read_file, "lit_fichier", read, |a| a["status"] == "ok"),
        (copy_file, "copie_fichier", copy, |a| a["status"] == "ok"),
        (footprint, "get_file_footprint", file.clone(), |a| a["footprint"] == MD5),
        (create_file, "create_file", create, |a| a["status"] == "ok"),
        (remove, "supprime_fichier", file, |a| a["status"] == "ok"),
        (benchmark, "start_benchmark inputs", json!({"module": "inputs"}), |a| {
            a["status"] == "finished"
        }),
        (benchmark, "start_benchmark files", json!({"module": "files"}), |a| {
            a["status"] == "started"
        }),
        (discover, "liste_composants", json!({}), |a| a["components"][0]["id"] == "sys-usb"),
    ];
    for (root, command, request, right) in calls {
        let call = async { right_one(scan.call(root, &request).await?.json(), right) };
        table.row(&format!("{root} > {command}"), call).await;
    }
    table.row("fichier > new_file", announced(&mut scan, NEW_FILE, "filepath", "hello.txt")).await;
    let error = json!({"niveau": 40, "message": "from the MVP"});
    usb.domain.tell("tous", "erreur", &error);
    table.row("erreur > error", announced(&mut scan, ERROR, "description", "from the MVP")).await;
    let call =
        async { gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await.map(drop) };
    table.row("vm-gui (MVP) calls it as before: liste_disques", call).await;
    Ok(())
}

/// Scene 2.
async fn to_mqtt(program: &Path, table: &mut Table) -> Result<(), Missing> {
    let dom0 = dom0(program).await?;
    let socket = dom0.broker.socket();
    let disks = Disks::new().map_err(|e| Missing::new(format!("no disks: {e}")))?;
    let _usb = MqttServer::start(&socket, "sys-usb", Dialect::Psec, disks).await?;
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &[]).await?;
    let mut gui = dom0.legacy("vm-gui").await?;

    let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let read = json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"});
    let file = json!({"disk": "DISK1", "filepath": "hello.txt"});
    let create = json!({"disk": "DISK1", "filepath": "new.txt", "contents": "contenu"});
    let remove = json!({"nom_disque": "DISK1", "nom_fichier": "hello.txt"});
    let remove_new = json!({"nom_disque": "DISK1", "nom_fichier": "new.txt"});
    let calls: [Call; 11] = [
        ("liste_disques", "list_disks", json!({}), |l| {
            l.answers("liste_disques") && l.data()[1] == "DISK1"
        }),
        ("liste_fichiers", "list_files", json!({"nom_disque": "DISK1"}), |l| {
            l.answers("liste_fichiers") && l.data()["files"][2]["size"] == 12
        }),
        ("lit_fichier", "read_file", read, |l| told(l, "disponible")),
        ("copie_fichier", "copy_file", copy, |l| told(l, "copié")),
        ("get_file_footprint", "get_file_footprint", file, |l| l.data()["footprint"] == MD5),
        ("create_file", "create_file", create, |l| l.data()["success"] == true),
        ("supprime_fichier", "remove_file", remove, |l| told(l, "supprimé")),
        ("copie_fichier", "remove_file (the MVP's bug)", remove_new, |l| told(l, "supprimé")),
        ("start_benchmark", "benchmark", json!({"id_benchmark": "inputs"}), |l| {
            l.answers("benchmark_inputs")
        }),
        ("start_benchmark", "benchmark", json!({"id_benchmark": "files"}), |l| {
            l.answers("benchmark_files") && l.data()["etat"] == "termine"
        }),
        ("liste_composants", "discover", json!({}), |l| l.data()["composant"] == "sys-usb"),
    ];
    for (command, topic, arguments, right) in calls {
        let destination = if command == "liste_composants" { "tous" } else { "sys-usb" };
        gui.ask(destination, command, &arguments);
        table.row(&format!("{command} > {topic}"), arrived(&mut gui, right)).await;
    }
    let file = json!({"disk": REPOSITORY, "filepath": "scan.txt", "size_in_bytes": 3});
    scan.publish(Message::new(NEW_FILE, file.to_string()).from("vm-scan")).await?;
    let right = |l: &Line| l.data()["fichier"] == "scan.txt";
    table.row("new_file > fichier", arrived(&mut gui, right)).await;
    let error = json!({"module": "m", "datetime": "d", "level": 40, "description": "from MQTT"});
    scan.publish(Message::new(ERROR, error.to_string()).from("vm-scan")).await?;
    let right = |l: &Line| l.tells("erreur") && l.data()["message"] == "from MQTT";
    table.row("error > erreur", arrived(&mut gui, right)).await;
    Ok(())
}

/// Scene 3.
async fn there_and_back(program: &Path, table: &mut Table) -> Result<(), Missing> {
    let mut dom0 = dom0(program).await?;
    let filters = ["system/+/+/response/vm-scan"];
    let mut scan = MqttPeer::connect(&dom0.broker.socket(), "vm-scan", &filters).await?;
    let mut gui = dom0.legacy("vm-gui").await?;
    let console = dom0.console("sys-usb").await?;

    let old = old_program(&console).await?;
    table.row("its MVP program runs", dom0.served("sys-usb")).await;
    both_call(&mut gui, &mut scan, table).await;
    table.row("    passerelle status says so", shows(program, &dom0, "legacy")).await;
    drop(old);
    let disks = Disks::new().map_err(|e| Missing::new(format!("no disks: {e}")))?;
    let mut new = None;
    let comes = async {
        let server = MqttServer::start(console.port(), "sys-usb", Dialect::Psec, disks).await?;
        new = Some(server);
        Ok(())
    };
    table.row("its new program runs, and speaks MQTT on the same channel", comes).await;
    both_call(&mut gui, &mut scan, table).await;
    table.row("    passerelle status says so", shows(program, &dom0, "mqtt")).await;
    drop(new);
    let _old = old_program(&console).await?;
    table.row("its MVP program runs again", dom0.served("sys-usb")).await;
    both_call(&mut gui, &mut scan, table).await;
    table.row("    passerelle status says so", shows(program, &dom0, "legacy")).await;
    Ok(())
}

/// Scene 4.
async fn to_safecor(program: &Path, table: &mut Table) -> Result<(), Missing> {
    let speaks = |gateway: Gateway| gateway.with_dialect("sys-usb", Dialect::Safecor12);
    let dom0 = dom0_with(program, speaks).await?;
    let disks = Disks::new().map_err(|e| Missing::new(format!("no disks: {e}")))?;
    let socket = dom0.broker.socket();
    let _usb = MqttServer::start(&socket, "sys-usb", Dialect::Safecor12, disks).await?;
    let mut gui = dom0.legacy("vm-gui").await?;

    let file = json!({"disk": "DISK1", "filepath": "hello.txt"});
    let read = json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"});
    let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let keep = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": REPOSITORY});
    let create = json!({"disk": "DISK1", "filepath": "new.txt", "contents": "contenu"});
    let calls: [Call; 8] = [
        ("liste_disques", "list_disks", json!({}), |l| {
            l.answers("liste_disques") && l.data()[1] == "DISK1"
        }),
        ("liste_fichiers", "list_files", json!({"nom_disque": "DISK1"}), |l| {
            l.answers("liste_fichiers") && l.data()["files"][2]["size"] == 12
        }),
        ("lit_fichier", "read_file", read, |l| told(l, "disponible")),
        ("copie_fichier", "copy_file", copy, |l| told(l, "copié")),
        ("copie_fichier", "read_file (into the repository)", keep, |l| told(l, "copié")),
        ("get_file_footprint", "file_fingerprint", file, |l| l.data()["footprint"] == MD5),
        ("create_file", "create_file", create, |l| l.data()["success"] == true),
        ("start_benchmark", "nobody, which it is told", json!({"id_benchmark": "files"}), |l| {
            l.answers("benchmark_files") && l.data()["etat"] == "erreur"
        }),
    ];
    for (command, topic, arguments, right) in calls {
        gui.ask("sys-usb", command, &arguments);
        table.row(&format!("{command} > {topic}"), arrived(&mut gui, right)).await;
    }
    Ok(())
}

/// Scene 5.
async fn to_dom0(program: &Path, table: &mut Table) -> Result<(), Missing> {
    let relay = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
    let key = format!("[dom0]\nrelay = \"{}\"\n", relay.path().display());
    let mut dom0 = dom0_with(program, |gateway| gateway.with(&key)).await?;
    let mut old = MvpRouter::start(relay.path())?;
    let mut gui = dom0.legacy("vm-gui").await?;
    old.connected("vm-gui").await?;
    let [_, list_files, _, _, _, _, footprint, ..] = ROOTS;
    dom0.broker.subscribed("Dom0", [format!("{list_files}/request")]).await?;
    let filters = ["system/+/+/response/vm-scan"];
    let mut scan = MqttPeer::connect(&dom0.broker.socket(), "vm-scan", &filters).await?;

    let listed = json!({"nom_disque": REPOSITORY});
    gui.ask("Dom0", "liste_fichiers", &listed);
    let right = |l: &Line| l.answers("liste_fichiers") && l.data()["files"][0]["size"] == 13;
    table.row("vm-gui (MVP) reads the repository: liste_fichiers", arrived(&mut gui, right)).await;
    let file = json!({"disk": REPOSITORY, "filepath": "hello.txt"});
    let calls: [Request; 2] = [
        (list_files, "liste_fichiers", json!({"disk": REPOSITORY}), |a| {
            a["files"][0]["size"] == 13
        }),
        (footprint, "get_file_footprint", file, |a| a["footprint"] == MD5),
    ];
    for (root, command, request, right) in calls {
        let call = async { right_one(scan.call(root, &request).await?.json(), right) };
        table.row(&format!("vm-scan (MQTT) reads it: {command}"), call).await;
    }
    Ok(())
}

/// Asks the gateway how the domains are, until `sys-usb` is so; prints what it says.
async fn shows(program: &Path, dom0: &Dom0, state: &str) -> Result<(), Missing> {
    let mut status = Command::new(program);
    status.args(["status", "--watch", "--config"]).arg(dom0.gateway.config_file());
    let status = status.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut status = status.map_err(|e| Missing::new(format!("no status: {e}")))?;
    let Some(out) = status.stdout.take() else { return Err(Missing::new("no status")) };
    let mut lines = BufReader::new(out).lines();
    let found = async {
        let (mut shown, mut wanted) = (Vec::new(), false);
        while let Ok(Some(line)) = lines.next_line().await {
            let is_a_domains = line.starts_with("sys-usb") || line.starts_with("vm-gui");
            let mut words = line.split_whitespace();
            wanted |= words.next() == Some("sys-usb") && words.next() == Some(state);
            let last = line.starts_with("vm-gui");
            if line.starts_with("DOMAIN") {
                (shown, wanted) = (vec![line], false);
            } else if is_a_domains {
                shown.push(line);
            }
            if wanted && last {
                return Ok(shown);
            }
        }
        Err(Missing::new(format!("sys-usb is not shown as {state}")))
    };
    let timeout = tokio::time::timeout(DEADLINE, found).await;
    let shown = timeout.map_err(|_| Missing::new(format!("sys-usb does not become {state}")))??;
    for line in shown {
        println!("        {line}");
    }
    Ok(())
}

async fn old_program(console: &Console) -> Result<MvpServer, Missing> {
    let (reader, writer) = console.open().await?.into_split();
    let disks = Disks::new().map_err(|e| Missing::new(format!("no disks: {e}")))?;
    Ok(MvpServer::over(LegacyDomain::over("sys-usb", reader, writer), disks))
}

async fn both_call(gui: &mut LegacyDomain, scan: &mut MqttPeer, table: &mut Table) {
    let call =
        async { gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await.map(drop) };
    table.row("    vm-gui (MVP) calls it: liste_disques", call).await;
    let [list_disks, ..] = ROOTS;
    let call = async { scan.call(list_disks, &json!({})).await.map(drop) };
    table.row(&format!("    vm-scan (MQTT) calls it: {list_disks}"), call).await;
}

/// A root, the legacy command, the request, and whether an answer is right.
type Request = (&'static str, &'static str, Value, fn(&Value) -> bool);

/// A legacy command, the last level of its topic, its arguments, and whether a line is its end.
type Call = (&'static str, &'static str, Value, fn(&Line) -> bool);

fn told(line: &Line, state: &str) -> bool {
    line.tells("fichier") && line.data()["etat"] == state
}

fn right_one(answer: Value, right: impl Fn(&Value) -> bool) -> Result<(), Missing> {
    if right(&answer) {
        Ok(())
    } else {
        Err(Missing::new(format!("not the right answer: {answer}")))
    }
}

async fn announced(
    scan: &mut MqttPeer,
    topic: &str,
    member: &str,
    value: &str,
) -> Result<(), Missing> {
    scan.expect(topic, |m| m.topic == topic && m.json()[member] == value).await.map(drop)
}

async fn arrived(gui: &mut LegacyDomain, right: impl Fn(&Line) -> bool) -> Result<(), Missing> {
    gui.expect("its end", |line| right(line)).await.map(drop)
}
