//! Names that could be topics, paths or nothing, wherever a name may stand.

use super::{CREATE, Scene, failed, request, told};
use crate::peers::legacy::{command, notification, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::publish;
use crate::peers::{Hello, LegacyDomain, NEW_FILE, RawMqtt};
use crate::setting::Outcome;
use serde_json::json;

fn names() -> Vec<String> {
    let (long, longer) = ("x".repeat(60_000), "x".repeat(64 << 10));
    let odd = ["vm/gui", "+", "#", "../x", "", "a b", "a\0", "\u{feff}vm", "vm-gui\n", "$SYS"];
    odd.into_iter().map(str::to_owned).chain([long, longer]).collect()
}

#[tokio::test]
async fn no_legacy_domain_can_use_a_bad_name() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.legacy("vm-hostile").await?;
    let list = json!({"disks": 1});
    let error = json!({"niveau": 40, "message": "m"});
    let names = names();
    for name in &names {
        hostile.ask(name, "liste_disques", &list);
        told(&mut hostile, "bad_name").await?;
        hostile.line(&command(name, "sys-usb", "liste_disques", &list));
        told(&mut hostile, "spoofed_source").await?;
        hostile.ask("sys-usb", name, &list);
        told(&mut hostile, "not_mapped").await?;
        // Nobody waits for what becomes of these.
        hostile.line(&response("vm-hostile", name, "liste_disques", &json!([])));
        hostile.line(&response(name, "vm-asker", "liste_disques", &json!([])));
        hostile.line(&notification(name, "tous", "erreur", &error));
        hostile.tell("vm-away", name, &error);
        scene.others.go_on().await?;
    }
    // A name as a value is nobody's name.
    hostile.ask("vm-calm", "zzz", &json!({"nom_disque": "../x"}));
    let n = names.len() as u64;
    scene.end(&[("bad_name", 2 * n), ("spoofed_source", 3 * n), ("not_mapped", 2 * n)]).await
}

#[tokio::test]
async fn no_requester_on_mqtt_can_use_a_bad_name() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut usb = scene.legacy("sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let payload = json!({"disk": "D", "filepath": "f", "data": ""});
    let mut refused = 0;
    for name in names() {
        let mut named = payload.clone();
        named["source"] = json!(name);
        let mut messages = vec![Message::new(format!("{CREATE}/request"), named.to_string())];
        // Where a topic can have it, as the end of the response topic and of the request's own.
        if !name.contains(['+', '#', '\0', '\n']) && name.len() < 65_000 {
            let mut message = request(CREATE, "vm-hostile", payload.to_string());
            message.response_topic = Some(format!("{CREATE}/response/{name}"));
            messages.push(message);
            if !name.contains('/') {
                let topic = format!("{CREATE}/request/{name}");
                messages.push(Message::new(topic, payload.to_string()));
            }
        }
        for message in messages {
            hostile.publish(message).await?;
            refused += 1;
        }
        scene.others.go_on().await?;
    }
    let good = request(CREATE, "vm-hostile", payload.to_string());
    hostile.publish(good).await?;
    let asked = usb.expect("the good one", |line| line.asks("create_file")).await?;
    assert_eq!(asked.value["source"], "vm-hostile");
    assert_eq!(usb.inbox.count(|line| line.asks("create_file")), 0);
    let data = json!({"filepath": "f", "disk": "D", "footprint": "", "success": false});
    usb.line(&response("sys-usb", "vm-hostile", "file_creation", &data));
    failed(&mut hostile).await?;
    scene.end(&[("bad_name", refused)]).await
}

#[tokio::test]
async fn a_notification_by_a_bad_name_is_nobodys() -> Outcome {
    let scene = Scene::start().await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let mut friend = scene.legacy("vm-friend").await?;
    for name in names().into_iter().filter(|n| !n.contains(['\0', '\n']) && n.len() < 1 << 16) {
        let new_file = json!({"disk": "D", "filepath": "f", "size_in_bytes": 1}).to_string();
        hostile.publish(Message::new(NEW_FILE, new_file).from(&name)).await?;
        let came = friend.expect("it", |line| line.tells("fichier")).await?;
        assert_eq!(came.value["source"], "Dom0", "{name}");
    }
    scene.end(&[]).await
}

#[tokio::test]
async fn a_socket_by_a_bad_name_is_left_alone() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut sockets = Vec::new();
    for name in ["+", "#", "", "a b", "é", "tous", &"x".repeat(65)] {
        sockets.push(LegacyDomain::start(scene.dom0.sockets(), name)?);
    }
    scene.dom0.gateway.logged(": not connected", sockets.len()).await?;
    scene.others.go_on().await?;
    scene.end(&[]).await
}

#[tokio::test]
async fn a_topic_that_is_none_costs_its_client_the_connection() -> Outcome {
    let mut scene = Scene::start().await?;
    let hello = Hello { level: 5, id: "vm-hostile", ..Hello::default() };
    for topic in ["system/+/new_file/notification", "#", "a\0b", ""] {
        let mut port = RawMqtt::open(&scene.dom0.broker.socket()).await?;
        port.hello(&hello).await?;
        port.write(&publish(5, 1, 1, topic, b"{}")).await?;
        while port.next().await.is_ok() {}
        scene.others.go_on().await?;
    }
    scene.end(&[]).await
}
