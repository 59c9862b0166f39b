//! Mosquitto is killed and comes back, and a domain on MQTT notices nothing.

use crate::peers::broker::Persistence;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::{DISCONNECT, LEVELS, PING, packet, publish, subscribe};
use crate::peers::{
    Broker, Dialect, Disks, Dom0, Gateway, Hello, Missing, MqttPeer, MqttServer, RawMqtt,
};
use crate::setting::{Ended, Outcome, setting, setting_of, setting_with, until};
use crate::store::STORE;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the status says has become of a domain's connections.
fn losses(ended: &Ended, name: &str) -> Value {
    let status: Value = serde_json::from_str(&ended.out).unwrap_or_default();
    status["domains"][name]["mqtt_losses"].clone()
}

/// One of the domain's own messages comes back to it, and it answers as it has to.
async fn echo(port: &mut RawMqtt, qos: u8, text: &str) -> Outcome<()> {
    let body = loop {
        let first = 0x30 | qos << 1;
        let body = port.expect(first).await?;
        if body.ends_with(text.as_bytes()) {
            break body;
        }
    };
    let id = body[7..9].to_vec();
    match qos {
        0 => {}
        1 => port.write(&packet(0x40, &id)).await?,
        _ => {
            port.write(&packet(0x50, &id)).await?;
            port.expect(0x62).await?;
            port.write(&packet(0x70, &id)).await?;
        }
    }
    Ok(())
}

/// It publishes with each quality of service.
async fn say(port: &mut RawMqtt, level: u8, text: &str) -> Result<(), Missing> {
    for (qos, id) in [(0, 0), (1, 7), (2, 8)] {
        port.write(&publish(level, qos, id, "to/me", text.as_bytes())).await?;
    }
    Ok(())
}

/// What it has said is acknowledged, and comes back to it.
async fn goes_through(port: &mut RawMqtt, text: &str) -> Outcome<()> {
    assert_eq!(port.expect(0x40).await?[..2], [0, 7]);
    assert_eq!(port.expect(0x50).await?[..2], [0, 8]);
    port.write(&packet(0x62, &[0, 8])).await?;
    port.expect(0x70).await?;
    for qos in 0..3 {
        echo(port, qos, text).await?;
    }
    port.ping().await?;
    Ok(())
}

/// Nothing has come but what may be said again.
fn has_noticed_nothing(port: &RawMqtt) {
    let others = port.unexpected().into_iter().filter(|first| !matches!(first, 0x3A | 0x32 | 0x34));
    let others: Vec<u8> = others.collect();
    assert!(others.is_empty(), "{others:x?}: a second CONNACK, or a second SUBACK");
}

/// A session lives through the gateway's ends, with the broker there and without.
async fn lives_on(setting: &mut Dom0, level: u8, resume: bool) -> Outcome {
    let console = setting.console("vm-any").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    let id = format!("any-{level}-{resume}");
    let will = Some(("dead", id.as_str()));
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["dead"]).await?;
    port.hello(&Hello { level, id: &id, resume, will, keep_alive: 60, ..Hello::default() }).await?;
    port.write(&subscribe(level, 1, "to/me", 2)).await?;
    port.expect(0x90).await?;
    for round in 0..4_u8 {
        let text = format!("{level} {resume} {round}");
        let without_broker = round % 2 == 1;
        if without_broker {
            setting.broker.kill().await?;
            say(&mut port, level, &text).await?;
            // Then the gateway has them: what is on its way when it ends is lost, as on Xen.
            port.write(&PING).await?;
            port.expect(0xD0).await?;
        }
        setting.gateway.terminate()?;
        setting.gateway.ended().await?;
        console.disconnected().await?;
        if without_broker {
            setting.broker.run().await?;
            observer.connected(true).await?;
        }
        setting.gateway.run()?;
        if !without_broker {
            // So is what it says while nobody is at its console.
            console.connected().await?;
            say(&mut port, level, &text).await?;
        }
        goes_through(&mut port, &text).await?;
    }
    has_noticed_nothing(&port);
    // Nobody was told that it is dead, and its will is still that of its CONNECT.
    observer.publish(Message::new("dead", "nobody so far")).await?;
    let first = observer.expect("a death", |m| m.topic == "dead").await?;
    assert_eq!(first.text(), "nobody so far");
    drop(port);
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level, id: &id, ..Hello::default() }).await?;
    observer.expect("the will", |m| m.text() == id).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_notices_nothing_of_a_restart_of_the_gateway() -> Outcome {
    for level in LEVELS {
        for resume in [false, true] {
            let broker = Broker::start_with(Persistence::Kept, "").await?;
            let mut setting = setting_with(broker, |gateway| gateway.with(STORE)).await?;
            lives_on(&mut setting, level, resume).await?;
            let log = setting.gateway.log();
            assert!(!log.contains("ERROR"), "{log}");
        }
    }
    Ok(())
}

/// A session lives through the broker's deaths.
async fn lives(setting: &mut Dom0, level: u8, resume: bool) -> Outcome {
    let console = setting.console("vm-any").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    let id = format!("any-{level}-{resume}");
    let will = Some(("dead", id.as_str()));
    port.hello(&Hello { level, id: &id, resume, will, keep_alive: 60, ..Hello::default() }).await?;
    port.write(&subscribe(level, 1, "to/me", 2)).await?;
    port.expect(0x90).await?;
    for round in 0..3_u8 {
        let text = format!("{level} {resume} {round}");
        setting.broker.kill().await?;
        // It is answered, and so it has nothing to complain about.
        port.write(&PING).await?;
        port.expect(0xD0).await?;
        say(&mut port, level, &text).await?;
        assert!(port.unexpected().is_empty(), "nobody has taken it yet");
        setting.broker.run().await?;
        goes_through(&mut port, &text).await?;
    }
    has_noticed_nothing(&port);
    // The will is that of its CONNECT.
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["dead"]).await?;
    drop(port);
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level, id: &id, ..Hello::default() }).await?;
    observer.expect("the will", |m| m.text() == id).await?;
    port.write(&DISCONNECT).await?;
    Ok(())
}

async fn live(persistence: Persistence) -> Outcome {
    for level in LEVELS {
        for resume in [false, true] {
            let broker = Broker::start_with(persistence, "").await?;
            let mut setting = setting_with(broker, |gateway| gateway).await?;
            lives(&mut setting, level, resume).await.map_err(|e| {
                Missing::new(format!("MQTT {level}, {resume}: {e:?}\n{}", setting.gateway.log()))
            })?;
            let healed = |ended: &Ended| losses(ended, "vm-any")["healed"] == 3;
            until(&setting.gateway, "status", &["--json"], healed).await?;
            assert!(setting.gateway.log().contains("it has noticed nothing"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_lives_through_a_broker_that_forgets() -> Outcome {
    live(Persistence::Lost).await
}

#[tokio::test]
async fn a_domain_lives_through_a_broker_that_keeps_its_sessions() -> Outcome {
    live(Persistence::Kept).await
}

#[tokio::test]
async fn what_is_unacknowledged_at_any_moment_arrives() -> Outcome {
    const COUNT: u16 = 60;
    for level in LEVELS {
        let mut setting = setting().await?;
        let console = setting.console("vm-any").await?;
        let mut port = RawMqtt::open(console.port()).await?;
        port.hello(&Hello { level, id: "any", ..Hello::default() }).await?;
        port.write(&subscribe(level, 500, "to/me", 1)).await?;
        port.expect(0x90).await?;
        let mut arrived = BTreeSet::new();
        for number in 1..=COUNT {
            port.write(&publish(level, 1, number, "to/me", number.to_string().as_bytes())).await?;
            if number == 20 || number == 40 {
                setting.broker.kill().await?;
                setting.broker.run().await?;
            }
        }
        for _ in 1..=COUNT {
            port.expect(0x40).await?;
        }
        port.ping().await?;
        while port.unexpected().contains(&0x32) {
            let body = port.expect(0x32).await?;
            let text =
                String::from_utf8_lossy(&body[if level == 5 { 10 } else { 9 }..]).into_owned();
            arrived.insert(text);
        }
        // What the broker had acknowledged and not handed on died with it.
        let last: Vec<String> = (41..=COUNT).map(|number| number.to_string()).collect();
        assert!(last.iter().all(|number| arrived.contains(number)), "{level}: {arrived:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_program_of_the_libraries_goes_on_as_if_nothing_had_happened() -> Outcome {
    let mut setting = setting_of("sys-usb", Dialect::Lib11).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let _server =
        MqttServer::start(console.port(), "sys-usb", Dialect::Lib11, Disks::new()?).await?;
    for round in 0..3 {
        gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
        setting.broker.kill().await?;
        setting.broker.run().await?;
        setting.gateway.logged("it has noticed nothing", round + 1).await?;
    }
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    // It has never begun anew.
    assert_eq!(setting.gateway.log().matches("speaks MQTT").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_stays_away_is_told_of_in_the_end() -> Outcome {
    let short = |gateway: Gateway| gateway.with("[limits]\nheal = \"500ms\"\n");
    let mut setting = setting_with(Broker::start().await?, short).await?;
    let console = setting.console("vm-five").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 5, id: "five", ..Hello::default() }).await?;
    setting.broker.kill().await?;
    port.write(&PING).await?;
    port.expect(0xD0).await?;
    assert_eq!(port.expect(0xE0).await?, [0x8B]);
    setting.broker.run().await?;
    let told = |ended: &Ended| {
        let losses = losses(ended, "vm-five");
        losses["told"] == 1 && losses["why"].as_str().is_some_and(|why| why.contains("limits.heal"))
    };
    until(&setting.gateway, "status", &["--json"], told).await?;
    Ok(())
}
