//! A domain that goes away, and comes back: it is found again, and what it was asked is not lost.

use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, Dialect, Disks, LegacyDomain, Line, MqttPeer, MqttServer, MvpServer};
use crate::setting::{Outcome, setting, setting_with, until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[tokio::test]
async fn what_a_domain_was_asked_goes_to_whoever_handles_it_now() -> Outcome {
    let short = |gateway: crate::peers::Gateway| gateway.with("[limits]\naway = \"2s\"\n");
    let mut setting = setting_with(Broker::start().await?, short).await?;
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.mvp_server().await?;

    // It goes; what it is asked word for word waits in the gateway, what it is asked on MQTT in the
    // broker.
    usb.domain.stop().await?;
    gui.ask("sys-usb", "liste_disques", &json!({}));
    let correlation = scan.ask("system/disks/list_disks", &json!({})).await?;

    // It comes back on MQTT, under the name that it always had, and finds what the broker kept.
    let _server = MqttServer::start(&socket, "sys-usb", Dialect::Psec, Disks::new()?).await?;
    scan.expect("the answer", |m| m.correlation.as_ref() == Some(&correlation)).await?;

    // The gateway gives up the name, and publishes what it still had for it.
    let answers = |line: &Line| line.answers("liste_disques");
    let answer = gui.expect("the answer", answers).await?;
    assert_eq!(answer.value["source"], "sys-usb");
    assert!(setting.gateway.log().contains("no longer a legacy domain here"));

    // Nobody has thrown it out, and everyone is still served.
    scan.call("system/disks/list_disks", &json!({})).await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

#[tokio::test]
async fn a_socket_that_is_a_link_is_found_again() -> Outcome {
    let mut setting = setting().await?;
    let consoles = tempfile::tempdir()?;
    let _server = setting.mvp_server().await?;
    let mut gui = LegacyDomain::start(consoles.path(), "vm-gui")?;
    let (link, target) = ("vm-gui-msg.sock", consoles.path().join("vm-gui-msg.sock"));
    symlink(&target, setting.sockets().join(link))?;
    gui.connected().await?;
    gui.stop().await?;
    // It is tried again, and that it takes long is said.
    setting.gateway.logged("cannot be opened: tried again", 1).await?;
    let why = format!("a link to {}: No such file", target.display());
    assert!(setting.gateway.log().contains(&why), "{}", setting.gateway.log());
    gui.listen()?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_of_sockets_that_is_made_anew_is_watched_again() -> Outcome {
    let mut setting = setting().await?;
    let sockets = setting.sockets().to_owned();
    let mut before = LegacyDomain::start(&sockets, "sys-usb")?;
    before.connected().await?;
    before.stop().await?;
    fs::remove_dir_all(&sockets)?;
    setting.gateway.logged("the folder of sockets is lost: tried again", 1).await?;
    let topic = "passerelle/dom0/state";
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[topic]).await?;
    let errors = |m: &Message| m.json()["socket_errors"].as_array().map(Vec::len);
    observer.expect("that it is lost", |m| errors(m) == Some(1)).await?;
    let shown = until(&setting.gateway, "status", &[], |e| e.code == 4).await?;
    assert!(shown.out.contains("the folder of sockets"), "{shown}");
    // One that it knows is there before the folder is.
    let new = sockets.with_extension("new");
    fs::create_dir(&new)?;
    let server = LegacyDomain::start(&new, "sys-usb")?;
    // One that it has never seen, too.
    let scan = LegacyDomain::start(&new, "vm-scan")?;
    fs::rename(&new, &sockets)?;
    scan.connected().await?;
    observer.expect("that it is back", |m| errors(m) == Some(0)).await?;
    let _server = MvpServer::over(server, Disks::new()?);
    setting.served("sys-usb").await?;
    // And one comes later.
    let mut gui = setting.legacy("vm-gui").await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

#[tokio::test]
async fn a_socket_that_cannot_be_opened_any_more_is_not_shown_as_absent() -> Outcome {
    let setting = setting().await?;
    let consoles = tempfile::tempdir()?;
    let topic = "passerelle/dom0/domains/vm-gui";
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[topic]).await?;
    let gui = LegacyDomain::start(consoles.path(), "vm-gui")?;
    let socket = consoles.path().join("vm-gui-msg.sock");
    symlink(&socket, setting.sockets().join("vm-gui-msg.sock"))?;
    observer.expect("it is there", |m| m.json()["state"] == "silent").await?;
    observer.inbox.clear();
    // Not even root may follow a link to itself.
    let new = consoles.path().join("new");
    symlink(&socket, &new)?;
    fs::rename(new, &socket)?;
    drop(gui);
    let next = observer.inbox.next("the next state").await?;
    assert_eq!(next.json()["state"], "unavailable", "{next}");
    Ok(())
}

#[tokio::test]
async fn a_line_that_completes_half_a_connect_is_told_of_and_counted() -> Outcome {
    let setting = setting().await?;
    let topic = "passerelle/dom0/domains/vm-gui";
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[topic]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let half = b"\x10\x30\x00\x04MQTT\x04\x02\x00\x3c";
    let line = b"{\"type\":\"notification\",\"source\":\"vm-gui\",\"destination\":\"tous\"}\n";
    gui.raw([&half[..], line].concat());
    setting.gateway.logged("WARN skipped: no lines, and no MQTT", 1).await?;
    let dropped = |m: &Message| m.json()["mqtt_bytes_dropped"].as_u64().unwrap_or_default();
    observer.expect("what was skipped", |m| dropped(m) > 0).await?;
    // It costs no other.
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    Ok(())
}
