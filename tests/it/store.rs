//! The store: what waits for the broker outlives the gateway, however that ends.

use crate::peers::legacy::{notification, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, DEADLINE, Dom0, ERROR, Gateway, Hello, LegacyDomain, Missing, MqttPeer, Pty, ROOTS,
};
use crate::setting::{Ended, Outcome, PROGRAM, mappings, setting_with};
use crate::tunnel::legacy;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

pub const STORE: &str = "[store]\ndir = \"store\"\n";

/// A gateway with a store.
pub async fn stored(more: &str) -> Outcome<Dom0> {
    let broker = Broker::start().await?;
    let tables = format!("{STORE}{more}");
    Ok(setting_with(broker, |gateway| gateway.with(&tables)).await?)
}

pub fn tell(domain: &LegacyDomain, numbers: std::ops::Range<usize>) {
    for n in numbers {
        domain.tell("tous", "erreur", &json!({"niveau": 20, "message": format!("number {n}")}));
    }
}

/// The gateway has read everything that `from` wrote, and written it to the store before it read on.
pub async fn taken(from: &LegacyDomain, by: &mut LegacyDomain) -> Outcome {
    for _ in 0..2 {
        from.tell(&by.name, "test", &json!({}));
        by.expect("the last line", |line| line.tells("test")).await?;
    }
    Ok(())
}

/// The number that a domain told, of a message of its own.
pub fn number(message: &Message) -> Option<usize> {
    message.json()["description"].as_str()?.strip_prefix("number ")?.parse().ok()
}

/// Each of them arrives once, in its order; one that comes again says so by its id, and one of those
/// before them may: a broker that dies may have passed it on and not acknowledged it.
pub async fn arrive(observer: &mut MqttPeer, numbers: std::ops::Range<usize>) -> Outcome {
    let mut ids = BTreeSet::new();
    let mut wanted = numbers.clone();
    let mut next = wanted.next();
    while let Some(n) = next {
        let m = observer.expect("a message", |m| m.topic == ERROR).await?;
        let id = m.properties.iter().find(|(key, _)| key == "passerelle-id");
        let id = id.map(|(_, id)| id.clone());
        // The gateway's own notices are not in the store.
        let Some(id) = id else { continue };
        let is_repeat = number(&m).is_some_and(|number| number < numbers.start);
        if ids.insert(id) && !is_repeat {
            assert_eq!(m.json()["description"], format!("number {n}"), "in order, and once");
            next = wanted.next();
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_killed_while_the_broker_is_away_loses_nothing() -> Outcome {
    let mut setting = stored("").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..300);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    usb.disconnected().await?;
    gui.disconnected().await?;
    setting.gateway.run()?;
    usb.connected().await?;
    gui.connected().await?;
    tell(&usb, 300..400);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    setting.gateway.run()?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..400).await
}

/// Runs `passerelle store` on the gateway's store.
pub async fn store(gateway: &Gateway, command: &str, more: &[&str]) -> Outcome<Ended> {
    let mut program = tokio::process::Command::new(PROGRAM);
    program.args(["store", command, "--config"]).arg(gateway.config_file()).args(more);
    let output = tokio::time::timeout(DEADLINE, program.output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Ended { code, out: text(output.stdout), err: text(output.stderr) })
}

pub fn lines(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
}

/// What does not fit into memory is on disk alone, and comes in its order, before and after a restart.
#[tokio::test]
async fn more_than_memory_holds_is_kept_in_order() -> Outcome {
    let mut setting = stored("[limits]\noutbox = \"16 KiB\"\n").await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.freeze()?;
    tell(&usb, 0..1000);
    taken(&usb, &mut gui).await?;
    setting.broker.thaw()?;
    arrive(&mut observer, 0..1000).await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    observer.connected(false).await?;
    tell(&usb, 1000..3000);
    taken(&usb, &mut gui).await?;
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    let kept = store(&setting.gateway, "show", &["sys-usb"]).await?;
    let count = lines(&kept).iter().filter(|m| m["is"] == "message").count();
    // The broker passes a message on before it acknowledges it: it may have died in between.
    assert!((2000..=2001).contains(&count), "{count} messages: {kept}");
    setting.gateway.run()?;
    setting.broker.run().await?;
    observer.connected(true).await?;
    setting.broker.open()?;
    usb.connected().await?;
    tell(&usb, 3000..3100);
    arrive(&mut observer, 1000..3100).await
}

/// Calls in both directions and half a line go on where they stopped.
#[tokio::test]
async fn a_restart_costs_no_call_and_no_half_line() -> Outcome {
    let mut setting = stored("").await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &[ERROR]).await?;
    let [listing, .., components] = ROOTS;
    let topic = format!("{components}/request");
    let mut migrated = MqttPeer::connect(&socket, "vm-new", &[&topic]).await?;
    let responses = "system/+/+/response/vm-scan";
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &[responses]).await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.served("sys-usb").await?;

    let correlation = scan.ask(listing, &json!({})).await?;
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    gui.ask("vm-new", "liste_composants", &json!({}));
    let asked = migrated.expect("the request", |m| m.topic == topic).await?;
    let told = json!({"niveau": 20, "message": "number 0"});
    let told = notification("sys-usb", "tous", "erreur", &told);
    let (first, second) = told.split_at(40);
    let test = notification("sys-usb", "vm-gui", "test", &json!({}));
    usb.raw(format!("{test}\n{first}"));
    gui.expect("what came with the half line", |line| line.tells("test")).await?;

    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    let kept = lines(&store(&setting.gateway, "show", &[]).await?);
    let kept: Vec<_> = kept.iter().map(|line| (&line["domain"], &line["is"])).collect();
    let (usb_has, gui_has) = (json!("sys-usb"), json!("vm-gui"));
    let (call, half) = (json!("call"), json!("half a line"));
    assert_eq!(kept, [(&usb_has, &call), (&usb_has, &half), (&gui_has, &call)]);

    setting.gateway.run()?;
    usb.connected().await?;
    gui.connected().await?;
    usb.raw(format!("{second}\n"));
    arrive(&mut observer, 0..1).await?;
    usb.line(&response("sys-usb", "vm-scan", "liste_disques", &json!(["KEY"])));
    let answer = scan.expect("the answer", |m| m.correlation.as_ref() == Some(&correlation));
    assert_eq!(answer.await?.json()["disks"][0]["id"], "KEY");
    let component = json!({"components": [{"id": "c", "label": "C", "type": "t"}]});
    let topic = asked.response_topic.unwrap_or_default();
    let answer =
        Message { correlation: asked.correlation, ..Message::new(topic, component.to_string()) };
    migrated.publish(answer).await?;
    let answer = gui.expect("the answer", |line| line.answers("etat_composant")).await?;
    assert_eq!(answer.data()["composant"], "c");
    Ok(())
}

/// What a domain has written into its socket, and the gateway had not read when it was told to end.
#[tokio::test]
async fn what_was_not_read_yet_is_kept_too() -> Outcome {
    let mut setting = stored("").await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &[ERROR]).await?;
    let listener = UnixListener::bind(setting.sockets().join("vm-busy-msg.sock"))?;
    let (mut domain, _) = listener.accept().await?;
    domain.write_all(b"\n").await?;
    setting.gateway.freeze()?;
    // As much as the socket takes, wherever that cuts the last line.
    let (mut text, mut lines) = (Vec::new(), 0..);
    let mut written = 0;
    while written == text.len() {
        let number = format!("number {}", lines.next().unwrap_or_default());
        let data = json!({"niveau": 20, "message": number});
        text.extend_from_slice(notification("vm-busy", "tous", "erreur", &data).as_bytes());
        text.push(b'\n');
        written += domain.try_write(&text[written..]).unwrap_or_default();
    }
    setting.gateway.terminate()?;
    setting.gateway.thaw()?;
    assert!(setting.gateway.ended().await?.success());

    // A backend goes on with the next client where it was.
    setting.gateway.run()?;
    let (mut domain, _) = listener.accept().await?;
    domain.write_all(&text[written..]).await?;
    arrive(&mut observer, 0..lines.start).await
}

/// A domain that does not read has a part of a long line when the gateway ends: it is given the rest.
#[tokio::test]
async fn a_line_that_is_written_in_part_goes_on() -> Outcome {
    let broker = Broker::start().await?;
    let configure = |gateway: Gateway| gateway.with_key("grace = \"100ms\"").with(STORE);
    let mut setting = setting_with(broker, configure).await?;
    let console = setting.console("vm-gui").await?;
    let mut gui = legacy(&console, "vm-gui").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut other = setting.legacy("vm-other").await?;
    gui.stop_reading();
    let long = json!("x".repeat(4 << 20));
    usb.tell("vm-gui", "test", &long);
    usb.tell("vm-gui", "test", &json!("short"));
    taken(&usb, &mut other).await?;
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    let kept = lines(&store(&setting.gateway, "show", &["vm-gui"]).await?);
    let sizes: Vec<_> = kept.iter().filter_map(|line| Some(line["line"].as_str()?.len())).collect();
    assert!(sizes.len() == 2 && (1..4 << 20).contains(&sizes[0]), "{sizes:?}");
    setting.gateway.run()?;
    gui.read_again();
    let line = gui.expect("the long line", |line| line.tells("test")).await?;
    assert!(*line.data() == long, "it is not whole");
    gui.expect("the next", |line| line.tells("test") && *line.data() == "short").await?;
    assert_eq!(gui.inbox.count(|_| true), 0);
    Ok(())
}

/// A call outlives a gateway that is killed.
#[tokio::test]
async fn a_call_of_a_gateway_that_is_killed_is_answered() -> Outcome {
    let mut setting = stored("").await?;
    let topic = format!("{}/request", ROOTS[0]);
    let socket = setting.broker.socket();
    let mut migrated = MqttPeer::connect(&socket, "vm-new", &[&topic]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-new", "liste_disques", &json!({}));
    let asked = migrated.expect("the request", |m| m.topic == topic).await?;
    setting.gateway.kill().await?;
    setting.gateway.run()?;
    gui.connected().await?;
    let disks = json!({"disks": [{"id": "KEY", "label": "KEY"}]});
    let answer = Message {
        correlation: asked.correlation,
        ..Message::new(asked.response_topic.unwrap_or_default(), disks.to_string())
    };
    migrated.publish(answer).await?;
    gui.expect("the answer", |line| line.answers("liste_disques")).await?;
    // It is over, for the next run too.
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    assert_eq!(store(&setting.gateway, "show", &[]).await?.out, "");
    Ok(())
}

/// A row whose calls are over at once.
const SHORT: &str = r#"
dialect = "psec"
requester_member = "source"
[[command]]
name = "BREF"
legacy = "bref"
topic = "test/disks/short"
handler = "vm-new"
timeout = "300ms"
[[command.answer]]
reponse = "bref"
"#;

/// A command that waits for the broker for longer than its call is not carried out.
#[tokio::test]
async fn a_command_is_never_executed_late() -> Outcome {
    let broker = Broker::start().await?;
    let mut setting =
        setting_with(broker, |gateway| gateway.with(STORE).with_rows("short.toml", SHORT)).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let usb = setting.legacy("sys-usb").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    gui.ask("vm-new", "bref", &json!({}));
    tell(&usb, 0..1);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    setting.gateway.run()?;
    let expired = |line: &crate::peers::Line| {
        line.tells("erreur")
            && line.data()["message"].as_str().is_some_and(|m| m.starts_with("expired"))
    };
    gui.expect("that its call is over", expired).await?;
    setting.broker.run().await?;
    let filters = [ERROR, "test/disks/short/request"];
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &filters).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..1).await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "number 1"}));
    arrive(&mut observer, 1..2).await?;
    assert_eq!(observer.inbox.count(|m| m.topic.ends_with("/request")), 0);
    Ok(())
}

/// What a domain said that is not there any more is sent all the same.
#[tokio::test]
async fn a_domain_that_is_gone_has_still_said_what_it_said() -> Outcome {
    let mut setting = stored("").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..50);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    usb.stop().await?;
    setting.gateway.run()?;
    gui.connected().await?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..50).await?;
    setting.gateway.logged("all that the domain left has been sent", 1).await.map_err(Into::into)
}

/// Killed wherever it is, again and again: of what was said in one order, all that was certainly taken in
/// arrives, once but for repeats that say so, and in that order.
#[tokio::test]
async fn a_gateway_that_is_killed_anywhere_keeps_all_and_its_order() -> Outcome {
    const ROUNDS: usize = 10;
    let mut setting = stored("").await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let (mut next, mut certain) = (0, BTreeSet::new());
    for round in 0..ROUNDS {
        // With the broker and without it, which is frozen in the middle of what it was sent.
        if round % 3 == 2 {
            setting.broker.freeze()?;
        }
        tell(&usb, next..next + 100);
        taken(&usb, &mut gui).await?;
        certain.extend(next..next + 100);
        tell(&usb, next + 100..next + 300);
        setting.gateway.kill().await?;
        if round % 3 == 2 {
            setting.broker.thaw()?;
        }
        next += 300;
        usb.disconnected().await?;
        setting.gateway.run()?;
        usb.connected().await?;
        gui.connected().await?;
    }
    tell(&usb, next..next + 1);
    let (mut ids, mut told) = (BTreeSet::new(), Vec::new());
    while told.last() != Some(&next) {
        let m = observer.expect("a message", |m| number(m).is_some()).await?;
        let id = m.properties.iter().find(|(key, _)| key == "passerelle-id").cloned();
        if ids.insert(id.ok_or_else(|| Missing::new("a message without an id"))?) {
            told.extend(number(&m));
        }
    }
    assert!(told.is_sorted_by(|a, b| a < b), "in order, and once: {told:?}");
    let told: BTreeSet<_> = told.into_iter().collect();
    let lost: Vec<_> = certain.difference(&told).collect();
    assert!(certain.len() == 100 * ROUNDS && lost.is_empty(), "{lost:?}");
    Ok(())
}

/// What it said before it came over to MQTT outlives the gateway too, and comes before what it says then.
#[tokio::test]
async fn a_domain_that_comes_over_has_still_said_what_it_said() -> Outcome {
    let mut setting = stored("").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..20);
    taken(&usb, &mut gui).await?;
    usb.raw(Hello { level: 5, id: "sys-usb", ..Hello::default() }.packet());
    setting.gateway.logged("sent from the store", 1).await?;
    setting.gateway.kill().await?;
    let kept = lines(&store(&setting.gateway, "show", &["sys-usb"]).await?);
    assert_eq!(kept.iter().filter(|m| m["is"] == "message").count(), 20, "{kept:?}");
    setting.gateway.run()?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..20).await?;
    setting.gateway.logged("all that the domain left has been sent", 1).await?;
    assert_eq!(store(&setting.gateway, "show", &["sys-usb"]).await?.out, "");
    Ok(())
}

/// In a DomU there is one channel, and its log.
#[tokio::test]
async fn the_port_of_a_domu_has_a_store_too() -> Outcome {
    let mut broker = Broker::start().await?;
    let (pty, mut far) = Pty::open("sys-usb")?;
    let gateway = Gateway::new(PROGRAM, mappings(), &broker.gate())?;
    let mut gateway = gateway.in_domu(pty.path(), "vm-gui").with(STORE).start()?;
    pty.raw().await?;
    broker.shut()?;
    broker.kill().await?;
    tell(&far, 0..50);
    far.ask("vm-nowhere", "liste_disques", &json!({}));
    // It is told after everything before it was written.
    far.expect("that nobody is there", |line| line.tells("erreur")).await?;
    gateway.kill().await?;
    gateway.run()?;
    broker.run().await?;
    let mut observer = MqttPeer::connect(&broker.socket(), "observer", &[ERROR]).await?;
    broker.open()?;
    arrive(&mut observer, 0..50).await
}
