//! Packets of MQTT that are too large, or say what they may not.

use super::{CREATE, Scene};
use crate::peers::broker::Persistence;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::{field, packet};
use crate::peers::{Broker, GoBetween, Hello, NEW_FILE, RawMqtt};
use crate::setting::Outcome;
use bytes::Bytes;
use serde_json::json;

/// The largest remaining length that MQTT has, 256 MiB less one byte.
const LARGEST: usize = 268_435_455;
const MIB: usize = 1 << 20;

const TAKES_ALL: &str = "max_packet_size 268435460";

/// The beginning of a PUBLISH of QoS 1 of the largest size; so many bytes follow.
fn beginning(topic: &str) -> (Vec<u8>, usize) {
    let body = [&field(topic.as_bytes())[..], &[0, 1, 0]].concat();
    let rest = LARGEST - body.len();
    ([&[0x32, 0xFF, 0xFF, 0xFF, 0x7F][..], &body].concat(), rest)
}

/// Writes it piece by piece, until it is out or nobody reads any more.
async fn write_largest(port: &mut RawMqtt, topic: &str) -> Outcome {
    let (beginning, mut rest) = beginning(topic);
    let piece = vec![b'x'; MIB];
    if port.write(&beginning).await.is_err() {
        return Ok(());
    }
    while rest > 0 {
        let size = rest.min(MIB);
        if port.write(&piece[..size]).await.is_err() {
            return Ok(());
        }
        rest -= size;
    }
    Ok(())
}

const HELLO: Hello<'_> =
    Hello { level: 5, id: "vm-hostile", resume: false, will: None, keep_alive: 0, login: None };

#[tokio::test]
async fn a_packet_of_256_mib_is_too_large_for_the_shipped_broker() -> Outcome {
    let mut scene = Scene::start().await?;
    let console = scene.dom0.console("vm-hostile").await?;
    for path in [scene.dom0.broker.socket(), console.port().to_owned()] {
        let mut port = RawMqtt::open(&path).await?;
        port.hello(&HELLO).await?;
        write_largest(&mut port, NEW_FILE).await?;
        // Packet too large; or the end of the connection came first.
        if let Ok((first, body)) = port.next().await {
            assert_eq!((first, body.first()), (0xE0, Some(&0x95)));
        }
        scene.others.go_on().await?;
    }
    scene.end(&[]).await
}

#[tokio::test]
async fn a_packet_of_256_mib_that_the_broker_takes_never_reaches_the_gateway() -> Outcome {
    let broker = Broker::start_with(Persistence::Lost, TAKES_ALL).await?;
    let mut scene = Scene::start_with(broker, |gateway| gateway).await?;
    let _usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut port = RawMqtt::open(&scene.dom0.broker.socket()).await?;
    port.hello(&HELLO).await?;
    for topic in [NEW_FILE.to_owned(), format!("{CREATE}/request")] {
        write_largest(&mut port, &topic).await?;
        port.expect(0x40).await?;
        scene.others.go_on().await?;
    }
    scene.end(&[]).await
}

#[tokio::test]
async fn a_packet_of_256_mib_goes_through_a_tunnel() -> Outcome {
    let broker = Broker::start_with(Persistence::Lost, TAKES_ALL).await?;
    let mut scene = Scene::start_with(broker, |gateway| gateway).await?;
    let console = scene.dom0.console("vm-hostile").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&HELLO).await?;
    write_largest(&mut port, "to/nobody").await?;
    port.expect(0x40).await?;
    scene.others.go_on().await?;

    // A broker that takes nothing breaks it.
    drop(port);
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&HELLO).await?;
    scene.dom0.broker.freeze()?;
    write_largest(&mut port, "to/nobody").await?;
    assert_eq!(port.expect(0xE0).await?, [0x97]);
    scene.dom0.broker.thaw()?;
    let told = |m: &Message| m.text().contains("store_full: vm-hostile: ");
    scene.reader.expect("store_full", told).await?;
    scene.others.go_on().await?;
    let log = scene.dom0.gateway.log();
    assert!(log.contains("reason=\"store_full\""), "{log}");
    scene.end_flooded(&[]).await
}

/// A scene with somebody between the gateway and the broker.
async fn between() -> Outcome<(Scene, GoBetween)> {
    let broker = Broker::start().await?;
    broker.shut()?;
    let between = GoBetween::start(&broker.gate(), broker.socket())?;
    Ok((Scene::start_with(broker, |gateway| gateway).await?, between))
}

#[tokio::test]
async fn a_packet_of_256_mib_from_the_broker_costs_the_session_its_connection() -> Outcome {
    let (mut scene, between) = between().await?;
    let _usb = scene.legacy("sys-usb").await?;
    let clients = ["sys-usb", "passerelle-dom0"];
    for (times, client) in clients.into_iter().enumerate() {
        scene.dom0.broker.subscribed(client, [format!("{CREATE}/request")][times..].iter()).await?;
        let (beginning, rest) = beginning(NEW_FILE);
        between.say(client, beginning.into()).await?;
        let piece = Bytes::from(vec![b'x'; MIB]);
        for _ in 0..rest / MIB {
            between.say(client, piece.clone()).await?;
        }
        scene.others.go_on().await?;
    }
    scene.dom0.gateway.logged("session lost domain=sys-usb", 1).await?;
    scene.dom0.gateway.logged("own session is lost", 1).await?;
    scene.end(&[]).await
}

/// A PUBLISH of QoS 0 with a topic alias.
fn with_alias(topic: &str, alias: u16, payload: &[u8]) -> Vec<u8> {
    let properties = [&[3, 0x23][..], &alias.to_be_bytes()].concat();
    packet(0x30, &[&field(topic.as_bytes())[..], &properties, payload].concat())
}

#[tokio::test]
async fn a_topic_alias_is_between_its_client_and_the_broker() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let new_file = json!({"disk": "D", "filepath": "f", "size_in_bytes": 1}).to_string();
    let mut port = RawMqtt::open(&scene.dom0.broker.socket()).await?;
    port.hello(&HELLO).await?;
    for topic in [NEW_FILE, ""] {
        port.write(&with_alias(topic, 1, new_file.as_bytes())).await?;
        friend.expect("the notification", |line| line.tells("fichier")).await?;
    }
    // One that is too large, none, and one that means nothing.
    for (topic, alias) in [(NEW_FILE, u16::MAX), (NEW_FILE, 0), ("", 2)] {
        let mut port = RawMqtt::open(&scene.dom0.broker.socket()).await?;
        port.hello(&HELLO).await?;
        port.write(&with_alias(topic, alias, new_file.as_bytes())).await?;
        while port.next().await.is_ok() {}
        scene.others.go_on().await?;
    }
    assert_eq!(friend.inbox.count(|line| line.tells("fichier")), 0);
    scene.end(&[]).await
}

#[tokio::test]
async fn a_topic_alias_that_the_broker_may_not_use_is_no_topic() -> Outcome {
    let (mut scene, between) = between().await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let new_file = json!({"disk": "D", "filepath": "f", "size_in_bytes": 1}).to_string();
    let forms = [("", 1), (NEW_FILE, 1), ("", 2), (NEW_FILE, 0), ("", u16::MAX)];
    for (topic, alias) in forms {
        let packet = with_alias(topic, alias, new_file.as_bytes());
        between.say("passerelle-dom0", packet.into()).await?;
        scene.others.go_on().await?;
    }
    // What has its topic beside is as good as without.
    for _ in 0..2 {
        friend.expect("a notification", |line| line.tells("fichier")).await?;
    }
    scene.read_all(&[("not_mapped", 3)]).await?;
    assert_eq!(friend.inbox.count(|line| line.tells("fichier")), 0);
    scene.end_flooded(&[("not_mapped", 3)]).await
}
