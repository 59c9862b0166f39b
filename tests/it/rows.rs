//! Every row of the seed's tables, in both directions.

use super::setting::{Outcome, PROVES, setting};
use crate::peers::disks::REPOSITORY;
use crate::peers::legacy::{LegacyDomain, Line, command, notification, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::{Dialect, Disks, Dom0, ERROR, MqttPeer, MqttServer, MvpServer, NEW_FILE};
use serde_json::{Value, json};

const MD5: &str = "6f5902ac237024bdd0c176cb93063dc4";
const ANSWERS: &str = "system/+/+/response/vm-scan";

/// A legacy `vm-gui` and a migrated `sys-usb`.
struct ToMqtt {
    setting: Dom0,
    gui: LegacyDomain,
    server: MqttServer,
}

impl ToMqtt {
    async fn new() -> Outcome<Self> {
        let setting = setting().await?;
        let server =
            MqttServer::start(&setting.broker.socket(), "sys-usb", Dialect::Psec, Disks::new()?)
                .await?;
        let gui = setting.legacy("vm-gui").await?;
        Ok(Self { setting, gui, server })
    }

    /// `vm-gui` asks, and the server is asked exactly this.
    async fn asks(
        &mut self,
        name: &str,
        arguments: Value,
        root: &str,
        mut request: Value,
    ) -> Outcome {
        self.gui.ask("sys-usb", name, &arguments);
        let asked = self.server.asked(root).await?;
        request["source"] = json!("vm-gui");
        assert_eq!(asked.json(), request);
        assert_eq!(asked.response_topic, Some(format!("{root}/response/vm-gui")));
        assert_eq!(asked.source(), Some("vm-gui"));
        assert!(asked.correlation.is_some(), "no correlation data");
        assert!(asked.expiry.is_some(), "no expiry");
        assert!(!asked.retain);
        Ok(())
    }

    /// `vm-gui` is answered exactly this.
    async fn answered(&mut self, name: &str, data: Value) -> Outcome {
        let line = self.gui.expect(name, |line| line.answers(name)).await?;
        assert_eq!(line.value, Line::new(response("sys-usb", "vm-gui", name, &data)).value);
        Ok(())
    }

    /// `vm-gui` is told of a file.
    async fn told(&mut self) -> Outcome<Value> {
        Ok(self.gui.expect("fichier", |line| line.tells("fichier")).await?.data().clone())
    }
}

/// A migrated `vm-scan` and a legacy `sys-usb`.
struct ToLegacy {
    setting: Dom0,
    scan: MqttPeer,
    server: MvpServer,
}

impl ToLegacy {
    async fn new() -> Outcome<Self> {
        let mut setting = setting().await?;
        let filters = [ANSWERS, NEW_FILE, ERROR];
        let scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &filters).await?;
        let scan = scan.proving(PROVES);
        let server = setting.mvp_server().await?;
        Ok(Self { setting, scan, server })
    }

    /// `vm-scan` asks, and the server is asked exactly this; returns the answer.
    async fn asks(
        &mut self,
        root: &str,
        request: Value,
        name: &str,
        arguments: Value,
    ) -> Outcome<Message> {
        let answer = self.scan.call(root, &request).await?;
        let asked = self.server.domain.expect(name, |line| line.asks(name)).await?;
        assert_eq!(
            asked.value["destination"].as_str().filter(|d| *d != "tous").unwrap_or("sys-usb"),
            "sys-usb"
        );
        assert_eq!(asked.value["source"], "vm-scan");
        assert_eq!(*asked.arguments(), arguments);
        assert_eq!(answer.source(), Some("sys-usb"));
        Ok(answer)
    }
}

#[tokio::test]
async fn list_disks_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    on.asks("liste_disques", json!({}), "system/disks/list_disks", json!({})).await?;
    on.answered("liste_disques", json!(["Clé Élève", "DISK1"])).await
}

#[tokio::test]
async fn list_disks_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let answer = on.asks("system/disks/list_disks", json!({}), "liste_disques", json!({})).await?;
    let disks = [
        json!({"label": "Clé Élève", "id": "Clé Élève"}),
        json!({"label": "DISK1", "id": "DISK1"}),
    ];
    assert_eq!(answer.json(), json!({"disks": disks}));
    Ok(())
}

#[tokio::test]
async fn list_files_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let (legacy, mqtt) = (json!({"nom_disque": "DISK1"}), json!({"disk": "DISK1"}));
    on.asks("liste_fichiers", legacy, "system/disks/list_files", mqtt).await?;
    let files = json!([
        {"type": "folder", "path": "/", "name": "dossier 1"},
        {"type": "file", "path": "/dossier 1", "name": "fichier.txt", "size": 8},
        {"type": "file", "path": "/", "name": "hello.txt", "size": 12}]);
    on.answered("liste_fichiers", json!({"disk": "DISK1", "files": files})).await
}

#[tokio::test]
async fn list_files_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let (mqtt, legacy) = (json!({"disk": "DISK1"}), json!({"nom_disque": "DISK1"}));
    let answer = on.asks("system/disks/list_files", mqtt, "liste_fichiers", legacy).await?;
    let files = json!([
        {"type": "folder", "path": "/", "name": "dossier 1", "size": 0},
        {"type": "file", "path": "/dossier 1", "name": "fichier.txt", "size": 8},
        {"type": "file", "path": "/", "name": "hello.txt", "size": 12}]);
    assert_eq!(answer.json(), json!({"disk": "DISK1", "files": files}));
    Ok(())
}

#[tokio::test]
async fn read_file_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let legacy = json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"});
    let mqtt = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
    on.asks("lit_fichier", legacy, "system/disks/read_file", mqtt).await?;
    assert_eq!(
        on.told().await?,
        json!({"source_disk": "DISK1", "filepath": "hello.txt", "disk": REPOSITORY,
               "original_footprint": "", "fichier": "hello.txt", "etat": "disponible"})
    );
    assert!(on.server.disks.has(REPOSITORY, "hello.txt"));
    // A failure is told to the requester.
    let absent = json!({"nom_disque": "DISK1", "chemin_fichier": "absent"});
    on.gui.ask("sys-usb", "lit_fichier", &absent);
    assert_eq!(on.told().await?, json!({"fichier": "absent", "etat": "erreur"}));
    Ok(())
}

#[tokio::test]
async fn read_file_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let mqtt = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
    let legacy = json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"});
    let answer = on.asks("system/disks/read_file", mqtt, "lit_fichier", legacy).await?;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    let told = on.scan.expect("the new file", |m| m.topic == NEW_FILE).await?;
    assert_eq!(
        told.json(),
        json!({"disk": REPOSITORY, "filepath": "hello.txt", "size_in_bytes": 0})
    );
    assert_eq!(told.source(), Some("sys-usb"));
    Ok(())
}

#[tokio::test]
async fn read_file_that_a_legacy_server_says_failed() -> Outcome {
    let mut setting = setting().await?;
    let mut scan =
        MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS, ERROR]).await?;
    scan = scan.proving(PROVES);
    let mut usb = setting.legacy("sys-usb").await?;
    setting.served("sys-usb").await?;
    scan.ask("system/disks/read_file", &json!({"source_disk": "D", "filepath": "f"})).await?;
    usb.expect("lit_fichier", |line| line.asks("lit_fichier")).await?;
    usb.tell("tous", "fichier", &json!({"fichier": "f", "etat": "erreur"}));
    let answer = scan.expect("the answer", |m| m.topic.ends_with("/response/vm-scan")).await?;
    assert_eq!(answer.json(), json!({"status": "error"}));
    scan.expect("the error", |m| m.topic == ERROR).await?;
    Ok(())
}

#[tokio::test]
async fn copy_file_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let legacy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let mqtt = json!({"source_disk": "DISK1", "filepath": "hello.txt", "target_disk": "Clé Élève"});
    on.asks("copie_fichier", legacy, "system/disks/copy_file", mqtt).await?;
    let told = on.told().await?;
    assert_eq!(told["etat"], "copié");
    assert_eq!((&told["disk"], &told["filepath"]), (&json!("Clé Élève"), &json!("hello.txt")));
    assert!(on.server.disks.has("Clé Élève", "hello.txt"));
    Ok(())
}

#[tokio::test]
async fn copy_file_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let mqtt = json!({"source_disk": "DISK1", "filepath": "hello.txt", "target_disk": "Clé Élève"});
    let legacy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let answer = on.asks("system/disks/copy_file", mqtt, "copie_fichier", legacy).await?;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert!(on.server.disks.has("Clé Élève", "hello.txt"));
    let told = on.scan.expect("the new file", |m| m.topic == NEW_FILE).await?;
    assert_eq!(told.json()["filepath"], "hello.txt");
    Ok(())
}

#[tokio::test]
async fn remove_file_to_mqtt_in_both_forms() -> Outcome {
    for name in ["supprime_fichier", "copie_fichier"] {
        let mut on = ToMqtt::new().await?;
        let legacy = json!({"nom_fichier": "hello.txt", "nom_disque": "DISK1"});
        let mqtt = json!({"disk": "DISK1", "filepath": "hello.txt"});
        on.asks(name, legacy, "system/disks/remove_file", mqtt).await?;
        assert_eq!(on.told().await?, json!({"fichier": "hello.txt", "etat": "supprimé"}));
        assert!(!on.server.disks.has("DISK1", "hello.txt"));
    }
    Ok(())
}

#[tokio::test]
async fn remove_file_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let mqtt = json!({"disk": "DISK1", "filepath": "hello.txt"});
    let legacy = json!({"nom_fichier": "hello.txt", "nom_disque": "DISK1"});
    let answer = on.asks("system/disks/remove_file", mqtt, "supprime_fichier", legacy).await?;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert!(!on.server.disks.has("DISK1", "hello.txt"));
    Ok(())
}

#[tokio::test]
async fn benchmark_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let root = "system/misc/benchmark";
    on.asks("start_benchmark", json!({"id_benchmark": "files"}), root, json!({"module": "files"}))
        .await?;
    on.answered("benchmark_files", json!({"etat": "demarre"})).await?;
    on.answered("benchmark_files", json!({"etat": "termine", "metrics": [1.5, 2]})).await?;
    on.asks(
        "start_benchmark",
        json!({"id_benchmark": "inputs"}),
        root,
        json!({"module": "inputs"}),
    )
    .await?;
    on.answered("benchmark_inputs", json!({"duration": 0, "iterations": 5})).await
}

#[tokio::test]
async fn benchmark_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let root = "system/misc/benchmark";
    let (mqtt, legacy) = (json!({"module": "files"}), json!({"id_benchmark": "files"}));
    let started = on.asks(root, mqtt, "start_benchmark", legacy).await?;
    assert_eq!(started.json(), json!({"status": "started"}));
    let finished = on.scan.expect("the end", |m| m.correlation == started.correlation).await?;
    assert_eq!(finished.json(), json!({"status": "finished", "metrics": [1.5, 2]}));
    let (mqtt, legacy) = (json!({"module": "inputs"}), json!({"id_benchmark": "inputs"}));
    let answer = on.asks(root, mqtt, "start_benchmark", legacy).await?;
    assert_eq!(answer.json(), json!({"status": "finished", "duration": 0, "iterations": 5}));
    Ok(())
}

#[tokio::test]
async fn get_file_footprint_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    for (path, footprint) in [("hello.txt", json!(MD5)), ("absent", Value::Null)] {
        let file = json!({"disk": "DISK1", "filepath": path});
        on.asks("get_file_footprint", file.clone(), "system/disks/get_file_footprint", file)
            .await?;
        let answer = json!({"filepath": path, "disk": "DISK1", "footprint": footprint});
        on.answered("file_footprint", answer).await?;
    }
    Ok(())
}

#[tokio::test]
async fn get_file_footprint_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    for (path, footprint) in [("hello.txt", MD5), ("absent", "")] {
        let file = json!({"disk": "DISK1", "filepath": path});
        let root = "system/disks/get_file_footprint";
        let answer = on.asks(root, file.clone(), "get_file_footprint", file).await?;
        assert_eq!(answer.json(), json!({"footprint": footprint}));
    }
    Ok(())
}

#[tokio::test]
async fn create_file_to_mqtt() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let legacy = json!({"filepath": "new.txt", "disk": "DISK1", "contents": "contenu é"});
    let mqtt = json!({"filepath": "new.txt", "disk": "DISK1", "data": "Y29udGVudSDDqQ=="});
    on.asks("create_file", legacy, "system/disks/create_file", mqtt).await?;
    let answer = json!({"filepath": "new.txt", "disk": "DISK1", "footprint": "", "success": true});
    on.answered("file_creation", answer).await?;
    assert_eq!(on.server.disks.get("DISK1", "new.txt")?, "contenu é".as_bytes());
    Ok(())
}

#[tokio::test]
async fn create_file_to_legacy() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let root = "system/disks/create_file";
    for (path, status) in [("new.txt", "ok"), ("no such folder/new.txt", "error")] {
        let mqtt = json!({"filepath": path, "disk": "DISK1", "data": "Y29udGVudSDDqQ=="});
        let legacy = json!({"filepath": path, "disk": "DISK1", "contents": "contenu é"});
        let answer = on.asks(root, mqtt, "create_file", legacy).await?;
        assert_eq!(answer.json(), json!({"status": status}));
    }
    assert_eq!(on.server.disks.get("DISK1", "new.txt")?, "contenu é".as_bytes());
    // Neither Base64 nor text: the requester is told, the server is not asked.
    for data in ["?", "/w=="] {
        let bad = json!({"filepath": "bad", "disk": "DISK1", "data": data});
        assert_eq!(on.scan.call(root, &bad).await?.json(), json!({"status": "error"}));
    }
    assert_eq!(on.server.domain.inbox.count(|line| line.asks("create_file")), 0);
    Ok(())
}

#[tokio::test]
async fn discover_to_mqtt_and_to_every_legacy_domain() -> Outcome {
    let mut on = ToMqtt::new().await?;
    let mut third = on.setting.legacy("vm-third").await?;
    on.gui.ask("tous", "liste_composants", &json!({}));
    let asked = on.server.asked("system/components/discover").await?;
    assert_eq!(asked.json(), json!({"source": "vm-gui"}));
    on.answered("etat_composant", json!({"composant": "sys-usb", "etat": "ok"})).await?;
    let wanted = Line::new(command("vm-gui", "tous", "liste_composants", &json!({})));
    assert_eq!(
        third.expect("the command", |l| l.asks("liste_composants")).await?.bytes,
        wanted.bytes
    );
    assert_eq!(
        on.gui.expect("the command", |l| l.asks("liste_composants")).await?.bytes,
        wanted.bytes
    );
    Ok(())
}

#[tokio::test]
async fn discover_to_legacy_is_answered_by_every_domain() -> Outcome {
    let mut on = ToLegacy::new().await?;
    let third = on.setting.legacy("vm-third").await?;
    let root = "system/components/discover";
    on.setting.broker.subscribed("vm-third", [format!("{root}/request")]).await?;
    let third = MvpServer::over(third, Disks::empty()?);
    let correlation = on.scan.ask(root, &json!({})).await?;
    for id in ["sys-usb", "vm-third"] {
        let answer = on.scan.expect(id, |m| m.json()["components"][0]["id"] == id).await?;
        assert_eq!(
            answer.json(),
            json!({"components": [{"id": id, "label": id, "type": "legacy"}]})
        );
        assert_eq!(answer.correlation.as_ref(), Some(&correlation));
        assert_eq!(answer.source(), Some(id));
    }
    drop(third);
    Ok(())
}

#[tokio::test]
async fn notifications_to_mqtt() -> Outcome {
    let setting = setting().await?;
    let mut scan =
        MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[NEW_FILE, ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let file = json!({"source_disk": "DISK1", "filepath": "/a", "disk": "DISK2",
                      "original_footprint": "d41d8", "etat": "disponible"});
    usb.tell("tous", "fichier", &file);
    let told = scan.expect("the new file", |m| m.topic == NEW_FILE).await?;
    assert_eq!(told.json(), json!({"disk": "DISK2", "filepath": "/a", "size_in_bytes": 0}));
    assert_eq!(told.source(), Some("sys-usb"));

    usb.tell(
        "tous",
        "erreur",
        &json!({"niveau": 30, "message": "m", "module": "x", "datetime": "d"}),
    );
    let told = scan.expect("the error", |m| m.topic == ERROR).await?.json();
    assert_eq!(told, json!({"module": "x", "datetime": "d", "level": 30, "description": "m"}));
    usb.tell("tous", "erreur", &json!({"niveau": 40, "message": "n"}));
    let told = scan.expect("the error", |m| m.topic == ERROR).await?.json();
    assert_eq!((&told["module"], &told["level"]), (&json!("sys-usb"), &json!(40)));
    assert!(told["datetime"].as_str().is_some_and(|at| at.ends_with('Z')), "{told}");
    Ok(())
}

#[tokio::test]
async fn notifications_to_every_legacy_domain_once() -> Outcome {
    let setting = setting().await?;
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &[ANSWERS]).await?;
    let mut domains = [setting.legacy("vm-gui").await?, setting.legacy("sys-usb").await?];
    let file = json!({"disk": "DISK1", "filepath": "/a", "size_in_bytes": 3});
    let error = json!({"module": "x", "datetime": "d", "level": 30, "description": "m"});
    scan.publish(Message::new(NEW_FILE, file.to_string()).from("vm-scan")).await?;
    scan.publish(Message::new(ERROR, error.to_string())).await?;
    let file = json!({"source_disk": "DISK1", "filepath": "/a", "disk": "DISK1",
                      "original_footprint": "", "fichier": "/a", "etat": "disponible"});
    let error = json!({"niveau": 30, "message": "m", "module": "x", "datetime": "d"});
    // Who has published a notification nothing proves.
    let source = if PROVES { "mqtt" } else { "vm-scan" };
    for domain in &mut domains {
        let line = domain.expect("the file", |line| line.tells("fichier")).await?;
        assert_eq!(line.value, Line::new(notification(source, "tous", "fichier", &file)).value);
        let line = domain.expect("the error", |line| line.tells("erreur")).await?;
        assert_eq!(line.value, Line::new(notification("Dom0", "tous", "erreur", &error)).value);
        assert_eq!(domain.inbox.count(|line| line.tells("fichier")), 0);
    }
    Ok(())
}
