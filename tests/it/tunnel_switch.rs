//! What is under way when a domain switches is neither lost nor doubled.

use crate::peers::raw_mqtt::publish;
use crate::peers::{ERROR, Hello, MqttPeer, NEW_FILE};
use crate::setting::{Outcome, setting};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

/// A notification that a legacy domain writes, of a file of this number.
fn new_file(source: &str, number: usize) -> String {
    let data = json!({"source_disk": "USBK1", "filepath": format!("/{number}"), "disk": "/x",
                      "original_footprint": "00", "etat": "disponible"});
    crate::peers::legacy::notification(source, "tous", "fichier", &data) + "\n"
}

#[tokio::test]
async fn what_was_said_just_before_a_domain_comes_over_is_published_once() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["system/#"]).await?;
    let console = setting.console("sys-usb").await?;
    for (id, resume) in [("sys-usb", true), ("sys-usb", false), ("app", false)] {
        let mut port = console.open().await?;
        // The proxy's session is there and takes what it is given at once.
        port.write_all(new_file("sys-usb", 99).as_bytes()).await?;
        observer.expect("the first notification", |m| m.topic == NEW_FILE).await?;
        let lines: String = (0..20).map(|number| new_file("sys-usb", number)).collect();
        let hello = Hello { level: 5, id, resume, ..Hello::default() };
        port.write_all(&[lines.as_bytes(), &hello.packet()].concat()).await?;
        port.write_all(&publish(5, 0, 0, "system/end", b"")).await?;
        observer.expect("the program's own", |m| m.topic == "system/end").await?;
        for number in 0..20 {
            let of = |m: &crate::peers::mqtt_peer::Message| {
                m.topic == NEW_FILE && m.json()["filepath"] == format!("/{number}")
            };
            observer.expect("a notification", of).await?;
        }
        // The gateway's own session publishes in order, and this is the last that it has to say.
        port.write_all(&Hello { level: 5, id: "dom0", ..Hello::default() }.packet()).await?;
        observer.expect("a refusal", |m| m.topic == ERROR).await?;
        assert_eq!(observer.inbox.count(|m| m.topic == NEW_FILE), 0, "{id} {resume}");
    }
    Ok(())
}
