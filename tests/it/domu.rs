//! In a DomU: a migrated application here, and a Dom0 that is still MVP behind the serial port.

use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, Disks, ERROR, Gateway, Line, MqttPeer, MvpServer, NEW_FILE, Pty, ROOTS,
};
use crate::setting::{Outcome, PROGRAM, mappings, until};
use serde_json::json;

/// A broker of the DomU's own, the application `vm-gui` on it, and `sys-usb` of the MVP far away.
struct DomU {
    app: MqttPeer,
    far: MvpServer,
    _pty: Pty,
    _gateway: Gateway,
    _broker: Broker,
}

impl DomU {
    async fn new() -> Outcome<Self> {
        let mut broker = Broker::start().await?;
        let discover = format!("{}/request", ROOTS[8]);
        let filters = ["system/+/+/response/vm-gui", NEW_FILE, ERROR, &discover];
        let app = MqttPeer::connect(&broker.socket(), "vm-gui", &filters).await?;
        let (pty, far) = Pty::open("sys-usb")?;
        let gateway = Gateway::new(PROGRAM, mappings(), &broker.gate())?
            .in_domu(pty.path(), "vm-gui")
            .start()?;
        pty.raw().await?;
        broker.subscribed("*", ROOTS.map(|root| format!("{root}/request"))).await?;
        broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]).await?;
        let far = MvpServer::over(far, Disks::new()?);
        Ok(Self { app, far, _pty: pty, _gateway: gateway, _broker: broker })
    }
}

#[tokio::test]
async fn the_application_calls_a_server_behind_the_port() -> Outcome {
    let mut on = DomU::new().await?;
    let answer = on.app.call("system/disks/list_files", &json!({"disk": "DISK1"})).await?;
    assert_eq!(answer.json()["files"][2]["name"], "hello.txt");
    let asked = on.far.domain.expect("the command", |line| line.asks("liste_fichiers")).await?;
    assert_eq!(
        asked.value,
        json!({"type": "commande", "source": "vm-gui", "destination": "sys-usb",
               "payload": {"commande": "liste_fichiers", "arguments": {"nom_disque": "DISK1"}}})
    );
    let read = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
    assert_eq!(on.app.call("system/disks/read_file", &read).await?.json(), json!({"status": "ok"}));
    on.app.expect("the new file", |m| m.topic == NEW_FILE).await?;
    Ok(())
}

#[tokio::test]
async fn the_status_shows_the_port_as_dom0s() -> Outcome {
    let on = DomU::new().await?;
    let topic = "passerelle/dom0/domains/Dom0";
    let mut observer = MqttPeer::connect(&on._broker.socket(), "observer", &[topic]).await?;
    on.far.domain.tell("tous", "erreur", &json!({"niveau": 40, "message": "m"}));
    observer.expect("legacy", |m| m.json()["state"] == "legacy").await?;
    let said = |e: &crate::setting::Ended| e.out.contains("Dom0: last");
    let ready = until(&on._gateway, "ready", &[], said).await?;
    assert!(ready.out.contains("notification erreur: 1"), "{ready}");
    Ok(())
}

#[tokio::test]
async fn everyone_here_has_the_first_local_name_there() -> Outcome {
    let mut on = DomU::new().await?;
    let filters = ["system/+/+/response/other-app"];
    let mut other = MqttPeer::connect(&on._broker.socket(), "other-app", &filters).await?;
    let answer = other.call("system/disks/list_disks", &json!({})).await?;
    assert_eq!(answer.json()["disks"][1]["id"], "DISK1");
    let asked = on.far.domain.expect("the command", |line| line.asks("liste_disques")).await?;
    assert_eq!(asked.value["source"], "vm-gui");
    Ok(())
}

#[tokio::test]
async fn the_application_is_called_from_behind_the_port() -> Outcome {
    let mut on = DomU::new().await?;
    let discover = ROOTS[8];
    on.far.domain.ask("tous", "liste_composants", &json!({}));
    let asked = on.app.expect("the request", |m| m.topic == format!("{discover}/request")).await?;
    assert_eq!(asked.response_topic, Some(format!("{discover}/response/sys-usb")));
    let answer = json!({"components": [{"id": "gui", "label": "GUI", "type": "app"}]}).to_string();
    let topic = asked.response_topic.unwrap_or_default();
    on.app
        .publish(Message { correlation: asked.correlation, ..Message::new(topic, answer) })
        .await?;
    let line = on.far.domain.expect("the answer", |line| line.answers("etat_composant")).await?;
    assert_eq!(
        line.value,
        json!({"type": "reponse", "source": "vm-gui", "destination": "sys-usb",
               "payload": {"commande": "etat_composant", "data": {"composant": "gui", "etat": "ok"}}})
    );
    Ok(())
}

#[tokio::test]
async fn notifications_cross_the_port_once() -> Outcome {
    let mut on = DomU::new().await?;
    let error = json!({"module": "x", "datetime": "d", "level": 30, "description": "from here"});
    on.app.publish(Message::new(ERROR, error.to_string())).await?;
    let line = on.far.domain.expect("the error", |line| line.tells("erreur")).await?;
    assert_eq!(line.data()["message"], "from here");
    // Dom0 of the MVP sends what goes to everyone back to its sender too.
    on.far.domain.line(line.text());
    on.far.domain.tell("tous", "erreur", &json!({"niveau": 40, "message": "from there"}));
    on.app.expect("the error", |m| m.json()["description"] == "from there").await?;
    // Once as the application's own message, which the broker gives it too.
    assert_eq!(on.app.inbox.count(|m| m.json()["description"] == "from here"), 1);
    // What came from behind the port does not go back there.
    on.app.call("system/disks/list_disks", &json!({})).await?;
    on.far.domain.expect("the command", |line| line.asks("liste_disques")).await?;
    let back = |line: &Line| line.tells("erreur") && line.data()["message"] == "from there";
    assert_eq!(on.far.domain.inbox.count(back), 0);
    Ok(())
}
