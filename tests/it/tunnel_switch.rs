//! What is under way when a domain switches is neither lost nor doubled.

use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::publish;
use crate::peers::{
    Broker, DEADLINE, Dialect, Disks, ERROR, Gateway, Hello, LegacyDomain, Missing, MqttPeer,
    MqttServer, MvpServer, NEW_FILE,
};
use crate::setting::{Outcome, setting, setting_with};
use crate::tunnel::legacy;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

/// A notification that a legacy domain writes, of a file of this number.
pub fn new_file(source: &str, number: usize) -> String {
    let data = json!({"source_disk": "USBK1", "filepath": format!("/{number}"), "disk": "/x",
                      "original_footprint": "00", "etat": "disponible"});
    crate::peers::legacy::notification(source, "tous", "fichier", &data) + "\n"
}

#[tokio::test]
async fn what_was_said_just_before_a_domain_comes_over_is_published_once() -> Outcome {
    let setting = setting().await?;
    let socket = setting.broker.socket();
    let mut observer = MqttPeer::connect(&socket, "observer", &["system/#"]).await?;
    let console = setting.console("sys-usb").await?;
    for (id, resume) in [("sys-usb", true), ("sys-usb", false), ("app", false)] {
        let mut port = console.open().await?;
        // The proxy's session is there and takes what it is given at once.
        port.write_all(new_file("sys-usb", 99).as_bytes()).await?;
        observer.expect("the first notification", |m| m.topic == NEW_FILE).await?;
        let lines: String = (0..20).map(|number| new_file("sys-usb", number)).collect();
        let hello = Hello { level: 5, id, resume, ..Hello::default() };
        port.write_all(&[lines.as_bytes(), &hello.packet()].concat()).await?;
        port.write_all(&publish(5, 0, 0, "system/end", b"")).await?;
        observer.expect("the program's own", |m| m.topic == "system/end").await?;
        for number in 0..20 {
            let of =
                |m: &Message| m.topic == NEW_FILE && m.json()["filepath"] == format!("/{number}");
            observer.expect("a notification", of).await?;
        }
        // The gateway's own session publishes in order, and this is the last that it has to say.
        port.write_all(&Hello { level: 5, id: "dom0", ..Hello::default() }.packet()).await?;
        observer.expect("a refusal", |m| m.topic == ERROR).await?;
        assert_eq!(observer.inbox.count(|m| m.topic == NEW_FILE), 0, "{id} {resume}");
    }
    Ok(())
}

#[tokio::test]
async fn a_program_that_speaks_only_when_asked_has_its_domain_back() -> Outcome {
    let short = |gateway: Gateway| gateway.with("[limits]\naway = \"1s\"\n");
    let setting = setting_with(Broker::start().await?, short).await?;
    let console = setting.console("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let mut port = BufReader::new(console.open().await?);
    let hello = Hello { level: 5, id: "sys-usb", ..Hello::default() };
    port.write_all(&[&hello.packet()[..], &[0xE0, 0]].concat()).await?;
    setting.gateway.logged("speaks MQTT", 1).await?;
    // The new program is over, and the old one reads the same port.
    gui.ask("sys-usb", "liste_disques", &json!({}));
    // What came before, a CONNACK, is none of its lines.
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("liste_disques") {
        let more = timeout(DEADLINE, port.read_until(b'\n', &mut read)).await;
        assert_ne!(more.map_err(|_| Missing::new("the old program is asked nothing"))??, 0);
    }
    let line = read.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    assert_eq!(line.first(), Some(&b'{'), "{:?}", String::from_utf8_lossy(&read));
    let answer = crate::peers::legacy::response("sys-usb", "vm-gui", "liste_disques", &json!([]));
    port.write_all(format!("{answer}\n").as_bytes()).await?;
    gui.expect("its answer", |line| line.answers("liste_disques")).await?;
    Ok(())
}

/// What became of the calls of one requester.
#[derive(Default)]
struct Tally {
    answered: usize,
    told: usize,
}

/// A legacy requester calls one call after the other, and says how many are done.
async fn legacy_calls(
    mut gui: LegacyDomain,
    done: watch::Sender<usize>,
    mut over: watch::Receiver<bool>,
) -> Outcome<Tally> {
    let mut tally = Tally::default();
    while !*over.borrow_and_update() {
        let disk = ["DISK1", "Clé Élève"][(tally.answered + tally.told) % 2];
        gui.ask("sys-usb", "liste_fichiers", &json!({"nom_disque": disk}));
        let end = gui.expect("an answer, or why not", |line| {
            line.answers("liste_fichiers") || line.tells("erreur")
        });
        let line = end.await?;
        if line.answers("liste_fichiers") {
            assert_eq!(line.data()["disk"], disk, "another call's answer");
            tally.answered += 1;
        } else {
            tally.told += 1;
        }
        done.send_modify(|count| *count += 1);
    }
    assert_eq!(gui.inbox.count(|line| line.answers("liste_fichiers")), 0, "answered twice");
    Ok(tally)
}

/// A requester on MQTT always has a few calls under way.
async fn mqtt_calls(
    mut scan: MqttPeer,
    done: watch::Sender<usize>,
    mut over: watch::Receiver<bool>,
) -> Outcome<Tally> {
    const ROOT: &str = "system/disks/create_file";
    let mut tally = Tally::default();
    let mut open = Vec::new();
    let mut number = 0;
    while !*over.borrow_and_update() || !open.is_empty() {
        while open.len() < 8 && !*over.borrow() {
            number += 1;
            let correlation = format!("scan {number}");
            let payload = json!({"disk": "DISK1", "filepath": format!("{number}"), "data": ""});
            let request = Message::new(format!("{ROOT}/request"), payload.to_string())
                .answered_to(ROOT, "vm-scan", correlation.clone())
                .from("vm-scan");
            match scan.publish(request).await? {
                true => open.push(correlation.into_bytes()),
                // The broker says at once that nobody is there.
                false => tally.told += 1,
            }
            tokio::task::yield_now().await;
        }
        if open.is_empty() {
            continue;
        }
        let answer = scan.expect("an answer", |m| m.topic.starts_with(ROOT)).await?;
        let correlation = answer.correlation.as_deref().unwrap_or_default();
        let at = open.iter().position(|call| call == correlation);
        open.remove(at.unwrap_or_else(|| panic!("not of an open call: {answer:?}")));
        match answer.json()["status"].as_str() {
            Some("ok") => tally.answered += 1,
            _ => tally.told += 1,
        }
        done.send_modify(|count| *count += 1);
    }
    Ok(tally)
}

/// Waits for so many more calls.
async fn some_more(done: &mut watch::Receiver<usize>, more: usize) -> Outcome {
    let goal = *done.borrow() + more;
    match tokio::time::timeout(DEADLINE, done.wait_for(|count| *count >= goal)).await {
        Ok(reached) => Ok(reached.map(drop)?),
        Err(_) => Err(Missing::new(format!("calls got stuck before the {goal}th")))?,
    }
}

#[tokio::test]
async fn every_call_ends_however_often_its_handler_switches() -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let disks = Disks::new()?;
    let first = MvpServer::over(legacy(&console, "sys-usb").await?, disks.clone());
    setting.served("sys-usb").await?;
    let (over, is_over) = watch::channel(false);
    let (legacy_done, mut from_legacy) = watch::channel(0);
    let (mqtt_done, mut from_mqtt) = watch::channel(0);
    let gui = tokio::spawn(legacy_calls(gui, legacy_done, is_over.clone()));
    let scan = tokio::spawn(mqtt_calls(scan, mqtt_done, is_over));
    let mut old = Some(first);
    for _ in 0..5 {
        some_more(&mut from_legacy, 10).await?;
        some_more(&mut from_mqtt, 30).await?;
        drop(old.take());
        let new =
            MqttServer::start(console.port(), "sys-usb", Dialect::Psec, disks.clone()).await?;
        some_more(&mut from_legacy, 10).await?;
        some_more(&mut from_mqtt, 30).await?;
        new.finish().await?;
        old = Some(MvpServer::over(legacy(&console, "sys-usb").await?, disks.clone()));
    }
    some_more(&mut from_legacy, 10).await?;
    over.send_replace(true);
    let (gui, scan) = (gui.await??, scan.await??);
    println!("legacy: {} answered, {} told", gui.answered, gui.told);
    println!("mqtt: {} answered, {} told", scan.answered, scan.told);
    assert!(gui.answered > 100 && scan.answered > 300);
    Ok(())
}
