//! What may come from MQTT: requests, answers and notifications.

use super::{CREATE, Scene, failed, request, told};
use crate::peers::legacy::response;
use crate::peers::mqtt_peer::Message;
use crate::peers::{MqttPeer, NEW_FILE};
use crate::setting::Outcome;
use serde_json::json;

const DEEP: usize = 100_000;

/// Payloads that are not JSON, with the members `before` in them where they are an object.
fn unreadable(before: &str) -> Vec<Vec<u8>> {
    let with = |what: &[u8]| [b"{", before.as_bytes(), b",\"x\":\"", what, b"\"}"].concat();
    vec![
        format!("{{{before},\"x\":{}{}}}", "[".repeat(DEEP), "]".repeat(DEEP)).into_bytes(),
        "[".repeat(DEEP).into_bytes(),
        with(b"\xff"),
        with(b"\xed\xa0\x80"),
        with(b"\0"),
        with(b"\r"),
        with(b"\n"),
        format!("\u{feff}{{{before}}}").into_bytes(),
        format!("{{{before}}}\n{{{before}}}").into_bytes(),
        Vec::new(),
    ]
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_answered_with_an_error() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let good = r#""disk":"D","filepath":"f","data":"YQ==""#;
    let not_json = unreadable(good);
    let twice = r#""disk":"D","disk":"E","filepath":"f","data":"YQ==""#;
    let digits = "1234567890".repeat(1000);
    let bad_value = [
        format!("{{{twice}}}"),
        format!("{{{}}}", vec![good; DEEP / 10].join(",")),
        format!(r#"{{"disk":"D","filepath":"f","data":{digits}}}"#),
        r#"{"disk":"D","filepath":"f","data":"YQ"}"#.to_owned(),
        format!("[{{{good}}}]"),
        digits.clone(),
    ];
    let refused = (not_json.len() as u64, bad_value.len() as u64);
    for payload in not_json.into_iter().chain(bad_value.map(String::into_bytes)) {
        hostile.publish(request(CREATE, "vm-hostile", payload)).await?;
        failed(&mut hostile).await?;
        scene.others.go_on().await?;
    }
    // White space and digits go through, and the line is still one line.
    let spaced = format!(
        "{{\r\n\t\"disk\": {digits},\n\"filepath\":\r\"f\",\"x\":[\n1,\r2\n], \"data\":\"YQ==\"}}\n"
    );
    hostile.publish(request(CREATE, "vm-hostile", spaced)).await?;
    let asked = usb.inbox.next("the only command").await?;
    assert!(!asked.bytes.contains(&b'\r'), "{asked:.300}");
    assert!(asked.text().contains(&format!(r#""disk":{digits},"#)), "{asked:.300}");
    assert!(asked.text().contains(r#""commande":"create_file""#), "{asked:.300}");
    let data = format!(r#"{{"filepath":"f","disk":{digits},"footprint":"","success":true}}"#);
    let answer = format!(r#"{{"commande":"file_creation","data":{data}}}"#);
    usb.line(&crate::peers::legacy::envelope("reponse", "sys-usb", "vm-hostile", &answer));
    hostile.expect("the answer", |m| m.json()["status"] == "ok").await?;
    scene.end(&[("not_json", refused.0), ("bad_value", refused.1)]).await
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_its_call_and_the_caller_is_told() -> Outcome {
    let mut scene = Scene::start().await?;
    let topic = format!("{CREATE}/request");
    let mut hostile = MqttPeer::connect(&scene.dom0.broker.socket(), "sys-usb", &[&topic]).await?;
    let mut caller = scene.legacy("vm-caller").await?;
    let not_json = unreadable(r#""status":"ok""#);
    let bad_value: Vec<_> = [
        r#"{"status":"ok","status":"error"}"#.to_owned(),
        format!(r#"{{"status":{}}}"#, "1".repeat(10_000)),
        r#"{"status":"\u0000"}"#.to_owned(),
        r#"["status","ok"]"#.to_owned(),
    ]
    .into();
    let refused = (not_json.len() as u64, bad_value.len() as u64);
    let not_json = not_json.into_iter().map(|payload| (payload, "not_json"));
    let bad_value = bad_value.into_iter().map(|payload| (payload.into_bytes(), "bad_value"));
    for (payload, reason) in not_json.chain(bad_value) {
        caller.ask(
            "sys-usb",
            "create_file",
            &json!({"disk": "D", "filepath": "f", "contents": ""}),
        );
        let asked = hostile.expect("the request", |m| m.topic == topic).await?;
        let answer = Message::new(asked.response_topic.unwrap_or_default(), payload);
        let correlation = asked.correlation;
        hostile.publish(Message { correlation, ..answer }.from("sys-usb")).await?;
        told(&mut caller, reason).await?;
        scene.others.go_on().await?;
    }
    // The answer is refused, and so is what it answers.
    scene.end(&[("not_json", 2 * refused.0), ("bad_value", 2 * refused.1)]).await
}

#[tokio::test]
async fn a_legacy_answer_that_cannot_be_carried_over_ends_its_call() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut caller = scene.mqtt("vm-caller").await?;
    let good = r#"{"disk":"D","filepath":"f","data":"YQ=="}"#;
    for data in [
        r#"{"filepath":"f","disk":"D","footprint":"","success":true,"success":false}"#.to_owned(),
        format!(r#"{{"filepath":"f","disk":"D","footprint":"","success":{}}}"#, "1".repeat(10_000)),
    ] {
        caller.publish(request(CREATE, "vm-caller", good)).await?;
        hostile.expect("the command", |line| line.asks("create_file")).await?;
        let payload = format!(r#"{{"commande":"file_creation","data":{data}}}"#);
        hostile.line(&crate::peers::legacy::envelope("reponse", "sys-usb", "vm-caller", &payload));
        failed(&mut caller).await?;
        scene.others.go_on().await?;
    }
    caller.publish(request(CREATE, "vm-caller", good)).await?;
    hostile.expect("the command", |line| line.asks("create_file")).await?;
    let data = json!({"filepath": "f", "disk": "D", "footprint": "", "success": true});
    hostile.line(&response("sys-usb", "vm-caller", "file_creation", &data));
    caller.expect("the answer", |m| m.json()["status"] == "ok").await?;
    scene.end(&[("bad_value", 4)]).await
}

#[tokio::test]
async fn a_notification_that_cannot_be_read_is_refused_once_whoever_would_hear_it() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let good = r#""disk":"D","filepath":"f","size_in_bytes":1"#;
    let not_json = unreadable(good);
    let count = not_json.len() as u64;
    for payload in not_json {
        hostile.publish(Message::new(NEW_FILE, payload).from("vm-hostile")).await?;
        scene.others.go_on().await?;
    }
    let twice = format!(r#"{{{good},"disk":"E"}}"#);
    hostile.publish(Message::new(NEW_FILE, twice).from("vm-hostile")).await?;
    let absent = Message::new(NEW_FILE, r#"{"disk":"D"}"#).from("vm-hostile");
    hostile.publish(absent).await?;
    let size = "1234567890".repeat(1000);
    let good =
        format!(r#"{{"disk":"D","filepath":"f","size_in_bytes":1,"x":[{size},"\u0000\n"]}}"#);
    hostile.publish(Message::new(NEW_FILE, good).from("vm-hostile")).await?;
    let came = friend.inbox.next("the good one, and nothing else").await?;
    assert!(came.text().contains(r#""source":"vm-hostile""#), "{came:.300}");
    assert!(came.text().contains(&size), "{came:.300}");
    scene.end(&[("not_json", count), ("bad_value", 1), ("missing_argument", 1)]).await
}

#[tokio::test]
async fn what_makes_a_line_too_long_is_refused_and_leaves_nothing_behind() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    // As large as the broker lets through.
    let long = "x".repeat(31 << 20);
    let create = format!(r#"{{"disk":"D","filepath":"{long}","data":""}}"#);
    let new_file = format!(r#"{{"disk":"D","filepath":"{long}","size_in_bytes":1}}"#);
    for _ in 0..3 {
        hostile.publish(request(CREATE, "vm-hostile", create.clone())).await?;
        failed(&mut hostile).await?;
        hostile.publish(Message::new(NEW_FILE, new_file.clone()).from("vm-hostile")).await?;
        scene.others.go_on().await?;
        eprintln!("now: {} KiB", scene.dom0.gateway.memory()? >> 10);
    }
    assert_eq!(usb.inbox.count(|_| true), 0);
    scene.end(&[("line_too_long", 6)]).await
}

#[tokio::test]
async fn large_messages_for_many_are_not_all_in_memory_at_once() -> Outcome {
    let mut scene = Scene::start().await?;
    let hostile = scene.mqtt("vm-hostile").await?;
    let long = "x".repeat(31 << 20);
    let mut friends = Vec::new();
    for n in 0..8 {
        let name = format!("vm-friend-{n}");
        friends.push(scene.legacy(&name).await?);
        scene.dom0.broker.subscribed(&name, [format!("{CREATE}/response/{name}")]).await?;
    }
    for friend in &friends {
        let answer = Message::new(format!("{CREATE}/response/{}", friend.name), long.clone());
        hostile.publisher().publish(answer.from("vm-hostile")).await?;
    }
    scene.end(&[("line_too_long", 8)]).await
}
