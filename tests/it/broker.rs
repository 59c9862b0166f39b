//! The broker comes late, dies and comes back; domains restart; the gateway is told to end.

use crate::peers::broker::Persistence;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::read_packet;
use crate::peers::{
    Broker, DEADLINE, Dialect, Disks, ERROR, Gateway, LegacyDomain, MqttPeer, MqttServer, NEW_FILE,
    ROOTS,
};
use crate::setting::{Outcome, PROGRAM, mappings, setting, setting_with};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::time::timeout;

const ANSWERS: &str = "system/+/+/response/vm-scan";

/// Numbered errors, as fast as they can be written.
fn tell(domain: &LegacyDomain, numbers: std::ops::Range<usize>) {
    for n in numbers {
        domain.tell("tous", "erreur", &json!({"niveau": 20, "message": format!("number {n}")}));
    }
}

/// Each of them arrives at least once.
async fn arrive(observer: &mut MqttPeer, numbers: std::ops::Range<usize>) -> Outcome {
    for n in numbers {
        let text = json!(format!("number {n}"));
        observer.expect(&format!("number {n}"), |m| m.json()["description"] == text).await?;
    }
    Ok(())
}

/// The gateway has read everything that `from` wrote.
async fn taken(from: &LegacyDomain, by: &mut LegacyDomain) -> Outcome {
    from.tell(&by.name, "test", &json!({}));
    by.expect("the last line", |line| line.tells("test")).await?;
    Ok(())
}

/// The broker is killed while 300 messages are under way, and nothing that it has not
/// acknowledged is lost.
async fn killed_under_load(persistence: Persistence) -> Outcome {
    let broker = Broker::start_with(persistence, "").await?;
    let mut setting = setting_with(broker, |gateway| gateway).await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    tell(&usb, 0..100);
    arrive(&mut observer, 0..100).await?;

    setting.broker.freeze()?;
    tell(&usb, 100..400);
    taken(&usb, &mut gui).await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    observer.connected(false).await?;
    tell(&usb, 400..500);
    setting.broker.run().await?;
    observer.connected(true).await?;
    setting.broker.open()?;
    arrive(&mut observer, 100..500).await
}

#[tokio::test]
async fn a_broker_that_persists_is_killed_under_load() -> Outcome {
    killed_under_load(Persistence::Kept).await
}

#[tokio::test]
async fn a_broker_that_forgets_is_killed_under_load() -> Outcome {
    killed_under_load(Persistence::Lost).await
}

#[tokio::test]
async fn after_a_broker_that_forgot_calls_go_both_ways_again() -> Outcome {
    let mut setting = setting().await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let _usb = setting.mvp_server().await?;
    let components = ROOTS[8];
    let request = format!("{components}/request");
    let mut migrated = MqttPeer::connect(&setting.broker.socket(), "vm-new", &[&request]).await?;

    setting.broker.kill().await?;
    scan.connected(false).await?;
    migrated.connected(false).await?;
    setting.broker.run().await?;
    scan.connected(true).await?;
    migrated.connected(true).await?;
    setting.broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]).await?;
    setting.served("sys-usb").await?;

    scan.call("system/disks/list_disks", &json!({})).await?;
    gui.ask("vm-new", "liste_composants", &json!({}));
    let asked = migrated.expect("the request", |m| m.topic == request).await?;
    let component = json!({"components": [{"id": "c", "label": "C", "type": "t"}]});
    let topic = asked.response_topic.unwrap_or_default();
    let answer =
        Message { correlation: asked.correlation, ..Message::new(topic, component.to_string()) };
    migrated.publish(answer).await?;
    let answer = gui.expect("the answer", |line| line.answers("etat_composant")).await?;
    assert_eq!(answer.data()["composant"], "c");
    let error = json!({"module": "x", "datetime": "d", "level": 30, "description": "m"});
    scan.publish(Message::new(ERROR, error.to_string())).await?;
    gui.expect("the error", |line| line.tells("erreur")).await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_restarts_again_and_again_is_no_contest() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let _usb = setting.mvp_server().await?;
    for _ in 0..8 {
        setting.broker.kill().await?;
        setting.broker.run().await?;
        setting.served("sys-usb").await?;
    }
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    assert!(!setting.gateway.log().contains("contested=true"));
    Ok(())
}

#[tokio::test]
async fn a_broker_may_come_after_the_gateway() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let mut broker = Broker::prepare(Persistence::Lost, "")?;
    let _gateway =
        Gateway::new(PROGRAM, mappings(), &broker.gate())?.on_dom0(sockets.path()).start()?;
    let mut gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    let usb = LegacyDomain::start(sockets.path(), "sys-usb")?;
    gui.connected().await?;
    usb.connected().await?;
    // Legacy domains do not need a broker to talk to each other.
    tell(&usb, 0..10);
    taken(&usb, &mut gui).await?;

    broker.shut()?;
    broker.run().await?;
    let mut observer = MqttPeer::connect(&broker.socket(), "observer", &[ERROR]).await?;
    let _server =
        MqttServer::start(&broker.socket(), "vm-new", Dialect::Psec, Disks::new()?).await?;
    broker.open()?;
    arrive(&mut observer, 0..10).await?;
    gui.call("vm-new", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_restarts_and_finds_what_it_was_sent() -> Outcome {
    let mut setting = setting().await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.mvp_server().await?;
    scan.call("system/disks/list_disks", &json!({})).await?;

    usb.domain.stop().await?;
    gui.ask("sys-usb", "liste_disques", &json!({}));
    let correlation = scan.ask("system/disks/list_disks", &json!({})).await?;
    usb.domain.listen()?;
    usb.domain.connected().await?;
    gui.expect("the answer", |line| line.answers("liste_disques")).await?;
    scan.expect("the answer", |m| m.correlation.as_ref() == Some(&correlation)).await?;

    // And again, with nothing under way.
    usb.domain.restart().await?;
    usb.domain.connected().await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn a_line_that_began_before_the_gateway_connected_is_skipped() -> Outcome {
    let setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    usb.stop().await?;
    usb.raw("the tail of a line\"}}\n");
    usb.listen()?;
    taken(&usb, &mut gui).await
}

#[tokio::test]
async fn it_ends_when_told_to_and_loses_nothing() -> Outcome {
    let mut setting = setting().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.freeze()?;
    tell(&usb, 0..100);
    taken(&usb, &mut gui).await?;
    setting.gateway.terminate()?;
    setting.broker.thaw()?;
    let status = setting.gateway.ended().await?;
    assert!(status.success(), "{status}");
    arrive(&mut observer, 0..100).await
}

#[tokio::test]
async fn it_ends_without_a_broker_too() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let broker = Broker::prepare(Persistence::Lost, "")?;
    let mut gateway =
        Gateway::new(PROGRAM, mappings(), &broker.gate())?.on_dom0(sockets.path()).start()?;
    let gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    gui.connected().await?;
    gateway.terminate()?;
    let status = gateway.ended().await?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// A broker that refuses everyone, until so many have tried.
async fn refuses(listener: &UnixListener, code: u8, attempts: usize) -> Outcome {
    for _ in 0..attempts {
        let (mut stream, _) = timeout(DEADLINE, listener.accept()).await??;
        read_packet(&mut stream).await?;
        stream.write_all(&[0x20, 3, 0, code, 0]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_reason_for_having_no_broker_is_logged_once() -> Outcome {
    let mut setting = setting().await?;
    setting.gateway.logged("own session is ready", 1).await?;
    setting.broker.kill().await?;
    setting
        .gateway
        .logged("No such file", 1)
        .await
        .or(setting.gateway.logged("refused", 1).await)?;
    let socket = setting.broker.socket();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    refuses(&listener, 0x86, 3).await?;
    refuses(&listener, 0x87, 1).await?;
    setting.gateway.logged("not authorized", 1).await?;
    let log = setting.gateway.log();
    assert_eq!(log.matches("bad user name or password").count(), 1, "{log}");
    assert!(log.contains("broker.passwords") && log.contains("before=3"), "{log}");
    Ok(())
}
