//! What the gateway says of itself on MQTT, and `passerelle status`.

use crate::peers::legacy::notification;
use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, DEADLINE, Gateway, LegacyDomain, Missing, MqttPeer};
use crate::setting::{Outcome, PROGRAM, mappings, passerelle, setting, setting_with, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

const GATEWAY: &str = "passerelle/dom0/state";

/// Somebody who looks at everything that the gateway says of itself.
async fn observer(broker: &Broker) -> Result<MqttPeer, Missing> {
    MqttPeer::connect(&broker.socket(), "observer", &["passerelle/#"]).await
}

fn topic(domain: &str) -> String {
    format!("passerelle/dom0/domains/{domain}")
}

/// Waits until a topic says this state; its payload.
async fn says(observer: &mut MqttPeer, topic: &str, state: &str) -> Result<Value, Missing> {
    let wanted = |m: &Message| m.topic == topic && m.json()["state"] == state;
    Ok(observer.expect(&format!("{topic} {state}"), wanted).await?.json())
}

/// What a client that comes now finds retained: all topics and their payloads.
async fn retained(broker: &Broker) -> Result<Vec<(String, Value)>, Missing> {
    let name = format!("late-{}", broker.socket().display());
    let mut late = MqttPeer::connect(&broker.socket(), &name, &["passerelle/#", "late"]).await?;
    late.publish(Message::new("late", "")).await?;
    let mut all = Vec::new();
    loop {
        let message = late.inbox.next("what is retained").await?;
        if message.topic == "late" {
            return Ok(all);
        }
        all.push((message.topic.clone(), message.json()));
    }
}

#[tokio::test]
async fn the_gateway_says_what_it_is_and_that_it_ends() -> Outcome {
    let mut setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let online = says(&mut observer, GATEWAY, "online").await?;
    assert_eq!(online["version"], env!("CARGO_PKG_VERSION"));
    assert!(online["reload"].is_null() && online["memory_error"].is_null(), "{online}");
    assert!(online["since"].as_str().is_some_and(|t| t.ends_with('Z')), "{online}");
    let file = mappings().join("psec.toml");
    let digest: String =
        Sha256::digest(fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(online["mappings"], json!([{"file": file, "sha256": digest}]));

    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    let offline = says(&mut observer, GATEWAY, "offline").await?;
    assert!(offline["since"].is_string(), "{offline}");
    assert_eq!(offline["cause"], "it was told to end");
    Ok(())
}

#[tokio::test]
async fn it_says_how_a_reload_went_and_goes_on_finding_what_others_left() -> Outcome {
    let setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let online = says(&mut observer, GATEWAY, "online").await?;
    setting.gateway.edit("passerelle.toml", "state_dir", "stat_dir")?;
    setting.gateway.reload()?;
    let refused = says(&mut observer, GATEWAY, "online").await?;
    let finding = refused["reload"]["findings"][0].as_str().unwrap_or_default();
    assert_eq!(refused["reload"]["outcome"], "refused");
    assert!(finding.contains("passerelle.toml:3: unknown key `stat_dir`"), "{refused}");
    assert_eq!(refused["mappings"], online["mappings"]);
    let shown = passerelle(&setting.gateway, "status", &[]).await;
    assert_eq!(shown?.code, 4, "what is wrong is nothing that it needs, and somebody has to look");

    setting.gateway.edit("passerelle.toml", "stat_dir", "state_dir")?;
    let rows = "dialect = \"psec\"\nrequester_member = \"source\"\n";
    fs::write(setting.gateway.folder().join("rows.toml"), rows)?;
    setting.gateway.edit("passerelle.toml", "psec.toml\", ", "psec.toml\", \"rows.toml\", ")?;
    setting.gateway.reload()?;
    let applied = says(&mut observer, GATEWAY, "online").await?;
    assert_eq!(applied["reload"]["outcome"], "applied", "{applied}");
    assert_eq!(applied["mappings"].as_array().map(Vec::len), Some(2), "{applied}");
    let shown = passerelle(&setting.gateway, "status", &[]).await?;
    assert!(shown.out.contains("mapping rows.toml, ") && shown.out.contains("last reload applied"));

    // Somebody else writes there.
    let foreign = Message { retain: true, ..Message::new(topic("vm-false"), "{}") };
    observer.publish(foreign).await?;
    let cleared = |m: &Message| m.topic == topic("vm-false") && m.payload.is_empty();
    observer.expect("it to be cleared", cleared).await?;
    Ok(())
}

#[tokio::test]
async fn a_killed_gateway_is_offline_and_what_it_left_is_cleared_by_the_next() -> Outcome {
    let mut setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let mut gone = setting.legacy("vm-gone").await?;
    let stays = setting.legacy("vm-stays").await?;
    says(&mut observer, &topic("vm-gone"), "silent").await?;
    setting.gateway.kill().await?;
    let offline = says(&mut observer, GATEWAY, "offline").await?;
    assert_eq!(offline["since"], Value::Null);
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.out.contains("OFFLINE: it was killed") && ended.out.contains("vm-gone"));

    gone.stop().await?;
    observer.inbox.clear();
    setting.gateway.run()?;
    stays.connected().await?;
    says(&mut observer, GATEWAY, "online").await?;
    says(&mut observer, &topic("vm-stays"), "silent").await?;
    let cleared = |m: &Message| m.topic == topic("vm-gone") && m.payload.is_empty();
    observer.expect("vm-gone to be cleared", cleared).await?;
    let retained = retained(&setting.broker).await?;
    assert!(retained.iter().all(|(t, _)| *t != topic("vm-gone")), "{retained:?}");
    assert!(retained.iter().any(|(t, _)| *t == topic("vm-stays")), "{retained:?}");
    Ok(())
}

#[tokio::test]
async fn a_broker_that_forgot_is_told_everything_again() -> Outcome {
    let mut setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let gui = setting.legacy("vm-gui").await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    says(&mut observer, &topic("vm-gui"), "legacy").await?;
    setting.broker.kill().await?;
    observer.connected(false).await?;
    observer.inbox.clear();
    setting.broker.run().await?;
    says(&mut observer, GATEWAY, "online").await?;
    says(&mut observer, &topic("vm-gui"), "legacy").await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_is_silent_then_legacy_then_absent() -> Outcome {
    let setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let silent = says(&mut observer, &topic("vm-gui"), "silent").await?;
    let cause = silent["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("the old router, holds the socket"), "{silent}");
    assert_eq!((&silent["last_legacy"], &silent["calls_pending"]), (&Value::Null, &json!(0)));

    gui.line("no message");
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let legacy = says(&mut observer, &topic("vm-gui"), "legacy").await?;
    assert!(legacy["cause"].is_null() && legacy["last_legacy"].is_string(), "{legacy}");
    gui.stop().await?;
    // It may have been absent for a moment at its beginning, too.
    let over = |m: &Message| {
        m.topic == topic("vm-gui")
            && m.json()["state"] == "absent"
            && m.json()["counters"]["received"] == 2
    };
    let absent = observer.expect("absent, with all that it said", over).await?.json();
    let refused = json!({"not_json": 1, "no_such_domain": 1});
    assert_eq!(absent["counters"]["refused"], refused, "{absent}");
    assert_eq!(absent["last_legacy"], legacy["last_legacy"]);
    Ok(())
}

#[tokio::test]
async fn a_domain_whose_socket_another_program_holds_is_silent() -> Outcome {
    let setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let elsewhere = tempfile::tempdir()?;
    let gui = LegacyDomain::start(elsewhere.path(), "vm-gui")?;
    let from = elsewhere.path().join("vm-gui-msg.sock");
    let _router = UnixStream::connect(&from).await?;
    gui.connected().await?;
    fs::rename(from, setting.sockets().join("vm-gui-msg.sock"))?;
    says(&mut observer, &topic("vm-gui"), "silent").await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    assert_eq!(ended.code, 0, "{ended}");
    assert!(ended.out.contains("silent") && ended.out.contains("holds"), "{ended}");
    Ok(())
}

#[tokio::test]
async fn a_name_that_two_clients_want_is_contested() -> Outcome {
    let setting = setting().await?;
    let mut observer = observer(&setting.broker).await?;
    let gui = setting.legacy("vm-gui").await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    says(&mut observer, &topic("vm-gui"), "legacy").await?;
    // It comes back at once whenever it is thrown out.
    let _new = MqttPeer::connect(&setting.broker.socket(), "vm-gui", &["x"]).await?;
    let contested = says(&mut observer, &topic("vm-gui"), "contested").await?;
    assert!(contested["cause"].as_str().is_some_and(|c| c.contains("another client")));
    Ok(())
}

#[tokio::test]
async fn a_domain_that_comes_over_carries_mqtt_and_waits_when_the_broker_goes() -> Outcome {
    // It is told of the broker's end, whenever that comes.
    let no_healing = |gateway: Gateway| gateway.with("[limits]\nheal = \"0s\"\n");
    let mut setting = setting_with(Broker::start().await?, no_healing).await?;
    let mut observer = observer(&setting.broker).await?;
    let console = setting.console("vm-scan").await?;
    let mut port = console.open().await?;
    let line = notification("vm-scan", "tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    port.write_all(format!("{line}\n").as_bytes()).await?;
    let before = says(&mut observer, &topic("vm-scan"), "legacy").await?;
    // MQTT 3.1.1, a clean session, the client id "x".
    let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01x";
    port.write_all(connect).await?;
    let mqtt = says(&mut observer, &topic("vm-scan"), "mqtt").await?;
    assert_eq!(mqtt["counters"]["received"], 1, "{mqtt}");
    assert_eq!(mqtt["last_legacy"], before["last_legacy"]);

    setting.broker.kill().await?;
    observer.connected(false).await?;
    port.write_all(b"\xc0\0").await?;
    setting.broker.run().await?;
    let waits = says(&mut observer, &topic("vm-scan"), "waiting_for_connect").await?;
    assert!(waits["cause"].as_str().is_some_and(|c| c.contains("next CONNECT")), "{waits}");
    let shown = passerelle(&setting.gateway, "status", &[]).await?;
    assert!(shown.out.contains("waiting for CONNECT"), "{shown}");

    port.write_all(connect).await?;
    says(&mut observer, &topic("vm-scan"), "mqtt").await?;
    port.write_all(format!("{line}\n").as_bytes()).await?;
    let legacy = says(&mut observer, &topic("vm-scan"), "legacy").await?;
    assert_eq!(legacy["counters"]["received"], 2, "{legacy}");
    Ok(())
}

#[tokio::test]
async fn the_table_fits_and_the_json_is_whole() -> Outcome {
    let setting = setting().await?;
    let long = "a-domain-with-a-name-that-is-as-long-as-a-name-may-be-0123456789x";
    assert_eq!(long.len(), 65);
    let long = &long[..64];
    let _long = setting.legacy(long).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let all = |e: &crate::setting::Ended| e.out.contains("legacy") && e.out.contains("a-domain-");
    let table = until(&setting.gateway, "status", &[], all).await?;
    assert_eq!((table.code, table.err.as_str()), (0, ""), "{table}");
    let widest = table.out.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{table}");

    let ended = passerelle(&setting.gateway, "status", &["--json"]).await?;
    assert_eq!((ended.code, ended.out.lines().count()), (0, 1), "{ended}");
    let whole: Value = serde_json::from_str(&ended.out)?;
    let mut found = serde_json::Map::new();
    for (topic, payload) in retained(&setting.broker).await? {
        found.insert(topic.replace("passerelle/dom0/", ""), payload);
    }
    assert_eq!(whole["instance"], "dom0");
    assert_eq!(whole["gateway"], found["state"]);
    assert_eq!(whole["domains"].as_object().map(serde_json::Map::len), Some(2), "{whole}");
    assert_eq!(whole["domains"][long], found[&format!("domains/{long}")]);
    Ok(())
}

#[tokio::test]
async fn watched_it_shows_each_change() -> Outcome {
    let setting = setting().await?;
    let mut watching = tokio::process::Command::new(PROGRAM)
        .args(["status", "--watch", "--json", "--config"])
        .arg(setting.gateway.config_file())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(watching.stdout.take().expect("it is piped")).lines();
    let mut state = async || -> Outcome<Value> {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
        let shown: Value = serde_json::from_str(&line.unwrap_or_default())?;
        assert_eq!(shown["gateway"]["state"], "online", "{shown}");
        Ok(shown["domains"]["vm-gui"]["state"].clone())
    };
    assert_eq!(state().await?, Value::Null);
    let mut gui = setting.legacy("vm-gui").await?;
    assert_eq!(state().await?, "silent");
    gui.stop().await?;
    assert_eq!(state().await?, "absent");
    // Whoever reads it has seen enough, and nothing changes any more.
    drop(lines);
    let ended = tokio::time::timeout(DEADLINE, watching.wait()).await??;
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_broker_out_of_reach_is_another_thing_than_a_gateway_that_is_not_there() -> Outcome {
    let mut setting = setting().await?;
    setting.broker.kill().await?;
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{ended}");
    let socket = setting.broker.gate();
    let start = format!("error: the broker at unix:{} is out of reach: ", socket.display());
    assert!(ended.err.starts_with(&start), "{ended}");

    // A broker that has never heard of it.
    setting.gateway.kill().await?;
    setting.broker.run().await?;
    let ended = passerelle(&setting.gateway, "status", &[]).await?;
    assert_eq!((ended.code, ended.err.as_str()), (1, ""), "{ended}");
    assert!(ended.out.contains("unknown to the broker"), "{ended}");
    Ok(())
}
