//! A domain that goes away for longer than it counts as legacy: what it was asked is not lost.

use crate::peers::{Broker, Dialect, Disks, Line, MqttPeer, MqttServer};
use crate::setting::{Outcome, setting_with};
use serde_json::json;

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
