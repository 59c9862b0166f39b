//! Two gateways of one name: each says who the other is.

use crate::peers::mqtt_peer::Message;
use crate::peers::{Gateway, MqttPeer};
use crate::setting::{Outcome, PROGRAM, mappings, setting};

#[tokio::test]
async fn a_second_gateway_of_one_name_says_who_the_other_is() -> Outcome {
    let first = setting().await?;
    let _gui = first.legacy("vm-gui").await?;
    let broker = &first.broker;
    let topics = ["passerelle/dom0/state", "passerelle/dom0/domains/vm-gui"];
    let mut observer = MqttPeer::connect(&broker.socket(), "observer", &topics).await?;
    let second = Gateway::new(PROGRAM, mappings(), &broker.gate())?.on_dom0(first.sockets());
    let second = second.start()?;
    let who = format!("process {} on ", first.gateway.id()?);
    second.logged("WARN another gateway of this name is online", 1).await?;
    assert!(second.log().contains(&who), "{}", second.log());
    let names = |m: &Message, member: &str| {
        m.json()[member].as_str().is_some_and(|text| text.contains(&who))
    };
    observer.expect("who the other is", |m| names(m, "other_gateway")).await?;
    // It is connected, too; and it is not the old router who is served.
    let silent = |m: &Message| m.json()["state"] == "silent" && names(m, "cause");
    observer.expect("why it hears nothing", silent).await?;
    // The first has lost its session to the second, and knows by whom.
    let back = format!("process {} on ", second.id()?);
    first.gateway.logged(&back, 1).await?;
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_run_has_left_is_no_other_gateway() -> Outcome {
    let mut on = setting().await?;
    on.gateway.freeze()?;
    on.broker.kill().await?;
    on.gateway.kill().await?;
    on.broker.run().await?;
    let online = Message { retain: true, ..Message::new("passerelle/dom0/state", "{}") };
    let mut observer =
        MqttPeer::connect(&on.broker.socket(), "observer", &["passerelle/dom0/state"]).await?;
    observer.publish(online).await?;
    on.gateway.run()?;
    let own = format!("\"id\":{}", on.gateway.id()?);
    let is_own = |m: &Message| m.text().contains(&own);
    assert!(observer.expect("its state", is_own).await?.json()["other_gateway"].is_null());
    on.gateway.kill().await?;
    on.gateway.run()?;
    let own = format!("\"id\":{}", on.gateway.id()?);
    let is_own = |m: &Message| m.text().contains(&own);
    assert!(observer.expect("its state", is_own).await?.json()["other_gateway"].is_null());
    assert!(!on.gateway.log().contains("another gateway of this name"), "{}", on.gateway.log());
    Ok(())
}
