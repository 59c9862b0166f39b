//! A domain that goes away, and comes back: it is found again, and what it was asked is not lost.

use crate::peers::{Broker, Dialect, Disks, LegacyDomain, Line, MqttPeer, MqttServer, MvpServer};
use crate::setting::{Outcome, setting, setting_with};
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
    // One that it knows is there before the folder is.
    let new = sockets.with_extension("new");
    fs::create_dir(&new)?;
    let server = LegacyDomain::start(&new, "sys-usb")?;
    fs::rename(&new, &sockets)?;
    let _server = MvpServer::over(server, Disks::new()?);
    setting.served("sys-usb").await?;
    // And one comes later.
    let mut gui = setting.legacy("vm-gui").await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}
