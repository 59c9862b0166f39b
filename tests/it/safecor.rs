//! Domains that are built on Safecor 1.2, as servers and as clients, and beside older ones.

use super::setting::{Outcome, setting_of, setting_with};
use crate::peers::disks::REPOSITORY;
use crate::peers::{
    Broker, Dialect, Disks, Dom0, LegacyDomain, Line, MqttPeer311, MqttServer, MvpServer, safecor,
};
use serde_json::{Value, json};

const MD5: &str = "6f5902ac237024bdd0c176cb93063dc4";

/// A legacy `vm-gui`, and `sys-usb` on Safecor.
async fn serves() -> Outcome<(Dom0, LegacyDomain, MqttServer)> {
    let setting = setting_of("sys-usb", Dialect::Safecor12).await?;
    let socket = setting.broker.socket();
    let server = MqttServer::start(&socket, "sys-usb", Dialect::Safecor12, Disks::new()?).await?;
    let gui = setting.legacy("vm-gui").await?;
    Ok((setting, gui, server))
}

/// An application on Safecor, and a legacy `sys-usb`.
async fn asks(setting: &mut Dom0) -> Outcome<(MqttPeer311, MvpServer)> {
    let app = MqttPeer311::connect(&setting.broker.socket(), "demo2", &["system/#"]).await?;
    let server = setting.mvp_server().await?;
    let roots = ["system/disks/file_fingerprint", "system/discover/components"];
    setting.broker.subscribed("sys-usb", roots.map(|root| format!("{root}/request"))).await?;
    Ok((app, server))
}

#[tokio::test]
async fn its_server_serves_what_it_answers() -> Outcome {
    let (_setting, mut gui, server) = serves().await?;
    let calls = [
        ("liste_disques", json!({}), "liste_disques", json!(["Clé Élève", "DISK1"])),
        (
            "liste_fichiers",
            json!({"nom_disque": "DISK1", "from_dir": "dossier 1"}),
            "liste_fichiers",
            json!({"disk": "DISK1", "files": [{"type": "file", "path": "/dossier 1",
                                               "name": "fichier.txt", "size": 8}]}),
        ),
        (
            "liste_fichiers",
            json!({"nom_disque": "Clé Élève"}),
            "liste_fichiers",
            json!({"disk": "Clé Élève", "files": []}),
        ),
        (
            "get_file_footprint",
            json!({"filepath": "hello.txt", "disk": "DISK1"}),
            "file_footprint",
            json!({"filepath": "hello.txt", "disk": "DISK1", "footprint": MD5}),
        ),
        (
            "get_file_footprint",
            json!({"filepath": "absent", "disk": "DISK1"}),
            "file_footprint",
            json!({"filepath": "absent", "disk": "DISK1", "footprint": null}),
        ),
        (
            "create_file",
            json!({"filepath": "new.txt", "disk": "DISK1", "contents": "hello world\n"}),
            "file_creation",
            json!({"filepath": "new.txt", "disk": "DISK1", "footprint": MD5, "success": true}),
        ),
        (
            "create_file",
            json!({"filepath": "nodir/new.txt", "disk": "DISK1", "contents": "x"}),
            "file_creation",
            json!({"filepath": "nodir/new.txt", "disk": "DISK1", "footprint": "",
                   "success": false}),
        ),
    ];
    for (name, arguments, answer, data) in calls {
        let line = gui.call("sys-usb", name, &arguments, answer).await?;
        assert_eq!(*line.data(), data, "{name} {arguments}");
    }
    assert_eq!(server.disks.get("DISK1", "new.txt")?, b"hello world\n");
    // Second answers are passed over.
    assert_eq!(gui.inbox.count(|line| line.name("reponse").is_some()), 0);
    Ok(())
}

#[tokio::test]
async fn its_server_reads_and_copies_by_the_names_that_were_asked() -> Outcome {
    let (_setting, mut gui, server) = serves().await?;
    let fichier = async |gui: &mut LegacyDomain, name: &str, arguments: Value| -> Outcome<Value> {
        gui.ask("sys-usb", name, &arguments);
        Ok(gui.expect("its end", |line| line.tells("fichier")).await?.data().clone())
    };
    let read = json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"});
    let told = fichier(&mut gui, "lit_fichier", read).await?;
    assert_eq!(told["filepath"], "hello.txt");
    assert_eq!((&told["etat"], &told["source_disk"]), (&json!("disponible"), &json!("DISK1")));
    assert_eq!(told["original_footprint"], MD5);
    assert!(server.disks.has(REPOSITORY, "hello.txt"));
    let absent = json!({"nom_disque": "DISK1", "chemin_fichier": "absent"});
    let told = fichier(&mut gui, "lit_fichier", absent).await?;
    assert_eq!((&told["etat"], &told["fichier"]), (&json!("erreur"), &json!("absent")));

    let nested = "dossier 1/fichier.txt";
    for (destination, path, etat) in [
        ("Clé Élève", "hello.txt", "copié"),
        ("Clé Élève", "absent", "erreur"),
        (REPOSITORY, nested, "copié"),
        (REPOSITORY, "absent", "erreur"),
    ] {
        let copy = json!({"disk": "DISK1", "filepath": path, "destination": destination});
        let told = fichier(&mut gui, "copie_fichier", copy).await?;
        assert_eq!((&told["etat"], &told["fichier"]), (&json!(etat), &json!(path)), "{told}");
    }
    assert!(server.disks.has("Clé Élève", "hello.txt"));
    assert!(server.disks.has(REPOSITORY, nested));

    // To what is no disk its server would copy into a folder of its own.
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    let copy = json!({"disk": "DISK1", "filepath": nested, "destination": "NOPE"});
    gui.ask("sys-usb", "copie_fichier", &copy);
    let says = |line: &Line, what: &str| line.data()["message"].to_string().contains(what);
    let refused = |line: &Line| line.tells("erreur") && says(line, "bad_value: copie_fichier");
    gui.expect("the refusal", refused).await?;
    Ok(())
}

#[tokio::test]
async fn what_its_server_never_answers_ends_truthfully() -> Outcome {
    let (setting, mut gui, mut server) = serves().await?;
    gui.ask("sys-usb", "start_benchmark", &json!({"id_benchmark": "files"}));
    let refused = gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let message = refused.data()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("no_such_domain: START_BENCHMARK"), "{message}");
    let failed = gui.expect("the benchmark", |line| line.answers("benchmark_files")).await?;
    assert_eq!(failed.data()["etat"], "erreur");

    let file = json!({"nom_disque": "DISK1", "nom_fichier": "hello.txt"});
    gui.ask("sys-usb", "supprime_fichier", &file);
    assert_eq!(server.asked("system/disks/delete_file").await?.json()["filepath"], "hello.txt");

    // What a server says when it starts reaches every legacy domain.
    let app = MqttPeer311::connect(&setting.broker.socket(), "another", &["another"]).await?;
    app.publish("system/discover/components/response", &safecor::components()).await?;
    let told = gui.expect("the component", |line| line.answers("etat_composant")).await?;
    assert_eq!(*told.data(), json!({"composant": "safecor_disk_controller", "etat": "ok"}));
    assert_eq!(gui.inbox.count(|line| line.tells("erreur") || line.tells("fichier")), 0);
    Ok(())
}

#[tokio::test]
async fn data_that_its_server_would_die_of_never_reaches_it() -> Outcome {
    let (_setting, mut gui, mut server) = serves().await?;
    for arguments in [
        json!({"filepath": "p", "disk": "DISK1", "data": "***", "compressed": true}),
        json!({"filepath": "p", "disk": "DISK1", "contents": "x", "data": "abc"}),
        json!({"filepath": "p", "disk": "DISK1", "contents": "x", "compressed": true}),
        json!({"filepath": "p", "disk": "DISK1", "contents": 1}),
    ] {
        gui.ask("sys-usb", "create_file", &arguments);
        gui.expect("the refusal", |line| line.tells("erreur")).await?;
    }
    let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
    gui.call("sys-usb", "get_file_footprint", &file, "file_footprint").await?;
    server.asked("system/disks/file_fingerprint").await?;
    assert_eq!(server.inbox.count(|m| m.topic.contains("create_file")), 0);
    Ok(())
}

#[tokio::test]
async fn its_client_asks_a_legacy_server() -> Outcome {
    let mut setting = setting_of("demo2", Dialect::Safecor12).await?;
    let (mut app, server) = asks(&mut setting).await?;
    let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
    let answer = app.call("system/disks/file_fingerprint", &file).await?;
    assert_eq!(answer, json!({"filepath": "hello.txt", "disk": "DISK1", "fingerprint": MD5}));
    let list = json!({"disk": "Clé Élève", "recursive": false, "from_dir": ""});
    let answer = app.call("system/disks/list_files", &list).await?;
    assert_eq!(answer, json!({"disk": "Clé Élève", "files": []}));
    let create = json!({"filepath": "new.txt", "disk": "DISK1",
                        "data": "eAFLzs8rSc0rBQALzAL9", "compressed": true});
    let answer = app.call("system/disks/create_file", &create).await?;
    assert_eq!((&answer["success"], answer.get("footprint")), (&json!(true), None), "{answer}");
    assert_eq!(server.disks.get("DISK1", "new.txt")?, b"contenu");
    let bad = json!({"filepath": "p.txt", "disk": "DISK1", "data": "***", "compressed": true});
    let answer = app.call("system/disks/create_file", &bad).await?;
    assert_eq!(answer["success"], false);
    app.publish("system/disks/read_file/request", &file).await?;
    let told = app.expect("the file", |m| m.topic == "system/disks/new_file").await?.json();
    assert_eq!(told["source_fingerprint"], MD5);
    let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let answer = app.call("system/disks/copy_file", &copy).await?;
    // The MVP's server does not say it.
    assert_eq!((&answer["status"], &answer["fingerprint"]), (&json!("ok"), &json!("")));
    Ok(())
}

#[tokio::test]
async fn an_older_application_beside_it_loses_nothing() -> Outcome {
    let mut setting = setting_with(Broker::start().await?, |gateway| {
        gateway.with_dialect("demo2", Dialect::Safecor12).with_dialect("demo1", Dialect::Lib11)
    })
    .await?;
    let (mut app, _server) = asks(&mut setting).await?;
    let file = json!({"filepath": "hello.txt", "disk": "DISK1"});
    app.publish("system/disks/read_file/request", &file).await?;
    let told = app.expect("the file", |m| m.topic == "system/disks/new_file").await?.json();
    for member in ["source_footprint", "source_fingerprint"] {
        assert_eq!(told[member], MD5, "{told}");
    }
    let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    let answer = app.call("system/disks/copy_file", &copy).await?;
    assert_eq!((&answer["footprint"], &answer["fingerprint"]), (&json!(""), &json!("")));
    assert_eq!(app.inbox.count(|m| m.topic == "system/disks/new_file"), 0, "once");
    Ok(())
}
