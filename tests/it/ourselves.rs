//! The peers themselves, against Mosquitto and each other: a test of the gateway that fails should
//! fail because of the gateway.

use crate::peers::broker::Persistence;
use crate::peers::disks::REPOSITORY;
use crate::peers::legacy::command;
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, Dialect, Disks, LegacyDomain, Line, MqttPeer, MqttPeer311, MqttServer, MvpServer,
    NEW_FILE, Pty, ROOTS,
};
use crate::setting::Outcome;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

async fn asked(stream: &mut BufReader<UnixStream>, command: &str) -> Outcome<Line> {
    stream.get_mut().write_all(format!("{command}\n").as_bytes()).await?;
    read(stream).await
}

async fn read(stream: &mut BufReader<UnixStream>) -> Outcome<Line> {
    let mut line = String::new();
    tokio::time::timeout(crate::peers::DEADLINE, stream.read_line(&mut line)).await??;
    Ok(Line::new(line.trim_end().to_owned()))
}

#[tokio::test]
async fn the_mvp_server_answers_every_command_of_the_dictionary() -> Outcome {
    let dir = tempfile::tempdir()?;
    let server = MvpServer::start(dir.path(), "sys-usb", Disks::new()?)?;
    let stream = UnixStream::connect(dir.path().join("sys-usb-msg.sock")).await?;
    let stream = &mut BufReader::new(stream);
    assert!(read(stream).await?.tells("etat_domu"));
    let ask = |name: &str, arguments: Value| command("vm-gui", "sys-usb", name, &arguments);
    let md5 = "6f5902ac237024bdd0c176cb93063dc4";

    let said = asked(stream, &ask("liste_disques", json!({}))).await?;
    assert_eq!(
        said.text(),
        r#"{"type":"reponse","source":"sys-usb","destination":"vm-gui","payload":{"commande":"liste_disques","data":["Cl\u00e9 \u00c9l\u00e8ve","DISK1"]}}"#
    );
    let said = asked(stream, &ask("liste_fichiers", json!({"nom_disque": "DISK1"}))).await?;
    assert_eq!(
        *said.data(),
        json!({"disk": "DISK1", "files": [
            {"type": "folder", "path": "/", "name": "dossier 1"},
            {"type": "file", "path": "/dossier 1", "name": "fichier.txt", "size": 8},
            {"type": "file", "path": "/", "name": "hello.txt", "size": 12}]})
    );
    let footprint =
        |path: &str| ask("get_file_footprint", json!({"filepath": path, "disk": "DISK1"}));
    assert_eq!(asked(stream, &footprint("hello.txt")).await?.data()["footprint"], md5);
    assert_eq!(asked(stream, &footprint("absent")).await?.data()["footprint"], Value::Null);

    let read_it = ask("lit_fichier", json!({"nom_disque": "DISK1", "chemin_fichier": "hello.txt"}));
    assert_eq!(asked(stream, &read_it).await?.data()["etat"], "disponible");
    assert!(server.disks.has(REPOSITORY, "hello.txt"));
    let copy = json!({"disk": "DISK1", "filepath": "hello.txt", "destination": "Clé Élève"});
    assert_eq!(asked(stream, &ask("copie_fichier", copy)).await?.data()["etat"], "copié");
    assert!(server.disks.has("Clé Élève", "hello.txt"));
    let remove = ask("copie_fichier", json!({"nom_fichier": "hello.txt", "nom_disque": "DISK1"}));
    assert_eq!(asked(stream, &remove).await?.data()["etat"], "supprimé");
    assert!(!server.disks.has("DISK1", "hello.txt"));
    let create = json!({"filepath": "new.txt", "disk": "DISK1", "contents": "é"});
    assert_eq!(asked(stream, &ask("create_file", create)).await?.data()["success"], true);
    assert_eq!(server.disks.get("DISK1", "new.txt")?, "é".as_bytes());

    let benchmark = |id: &str| ask("start_benchmark", json!({"id_benchmark": id}));
    assert_eq!(asked(stream, &benchmark("inputs")).await?.data()["iterations"], 5);
    assert_eq!(asked(stream, &benchmark("files")).await?.data()["etat"], "demarre");
    assert_eq!(read(stream).await?.data()["etat"], "termine");
    let said = asked(stream, &ask("liste_composants", json!({}))).await?;
    assert_eq!(*said.data(), json!({"composant": "sys-usb", "etat": "ok"}));
    Ok(())
}

#[tokio::test]
async fn a_legacy_domain_has_one_client_at_a_time_and_comes_back() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("vm-gui-msg.sock");
    let mut domain = LegacyDomain::start(dir.path(), "vm-gui")?;
    let mut first = UnixStream::connect(&path).await?;
    domain.connected().await?;
    let mut second = UnixStream::connect(&path).await?;
    second.write_all(b"{\"from\":2}\n").await?;
    first.write_all(b"{\"from\":1}\n").await?;
    assert_eq!(domain.inbox.next("the first's").await?.value["from"], 1);
    drop(first);
    assert_eq!(domain.inbox.next("the second's").await?.value["from"], 2);

    domain.restart().await?;
    assert_eq!(second.read(&mut [0; 8]).await?, 0);
    let mut third = UnixStream::connect(&path).await?;
    domain.stop_reading();
    third.write_all(b"{\"from\":3}\n").await?;
    domain.line("{}");
    third.read_exact(&mut [0; 3]).await?;
    assert_eq!(domain.inbox.count(|_| true), 0);
    domain.read_again();
    assert_eq!(domain.inbox.next("the third's").await?.value["from"], 3);
    Ok(())
}

#[tokio::test]
async fn the_migrated_server_answers_every_request_of_the_seed() -> Outcome {
    let broker = Broker::start().await?;
    let server =
        MqttServer::start(&broker.socket(), "sys-usb", Dialect::Psec, Disks::new()?).await?;
    let filters = ["system/+/+/response/vm-scan", NEW_FILE];
    let mut scan = MqttPeer::connect(&broker.socket(), "vm-scan", &filters).await?;
    let [list_disks, list_files, read, copy, remove, benchmark, footprint, create, discover] =
        ROOTS;
    let file = json!({"disk": "DISK1", "filepath": "hello.txt"});
    let from = json!({"source_disk": "DISK1", "filepath": "hello.txt", "target_disk": "Clé Élève"});
    let ok = json!({"status": "ok"});

    let answer = scan.call(list_disks, &json!({})).await?;
    assert_eq!(answer.source(), Some("sys-usb"));
    assert_eq!(
        answer.json(),
        json!({"disks": [{"label": "Clé Élève", "id": "Clé Élève"}, {"label": "DISK1", "id": "DISK1"}]})
    );
    let listing = scan.call(list_files, &json!({"disk": "DISK1"})).await?.json();
    assert_eq!(
        listing["files"][0],
        json!({"type": "folder", "path": "/", "name": "dossier 1", "size": 0})
    );
    assert_eq!(scan.call(read, &from).await?.json(), ok);
    let told = scan.expect("the new file", |m| m.topic == NEW_FILE).await?;
    assert_eq!(
        told.json(),
        json!({"disk": REPOSITORY, "filepath": "hello.txt", "size_in_bytes": 12})
    );
    assert_eq!(scan.call(copy, &from).await?.json(), ok);
    let answer = scan.call(footprint, &file).await?.json();
    assert_eq!(answer, json!({"footprint": "6f5902ac237024bdd0c176cb93063dc4"}));
    assert_eq!(scan.call(remove, &file).await?.json(), ok);
    assert_eq!(scan.call(remove, &file).await?.json(), json!({"status": "error"}));
    let new = json!({"disk": "DISK1", "filepath": "n", "data": "w6k="});
    assert_eq!(scan.call(create, &new).await?.json(), ok);
    assert_eq!(server.disks.get("DISK1", "n")?, "é".as_bytes());
    assert_eq!(
        scan.call(benchmark, &json!({"module": "inputs"})).await?.json()["status"],
        "finished"
    );
    assert_eq!(
        scan.call(benchmark, &json!({"module": "files"})).await?.json()["status"],
        "started"
    );
    assert_eq!(scan.call(discover, &json!({})).await?.json()["components"][0]["id"], "sys-usb");
    Ok(())
}

#[tokio::test]
async fn the_libraries_answer_in_the_open_and_the_newer_one_twice() -> Outcome {
    for (dialect, times) in [(Dialect::Lib2024, 1), (Dialect::Lib11, 2)] {
        let broker = Broker::start().await?;
        let socket = broker.socket();
        let _server = MqttServer::start(&socket, "sys-usb", dialect, Disks::new()?).await?;
        let mut app = MqttPeer311::connect(&socket, "app-1", &["system/#"]).await?;
        let disks = app.call("system/disks/list_disks", &json!({})).await?;
        assert_eq!(disks, json!({"disks": ["Clé Élève", "DISK1"]}));
        let file = json!({"disk": "DISK1", "filepath": "hello.txt"});
        let footprint = app.call("system/disks/file_footprint", &file).await?;
        assert_eq!(footprint["footprint"], "6f5902ac237024bdd0c176cb93063dc4");
        assert_eq!(
            app.inbox.count(|m| m.topic == "system/disks/list_disks/response") + 1,
            times,
            "{dialect:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_peer_keeps_its_session_over_a_killed_broker_that_persists() -> Outcome {
    let mut broker = Broker::start_with(Persistence::Kept, "").await?;
    let mut peer = MqttPeer::connect(&broker.socket(), "vm-scan", &["t"]).await?;
    assert!(peer.publish(Message::new("t", "1")).await?);
    assert!(!peer.publish(Message::new("nobody", "1")).await?);
    broker.kill().await?;
    peer.connected(false).await?;
    broker.run().await?;
    peer.connected(true).await?;
    assert!(peer.publish(Message::new("t", "2")).await?);
    assert_eq!(peer.expect("the second", |m| m.payload == "2").await?.topic, "t");
    Ok(())
}

#[tokio::test]
async fn a_pty_carries_lines_both_ways_once_it_is_raw() -> Outcome {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let (pty, mut far) = Pty::open("Dom0")?;
    let near = std::fs::File::options().read(true).write(true).open(pty.path())?;
    let mut modes = tcgetattr(&near)?;
    modes.make_raw();
    tcsetattr(&near, OptionalActions::Now, &modes)?;
    pty.raw().await?;
    std::io::Write::write_all(&mut &near, b"{\"near\":1}\n")?;
    assert_eq!(far.inbox.next("the near end's").await?.text(), "{\"near\":1}");
    far.line("{\"far\":1}");
    let mut buffer = [0; 10];
    tokio::task::spawn_blocking(move || {
        std::io::Read::read_exact(&mut &near, &mut buffer).map(|()| buffer)
    })
    .await??;
    Ok(())
}
