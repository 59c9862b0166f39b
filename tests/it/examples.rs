//! The programs that the documentation shows, on the channel of a domain that has moved.

use crate::peers::{DEADLINE, LegacyDomain, MqttPeer, NEW_FILE};
use crate::setting::{Outcome, PROGRAM, setting};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// It is `sys-usb` for everybody: it announces, it is asked, and it asks.
async fn is_sys_usb(program: &mut Command) -> Outcome {
    let setting = setting().await?;
    let mut gui: LegacyDomain = setting.legacy("vm-gui").await?;
    let mut scan = MqttPeer::connect(
        &setting.broker.socket(),
        "vm-scan",
        &[NEW_FILE, "system/disks/list_disks/response/vm-scan"],
    )
    .await?;
    let console = setting.console("sys-usb").await?;
    program.arg(console.port()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = program.spawn()?;
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();

    let file = gui.expect("the file", |line| line.tells("fichier")).await?;
    assert_eq!(file.data()["filepath"], "/a.doc");
    assert_eq!(file.value["source"], "sys-usb");
    scan.expect("the file", |m| m.topic == NEW_FILE && m.source() == Some("sys-usb")).await?;

    gui.expect("who is there", |line| line.asks("liste_composants")).await?;
    let state = json!({"composant": "vm-gui", "etat": "ok"});
    gui.line(&crate::peers::legacy::response("vm-gui", "sys-usb", "etat_composant", &state));
    let printed = tokio::time::timeout(DEADLINE, lines.next_line()).await??.unwrap_or_default();
    assert!(printed.contains(r#""id":"vm-gui""#), "{printed}");

    let disks = gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    assert_eq!(*disks.data(), json!(["KEY"]));
    let disks = scan.call("system/disks/list_disks", &json!({})).await?;
    assert_eq!(disks.json(), json!({"disks": [{"id": "KEY", "label": "KEY"}]}));
    Ok(())
}

#[tokio::test]
async fn a_domain_in_rust_is_as_short_as_it_is_shown() -> Outcome {
    let program = Path::new(PROGRAM).with_file_name("examples").join("domain");
    is_sys_usb(&mut Command::new(program)).await
}

#[tokio::test]
async fn a_domain_in_python_is_as_short_as_it_is_shown() -> Outcome {
    let paho = Command::new("sh").arg(format!("{ROOT}/tests/paho.sh")).output().await?;
    if !paho.status.success() {
        let why = String::from_utf8_lossy(&paho.stderr);
        eprintln!("skipped: paho-mqtt cannot be had here: {why}");
        return Ok(());
    }
    let paho = String::from_utf8(paho.stdout)?;
    let mut python = Command::new("python3");
    python.arg(format!("{ROOT}/examples/domain/domain.py")).env("PYTHONPATH", paho.trim());
    is_sys_usb(&mut python).await
}
