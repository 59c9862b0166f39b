//! Requests that were kept, answers that go elsewhere, and answers that nobody asked for.

use super::{CREATE, Scene, failed, fence, request};
use crate::peers::MqttPeer;
use crate::peers::legacy::response;
use crate::peers::mqtt_peer::Message;
use crate::setting::Outcome;
use serde_json::json;

const GOOD: &str = r#"{"disk":"D","filepath":"f","data":"YQ=="}"#;

fn created(success: bool) -> serde_json::Value {
    json!({"filepath": "f", "disk": "D", "footprint": "", "success": success})
}

#[tokio::test]
async fn a_retained_request_is_carried_out_neither_now_nor_later() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let retained = || Message { retain: true, ..request(CREATE, "vm-hostile", GOOD) };
    // Before anybody is there to hear it, and again and again to those who are.
    hostile.publish(retained()).await?;
    let mut usb = scene.legacy("sys-usb").await?;
    failed(&mut hostile).await?;
    for _ in 0..5 {
        hostile.publish(retained()).await?;
        failed(&mut hostile).await?;
        scene.others.go_on().await?;
    }
    let clear = Message { retain: true, ..Message::new(format!("{CREATE}/request"), "") };
    hostile.publish(clear).await?;
    hostile.publish(request(CREATE, "vm-hostile", GOOD)).await?;
    usb.expect("the good one", |line| line.asks("create_file")).await?;
    assert_eq!(usb.inbox.count(|line| line.asks("create_file")), 0);
    usb.line(&response("sys-usb", "vm-hostile", "file_creation", &created(true)));
    hostile.expect("the answer", |m| m.json()["status"] == "ok").await?;
    scene.end(&[("retained_request", 6)]).await
}

#[tokio::test]
async fn no_proxy_publishes_a_command_as_an_answer() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let everything = ["system/#", "business/scan/response/+", "$SYS/none", "other/#"];
    let mut hostile =
        MqttPeer::connect(&scene.dom0.broker.socket(), "vm-hostile", &everything).await?;
    let topics = [
        "system/disks/remove_file/request",
        "system/disks/create_file/request",
        "system/disks/create_file/request/vm-hostile",
        "system/disks/remove_file/response/vm-hostile",
        "system/disks/create_file/response",
        "system/disks/create_file/responses/vm-hostile",
        "system/disks/create_file/response/vm-hostile/more",
        "system/disk/new_file/notification",
        "passerelle/dom0/state",
        "other/topic",
    ];
    for topic in topics {
        let mut message = request(CREATE, "vm-hostile", GOOD);
        message.response_topic = Some(topic.to_owned());
        hostile.publish(message).await?;
        scene.others.go_on().await?;
    }
    hostile.publish(request(CREATE, "vm-hostile", GOOD)).await?;
    usb.expect("the good one", |line| line.asks("create_file")).await?;
    assert_eq!(usb.inbox.count(|line| line.asks("create_file")), 0);
    usb.line(&response("sys-usb", "vm-hostile", "file_creation", &created(true)));
    hostile.expect("the answer", |m| m.json()["status"] == "ok").await?;
    // Of all that is on MQTT only its own requests are nobody's but its own.
    let others = |m: &Message| m.source() != Some("vm-hostile") && m.source() != Some("passerelle");
    assert_eq!(hostile.inbox.count(|m| others(m) && topics.contains(&&*m.topic)), 0);
    scene.end(&[("bad_name", topics.len() as u64)]).await
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_nothing() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let mut caller = scene.legacy("vm-caller").await?;
    scene.dom0.broker.subscribed("vm-caller", [format!("{CREATE}/response/vm-caller")]).await?;
    // From MQTT, to a legacy domain that has asked nothing: with correlation data of its own, and without.
    let footprint = "system/disks/get_file_footprint";
    let answers = [(CREATE, json!({"status": "ok"})), (footprint, json!({"footprint": "00"}))];
    for (root, payload) in answers {
        for correlation in [None, Some("call-vm-caller-1/sys-usb".into())] {
            let answer = Message::new(format!("{root}/response/vm-caller"), payload.to_string());
            hostile.publish(Message { correlation, ..answer }.from("sys-usb")).await?;
            scene.others.go_on().await?;
        }
    }
    // From a legacy domain: one more answer to a call that is over.
    hostile.publish(request(CREATE, "vm-hostile", GOOD)).await?;
    usb.expect("the command", |line| line.asks("create_file")).await?;
    for _ in 0..4 {
        usb.line(&response("sys-usb", "vm-hostile", "file_creation", &created(true)));
        scene.others.go_on().await?;
    }
    hostile.expect("the answer", |m| m.json()["status"] == "ok").await?;
    fence(&usb, &mut caller).await?;
    assert_eq!(hostile.inbox.count(|m| m.topic.contains("/response/")), 0);
    assert_eq!(caller.inbox.count(|_| true), 0);
    scene.end(&[("no_pending_call", 7)]).await
}
