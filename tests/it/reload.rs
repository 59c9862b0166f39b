//! Configuration and mapping are loaded anew while everyone talks.

use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, Gateway, LegacyDomain, Line, Missing, MqttPeer};
use crate::setting::{self, Outcome, setting_with};
use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use tokio::sync::watch;

const ANSWERS: &str = "system/+/+/response/vm-scan";

/// A row of one's own, in a file of one's own.
const ROWS: &str = r#"dialect = "psec"
requester_member = "source"
[[command]]
name = "SCAN_FICHIER"
legacy = "scan_fichier"
topic = "business/scan/file"
handler = "vm-gui"
request.members = { filepath = "chemin" }
[[command.answer]]
reponse = "scan_fichier"
members = { verdict = "verdict" }
"#;

async fn setting(more: &str) -> Outcome<crate::peers::Dom0> {
    let broker = Broker::start().await?;
    let configure = |gateway: Gateway| gateway.with(more).with_rows("rows.toml", ROWS);
    Ok(setting_with(broker, configure).await?)
}

const FOOTPRINT: &str = "system/disks/get_file_footprint/request";

/// A migrated domain that answers one request only.
async fn serve(mut server: MqttPeer) -> Result<(), Missing> {
    loop {
        let asked = server.inbox.next("a request").await?;
        let answer = json!({"footprint": asked.json()["filepath"]}).to_string();
        let topic = asked.response_topic.unwrap_or_default();
        let correlation = asked.correlation;
        server.publish(Message { correlation, ..Message::new(topic, answer) }).await?;
    }
}

/// Calls, ten at a time, until it is told to stop; says how many calls were answered, each of them once.
async fn legacy_calls(
    mut gui: LegacyDomain,
    stop: watch::Receiver<bool>,
) -> Outcome<(usize, LegacyDomain)> {
    let mut calls = 0;
    while !*stop.borrow() {
        let files: Vec<_> = (calls..calls + 10).map(|n| json!(n.to_string())).collect();
        for file in &files {
            gui.ask("vm-new", "get_file_footprint", &json!({"disk": "D", "filepath": file}));
        }
        for file in &files {
            let answers = |l: &Line| l.answers("file_footprint") && l.data()["footprint"] == *file;
            gui.expect(&format!("the answer to call {file}"), answers).await?;
        }
        calls += files.len();
    }
    // What comes after the last answer would come before this.
    gui.tell("vm-gui", "test", &json!({}));
    gui.expect("its own line", |line| line.tells("test")).await?;
    let more = |line: &Line| line.answers("file_footprint") || line.tells("erreur");
    assert_eq!(gui.inbox.count(more), 0, "lines too many");
    Ok((calls, gui))
}

/// The same, on MQTT, one at a time.
async fn mqtt_calls(mut scan: MqttPeer, stop: watch::Receiver<bool>) -> Outcome<usize> {
    let mut calls = 0;
    while !*stop.borrow() {
        scan.call("system/disks/list_disks", &json!({})).await?;
        calls += 1;
    }
    assert_eq!(scan.inbox.count(|_| true), 0, "messages too many");
    Ok(calls)
}

#[tokio::test]
async fn under_load_nothing_is_lost_whether_the_mapping_is_broken_or_changed() -> Outcome {
    let mut setting = setting("").await?;
    let socket = setting.broker.socket();
    let scan = MqttPeer::connect(&socket, "vm-scan", &[ANSWERS]).await?;
    let server = tokio::spawn(serve(MqttPeer::connect(&socket, "vm-new", &[FOOTPRINT]).await?));
    let gui = setting.legacy("vm-gui").await?;
    let _usb = setting.mvp_server().await?;
    let (stop, stopped) = watch::channel(false);
    let from_legacy = tokio::spawn(legacy_calls(gui, stopped.clone()));
    let from_mqtt = tokio::spawn(mqtt_calls(scan, stopped));

    // Or else this one would be taken for the second round's, and the third would go back before it.
    setting.broker.subscribed("vm-gui", ["business/scan/file/request"]).await?;
    let gateway = &setting.gateway;
    for round in 1..=10 {
        gateway.edit("rows.toml", "reponse =", "response =")?;
        gateway.reload()?;
        gateway.logged("not reloaded", round).await?;
        gateway.edit("rows.toml", "response =", "reponse =")?;
        let [before, after] = if round % 2 == 1 { ["file", "run"] } else { ["run", "file"] };
        gateway.edit("rows.toml", &format!("scan/{before}"), &format!("scan/{after}"))?;
        gateway.reload()?;
        gateway.logged("INFO reloaded", round).await?;
        let topic = format!("business/scan/{after}/request");
        setting.broker.subscribed("vm-gui", [&topic]).await?;
    }
    stop.send_replace(true);
    let ((legacy, _gui), mqtt) = (from_legacy.await??, from_mqtt.await??);
    server.abort();
    assert!(legacy > 0 && mqtt > 0, "{legacy} and {mqtt} calls");

    let log = setting.gateway.log();
    assert!(log.contains("rows.toml:10: unknown key `response`"), "the place is not in the log");
    for bad in ["channel lost", "session lost", "refused"] {
        assert!(!log.contains(bad), "{bad}");
    }
    assert_eq!(log.matches("channel connected").count(), 2);
    Ok(())
}

/// Whether a message answers the call of this correlation.
fn answers(message: &Message, correlation: &Bytes) -> bool {
    message.topic.contains("/response/") && message.correlation.as_ref() == Some(correlation)
}

#[tokio::test]
async fn a_call_goes_on_as_it_began() -> Outcome {
    let mut setting = setting("").await?;
    let filters = ["business/scan/+/response/vm-x", "business/scan/+/request"];
    let mut other = MqttPeer::connect(&setting.broker.socket(), "vm-x", &filters).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.subscribed("vm-gui", ["business/scan/file/request"]).await?;
    let correlation = other.ask("business/scan/file", &json!({"filepath": "f"})).await?;
    gui.expect("the command", |line| line.asks("scan_fichier")).await?;
    gui.ask("vm-x", "scan_fichier", &json!({"chemin": "g"}));
    let from_gui = |m: &Message| m.source() == Some("vm-gui") && m.topic.ends_with("/request");
    let asked = other.expect("the request", from_gui).await?;

    setting.gateway.edit("rows.toml", "scan/file", "scan/run")?;
    setting.gateway.edit("rows.toml", "verdict = \"verdict\"", "result = \"resultat\"")?;
    setting.gateway.reload()?;
    setting.broker.subscribed("vm-gui", ["business/scan/run/request"]).await?;

    gui.line(&crate::peers::legacy::response(
        "vm-gui",
        "vm-x",
        "scan_fichier",
        &json!({"verdict": "sain"}),
    ));
    let answer = other.expect("the answer", |m| answers(m, &correlation)).await?;
    assert_eq!(answer.topic, "business/scan/file/response/vm-x");
    assert_eq!(answer.json(), json!({"verdict": "sain"}));
    let topic = asked.response_topic.unwrap_or_default();
    assert_eq!(topic, "business/scan/file/response/vm-gui");
    let verdict = Message::new(topic, json!({"verdict": "clean"}).to_string());
    other.publish(Message { correlation: asked.correlation, ..verdict }).await?;
    let line = gui.expect("the answer", |line| line.answers("scan_fichier")).await?;
    assert_eq!(*line.data(), json!({"verdict": "clean"}));
    // With the last call that needed it, the old topic goes.
    let correlation = other.ask("business/scan/run", &json!({"filepath": "f"})).await?;
    gui.expect("the command", |line| line.asks("scan_fichier")).await?;
    let data = json!({"resultat": "sain"});
    gui.line(&crate::peers::legacy::response("vm-gui", "vm-x", "scan_fichier", &data));
    let answer = other.expect("the answer", |m| answers(m, &correlation)).await?;
    assert_eq!(answer.json(), json!({"result": "sain"}));
    Ok(())
}

#[tokio::test]
async fn what_needs_a_restart_is_named_with_its_line() -> Outcome {
    let setting = setting("[limits]\nline = \"1 MiB\"\n").await?;
    let gateway = &setting.gateway;
    let changes = [
        ("instance = \"dom0\"", "instance = \"dom1\"", "instance"),
        ("instance = \"dom0\"", "instance = \"dom0\"\ngrace = \"1s\"", "grace"),
        ("instance = \"dom0\"", "instance = \"dom0\"\nwatch = true", "watch"),
        ("instance = \"dom0\"", "instance = \"dom0\"\nconfine = false", "confine"),
        ("state_dir = \"state\"", "state_dir = \"other\"", "state_dir"),
        ("gate.sock\"", "other.sock\"", "broker.url"),
        ("[broker]", "[broker]\nuser = \"u\"", "broker.user"),
        ("[broker]", "[broker]\nuser = \"u\"\npassword_file = \"p\"", "broker.password_file"),
        ("[broker]", "[broker]\nuser = \"u\"\npasswords = \"p\"", "broker.passwords"),
        ("[broker]", "[broker]\nkeep_alive = \"10s\"", "broker.keep_alive"),
        ("[broker]", "[broker]\nsession_expiry = \"10s\"", "broker.session_expiry"),
        ("/*-msg.sock", "/vm-*-msg.sock", "channel.unix"),
        ("[limits]", "[[channel]]\nunix = \"/tmp/x-msg.sock\"\n[limits]", "channel"),
        ("[limits]", "[store]\ndir = \"store\"\n[limits]", "store"),
        ("line = \"1 MiB\"", "line = \"2 MiB\"", "limits.line"),
    ];
    for (round, (from, to, key)) in changes.iter().enumerate() {
        gateway.edit("passerelle.toml", from, to)?;
        gateway.reload()?;
        gateway.logged("not reloaded", round + 1).await?;
        gateway.edit("passerelle.toml", to, from)?;
        let log = gateway.log();
        let finding = log.lines().rev().find(|l| l.contains(&format!("`{key}` needs a restart")));
        let finding = finding.unwrap_or_else(|| panic!("nothing of {key} in\n{log}"));
        let line = finding.split("passerelle.toml:").nth(1).and_then(|l| l.split(':').next());
        assert!(line.is_some_and(|l| l.parse().is_ok_and(|n: usize| n > 1)), "{finding}");
    }
    // And with all of it put back, nothing is wrong.
    gateway.reload()?;
    gateway.logged("INFO reloaded", 1).await?;
    Ok(())
}

#[tokio::test]
async fn limits_dialects_and_the_log_change() -> Outcome {
    let setting = setting("[limits]\nline = \"1 MiB\"\n[log]\nlevel = \"warn\"\n").await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let long = json!("x".repeat(100));
    gui.tell("sys-usb", "test", &long);
    usb.expect("the line", |line| *line.data() == long).await?;
    let gateway = &setting.gateway;
    gateway.edit("passerelle.toml", "line = \"1 MiB\"", "line = \"128 B\"")?;
    gateway.edit("passerelle.toml", "level = \"warn\"", "level = \"info\"\nformat = \"json\"")?;
    gateway.reload()?;
    gateway.logged("\"message\":\"reloaded\"", 1).await?;
    assert!(!gateway.log().contains("channel connected"), "that is no warning");

    gui.tell("sys-usb", "test", &long);
    gateway.logged("\"reason\":\"line_too_long\"", 1).await?;
    // As long as a half more than at the start is no matter.
    gateway.edit("passerelle.toml", "line = \"128 B\"", "line = \"1536 KiB\"")?;
    gateway.edit("passerelle.toml", "\"psec\"", "\"psec-lib-1.1\"")?;
    gateway.reload()?;
    gateway.logged("no mapping file has the dialect", 1).await?;
    gateway.edit("passerelle.toml", "\"psec-lib-1.1\"", "\"psec\"")?;
    gateway.reload()?;
    gateway.logged("\"message\":\"reloaded\"", 2).await?;
    gui.tell("sys-usb", "test", &long);
    usb.expect("the line", |line| *line.data() == long).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_changes_is_loaded_if_that_is_asked_for() -> Outcome {
    let broker = Broker::start().await?;
    let watched = |gateway: Gateway| gateway.with_key("watch = true");
    let mut setting = setting_with(broker, watched).await?;
    let gui = setting.legacy("vm-gui").await?;
    gui.connected().await?;
    let gateway = &setting.gateway;
    // The configuration names a file that is not there; then it is there, and wrong; then it is right.
    gateway.edit("passerelle.toml", "psec.toml\", ", "psec.toml\", \"rows.toml\", ")?;
    gateway.logged("not reloaded", 1).await?;
    let write = |text: &str| std::fs::write(gateway.folder().join("rows.toml"), text);
    write("dialect = 1")?;
    gateway.logged("rows.toml:1:", 1).await?;
    write(ROWS)?;
    setting.broker.subscribed("vm-gui", ["business/scan/file/request"]).await?;
    // An editor that replaces the file.
    setting.gateway.edit("rows.toml", "scan/file", "scan/run")?;
    setting.broker.subscribed("vm-gui", ["business/scan/run/request"]).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_put_into_a_folder_of_mappings_is_loaded() -> Outcome {
    let broker = Broker::start().await?;
    let rows = tempfile::tempdir()?;
    let psec = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/psec.toml");
    let kept = rows.path().join("kept");
    std::fs::create_dir(&kept)?;
    std::fs::copy(psec, kept.join("psec.toml"))?;
    let watched = |gateway: Gateway| gateway.with_key("watch = true").with_mappings(rows.path());
    let mut setting = setting_with(broker, watched).await?;
    let gui = setting.legacy("vm-gui").await?;
    gui.connected().await?;
    // A new file, one that takes its place, and one in a folder that is new as well.
    std::fs::write(rows.path().join("scan.toml"), ROWS)?;
    setting.broker.subscribed("vm-gui", ["business/scan/file/request"]).await?;
    std::fs::write(rows.path().join("scan.new"), ROWS.replace("scan/file", "scan/run"))?;
    std::fs::rename(rows.path().join("scan.new"), rows.path().join("scan.toml"))?;
    setting.broker.subscribed("vm-gui", ["business/scan/run/request"]).await?;
    std::fs::create_dir(rows.path().join("new"))?;
    std::fs::rename(rows.path().join("scan.toml"), rows.path().join("new/scan.toml"))?;
    std::fs::write(rows.path().join("new/scan.toml"), ROWS.replace("scan/file", "scan/all"))?;
    setting.broker.subscribed("vm-gui", ["business/scan/all/request"]).await?;
    // What is gone goes with the next reload.
    std::fs::remove_file(rows.path().join("new/scan.toml"))?;
    let reloads = setting.gateway.log().matches("INFO reloaded").count();
    setting.gateway.reload()?;
    setting.gateway.logged("INFO reloaded", reloads + 1).await?;
    Ok(())
}

#[tokio::test]
async fn the_log_stays_as_the_command_line_says() -> Outcome {
    let configure =
        |gateway: Gateway| gateway.with("[log]\nlevel = \"info\"\n").with_argument("--log=debug");
    let setting = setting_with(Broker::start().await?, configure).await?;
    let gui = setting.legacy("vm-gui").await?;
    setting.gateway.edit("passerelle.toml", "level = \"info\"", "level = \"error\"")?;
    setting.gateway.reload()?;
    setting.gateway.logged("INFO reloaded", 1).await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    setting.gateway.logged("DEBUG publish", 1).await?;
    Ok(())
}

/// The broker's session of a domain is subscribed to what the mapping says now.
async fn leaves_no_subscription_behind(killed: bool) -> Outcome {
    const OLD: &str = "business/scan/file/request";
    const NEW: &str = "business/scan/run/request";
    let mut setting = setting("").await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[]).await?;
    let _gui = setting.legacy("vm-gui").await?;
    setting.gateway.logged("session ready domain=vm-gui", 1).await?;
    assert!(scan.publish(Message::new(OLD, "{}")).await?);
    if killed {
        setting.gateway.kill().await?;
    } else {
        setting.gateway.terminate()?;
        setting.gateway.ended().await?;
    }
    assert!(scan.publish(Message::new(OLD, "{}")).await?, "the broker has kept the session");
    setting.gateway.edit("rows.toml", "scan/file", "scan/run")?;
    setting.gateway.run_as_it_is()?;
    setting.gateway.logged("session ready domain=vm-gui", 2).await?;
    assert!(!scan.publish(Message::new(OLD, "{}")).await?, "the old topic is subscribed to");
    assert!(scan.publish(Message::new(NEW, "{}")).await?);
    Ok(())
}

#[tokio::test]
async fn a_restart_with_another_mapping_leaves_no_subscription_behind() -> Outcome {
    leaves_no_subscription_behind(false).await
}

#[tokio::test]
async fn a_kill_and_another_mapping_leave_none_either() -> Outcome {
    leaves_no_subscription_behind(true).await
}
/// A gateway that still reads its configuration, from a FIFO, is told what means something to one that runs.
#[tokio::test]
async fn a_signal_while_it_starts_does_not_end_it() -> Outcome {
    let mut setting = setting::setting().await?;
    setting.gateway.kill().await?;
    let config = setting.gateway.config_file();
    let text = std::fs::read(&config)?;
    std::fs::remove_file(&config)?;
    mknodat(CWD, &config, FileType::Fifo, Mode::RWXU, 0)?;
    setting.gateway.run_as_it_is()?;
    // This waits until it has opened the file.
    let mut pipe =
        tokio::task::spawn_blocking(move || File::options().write(true).open(config)).await??;
    let config = setting.gateway.config_file();
    std::fs::write(config.with_extension("new"), &text)?;
    std::fs::rename(config.with_extension("new"), config)?;
    for _ in 0..3 {
        setting.gateway.signal(Signal::HUP)?;
        setting.gateway.signal(Signal::USR1)?;
    }
    pipe.write_all(&text)?;
    drop(pipe);
    setting.gateway.logged("passerelle starts", 2).await?;
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    Ok(())
}
