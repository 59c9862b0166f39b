//! Subscriptions to everything, an observer's or the domain's own, change nothing.

use crate::peers::raw_mqtt::subscribe;
use crate::peers::{Console, Dom0, Hello, LegacyDomain, MqttPeer, RawMqtt};
use crate::setting::{Outcome, setting};
use crate::tunnel::legacy;
use serde_json::json;

const ROOT: &str = "system/disks/list_files";

/// `sys-usb` has been given one call, and another waits for it.
async fn busy(setting: &mut Dom0) -> Outcome<(Console, LegacyDomain, MqttPeer)> {
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let console = setting.console("sys-usb").await?;
    let mut usb = legacy(&console, "sys-usb").await?;
    setting.served("sys-usb").await?;
    scan.ask(ROOT, &json!({"disk": "A"})).await?;
    usb.expect("the first call", |line| line.asks("liste_fichiers")).await?;
    scan.ask(ROOT, &json!({"disk": "B"})).await?;
    // Its proxy has this one before it hears from the domain: what comes after it has come through.
    scan.ask("system/disks/list_disks", &json!({})).await?;
    usb.expect("another call", |line| line.asks("liste_disques")).await?;
    Ok((console, usb, scan))
}

async fn handed_over(observed: bool) -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let _observer = match observed {
        true => Some(MqttPeer::connect(&socket, "observer", &["#"]).await?),
        false => None,
    };
    let (console, usb, _scan) = busy(&mut setting).await?;
    drop(usb);
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 4, id: "app", ..Hello::default() }).await?;
    port.ping().await?;
    port.write(&subscribe(4, 1, &format!("{ROOT}/request"), 1)).await?;
    port.expect(0x90).await?;
    let body = port.expect(0x32).await?;
    assert!(body.ends_with(b"\"B\"}"), "{body:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_that_waited_is_handed_over() -> Outcome {
    handed_over(false).await
}

#[tokio::test]
async fn a_call_that_waited_is_handed_over_under_the_eyes_of_an_observer() -> Outcome {
    handed_over(true).await
}

async fn awaited(observed: bool) -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let _observer = match observed {
        true => Some(MqttPeer::connect(&socket, "observer", &["#"]).await?),
        false => None,
    };
    let gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 4, id: "app", ..Hello::default() }).await?;
    gui.ask("sys-usb", "liste_fichiers", &json!({"nom_disque": "A"}));
    port.ping().await?;
    port.write(&subscribe(4, 1, &format!("{ROOT}/request"), 1)).await?;
    port.expect(0x90).await?;
    port.expect(0x32).await?;
    Ok(())
}

#[tokio::test]
async fn a_call_to_a_domain_that_only_comes_waits_for_its_subscription() -> Outcome {
    awaited(false).await
}

#[tokio::test]
async fn it_waits_under_the_eyes_of_an_observer_too() -> Outcome {
    awaited(true).await
}

#[tokio::test]
async fn a_program_that_subscribed_to_everything_leaves_nothing_behind() -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let console = setting.console("sys-usb").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 5, id: "sys-usb", resume: true, ..Hello::default() }).await?;
    port.write(&subscribe(5, 1, "system/#", 1)).await?;
    port.expect(0x90).await?;
    drop(port);
    let mut usb = legacy(&console, "sys-usb").await?;
    usb.tell("Dom0", "etat_domu", &json!({"pret": 1}));
    setting.served("sys-usb").await?;
    scan.ask("system/disks/list_disks", &json!({})).await?;
    scan.ask("system/disks/get_file_footprint", &json!({"disk": "A", "filepath": "a"})).await?;
    usb.expect("the last call", |line| line.asks("get_file_footprint")).await?;
    usb.expect("the first call", |line| line.asks("liste_disques")).await?;
    assert_eq!(usb.inbox.count(|line| line.asks("liste_disques")), 0, "asked twice");
    Ok(())
}
