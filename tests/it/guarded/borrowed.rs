//! Nobody asks, tells or answers in another's name: who somebody is, the broker's ACL proves.

use super::setting::{Outcome, setting, setting_with_rules};
use crate::peers::mqtt_peer::Message;
use crate::peers::{ERROR, MqttPeer, NEW_FILE};
use serde_json::json;

const FILES: &str = "system/disks/list_files";

/// What `vm-third` may publish on the topic of what only others may ask of `sys-usb`.
const OF_DOM0: &str = r#"
[[allow]]
from = "vm-third"
command = "LISTE_FICHIERS"
to = "Dom0"
"#;

#[tokio::test]
async fn nobody_asks_in_the_name_of_another() -> Outcome {
    let mut setting = setting_with_rules(OF_DOM0).await?;
    let socket = setting.broker.socket();
    let mut operator = MqttPeer::connect(&socket, "passerelle", &[ERROR]).await?;
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let mut third = MqttPeer::connect(&socket, "vm-third", &[]).await?;
    let mut usb = setting.mvp_server().await?;
    let list = json!({"disk": "DISK1"});
    let (bare, own) = (format!("{FILES}/request"), format!("{FILES}/request/vm-third"));
    let request = |topic: &str| Message::new(topic, list.to_string());
    let in_payload = json!({"disk": "DISK1", "source": "vm-scan"}).to_string();
    for (message, reason) in [
        (request(&bare).answered_to(FILES, "vm-scan", "1"), "spoofed_source"),
        (Message::new(&*bare, in_payload.clone()), "spoofed_source"),
        (request(&bare).from("vm-scan"), "spoofed_source"),
        (request(&own).answered_to(FILES, "vm-scan", "2"), "spoofed_source"),
        (Message::new(&*own, in_payload), "spoofed_source"),
        (request(&own).from("vm-scan"), "spoofed_source"),
        (request(&own).answered_to(FILES, "vm-third", "3"), "not_allowed"),
    ] {
        let what = format!("{message:?}");
        assert!(third.publish(message).await?, "{what}");
        let told = |m: &Message| m.text().contains(&format!("{reason}: "));
        // One a second is told for each domain and reason: the others are summed up.
        operator.expect(&what, told).await?;
    }
    // Another's own topic the broker keeps for it.
    let theirs = request(&format!("{FILES}/request/vm-scan"));
    let refused = third.publish(theirs).await.expect_err("it is not granted").to_string();
    assert!(refused.contains("NotAuthorized"), "{refused}");
    // Who is who it says is heard and answered, and nothing before that was.
    scan = scan.proving(true);
    scan.call(FILES, &list).await?;
    assert_eq!(scan.inbox.count(|_| true), 0, "it was answered what it had not asked");
    let asked = usb.domain.expect("the call", |line| line.asks("liste_fichiers")).await?;
    assert_eq!(asked.value["source"], "vm-scan");
    assert_eq!(usb.domain.inbox.count(|line| line.asks("liste_fichiers")), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_tells_in_the_name_of_another() -> Outcome {
    let setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[]).await?;
    let file = json!({"disk": "D", "filepath": "f", "size_in_bytes": 1}).to_string();
    for name in ["sys-usb", "vm-scan", "vm-gui"] {
        scan.publish(Message::new(NEW_FILE, file.clone()).from(name)).await?;
        let told = gui.expect("the file", |line| line.tells("fichier")).await?;
        assert_eq!(told.value["source"], "mqtt", "{name}");
    }
    Ok(())
}
