//! Who gets what: the MVP router's duties, done right, and what is refused.

use crate::peers::legacy::{LegacyDomain, command, notification, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, ERROR, MqttPeer, NEW_FILE};
use crate::setting::{Outcome, setting, setting_with};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

const ANSWERS: &str = "system/+/+/response/vm-scan";

/// Everything that `to` was sent before this has arrived when it returns.
async fn fence(from: &LegacyDomain, to: &mut LegacyDomain) -> Outcome {
    from.tell(&to.name, "test", &json!({"fence": true}));
    to.expect("the fence", |line| line.tells("test") && line.data()["fence"] == true).await?;
    Ok(())
}

#[tokio::test]
async fn legacy_to_legacy_is_word_for_word() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let said = [
        command("vm-gui", "sys-usb", "liste_disques", &json!({})),
        // White space, members that nobody knows, numbers with many digits.
        r#"{ "id":7, "type":"commande","source":"vm-gui","destination":"sys-usb","payload":{"commande":"zzz","arguments":{"n":1.10000000000000000001e400}} }"#.to_owned(),
        // UTF-8 as it is, and a name that was not UTF-8 on disk.
        r#"{"type":"notification","source":"vm-gui","destination":"sys-usb","payload":{"evenement":"test","data":"Clé \udce9 \ud83d\ude00"}}"#.to_owned(),
    ];
    for line in &said {
        gui.line(line);
        assert_eq!(usb.inbox.next("the line").await?.text(), line);
    }
    Ok(())
}

#[tokio::test]
async fn a_carriage_return_and_empty_lines_are_dropped() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let line = command("vm-gui", "sys-usb", "liste_disques", &json!({}));
    gui.raw(format!("\r\n\n{line}\r\n"));
    assert_eq!(usb.inbox.next("the line").await?.text(), line);
    Ok(())
}

#[tokio::test]
async fn everyone_is_everyone_and_the_sender_too() -> Outcome {
    let setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    let line = notification("vm-gui", "tous", "disque", &json!({"nom": "D", "etat": "présent"}));
    gui.line(&line);
    assert_eq!(usb.inbox.next("the line").await?.text(), line);
    assert_eq!(gui.inbox.next("the line").await?.text(), line);
    Ok(())
}

#[tokio::test]
async fn a_domains_state_is_announced_when_it_changes() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    for ready in [1, 1, 0] {
        gui.tell("Dom0", "etat_domu", &json!({"pret": ready}));
    }
    for ready in [1, 0] {
        let told = usb.expect("the state", |line| line.tells("etat_domu")).await?;
        assert_eq!(*told.data(), json!({"pret": ready, "domu": "vm-gui"}));
        assert_eq!(
            (&told.value["source"], &told.value["destination"]),
            (&json!("Dom0"), &json!("tous"))
        );
    }
    fence(&gui, &mut usb).await?;
    assert_eq!(usb.inbox.count(|line| line.tells("etat_domu")), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_speaks_in_the_name_of_another() -> Outcome {
    let mut setting = setting().await?;
    let mut scan =
        MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS, ERROR]).await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    setting.served("sys-usb").await?;
    gui.line(&command("vm-third", "sys-usb", "liste_disques", &json!({})));
    let told = scan.expect("the refusal", |m| m.topic == ERROR).await?.json();
    assert_eq!((&told["module"], &told["level"]), (&json!("passerelle"), &json!(40)));
    assert!(told["description"].as_str().is_some_and(|d| d.contains("spoofed_source")), "{told}");

    // From MQTT, a requester that is a legacy domain here, everyone or Dom0.
    for name in ["vm-gui", "tous", "Dom0", "dom0"] {
        let request =
            Message::new("system/disks/list_disks/request", json!({"source": name}).to_string());
        scan.publish(request).await?;
    }
    scan.ask("system/disks/list_disks", &json!({})).await?;
    let asked = usb.expect("a command", |line| line.asks("liste_disques")).await?;
    assert_eq!(asked.value["source"], "vm-scan");
    assert_eq!(usb.inbox.count(|line| line.asks("liste_disques")), 0);
    Ok(())
}

#[tokio::test]
async fn a_retained_request_and_a_foreign_response_topic_are_refused() -> Outcome {
    let mut setting = setting().await?;
    let mut scan =
        MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS, ERROR]).await?;
    let mut usb = setting.legacy("sys-usb").await?;
    setting.served("sys-usb").await?;
    let mut retained = Message::new("system/disks/list_disks/request", "{}");
    retained.retain = true;
    let mut foreign = Message::new("system/disks/list_disks/request", "{}");
    foreign.response_topic = Some("system/disks/remove_file/request".to_owned());
    for (request, reason) in [(retained, "retained_request"), (foreign, "bad_name")] {
        scan.publish(request).await?;
        let named = |m: &Message| m.topic == ERROR && m.text().contains(reason);
        scan.expect(reason, named).await?;
    }
    scan.ask("system/disks/list_disks", &json!({})).await?;
    let asked = usb.expect("a command", |line| line.asks("liste_disques")).await?;
    assert_eq!(asked.value["source"], "vm-scan");
    Ok(())
}

#[tokio::test]
async fn what_was_retained_before_is_told_to_nobody_and_what_is_said_now_is() -> Outcome {
    let retained = |topic: &str, payload: &str| Message {
        retain: true,
        ..Message::new(topic.to_owned(), payload.to_owned())
    };
    let broker = Broker::start().await?;
    let mut scan = MqttPeer::connect(&broker.socket(), "vm-scan", &[ERROR]).await?;
    const ANSWER: &str = "system/disks/list_disks/response/vm-gui";
    scan.publish(retained(NEW_FILE, r#"{"disk":"D","filepath":"old","size_in_bytes":0}"#)).await?;
    scan.publish(retained(ANSWER, r#"{"disks":[{"label":"OLD","id":"OLD"}]}"#)).await?;
    let mut setting = setting_with(broker, |gateway| gateway).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.subscribed("vm-gui", [ANSWER]).await?;
    for topic in [NEW_FILE, ANSWER] {
        scan.publish(retained(topic, "")).await?;
    }
    scan.publish(retained(NEW_FILE, r#"{"disk":"D","filepath":"new","size_in_bytes":0}"#)).await?;
    gui.expect("the new file", |line| line.data()["filepath"] == "new").await?;
    gui.tell("tous", "test", &json!({"fence": true}));
    gui.expect("the fence", |line| line.tells("test")).await?;
    assert_eq!(gui.inbox.count(|line| !line.tells("test")), 0, "nothing old comes");
    assert_eq!(scan.inbox.count(|_| true), 0, "nothing is refused");
    Ok(())
}

#[tokio::test]
async fn who_asks_nobody_is_told_at_once() -> Outcome {
    let setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    for destination in ["sys-usb", "dom0"] {
        gui.ask(destination, "liste_fichiers", &json!({"nom_disque": "__repository__"}));
        // Well before the call's own timeout, which is 30 s.
        let soon = Duration::from_secs(10);
        let told = gui.inbox.expect_within(soon, "erreur", |line| line.tells("erreur")).await?;
        let message = told.data()["message"].as_str().unwrap_or_default();
        assert!(message.contains("no_such_domain"), "{}", told.text());
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_message_costs_only_itself() -> Outcome {
    let setting = setting().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ERROR]).await?;
    let gui = setting.legacy("vm-gui").await?;
    let mut usb = setting.legacy("sys-usb").await?;
    fence(&gui, &mut usb).await?;
    let bad = [
        ("this is not json", "not_json"),
        ("[1,2]", "not_an_envelope"),
        (
            r#"{"type":"zzz","source":"vm-gui","destination":"sys-usb","payload":{}}"#,
            "unknown_type",
        ),
        (
            r#"{"type":"commande","source":"vm-gui","destination":"vm-x","payload":{"commande":"zzz","arguments":{}}}"#,
            "not_mapped",
        ),
        (
            r#"{"type":"commande","source":"vm-gui","destination":"vm-x","payload":{"commande":"liste_fichiers","arguments":{}}}"#,
            "missing_argument",
        ),
    ];
    for (line, reason) in bad {
        gui.line(line);
        observer.expect(reason, |m| m.topic == ERROR && m.text().contains(reason)).await?;
    }
    fence(&gui, &mut usb).await
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_log() -> Outcome {
    const LINES: usize = 20_000;
    let setting = setting().await?;
    let began = std::time::Instant::now();
    let mut gui = setting.legacy("vm-gui").await?;
    gui.raw("no message\n".repeat(LINES));
    gui.tell("vm-gui", "test", &json!({}));
    gui.expect("its own line", |line| line.tells("test")).await?;
    let refused = setting.gateway.log().matches("WARN refused").count();
    // A hundred at once, and ten a second.
    let most = 100 + 10 * (began.elapsed().as_secs() as usize + 1);
    assert!((100..=most).contains(&refused), "{refused} lines for {LINES}, {most} at most");
    Ok(())
}

#[tokio::test]
async fn a_domain_that_does_not_read_holds_up_nobody() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let stuck = setting.legacy("sys-usb").await?;
    let mut third = setting.legacy("vm-third").await?;
    stuck.stop_reading();
    let data = json!("x".repeat(1 << 20));
    for _ in 0..20 {
        gui.tell("sys-usb", "test", &data);
    }
    fence(&gui, &mut third).await?;
    stuck.read_again();
    Ok(())
}

const FILES: usize = 50_000;

fn listing(size_of_folders: bool) -> Value {
    let entry = |n: usize| match n % 10 {
        0 if size_of_folders => {
            json!({"type": "folder", "path": "/", "name": format!("dossier {n}"), "size": 0})
        }
        0 => json!({"type": "folder", "path": "/", "name": format!("dossier {n}")}),
        _ => json!({"type": "file", "path": "/", "name": format!("été {n}.txt"), "size": n}),
    };
    json!({"disk": "MANY", "files": (0..FILES).map(entry).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_listing_of_50_000_files_reaches_mqtt() -> Outcome {
    let mut setting = setting().await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS]).await?;
    let mut usb = setting.legacy("sys-usb").await?;
    setting.served("sys-usb").await?;
    scan.ask("system/disks/list_files", &json!({"disk": "MANY"})).await?;
    usb.expect("the command", |line| line.asks("liste_fichiers")).await?;
    usb.line(&response("sys-usb", "vm-scan", "liste_fichiers", &listing(false)));
    let answer = scan.expect("the listing", |m| m.topic.ends_with("/response/vm-scan")).await?;
    assert!(answer.json() == listing(true), "the listing is not what was sent");
    Ok(())
}

#[tokio::test]
async fn a_listing_of_50_000_files_comes_from_mqtt() -> Outcome {
    let setting = setting().await?;
    let request = "system/disks/list_files/request";
    let mut server = MqttPeer::connect(&setting.broker.socket(), "sys-usb", &[request]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("sys-usb", "liste_fichiers", &json!({"nom_disque": "MANY"}));
    let asked = server.expect("the request", |m| m.topic == request).await?;
    let topic = asked.response_topic.unwrap_or_default();
    let answer = Message {
        correlation: asked.correlation,
        ..Message::new(topic, listing(true).to_string())
    };
    server.publish(answer.from("sys-usb")).await?;
    let line = gui.expect("the listing", |line| line.answers("liste_fichiers")).await?;
    assert!(*line.data() == listing(false), "the listing is not what was sent");
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_not_utf8_crosses_both_ways() -> Outcome {
    let mut setting = setting().await?;
    let filters = [ANSWERS, "system/disks/list_files/request"];
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &filters).await?;
    let server = setting.mvp_server().await?;
    let odd = crate::peers::json::text_of(std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9.txt"));
    server.disks.put("ODD", &odd, b"")?;
    let answer = scan.call("system/disks/list_files", &json!({"disk": "ODD"})).await?;
    assert!(answer.text().contains(r#""caf\udce9.txt""#), "{}", answer.text());

    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-scan", "liste_fichiers", &json!({"nom_disque": "ODD"}));
    let to_gui =
        |m: &Message| m.response_topic.as_ref().is_some_and(|topic| topic.ends_with("/vm-gui"));
    let asked = scan.expect("the request", to_gui).await?;
    let topic = asked.response_topic.unwrap_or_default();
    let payload = Bytes::from_static(
        br#"{"disk":"ODD","files":[{"path":"/","name":"caf\udce9.txt","size":0,"type":"file"}]}"#,
    );
    scan.publish(Message { correlation: asked.correlation, ..Message::new(topic, payload) })
        .await?;
    let line = gui.expect("the listing", |line| line.answers("liste_fichiers")).await?;
    assert!(line.text().contains(r#""caf\udce9.txt""#), "{}", line.text());
    Ok(())
}
