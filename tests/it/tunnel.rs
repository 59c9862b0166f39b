//! A domain comes over to MQTT, and goes back, on its own channel.

use crate::peers::{
    Console, Dialect, Disks, Dom0, LegacyDomain, Missing, MqttPeer, MqttServer, MvpServer,
};
use crate::setting::{Outcome, setting, until};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A program of the MVP opens the console's port.
pub async fn legacy(console: &Console, name: &str) -> Result<LegacyDomain, Missing> {
    let (reader, writer) = console.open().await?.into_split();
    Ok(LegacyDomain::over(name, reader, writer))
}

/// The MVP's server opens it.
async fn mvp(console: &Console) -> Result<MvpServer, Missing> {
    let disks = Disks::new().map_err(|e| Missing::new(e.to_string()))?;
    Ok(MvpServer::over(legacy(console, "sys-usb").await?, disks))
}

/// A CONNECT, written by hand.
fn connect(level: u8, id: &str) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let id = [&[0, u8::try_from(id.len()).unwrap()], id.as_bytes()].concat();
    let body = [&b"\0\x04MQTT"[..], &[level, 2, 0, 60], properties, &id].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

#[tokio::test]
async fn a_domain_comes_over_and_goes_back_as_often_as_it_likes() -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let mut gui = setting.legacy("vm-gui").await?;
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let console = setting.console("sys-usb").await?;
    for _ in 0..3 {
        for dialect in [None, Some(Dialect::Psec)] {
            let (mut _old, mut _new) = (None, None);
            if let Some(dialect) = dialect {
                let disks = Disks::new()?;
                _new = Some(MqttServer::start(console.port(), "sys-usb", dialect, disks).await?);
            } else {
                _old = Some(mvp(&console).await?);
                setting.served("sys-usb").await?;
            }
            let answer = gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
            assert_eq!(answer.value["source"], "sys-usb");
            scan.call("system/disks/list_disks", &json!({})).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_client_id_of_another_domain_is_refused() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut operator = MqttPeer::connect(&socket, "operator", &[crate::peers::ERROR]).await?;
    let _gui = setting.legacy("vm-gui").await?;
    let console = setting.console("vm-scan").await?;
    let mut port = console.open().await?;
    for (id, level, connack) in [
        ("vm-gui", 4, &[0x20, 2, 0, 2][..]),
        ("passerelle-dom0", 5, &[0x20, 3, 0, 0x85, 0]),
        ("dom0", 5, &[0x20, 3, 0, 0x85, 0]),
        ("sys-usb", 4, &[0x20, 2, 0, 2]),
        ("vm-scan", 7, &[0x20, 2, 0, 1]),
        ("vm-scan", 4, &[0x20, 2, 0, 0]),
    ] {
        // What it sends on without having been let in goes nowhere.
        port.write_all(&[&connect(level, id)[..], &[0xC0, 0]].concat()).await?;
        let mut answer = vec![0; connack.len()];
        port.read_exact(&mut answer).await?;
        assert_eq!(answer, connack, "{id}");
    }
    let told = operator.expect("a refusal", |m| m.text().contains("spoofed_source")).await?;
    assert!(told.text().contains("vm-gui"), "{told}");
    // It was let in at last, and what it said then was heard.
    let mut answer = [0; 2];
    port.read_exact(&mut answer).await?;
    assert_eq!(answer, [0xD0, 0]);
    Ok(())
}

#[tokio::test]
async fn a_domain_is_told_that_the_broker_has_gone_where_it_can_be() -> Outcome {
    let mut setting: Dom0 = setting().await?;
    let (five, old) = (setting.console("vm-five").await?, setting.console("vm-old").await?);
    let mut five = five.open().await?;
    let mut old = old.open().await?;
    let mut buffer = [0; 64];
    for (port, level) in [(&mut five, 5), (&mut old, 4)] {
        port.write_all(&connect(level, "")).await?;
        assert!(port.read(&mut buffer).await? > 0 && buffer[0] == 0x20);
    }
    setting.broker.kill().await?;
    let size = five.read(&mut buffer).await?;
    assert_eq!(buffer[..size], [0xE0, 1, 0x8B]);
    // The broker had chosen its client id, so another connection could not go on with it. Until it connects
    // again, what it sends goes nowhere; then it is told how things are.
    five.write_all(&[&[0xC0, 0][..], &connect(5, "")].concat()).await?;
    let size = five.read(&mut buffer).await?;
    assert_eq!(buffer[..size], [0x20, 3, 0, 0x88, 0]);
    // The other one is kept, and answered, until it begins anew by itself.
    old.write_all(&[0xC0, 0]).await?;
    let size = old.read(&mut buffer).await?;
    assert_eq!(buffer[..size], [0xD0, 0]);
    old.write_all(&connect(4, "")).await?;
    let size = old.read(&mut buffer).await?;
    assert_eq!(buffer[..size], [0x20, 2, 0, 3]);
    setting.broker.run().await?;
    old.write_all(&connect(4, "")).await?;
    let size = old.read(&mut buffer).await?;
    assert_eq!(buffer[..size], [0x20, 2, 0, 0]);
    Ok(())
}

#[tokio::test]
async fn a_domain_on_mqtt_is_left_alone_by_the_next_gateway_until_it_says_what_it_speaks() -> Outcome
{
    let mut setting = setting().await?;
    let console = setting.console("sys-usb").await?;
    let mut port = console.open().await?;
    let mut buffer = [0; 64];
    port.write_all(&connect(5, "")).await?;
    assert!(port.read(&mut buffer).await? > 0 && buffer[0] == 0x20);
    for id in ["", "sys-usb"] {
        setting.gateway.terminate()?;
        assert!(setting.gateway.ended().await?.success());
        let size = port.read(&mut buffer).await?;
        assert_eq!(buffer[..size], [0xE0, 1, 0x8B], "it is told that the gateway goes");
        setting.gateway.run()?;
        let waits = |ended: &crate::setting::Ended| ended.out.contains("\"waiting_for_connect\"");
        until(&setting.gateway, "status", &["--json"], waits).await?;
        port.write_all(&connect(5, id)).await?;
        assert!(port.read(&mut buffer).await? > 0 && buffer[0] == 0x20);
    }
    // No proxy has taken its place in between.
    let sessions = setting.gateway.log().matches("session ready domain=sys-usb").count();
    assert!(sessions <= 1, "{sessions}");
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    drop(port);
    setting.gateway.run()?;
    let _server = mvp(&console).await?;
    setting.served("sys-usb").await?;
    Ok(())
}
