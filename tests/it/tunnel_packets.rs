//! MQTT of any version and size goes through a domain's channel as it is.

use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::{DISCONNECT, LEVELS, packet, publish, subscribe};
use crate::peers::{Hello, Missing, MqttPeer, NEW_FILE, RawMqtt};
use crate::setting::{Outcome, setting};
use crate::tunnel_switch::new_file;

/// A PUBLISH that came, without what its version says of properties: its topic's end and its payload.
fn payload(body: &[u8], size: usize) -> &[u8] {
    &body[body.len() - size..]
}

#[tokio::test]
async fn every_version_goes_through_at_every_quality() -> Outcome {
    let setting = setting().await?;
    let console = setting.console("vm-any").await?;
    for level in LEVELS {
        let mut port = RawMqtt::open(console.port()).await?;
        // Byte by byte.
        for byte in (Hello { level, id: "any", ..Hello::default() }).packet() {
            port.write(&[byte]).await?;
        }
        assert_eq!(port.expect(0x20).await?[..2], [0, 0]);
        port.write(&subscribe(level, 1, "to/me", 2)).await?;
        port.expect(0x90).await?;
        port.write(&publish(level, 0, 0, "to/me", b"{\"a\":0}")).await?;
        assert_eq!(payload(&port.expect(0x30).await?, 7), b"{\"a\":0}");
        port.write(&publish(level, 1, 7, "to/me", b"{\"a\":1}")).await?;
        port.expect(0x40).await?;
        let body = port.expect(0x32).await?;
        assert_eq!(payload(&body, 7), b"{\"a\":1}");
        port.write(&packet(0x40, &body[7..9])).await?;
        port.write(&publish(level, 2, 8, "to/me", b"{\"a\":2}")).await?;
        port.expect(0x50).await?;
        port.write(&packet(0x62, &[0, 8])).await?;
        port.expect(0x70).await?;
        let body = port.expect(0x34).await?;
        assert_eq!(payload(&body, 7), b"{\"a\":2}");
        port.write(&packet(0x50, &body[7..9])).await?;
        port.expect(0x62).await?;
        port.write(&packet(0x70, &body[7..9])).await?;
        port.ping().await?;
        port.write(&DISCONNECT).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_large_message_goes_both_ways() -> Outcome {
    let setting = setting().await?;
    let console = setting.console("vm-any").await?;
    let large: Vec<u8> = b"{\"\x10\0\n".iter().copied().cycle().take(8 << 20).collect();
    for level in LEVELS {
        let mut port = RawMqtt::open(console.port()).await?;
        // Nothing is waited for.
        let hello = Hello { level, id: "", ..Hello::default() };
        let hello = if level == 3 { Hello { id: "three", ..hello } } else { hello };
        let all = [hello.packet(), subscribe(level, 1, "to/me", 0)].concat();
        port.write(&all).await?;
        port.write(&publish(level, 0, 0, "to/me", &large)).await?;
        port.expect(0x20).await?;
        port.expect(0x90).await?;
        let body = port.expect(0x30).await?;
        assert!(payload(&body, large.len()) == large, "MQTT {level}");
        port.write(&DISCONNECT).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_program_that_waits_for_nothing_is_heard() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["#"]).await?;
    let console = setting.console("sys-usb").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    for level in LEVELS {
        // Two programs and a legacy one, all at once.
        let hello = Hello { level, id: "short", ..Hello::default() }.packet();
        let all = [
            new_file("sys-usb", 1).into_bytes(),
            [&hello[..], &publish(level, 0, 0, "first", b""), &DISCONNECT].concat(),
            [&hello[..], &publish(level, 1, 1, "second", b"")].concat(),
            new_file("sys-usb", 2).into_bytes(),
        ];
        port.write(&all.concat()).await?;
        for topic in [NEW_FILE, "first", "second", NEW_FILE] {
            observer.expect(topic, |m| m.topic == topic).await?;
        }
    }
    let twice = |m: &Message| [NEW_FILE, "first", "second"].contains(&&*m.topic);
    assert_eq!(observer.inbox.count(twice), 0);
    Ok(())
}

#[tokio::test]
async fn a_will_is_published_when_a_program_dies_and_only_then() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["#"]).await?;
    let console = setting.console("sys-usb").await?;
    for level in LEVELS {
        let will = |topic| Hello { level, id: "app", will: Some((topic, "")), ..Hello::default() };
        // Nobody sees it go: the next program says so, of either kind.
        for next in [will("later").packet(), new_file("sys-usb", 1).into_bytes()] {
            let mut port = RawMqtt::open(console.port()).await?;
            port.hello(&will("dead")).await?;
            drop(port);
            let mut port = RawMqtt::open(console.port()).await?;
            port.write(&next).await?;
            observer.expect("the will", |m| m.topic == "dead").await?;
            if next.starts_with(&[0x10]) {
                port.expect(0x20).await?;
                port.write(&DISCONNECT).await?;
            } else {
                observer.expect("a notification", |m| m.topic == NEW_FILE).await?;
            }
        }
    }
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 4, id: "last", ..Hello::default() }).await?;
    port.write(&publish(4, 0, 0, "fence", b"")).await?;
    observer.expect("the last", |m| m.topic == "fence").await?;
    assert_eq!(observer.inbox.count(|m| m.topic == "later" || m.topic == "dead"), 0);
    Ok(())
}

#[tokio::test]
async fn what_the_broker_refuses_the_program_is_told() -> Outcome {
    let setting = setting().await?;
    let console = setting.console("vm-any").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    for _ in 0..20 {
        // No client id and yet a session to resume. It does not wait to be told, and sends a lot.
        let hello = Hello { level: 4, resume: true, ..Hello::default() }.packet();
        let rest = publish(4, 0, 0, "a", &[b'x'; 100_000]);
        port.write(&[hello, rest].concat()).await?;
        assert_eq!(port.next().await?, (0x20, vec![0, 2]));
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_arrives_whole_and_in_order() -> Outcome {
    const COUNT: usize = 4000;
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["flood"]).await?;
    let console = setting.console("vm-any").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 5, id: "flood", ..Hello::default() }).await?;
    for number in 0..COUNT {
        let payload = [number.to_string().as_bytes(), &[b' '; 16_000]].concat();
        port.write(&publish(5, 0, 0, "flood", &payload)).await?;
    }
    port.ping().await?;
    for number in 0..COUNT {
        let found = observer.inbox.next("the flood").await?;
        let text: &str = found.text().trim_end();
        if text != number.to_string() {
            Err(Missing::new(format!("{text} came instead of {number}")))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_that_reads_nothing_holds_up_nobody() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["more", "served"]).await?;
    let (deaf, other) = (setting.console("vm-deaf").await?, setting.console("vm-other").await?);
    let mut port = RawMqtt::open(deaf.port()).await?;
    port.hello(&Hello { level: 4, id: "deaf", ..Hello::default() }).await?;
    port.write(&subscribe(4, 1, "more", 0)).await?;
    port.expect(0x90).await?;
    for _ in 0..64 {
        observer.publish(Message::new("more", vec![b'x'; 1 << 20])).await?;
    }
    // It is heard all the same, and so are others.
    port.write(&publish(4, 0, 0, "served", b"deaf")).await?;
    observer.expect("what the deaf one says", |m| m.text() == "deaf").await?;
    let mut port = RawMqtt::open(other.port()).await?;
    port.hello(&Hello { level: 4, id: "other", ..Hello::default() }).await?;
    port.write(&publish(4, 0, 0, "served", b"other")).await?;
    observer.expect("what the other says", |m| m.text() == "other").await?;
    let held = setting.gateway.memory()?;
    assert!(held < 48 << 20, "{held} bytes");
    Ok(())
}
