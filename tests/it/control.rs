//! The control socket, and what asks it.

use crate::peers::legacy::response;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::Hello;
use crate::peers::{Broker, DEADLINE, Dom0, Gateway, LegacyDomain, Missing, MqttPeer};
use crate::setting::{Ended, Outcome, PROGRAM, passerelle, setting_with, until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

async fn setting() -> Result<Dom0, Missing> {
    setting_with(Broker::start().await?, Gateway::with_control).await
}

/// Waits until the gateway can be asked.
async fn is_asked(gateway: &Gateway) -> Outcome {
    until(gateway, "log", &[], |e| e.code == 0).await?;
    Ok(())
}

/// What the socket says to these bytes.
async fn said(gateway: &Gateway, bytes: &[u8]) -> Outcome<String> {
    let mut stream = UnixStream::connect(gateway.control_socket()).await?;
    stream.write_all(bytes).await?;
    let mut reply = Vec::new();
    // What was not read is why the other side may close with an error.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut reply)).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// The metrics that a text names, less what a histogram adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let names = text.split(is_part).filter(|word| word.starts_with("passerelle_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// How a subcommand ends when what it prints goes there.
async fn printed_to(gateway: &Gateway, args: &[&str], output: impl Into<Stdio>) -> Outcome<Ended> {
    let mut program = Command::new(PROGRAM);
    program.args(args).env("PASSERELLE_CONFIG", gateway.config_file()).kill_on_drop(true);
    program.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
    let output = tokio::time::timeout(DEADLINE, program.spawn()?.wait_with_output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Ended { code, out: text(output.stdout), err: text(output.stderr) })
}

#[tokio::test]
async fn what_is_asked_ends_quietly_when_nobody_reads_it_and_says_that_a_disk_is_full() -> Outcome {
    let setting = setting().await?;
    let _usb = setting.legacy("sys-usb").await?;
    is_asked(&setting.gateway).await?;
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--prometheus"],
        &["ready"],
        &["reload"],
        &["log"],
        &["log", "info"],
        &["legacy", "sys-usb"],
    ] {
        let whole = printed_to(&setting.gateway, args, Stdio::piped()).await?;
        assert!(!whole.out.is_empty() && whole.err.is_empty(), "{args:?}: {whole}");
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let cut = printed_to(&setting.gateway, args, writer).await?;
        assert_eq!((cut.code, cut.err.as_str()), (whole.code, ""), "{args:?}");
        let disk = fs::File::options().write(true).open("/dev/full")?;
        let full = printed_to(&setting.gateway, args, disk).await?;
        assert!(full.code == 2 && full.err.contains("No space left"), "{args:?}: {full}");
    }
    Ok(())
}

#[tokio::test]
async fn metrics_are_the_status_in_figures() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let ask = json!({"nom_disque": "KEY"});
    gui.ask("sys-usb", "liste_fichiers", &ask);
    usb.expect("the question", |line| line.asks("liste_fichiers")).await?;
    let mut far =
        MqttPeer::connect(&setting.broker.socket(), "far", &["system/+/+/response/far"]).await?;
    setting.served("sys-usb").await?;
    let request = Message::new("system/disks/list_disks/request", "{}").answered_to(
        "system/disks/list_disks",
        "far",
        "1",
    );
    assert!(far.publish(request).await?);
    usb.expect("the question", |line| line.asks("liste_disques")).await?;
    usb.line(&response("sys-usb", "far", "liste_disques", &json!(["KEY"])));
    far.expect("the answer", |m| m.topic.ends_with("/response/far")).await?;
    gui.ask("vm-nobody", "no_such_command", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let is_there = |e: &Ended| e.out.contains("reason=\"not_mapped\"} 1\n");
    let ended = until(&setting.gateway, "status", &["--prometheus"], is_there).await?;
    assert_eq!(ended.code, 0, "{ended}");
    let usb = "instance=\"dom0\",domain=\"sys-usb\"";
    for line in [
        "passerelle_up{instance=\"dom0\"} 1",
        "passerelle_broker_up{instance=\"dom0\"} 1",
        "passerelle_fault{instance=\"dom0\",kind=\"reload\"} 0",
        &format!("passerelle_domain_state{{{usb},state=\"legacy\"}} 1"),
        &format!("passerelle_domain_state{{{usb},state=\"mqtt\"}} 0"),
        &format!("passerelle_messages_ended_total{{{usb},outcome=\"answered\"}} 1"),
        &format!("passerelle_call_seconds_bucket{{{usb},le=\"600.0\"}} 1"),
        &format!("passerelle_call_seconds_bucket{{{usb},le=\"+Inf\"}} 1"),
        &format!("passerelle_call_seconds_count{{{usb}}} 1"),
        &format!("passerelle_messages_heard_total{{{usb},kind=\"reponse\"}} 1"),
    ] {
        assert!(ended.out.lines().any(|l| l == line), "{line}\n{ended}");
    }
    // Each has its kind and its help, before its samples, and the page, the alerts and the dashboard name no other.
    let kinds: Vec<_> = ended.out.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let known: BTreeSet<_> =
        kinds.iter().filter_map(|kind| kind.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(known.len(), kinds.len(), "{ended}");
    let page = include_str!("../../docs/monitoring.md");
    let table = page.split("<!-- metrics -->").nth(1).and_then(|rest| rest.split("\n\n").next());
    assert_eq!(metrics_in(table.unwrap_or_default()), known);
    for more in [
        include_str!("../../packaging/prometheus/passerelle.rules.yml"),
        include_str!("../../packaging/prometheus/passerelle.dashboard.json"),
    ] {
        assert!(metrics_in(more).is_subset(&known), "{:?}", metrics_in(more));
    }

    // OpenMetrics has the same samples, its own heads and an end.
    let open = passerelle(&setting.gateway, "status", &["--openmetrics"]).await?.out;
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
    let samples = |text: &str| -> Vec<String> {
        let all = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(' ').next());
        all.map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&ended.out));
    let heads = open.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let heads: Vec<_> = heads.filter_map(|head| head.split_once(' ')).collect();
    assert!(heads.contains(&("passerelle_messages_heard", "counter")), "{open}");
    assert!(heads.iter().all(|(name, _)| !name.ends_with("_total")), "{open}");

    // What needs a person has a code of its own.
    setting.gateway.edit("passerelle.toml", "psec.toml\"", "absent.toml\"")?;
    setting.gateway.reload()?;
    let ended = until(&setting.gateway, "status", &[], |e| e.code != 0).await?;
    assert!(ended.code == 4 && ended.out.contains("last reload refused"), "{ended}");
    let ended = passerelle(&setting.gateway, "status", &["--prometheus"]).await?;
    assert!(ended.out.contains("kind=\"reload\"} 1\n") && ended.code == 4, "{ended}");

    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    let ended = passerelle(&setting.gateway, "status", &["--prometheus"]).await?;
    assert!(ended.out.contains("passerelle_up{instance=\"dom0\"} 0\n"), "{ended}");
    assert!(ended.code == 1 && !ended.out.contains("domain=\""), "{ended}");
    setting.broker.kill().await?;
    let ended = passerelle(&setting.gateway, "status", &["--prometheus"]).await?;
    assert!(
        ended.code == 3 && ended.out.contains("passerelle_up{instance=\"dom0\"} 0\n"),
        "{ended}"
    );
    Ok(())
}

#[tokio::test]
async fn it_can_be_asked_without_a_broker_and_with_a_broken_mapping() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.kill().await?;
    setting.gateway.edit("passerelle.toml", "psec.toml\"", "absent.toml\"")?;
    for _ in 0..2 {
        gui.ask("vm-nobody", "no_such_command", &json!({}));
        gui.expect("the refusal", |line| line.tells("erreur")).await?;
    }
    let lost = |e: &Ended| e.code == 3 && e.out.contains("broker is out of reach");
    let ended = until(&setting.gateway, "status", &[], lost).await?;
    assert!(ended.out.contains("\nvm-gui: refused: not_mapped 2\n"), "{ended}");
    assert!(!ended.out.contains("may be 10 s old"), "{ended}");
    let ended = passerelle(&setting.gateway, "status", &["--json"]).await?;
    let whole: Value = serde_json::from_str(&ended.out)?;
    assert_eq!(whole["domains"]["vm-gui"]["counters"]["received"], 2, "{ended}");
    assert!(whole["gateway"]["broker_error"].is_string(), "{ended}");
    let ended = passerelle(&setting.gateway, "ready", &[]).await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.out.contains("commande no_such_command: 2 in all"), "{ended}");

    // Without the gateway the broker is asked, as if there were no socket.
    setting.gateway.kill().await?;
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{ended}");
    let ended = passerelle(&setting.gateway, "log", &[]).await?;
    assert_eq!(ended.code, 2, "{ended}");
    assert!(ended.err.contains("control.sock: ") && ended.err.contains("does the gateway run"));
    // One that is left behind is no obstacle.
    assert!(setting.gateway.control_socket().exists());
    setting.gateway.edit("passerelle.toml", "absent.toml\"", "psec.toml\"")?;
    setting.gateway.run_as_it_is()?;
    is_asked(&setting.gateway).await?;
    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    assert!(!setting.gateway.control_socket().exists());
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_hangs_is_said_to_hang() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    until(&setting.gateway, "status", &[], |e| e.code == 0).await?;
    setting.gateway.freeze()?;
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    setting.gateway.thaw()?;
    assert!(ended.code == 1 && ended.err.contains("does not answer"), "{ended}");
    assert!(ended.out.is_empty(), "what the broker has is not so: {ended}");
    Ok(())
}

#[tokio::test]
async fn it_says_how_it_is_when_no_file_is_left_to_open() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    let id = setting.gateway.id()?;
    let open = fs::read_dir(format!("/proc/{id}/fd"))?;
    let open: BTreeSet<u64> =
        open.filter_map(|fd| fd.ok()?.file_name().to_str()?.parse().ok()).collect();
    let most = (0..).find(|fd| !open.contains(fd));
    let limit = Rlimit { current: most, maximum: most };
    prlimit(Pid::from_raw(id.cast_signed()), Resource::Nofile, limit)?;
    let _gui = LegacyDomain::start(setting.sockets(), "vm-gui")?;
    setting.gateway.logged("Too many open files", 1).await?;
    let says = |e: &Ended| e.out.contains("Too many open files");
    let shown = until(&setting.gateway, "status", &[], says).await?;
    assert!(shown.err.is_empty(), "{shown}");
    Ok(())
}

#[tokio::test]
async fn only_its_owner_and_its_group_may_ask() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    let mode = fs::metadata(setting.gateway.control_socket())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    Ok(())
}

#[tokio::test]
async fn the_level_of_the_log_changes_until_the_next_reload() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    let level = async |more: &[&str]| -> Outcome<String> {
        Ok(passerelle(&setting.gateway, "log", more).await?.out)
    };
    assert_eq!(level(&[]).await?, "info\n");
    assert_eq!(level(&["debug"]).await?, "debug\n");
    let gui = setting.legacy("vm-gui").await?;
    gui.ask("sys-usb", "liste_disques", &json!({}));
    setting.gateway.logged("DEBUG publish", 1).await?;
    assert_eq!(passerelle(&setting.gateway, "reload", &[]).await?.code, 0);
    assert_eq!(level(&[]).await?, "info\n");
    Ok(())
}

#[tokio::test]
async fn a_reload_says_on_the_terminal_what_is_wrong() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    let ended = passerelle(&setting.gateway, "reload", &[]).await?;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended}");
    assert!(ended.out.starts_with("reloaded: the mapping has "), "{ended}");
    setting.gateway.edit("passerelle.toml", "psec.toml\"", "absent.toml\"")?;
    let ended = passerelle(&setting.gateway, "reload", &[]).await?;
    assert_eq!((ended.code, ended.err.as_str()), (1, ""), "{ended}");
    assert!(ended.out.contains("absent.toml"), "{ended}");
    assert!(ended.out.ends_with("not reloaded: 1 finding: the gateway goes on as before\n"));
    setting.gateway.logged("not reloaded", 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_whose_old_program_waits_to_be_asked_is_a_legacy_one_again() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    let console = setting.console("sys-usb").await?;
    let mut port = console.open().await?;
    let hello = Hello { level: 5, id: "sys-usb", ..Hello::default() };
    port.write_all(&hello.packet()).await?;
    setting.gateway.logged("speaks MQTT", 1).await?;
    let on_mqtt = |e: &Ended| e.out.contains("sys-usb  ") && e.out.contains(" mqtt ");
    until(&setting.gateway, "status", &[], on_mqtt).await?;
    let ended = passerelle(&setting.gateway, "legacy", &["sys-usb"]).await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.err.contains("stop its new program first"), "{ended}");
    // Its new program says good-bye.
    port.write_all(&[0xE0, 0]).await?;
    let taken = until(&setting.gateway, "legacy", &["sys-usb"], |e| e.code == 0).await?;
    assert_eq!(taken.out, "sys-usb is taken for a legacy domain again\n");
    let ended = passerelle(&setting.gateway, "legacy", &["sys-usb"]).await?;
    assert_eq!((ended.code, ended.out.as_str()), (0, "sys-usb is a legacy domain already\n"));
    let ended = passerelle(&setting.gateway, "legacy", &["vm-nobody"]).await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.err.contains("vm-nobody: no domain of this name has been here"), "{ended}");
    let gui = setting.legacy("vm-gui").await?;
    gui.ask("sys-usb", "liste_disques", &json!({}));
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("liste_disques") {
        let more = tokio::time::timeout(DEADLINE, port.read_buf(&mut read)).await;
        assert_ne!(more.map_err(|_| Missing::new("the old program is asked nothing"))??, 0);
    }
    Ok(())
}

#[tokio::test]
async fn whatever_a_client_does_costs_nobody_anything() -> Outcome {
    let setting = setting().await?;
    is_asked(&setting.gateway).await?;
    for odd in ["\n", "{}\n", "[]\n", "{\"ask\":\"\u{1b}[2J\"}\n", "{\"ask\":\"legacy\"}\n"] {
        let reply = said(&setting.gateway, odd.as_bytes()).await?;
        assert!(reply.starts_with("{\"error\":\"no question: "), "{odd:?}: {reply}");
    }
    let long = format!("{{\"ask\":\"status\",\"x\":\"{}\"}}\n", "x".repeat(1 << 20));
    let mut stream = UnixStream::connect(setting.gateway.control_socket()).await?;
    // It is closed on before it has said all.
    let _ = stream.write_all(long.as_bytes()).await;
    drop(stream);
    let reply =
        said(&setting.gateway, b"{\"ask\":\"status\",\"state_dir\":\"/elsewhere\"}\n").await?;
    assert!(reply.contains("this is the gateway with the `state_dir` "), "{reply}");

    // Many clients that say nothing hold up the others for a while, and messages not at all.
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(UnixStream::connect(setting.gateway.control_socket()).await?);
    }
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    assert_eq!(passerelle(&setting.gateway, "log", &[]).await?.out, "info\n");
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_not_there_stops_nothing() -> Outcome {
    let elsewhere = |gateway: Gateway| gateway.with_control_at("absent/control.sock");
    let setting = setting_with(Broker::start().await?, elsewhere).await?;
    setting.gateway.logged("WARN no control socket", 1).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let known = |e: &Ended| e.code == 0 && e.out.contains("vm-gui");
    until(&setting.gateway, "status", &[], known).await?;
    Ok(())
}

#[tokio::test]
async fn a_gateway_writes_its_metrics_itself_and_says_in_them_that_it_ends() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("passerelle.prom");
    let key = format!("[metrics]\nfile = \"{}\"\n", file.display());
    let mut setting =
        setting_with(Broker::start().await?, |gateway| gateway.with_control().with(&key)).await?;
    // Paces the attempts.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let written = async {
        loop {
            pace.tick().await;
            if let Ok(text) = fs::read_to_string(&file) {
                break text;
            }
        }
    };
    let text = tokio::time::timeout(DEADLINE, written).await?;
    assert!(text.contains("passerelle_up{instance=\"dom0\"} 1\n"), "{text}");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o644);
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    let text = fs::read_to_string(&file)?;
    assert!(
        text.contains("passerelle_up{instance=\"dom0\"} 0\n") && !text.contains("domain="),
        "{text}"
    );
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}

#[tokio::test]
async fn what_waits_in_the_store_is_in_the_status_and_since_when() -> Outcome {
    let tables = "[store]\ndir = \"store\"\n";
    let configure = |gateway: Gateway| gateway.with_control().with(tables);
    let mut setting = setting_with(Broker::start().await?, configure).await?;
    let gui = setting.legacy("vm-gui").await?;
    setting.broker.kill().await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    let of = |ended: &Ended| -> Value {
        let mut status: Value = serde_json::from_str(&ended.out).unwrap_or_default();
        status["domains"]["vm-gui"].take()
    };
    let waits = |ended: &Ended| of(ended)["store_records"] == 1;
    let gui_of = of(&until(&setting.gateway, "status", &["--json"], waits).await?);
    assert!(
        gui_of["store_bytes"].as_u64() > Some(0) && gui_of["store_since"].is_string(),
        "{gui_of}"
    );
    setting.broker.run().await?;
    let is_empty =
        |ended: &Ended| of(ended)["store_records"] == 0 && of(ended)["store_since"] == Value::Null;
    until(&setting.gateway, "status", &["--json"], is_empty).await?;
    Ok(())
}
