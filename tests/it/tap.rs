//! `passerelle tap`: what crosses, live.

use crate::peers::legacy::response;
use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, DEADLINE, Dom0, Gateway, Missing, MqttPeer};
use crate::setting::{Outcome, PROGRAM, passerelle, setting_with, until};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};

async fn setting() -> Result<Dom0, Missing> {
    setting_with(Broker::start().await?, Gateway::with_control).await
}

/// Somebody who watches.
struct Watcher {
    lines: Lines<BufReader<ChildStdout>>,
    program: Child,
}

impl Watcher {
    /// It watches when it returns: what is said from then on is seen.
    async fn start(setting: &Dom0, more: &[&str]) -> Outcome<Self> {
        until(&setting.gateway, "log", &["debug"], |e| e.code == 0).await?;
        let before = setting.gateway.log().matches("somebody watches").count();
        let mut program = Command::new(PROGRAM)
            .args(["tap", "--config"])
            .arg(setting.gateway.config_file())
            .args(more)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(program.stdout.take().expect("it is piped")).lines();
        setting.gateway.logged("somebody watches", before + 1).await?;
        Ok(Self { lines, program })
    }

    async fn line(&mut self) -> Outcome<String> {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line());
        let line = line.await.map_err(|_| Missing::new("a line of tap"))??;
        Ok(line.unwrap_or_default())
    }

    async fn next(&mut self) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }
}

/// What a line says, in short.
fn brief(line: &Value) -> String {
    let word = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
    ["came", "kind", "name", "from", "to", "ended", "reason"].map(word).join(" ")
}

#[tokio::test]
async fn each_message_is_shown_in_both_of_its_forms() -> Outcome {
    let setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let mut scan =
        MqttPeer::connect(&setting.broker.socket(), "vm-scan", &["system/+/+/response/vm-scan"])
            .await?;
    let mut watcher = Watcher::start(&setting, &[]).await?;

    // From legacy to legacy: word for word, so that there is one form.
    gui.ask("sys-usb", "liste_disques", &json!({}));
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    let seen = watcher.next().await?;
    assert_eq!(brief(&seen), "legacy command liste_disques vm-gui sys-usb crossed -");
    assert_eq!(seen["legacy"][0]["payload"]["commande"], "liste_disques", "{seen}");
    usb.line(&response("sys-usb", "vm-gui", "liste_disques", &json!(["KEY"])));
    gui.expect("the answer", |line| line.answers("liste_disques")).await?;
    let seen = watcher.next().await?;
    assert_eq!(brief(&seen), "legacy response liste_disques sys-usb vm-gui crossed -");
    assert!(seen["took_ms"].as_f64().is_some(), "{seen}");
    // Its copy for observers.
    assert_eq!(seen["mqtt"][0]["topic"], "system/disks/list_disks/response/vm-gui", "{seen}");
    assert_eq!(seen["mqtt"][0]["payload"]["disks"][0]["id"], "KEY", "{seen}");

    // From MQTT to legacy, and its answer.
    let correlation = scan.ask("system/disks/list_disks", &json!({"source": "vm-scan"})).await?;
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    let seen = watcher.next().await?;
    assert_eq!(brief(&seen), "mqtt command liste_disques vm-scan sys-usb crossed -");
    assert_eq!(seen["call"], String::from_utf8_lossy(&correlation).as_ref(), "{seen}");
    assert_eq!(seen["mqtt"][0]["topic"], "system/disks/list_disks/request", "{seen}");
    assert_eq!(seen["legacy"].as_array().map(Vec::len), Some(1), "{seen}");
    usb.line(&response("sys-usb", "vm-scan", "liste_disques", &json!([])));
    let seen = watcher.next().await?;
    assert_eq!(brief(&seen), "legacy response liste_disques sys-usb vm-scan crossed -");
    assert_eq!(seen["call"], String::from_utf8_lossy(&correlation).as_ref(), "{seen}");
    assert!(seen["took_ms"].as_f64().is_some_and(|took| took > 0.0), "{seen}");

    // A notification from MQTT, and what is refused.
    let error =
        json!({"module": "m", "datetime": "2026-01-01T00:00:00Z", "level": 40, "description": "d"});
    scan.publish(
        Message::new("system/events/error/notification", error.to_string()).from("vm-scan"),
    )
    .await?;
    gui.expect("the event", |line| line.tells("erreur")).await?;
    let seen = watcher.next().await?;
    assert_eq!(brief(&seen), "mqtt event erreur vm-scan tous crossed -");
    gui.ask("vm-nobody", "no_such_command", &json!({}));
    let seen = watcher.next().await?;
    let refused = "legacy command no_such_command vm-gui vm-nobody refused not_mapped";
    assert_eq!(brief(&seen), refused);
    assert!(seen["detail"].is_string() && seen["time"].is_string(), "{seen}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_wanted_is_not_shown() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut refused = Watcher::start(&setting, &["--refused"]).await?;
    let mut command = Watcher::start(&setting, &["--command", "LIST_FILES"]).await?;
    let mut domain = Watcher::start(&setting, &["--domain", "sys-usb", "--raw"]).await?;
    gui.ask("vm-scan", "no_such_command", &json!({}));
    gui.ask("Dom0", "liste_fichiers", &json!({"nom_disque": "D"}));
    usb.tell("vm-scan", "no_such_event", &json!({}));
    let names = [
        refused.next().await?["name"].clone(),
        refused.next().await?["name"].clone(),
        command.next().await?["name"].clone(),
    ];
    assert_eq!(names, ["no_such_command", "no_such_event", "liste_fichiers"]);
    let line = domain.line().await?;
    assert!(line.contains(" sys-usb > vm-scan event no_such_event not_mapped: "), "{line}");
    assert!(line.contains(" | {\"type\":\"notification\",\"source\":\"sys-usb\","), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_what_it_missed_and_holds_up_nobody() -> Outcome {
    const MANY: u64 = 20_000;
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    until(&setting.gateway, "log", &["debug"], |e| e.code == 0).await?;
    let mut slow = UnixStream::connect(setting.gateway.control_socket()).await?;
    slow.write_all(b"{\"ask\":\"tap\"}\n").await?;
    setting.gateway.logged("somebody watches", 1).await?;
    passerelle(&setting.gateway, "log", &["info"]).await?;
    // It does not read, and every message goes through.
    let data = "x".repeat(200);
    for n in 0..MANY {
        gui.tell("sys-usb", "test", &json!({"n": n, "data": data}));
    }
    for n in 0..MANY {
        let line = usb.inbox.next("the event").await?;
        assert_eq!(line.data()["n"], n);
    }
    // Once it reads, it has what found room, and is told of the rest.
    let mut lines = BufReader::new(slow).lines();
    let (mut seen, mut missed) = (0, 0);
    assert_eq!(lines.next_line().await?.as_deref(), Some("{\"answer\":\"watching\"}"));
    while seen + missed < MANY {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??.unwrap_or_default();
        let line: Value = serde_json::from_str(&line)?;
        match line["missed"].as_u64() {
            Some(more) => missed += more,
            None => seen += 1,
        }
    }
    assert_eq!(seen + missed, MANY, "{seen} seen, {missed} missed");
    assert!(seen > 0 && missed > 0, "{seen} seen, {missed} missed");
    Ok(())
}

/// Nothing crosses that it would fail to write; and its place is free for another.
#[tokio::test]
async fn a_watcher_whose_output_nobody_reads_any_more_ends() -> Outcome {
    let setting = setting().await?;
    let Watcher { lines, mut program } = Watcher::start(&setting, &[]).await?;
    drop(lines);
    let ended = tokio::time::timeout(DEADLINE, program.wait());
    let ended = ended.await.map_err(|_| Missing::new("the end of tap"))??;
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_and_one_too_many() -> Outcome {
    let mut setting = setting().await?;
    let mut watchers = Vec::new();
    for _ in 0..4 {
        watchers.push(Watcher::start(&setting, &[]).await?);
    }
    let ended = passerelle(&setting.gateway, "tap", &[]).await?;
    assert!(ended.code == 2 && ended.err.contains("4 watch already"), "{ended}");
    setting.gateway.kill().await?;
    let ended = passerelle(&setting.gateway, "tap", &[]).await?;
    assert!(ended.code == 2 && ended.err.contains("does the gateway run"), "{ended}");
    Ok(())
}
