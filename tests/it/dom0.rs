//! Dom0 is the last that is legacy: the MVP's program, router and controller in one, goes on.

use crate::peers::legacy::{command, notification, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, Dialect, Disks, Dom0, ERROR, Gateway, LegacyDomain, Missing, MqttPeer, MqttServer,
    MvpRouter, NEW_FILE, secret_of,
};
use crate::setting::{Outcome, setting_with, until};
use crate::store::STORE;
use passerelle::edge::watch::{Change, Watch};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const LIST: &str = "system/disks/list_files";
const ANSWERS: &str = "system/+/+/response/vm-scan";

/// What the MVP's program has in its repository.
fn listed(line: &Value) -> bool {
    line["files"][0]["name"] == "déjà là.txt"
}

fn repository() -> Value {
    json!({"nom_disque": "__repository__"})
}

/// A gateway that offers the MVP's program on Dom0 sockets in a folder.
struct Relayed {
    dom0: Dom0,
    relay: TempDir,
}

impl Relayed {
    async fn start() -> Outcome<Self> {
        Self::start_with(|gateway| gateway).await
    }

    async fn start_with(more: impl FnOnce(Gateway) -> Gateway) -> Outcome<Self> {
        let relay = tempfile::tempdir()?;
        let key = key(relay.path());
        let configure = |gateway: Gateway| more(gateway.with(&format!("[dom0]\n{key}\n")));
        let dom0 = setting_with(Broker::start().await?, configure).await?;
        Ok(Self { dom0, relay })
    }

    /// The program, and Dom0 with its place on MQTT.
    async fn program(&mut self) -> Outcome<MvpRouter> {
        let program = MvpRouter::start(self.relay.path())?;
        self.dom0.broker.subscribed("Dom0", [format!("{LIST}/request")]).await?;
        Ok(program)
    }

    async fn domain(&self, program: &mut MvpRouter, name: &str) -> Outcome<LegacyDomain> {
        let domain = self.dom0.legacy(name).await?;
        program.connected(name).await?;
        Ok(domain)
    }

    async fn peer(&self, name: &str, filters: &[&str]) -> Result<MqttPeer, Missing> {
        MqttPeer::connect(&self.dom0.broker.socket(), name, filters).await
    }

    async fn state(&self, state: &str) -> Outcome {
        let shows = |text: &str| {
            text.lines()
                .any(|line| line.starts_with("Dom0 ") && line.contains(&format!(" {state} ")))
        };
        until(&self.dom0.gateway, "status", &[], |ended| shows(&ended.out)).await?;
        Ok(())
    }
}

fn key(relay: &Path) -> String {
    format!("relay = \"{}\"", relay.display())
}

#[tokio::test]
async fn legacy_domains_call_it_and_it_routes_nothing() -> Outcome {
    let mut setting = Relayed::start().await?;
    let mut program = setting.program().await?;
    let mut gui = setting.domain(&mut program, "vm-gui").await?;
    let mut usb = setting.domain(&mut program, "sys-usb").await?;
    // What is not for Dom0 goes by it.
    gui.ask("sys-usb", "liste_disques", &json!({}));
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    usb.line(&response("sys-usb", "vm-gui", "liste_disques", &json!(["D"])));
    gui.expect("the answer", |line| line.answers("liste_disques")).await?;
    gui.tell("tous", "disque", &json!({"nom": "D", "etat": "présent"}));
    usb.expect("the event", |line| line.tells("disque")).await?;

    let asked = command("vm-gui", "Dom0", "liste_fichiers", &repository());
    gui.line(&asked);
    let answer = gui.expect("the answer", |line| line.answers("liste_fichiers")).await?;
    assert!(listed(answer.data()), "{answer}");
    let told = program.inbox.next("the command").await?;
    assert_eq!((told.socket.as_str(), told.line.text()), ("vm-gui", asked.as_str()));
    // One that writes it in small letters is heard all the same.
    usb.line(&command("sys-usb", "dom0", "liste_fichiers", &repository()));
    usb.expect("the answer", |line| line.answers("liste_fichiers")).await?;
    assert_eq!(program.inbox.next("the command").await?.socket, "sys-usb");
    assert_eq!(program.inbox.count(|_| true), 0);
    Ok(())
}

#[tokio::test]
async fn requesters_on_mqtt_have_sockets_too() -> Outcome {
    let mut setting = Relayed::start().await?;
    let mut program = setting.program().await?;
    let mut scan = setting.peer("vm-scan", &[ANSWERS]).await?;
    let answer = scan.call(LIST, &json!({"disk": "__repository__"})).await?.json();
    assert!(listed(&answer), "{answer}");
    assert_eq!(program.inbox.next("the command").await?.socket, "vm-scan");
    assert!(setting.relay.path().join("vm-scan-msg.sock").exists());
    let asked = json!({"disk": "__repository__", "filepath": "hello.txt"});
    let answer = scan.call("system/disks/get_file_footprint", &asked).await?.json();
    assert_eq!(answer, json!({"footprint": "6f5902ac237024bdd0c176cb93063dc4"}));
    // What every domain carries out it would have everyone carry out once more.
    assert!(!scan.publish(Message::new("system/components/discover/request", "{}")).await?);
    Ok(())
}

#[tokio::test]
async fn the_first_call_waits_for_the_program() -> Outcome {
    let setting = Relayed::start().await?;
    let mut gui = setting.dom0.legacy("vm-gui").await?;
    gui.ask("Dom0", "liste_fichiers", &repository());
    gui.tell("vm-gui", "test", &json!({}));
    gui.expect("the fence", |line| line.tells("test")).await?;
    let _program = MvpRouter::start(setting.relay.path())?;
    gui.expect("the answer", |line| line.answers("liste_fichiers")).await?;
    Ok(())
}

#[tokio::test]
async fn what_it_tells_everyone_comes_once_and_what_it_forwards_does_not() -> Outcome {
    let mut setting = Relayed::start().await?;
    let mut program = setting.program().await?;
    let mut gui = setting.domain(&mut program, "vm-gui").await?;
    let mut usb = setting.domain(&mut program, "sys-usb").await?;
    let mut scan = setting.peer("vm-scan", &[NEW_FILE, ANSWERS]).await?;
    scan.call(LIST, &json!({"disk": "__repository__"})).await?;

    gui.tell("Dom0", "etat_domu", &json!({"pret": 0}));
    program.inbox.expect("the state", |told| told.line.tells("etat_domu")).await?;
    // It is a router: it passes on whatever it is given, or believes to have been given.
    program.route(command("vm-gui", "sys-usb", "liste_disques", &json!({})));
    program.route(response("sys-usb", "vm-gui", "liste_disques", &json!(["D"])));
    program.route(notification("vm-gui", "tous", "test", &json!({})));
    let file = |name: &str| {
        let data = json!({"source_disk": "D", "filepath": name, "disk": "__repository__",
            "original_footprint": "", "etat": "disponible"});
        notification("Dom0", "tous", "fichier", &data)
    };
    for name in ["/a", "/a", "/b"] {
        program.route(file(name));
    }
    for domain in [&mut gui, &mut usb] {
        for name in ["/a", "/a", "/b"] {
            let told = domain.expect("the file", |line| line.tells("fichier")).await?;
            assert_eq!(told.data()["filepath"], name);
        }
        assert_eq!(domain.inbox.count(|line| line.tells("fichier") || line.tells("test")), 0);
        let told = domain.expect("the state", |line| line.tells("etat_domu")).await?;
        assert_eq!(*told.data(), json!({"pret": 0, "domu": "vm-gui"}));
        assert_eq!(domain.inbox.count(|_| true), 0);
    }
    for name in ["/a", "/a", "/b"] {
        let told = scan.expect("the file", |m| m.topic == NEW_FILE).await?.json();
        assert_eq!(told["filepath"], name);
    }
    assert_eq!(scan.inbox.count(|m| m.topic == NEW_FILE), 0);
    setting.dom0.gateway.signal(Signal::USR1)?;
    Ok(setting.dom0.gateway.logged("ignored[forwarded]=6 ", 2).await?)
}

/// The call of each that is there reaches Dom0's repository.
async fn reaches(
    gui: &mut LegacyDomain,
    scan: &mut MqttPeer,
    is: impl Fn(&Value) -> bool,
) -> Outcome {
    let answer = gui.call("Dom0", "liste_fichiers", &repository(), "liste_fichiers").await?;
    assert!(is(answer.data()), "{answer}");
    let answer = scan.call(LIST, &json!({"disk": "__repository__"})).await?;
    assert!(is(&answer.json()), "{answer}");
    Ok(())
}

/// Dom0's controller on MQTT.
async fn controller(setting: &Relayed) -> Outcome<MqttServer> {
    let (socket, secret) = (setting.dom0.broker.socket(), secret_of("Dom0"));
    let asked = (Dialect::Psec, &[LIST][..]);
    Ok(MqttServer::start_as(&socket, ("Dom0", &secret), asked, Disks::new()?).await?)
}

#[tokio::test]
async fn it_moves_when_its_key_goes_and_back_when_it_is_there_again() -> Outcome {
    let mut setting = Relayed::start().await?;
    let mut program = setting.program().await?;
    let mut gui = setting.domain(&mut program, "vm-gui").await?;
    let mut scan = setting.peer("vm-scan", &[ANSWERS]).await?;
    reaches(&mut gui, &mut scan, listed).await?;
    setting.state("legacy").await?;
    let spoken = |text: &str| {
        text.contains("  Dom0: last ") && text.contains("reponse liste_fichiers: 2 in all")
    };
    until(&setting.dom0.gateway, "ready", &[], |ended| spoken(&ended.out)).await?;

    let key = key(setting.relay.path());
    let mut offered = Watch::new(&setting.relay.path().join("vm-gui-msg.sock"))?;
    assert!(matches!(offered.next().await?, Change::Appeared(_)));
    setting.dom0.gateway.edit("passerelle.toml", &key, "")?;
    setting.dom0.gateway.reload()?;
    setting.dom0.gateway.logged("no longer a legacy domain here", 1).await?;
    program.lost("vm-gui").await?;
    assert!(matches!(offered.next().await?, Change::Disappeared(_)));
    let server = controller(&setting).await?;
    reaches(&mut gui, &mut scan, |data| !listed(data)).await?;

    drop((server, program));
    setting.dom0.gateway.edit("passerelle.toml", "[dom0]", &format!("[dom0]\n{key}"))?;
    setting.dom0.gateway.reload()?;
    setting.dom0.gateway.logged("reloaded", 2).await?;
    let mut program = setting.program().await?;
    program.connected("vm-gui").await?;
    reaches(&mut gui, &mut scan, listed).await
}

#[tokio::test]
async fn it_moves_when_its_program_stops() -> Outcome {
    let away = |gateway: Gateway| gateway.with("[limits]\naway = \"1s\"\n");
    let mut setting = Relayed::start_with(away).await?;
    let mut program = setting.program().await?;
    let mut gui = setting.domain(&mut program, "vm-gui").await?;
    let mut scan = setting.peer("vm-scan", &[ANSWERS, ERROR]).await?;
    reaches(&mut gui, &mut scan, listed).await?;
    program.stop().await;
    let server = controller(&setting).await?;
    // What it was not given any more goes to whoever carries it out now.
    reaches(&mut gui, &mut scan, |data| !listed(data)).await?;
    setting.dom0.gateway.logged("no longer a legacy domain here", 1).await?;
    drop(server);
    // And back.
    let _program = setting.program().await?;
    reaches(&mut gui, &mut scan, listed).await
}

#[tokio::test]
async fn what_it_was_not_given_waits_for_it_in_the_store() -> Outcome {
    let stored = |gateway: Gateway| gateway.with(STORE);
    let mut setting = Relayed::start_with(stored).await?;
    let program = setting.program().await?;
    let mut gui = setting.dom0.legacy("vm-gui").await?;
    program.stop().await;
    setting.dom0.gateway.logged("channel lost domain=Dom0", 1).await?;
    gui.ask("Dom0", "liste_fichiers", &repository());
    gui.tell("vm-gui", "test", &json!({}));
    gui.expect("the fence", |line| line.tells("test")).await?;
    setting.dom0.gateway.terminate()?;
    setting.dom0.gateway.ended().await?;
    setting.dom0.gateway.run()?;
    let _program = MvpRouter::start(setting.relay.path())?;
    let answer = gui.expect("the answer", |line| line.answers("liste_fichiers")).await?;
    assert!(listed(answer.data()), "{answer}");
    Ok(())
}
