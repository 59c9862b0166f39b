//! Domains that are built on the system's own MQTT libraries, as servers and as clients.

use super::setting::{Outcome, setting_of};
use crate::peers::disks::REPOSITORY;
use crate::peers::mqtt_peer::Message;
use crate::peers::{Dialect, Disks, Dom0, LegacyDomain, MqttPeer311, MqttServer, MvpServer};
use serde_json::{Value, json};

const MD5: &str = "6f5902ac237024bdd0c176cb93063dc4";
const BOTH: [Dialect; 2] = [Dialect::Lib2024, Dialect::Lib11];

/// A legacy `vm-gui`, and `sys-usb` on a library.
async fn library_serves(dialect: Dialect) -> Outcome<(Dom0, LegacyDomain, MqttServer)> {
    let setting = setting_of("sys-usb", dialect).await?;
    let server =
        MqttServer::start(&setting.broker.socket(), "sys-usb", dialect, Disks::new()?).await?;
    let gui = setting.legacy("vm-gui").await?;
    Ok((setting, gui, server))
}

/// An application on a library, and a legacy `sys-usb`.
async fn library_asks(dialect: Dialect) -> Outcome<(Dom0, MqttPeer311, MvpServer)> {
    let mut setting = setting_of("vm-app", dialect).await?;
    let app = MqttPeer311::connect_as(&setting.broker.socket(), "vm-app", "app-1f", &["system/#"])
        .await?;
    let server = setting.mvp_server().await?;
    let requests = dialect.roots().into_iter().filter(|root| !crate::peers::ROOTS.contains(root));
    setting.broker.subscribed("sys-usb", requests.map(|root| format!("{root}/request"))).await?;
    Ok((setting, app, server))
}

#[tokio::test]
async fn a_library_serves_the_calls_that_are_answered() -> Outcome {
    for dialect in BOTH {
        let (_setting, mut gui, mut server) = library_serves(dialect).await?;
        let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
        let calls = [
            ("liste_disques", json!({}), "liste_disques", json!(["Clé Élève", "DISK1"])),
            (
                "liste_fichiers",
                json!({"nom_disque": "Clé Élève"}),
                "liste_fichiers",
                json!({"disk": "Clé Élève", "files": []}),
            ),
            (
                "get_file_footprint",
                file,
                "file_footprint",
                json!({"filepath": "hello.txt", "disk": "DISK1", "footprint": MD5}),
            ),
            (
                "start_benchmark",
                json!({"id_benchmark": "inputs"}),
                "benchmark_inputs",
                json!({"duration": 0, "iterations": 5}),
            ),
        ];
        for (name, arguments, answer, data) in calls {
            let line = gui.call("sys-usb", name, &arguments, answer).await?;
            assert_eq!(*line.data(), data, "{dialect:?} {name}");
        }
        let new = json!({"filepath": "new.txt", "disk": "DISK1", "contents": "contenu"});
        let created = gui.call("sys-usb", "create_file", &new, "file_creation").await?;
        assert_eq!(created.data()["success"], true, "{dialect:?}");
        assert_eq!(server.disks.get("DISK1", "new.txt")?, b"contenu");
        gui.ask("sys-usb", "start_benchmark", &json!({"id_benchmark": "files"}));
        for state in ["demarre", "termine"] {
            let line = gui.expect(state, |line| line.answers("benchmark_files")).await?;
            assert_eq!(line.data()["etat"], state, "{dialect:?}");
        }
        // A second answer to one call is passed over.
        assert_eq!(gui.inbox.count(|line| line.name("reponse").is_some()), 0, "{dialect:?}");
        let asked = server.asked("system/disks/list_files").await?.json();
        assert_eq!(asked.get("recursive").is_some(), dialect == Dialect::Lib11, "{asked}");
    }
    Ok(())
}

#[tokio::test]
async fn a_library_serves_the_calls_that_end_with_a_file() -> Outcome {
    for dialect in BOTH {
        let (_setting, mut gui, mut server) = library_serves(dialect).await?;
        gui.ask(
            "sys-usb",
            "lit_fichier",
            &json!({"nom_disque": "DISK1", "chemin_fichier": "/hello.txt"}),
        );
        let told = gui.expect("the file", |line| line.tells("fichier")).await?;
        assert_eq!(told.data()["etat"], "disponible", "{dialect:?}");
        assert_eq!(told.data()["filepath"], "/hello.txt", "{dialect:?}");
        assert!(server.disks.has(REPOSITORY, "hello.txt"));

        let copy = json!({"disk": "DISK1", "filepath": "/hello.txt", "destination": "Clé Élève"});
        gui.ask("sys-usb", "copie_fichier", &copy);
        let asked = server.asked("system/disks/copy_file").await?.json();
        assert_eq!(without_source(asked), copy, "{dialect:?}");
        if dialect == Dialect::Lib11 {
            let told = gui.expect("the copy", |line| line.tells("fichier")).await?;
            assert_eq!(told.data()["filepath"], "/hello.txt", "{dialect:?}");
        }
        gui.ask(
            "sys-usb",
            "copie_fichier",
            &json!({"nom_fichier": "hello.txt", "nom_disque": "DISK1"}),
        );
        let asked = server.asked("system/disks/delete_file").await?.json();
        assert_eq!(
            without_source(asked),
            json!({"disk": "DISK1", "filepath": "hello.txt"}),
            "{dialect:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_newer_library_says_that_a_read_failed() -> Outcome {
    let (_setting, mut gui, _server) = library_serves(Dialect::Lib11).await?;
    gui.ask("sys-usb", "lit_fichier", &json!({"nom_disque": "DISK1", "chemin_fichier": "/absent"}));
    let told = gui.expect("the failure", |line| line.tells("fichier")).await?;
    assert_eq!(told.data()["etat"], "erreur");
    assert_eq!(told.data()["fichier"], "/absent");
    Ok(())
}

#[tokio::test]
async fn components_of_a_library_are_found() -> Outcome {
    for dialect in BOTH {
        let (_setting, mut gui, _server) = library_serves(dialect).await?;
        let said = gui.call("sys-usb", "liste_composants", &json!({}), "etat_composant").await?;
        assert_eq!(*said.data(), json!({"composant": "disks", "etat": "ok"}), "{dialect:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_a_library_is_answered_in_the_open() -> Outcome {
    for dialect in BOTH {
        let (_setting, mut app, server) = library_asks(dialect).await?;
        let disks = app.call("system/disks/list_disks", &json!({})).await?;
        assert_eq!(disks, json!({"disks": ["Clé Élève", "DISK1"]}), "{dialect:?}");

        let mut listing = json!({"disk": "DISK1"});
        if dialect == Dialect::Lib11 {
            listing = json!({"disk": "DISK1", "recursive": true, "from_dir": ""});
        }
        let files = app.call("system/disks/list_files", &listing).await?;
        assert_eq!(files["files"].as_array().map(Vec::len), Some(3), "{dialect:?}");

        let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
        let answer = app.call("system/disks/file_footprint", &file).await?;
        assert_eq!(
            answer,
            json!({"filepath": "hello.txt", "disk": "DISK1", "footprint": MD5}),
            "{dialect:?}"
        );

        let answer = app.call("system/disks/create_file", &creation(dialect)).await?;
        assert_eq!(answer["success"], true, "{dialect:?}");
        assert_eq!(server.disks.get("DISK1", "new.txt")?, b"contenu", "{dialect:?}");

        let answer = app.call("system/misc/benchmark", &json!({"module": "inputs"})).await?;
        assert_eq!(answer, json!({"id": "inputs", "duration": 0, "iterations": 5}), "{dialect:?}");
        let answer = app.call("system/discover/components", &json!({})).await?;
        assert_eq!(answer["components"][0]["id"], "sys-usb", "{dialect:?}");
    }
    Ok(())
}

/// What each library's client sends; the newer one's data is compressed.
fn creation(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Lib11 => json!({"filepath": "new.txt", "disk": "DISK1",
                                 "data": "eAFLzs8rSc0rBQALzAL9", "compressed": true}),
        _ => json!({"filepath": "new.txt", "disk": "DISK1", "contents": "contenu"}),
    }
}

#[tokio::test]
async fn a_client_of_a_library_reads_copies_and_deletes() -> Outcome {
    for dialect in BOTH {
        let (_setting, mut app, server) = library_asks(dialect).await?;
        app.publish(
            "system/disks/read_file/request",
            &json!({"disk": "DISK1", "filepath": "hello.txt"}),
        )
        .await?;
        let told = if dialect == Dialect::Lib11 {
            "system/disks/new_file"
        } else {
            "system/disks/new_file/notification"
        };
        let told = app.expect("the new file", |m| m.topic == told).await?.json();
        assert_eq!(
            (&told["disk"], &told["filepath"]),
            (&json!(REPOSITORY), &json!("hello.txt")),
            "{dialect:?}"
        );
        if dialect == Dialect::Lib2024 {
            let answered = |m: &Message| m.topic == "system/disks/read_file/response";
            assert_eq!(app.expect("the answer", answered).await?.json(), json!({"status": "ok"}));
        }
        let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
        app.publish("system/disks/copy_file/request", &copy).await?;
        let end = if dialect == Dialect::Lib11 {
            "system/disks/copy_file/response"
        } else {
            "system/disks/new_file/notification"
        };
        app.expect("the copy", |m| m.topic == end).await?;
        assert!(server.disks.has("Clé Élève", "hello.txt"), "{dialect:?}");
        let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
        app.publish("system/disks/delete_file/request", &file).await?;
        // One channel, in order: when this is answered, the delete is done.
        app.call("system/disks/file_footprint", &file).await?;
        assert!(!server.disks.has("DISK1", "hello.txt"), "{dialect:?}");
    }
    Ok(())
}

/// A request may name its requester, or not.
fn without_source(mut request: Value) -> Value {
    if let Some(members) = request.as_object_mut() {
        members.remove("source");
    }
    request
}
