//! Several brokers: the first that answers is used, and another takes over.

use crate::peers::broker::Persistence;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::read_packet;
use crate::peers::{
    Broker, DEADLINE, Dialect, Disks, ERROR, Gateway, LegacyDomain, MqttPeer, MqttServer, NEW_FILE,
};
use crate::setting::{Outcome, PROGRAM, mappings};
use serde_json::json;
use std::path::Path;
use tokio::net::UnixListener;
use tokio::time::timeout;

fn url(broker: &Broker) -> String {
    format!("unix:{}", broker.socket().display())
}

fn gateway(sockets: &Path, urls: &[String]) -> Outcome<Gateway> {
    let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent"))?.on_dom0(sockets);
    Ok(gateway.with_urls(urls).with_dialect("sys-usb", Dialect::Lib11).start()?)
}

#[tokio::test]
async fn the_first_that_answers_is_used() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let mut second = Broker::start().await?;
    let first = Broker::prepare(Persistence::Lost, "")?;
    let gateway = gateway(sockets.path(), &[url(&first), url(&second)])?;
    second.subscribed("passerelle-dom0", [NEW_FILE]).await?;
    let mut gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    gui.connected().await?;
    let _server =
        MqttServer::start(&second.socket(), "vm-new", Dialect::Psec, Disks::new()?).await?;
    gui.call("vm-new", "liste_disques", &json!({}), "liste_disques").await?;
    gateway.logged("another broker of the list answers", 1).await.map_err(Into::into)
}

#[tokio::test]
async fn another_takes_over_under_load_and_nothing_is_lost() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let (mut first, mut second) = (Broker::start().await?, Broker::start().await?);
    let _gateway = gateway(sockets.path(), &[url(&first), url(&second)])?;
    first.subscribed("passerelle-dom0", [NEW_FILE]).await?;
    let mut on_first = MqttPeer::connect(&first.socket(), "observer", &[ERROR]).await?;
    let mut on_second = MqttPeer::connect(&second.socket(), "observer", &[ERROR]).await?;
    let usb = LegacyDomain::start(sockets.path(), "sys-usb")?;
    let mut gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    usb.connected().await?;
    gui.connected().await?;
    let tell = |n: usize| {
        usb.tell("tous", "erreur", &json!({"niveau": 20, "message": format!("number {n}")}));
    };
    let is = |n: usize| move |m: &Message| m.json()["description"] == format!("number {n}");
    tell(0);
    on_first.expect("the first", is(0)).await?;
    // What the first has taken and not acknowledged, the second is told.
    first.freeze()?;
    (1..200).for_each(tell);
    usb.tell("vm-gui", "test", &json!({}));
    gui.expect("the last line", |line| line.tells("test")).await?;
    first.kill().await?;
    (200..300).for_each(tell);
    for n in 1..300 {
        on_second.expect(&format!("number {n}"), is(n)).await?;
    }
    let _server =
        MqttServer::start(&second.socket(), "vm-new", Dialect::Psec, Disks::new()?).await?;
    gui.call("vm-new", "liste_disques", &json!({}), "liste_disques").await?;

    // And back, when the second goes.
    first.run().await?;
    second.kill().await?;
    first.subscribed("passerelle-dom0", [NEW_FILE]).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_on_mqtt_is_taken_to_the_next_one() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let (mut first, second) = (Broker::start().await?, Broker::start().await?);
    let _gateway = gateway(sockets.path(), &[url(&first), url(&second)])?;
    first.subscribed("passerelle-dom0", [NEW_FILE]).await?;
    let console = crate::peers::Console::start(sockets.path(), "sys-usb")?;
    console.connected().await?;
    let _server =
        MqttServer::start(console.port(), "sys-usb", Dialect::Lib11, Disks::new()?).await?;
    let mut gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    gui.connected().await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    first.kill().await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

/// One that takes connections and says nothing, and one that takes nobody.
#[tokio::test]
async fn one_that_answers_nobody_is_left() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("silent.sock");
    let silent = UnixListener::bind(&path)?;
    let mut second = Broker::start().await?;
    let _gateway = gateway(folder.path(), &[format!("unix:{}", path.display()), url(&second)])?;
    let (mut held, _) = timeout(DEADLINE, silent.accept()).await??;
    let (first_byte, _) = read_packet(&mut held).await?;
    assert_eq!(first_byte, 0x10);
    second.subscribed("passerelle-dom0", [NEW_FILE]).await?;
    Ok(())
}
