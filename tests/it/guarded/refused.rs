//! What a domain may not do, the gateway and the broker refuse.

use super::setting::{Outcome, setting};
use crate::peers::mqtt_peer::Message;
use crate::peers::{Dialect, Disks, ERROR, MqttPeer, MqttServer, NEW_FILE, ROOTS};
use serde_json::json;

const DISCOVER: &str = "system/components/discover";

/// Whether the broker lets a user publish.
async fn may_publish(peer: &mut MqttPeer, topic: &str) -> Outcome<bool> {
    match peer.publish(Message::new(topic, "{}")).await {
        Ok(_) => Ok(true),
        Err(missing) if missing.to_string().contains("NotAuthorized") => Ok(false),
        Err(missing) => Err(missing.into()),
    }
}

/// Whether the rules of the setting let a user publish to a topic.
fn is_granted(user: &str, topic: &str) -> bool {
    if topic == ERROR || topic == NEW_FILE {
        return topic == ERROR || ["sys-usb", "vm-scan"].contains(&user);
    }
    let of = |root: &&&str| topic.strip_prefix(**root).is_some_and(|rest| rest.starts_with('/'));
    let Some(root) = ROOTS.iter().find(of) else { return false };
    let rest = topic.strip_prefix(root).unwrap_or_default();
    let asks = rest == "/request" || rest == format!("/request/{user}");
    let answers = |names: &[&str]| names.iter().any(|name| rest == format!("/response/{name}"));
    match user {
        // Everyone may discover, and be discovered by those who are known.
        _ if *root == DISCOVER => {
            asks || answers(&["Dom0", "sys-usb", "vm-app", "vm-gui", "vm-scan", "vm-third"])
        }
        "vm-gui" | "vm-scan" => asks,
        "sys-usb" => answers(&["vm-gui", "vm-scan", "vm-app"]),
        _ => false,
    }
}

#[tokio::test]
async fn a_user_publishes_what_mapping_and_policy_grant_and_nothing_else() -> Outcome {
    let setting = setting().await?;
    let mut topics = vec![NEW_FILE.to_owned(), ERROR.to_owned(), "else/where".to_owned()];
    topics.extend(["passerelle/dom0/state", "passerelle/dom0/domains/vm-gui"].map(String::from));
    for root in ROOTS {
        topics.extend(["request", "response"].map(|kind| format!("{root}/{kind}")));
        for name in ["vm-gui", "vm-scan", "vm-third", "sys-usb", "operator"] {
            topics.extend(["request", "response"].map(|kind| format!("{root}/{kind}/{name}")));
        }
    }
    for user in ["vm-gui", "vm-scan", "sys-usb", "vm-third", "Dom0"] {
        let mut peer = MqttPeer::connect(&setting.broker.socket(), user, &[]).await?;
        for topic in &topics {
            let (may, wanted) = (may_publish(&mut peer, topic).await?, is_granted(user, topic));
            assert_eq!(may, wanted, "{user}: {topic}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_user_is_sent_what_mapping_and_policy_grant_and_nothing_else() -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["#"]).await?.proving(true);
    let mut third = MqttPeer::connect(&socket, "vm-third", &["#"]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let _usb = setting.mvp_server().await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    // A mirror for observers: it is vm-gui's answer, and nobody else's.
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    let read = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
    scan.call("system/disks/read_file", &read).await?;
    scan.publish(Message::new(ERROR, "{\"module\":\"end\"}")).await?;
    for peer in [&mut scan, &mut third] {
        peer.expect("the new file", |m| m.topic == NEW_FILE).await?;
        peer.expect("the end", |m| m.topic == ERROR && m.text().contains("end")).await?;
        let stray = |m: &Message| m.topic != NEW_FILE && m.topic != ERROR;
        assert_eq!(peer.inbox.count(stray), 0, "it is sent what is not for it");
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_that_comes_over_on_its_channel_is_granted_the_same() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let answers = ["system/+/+/response/vm-scan"];
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &answers).await?.proving(true);
    let mut gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    // Its requests and its answers go through the tunnel, under its own name.
    let _new = MqttServer::start(console.port(), "sys-usb", Dialect::Psec, Disks::new()?).await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn the_gateway_refuses_and_a_reload_changes_what() -> Outcome {
    let mut setting = setting().await?;
    let mut third = setting.legacy("vm-third").await?;
    let mut usb = setting.mvp_server().await?;
    let denied = "not_allowed: the policy does not let vm-third say LISTE_DISQUES to sys-usb";
    third.ask("sys-usb", "liste_disques", &json!({}));
    let told = third.expect("the refusal", |line| line.tells("erreur")).await?;
    assert_eq!(told.data()["message"], denied);
    assert_eq!(usb.domain.inbox.count(|line| line.asks("liste_disques")), 0);
    setting.gateway.edit("passerelle.toml", "policy = \"deny\"", "policy = \"allow\"")?;
    setting.gateway.reload()?;
    setting.gateway.logged("INFO reloaded", 1).await?;
    third.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    usb.domain.expect("the call", |line| line.asks("liste_disques")).await?;
    // The broker has the ACL of before: it lets nobody ask for this who is not in it.
    third.ask("vm-new", "liste_disques", &json!({}));
    let told = third.expect("the refusal", |line| line.tells("erreur")).await?;
    assert_eq!(
        told.data()["message"],
        "not_allowed: LISTE_DISQUES: the broker does not let it be published"
    );
    Ok(())
}
