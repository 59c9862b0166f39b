//! The gateway on Dom0, and a domain of the MVP behind a real console backend.

use crate::guest::{Guest, Host};
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, Dialect, Disks, ERROR, Gateway, LegacyDomain, Missing, MqttPeer, MqttServer, NEW_FILE,
    ROOTS, Table,
};
use crate::{Built, listing, right};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// How long a line of the domain's may be on its way before the domain writes again.
const SOON: Duration = Duration::from_secs(3);

/// Everything outside the guest.
struct Outside {
    broker: Broker,
    gateway: Gateway,
    sockets: TempDir,
    /// A migrated domain.
    scan: MqttPeer,
    /// A domain of the MVP without a machine of its own.
    gui: LegacyDomain,
    disks: Disks,
    /// What the listing of the large disk is to be.
    large: String,
}

/// The whole scene: `sys-usb` is in the guest.
pub async fn scene(
    built: &Built,
    host: &Host,
    disks: &Disks,
    table: &mut Table,
) -> Result<(), Missing> {
    table.scene("Dom0: the gateway at the console backend's socket, sys-usb (MVP) at hvc2");
    let mut on = outside(built, disks).await?;
    let boot = host.boot(on.sockets.path(), "sys-usb");
    let Some(mut guest) = table.row("the guest boots", boot).await else {
        return Ok(());
    };
    if let Err(missing) = on.play(&mut guest, table).await {
        table.missing(missing.to_string());
    }
    if table.lacks() {
        table.missing(format!(
            "{}\n--- the gateway's log\n{}---",
            guest.console(),
            on.gateway.log()
        ));
    }
    table.row("the guest powers off", guest.power_off()).await;
    Ok(())
}

async fn outside(built: &Built, disks: &Disks) -> Result<Outside, Missing> {
    let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
    let mut broker = Broker::start().await?;
    let mut gateway = Gateway::new(&built.passerelle, &built.mappings, &broker.gate())?
        .on_dom0(sockets.path())
        .start()?;
    tokio::select! {
        heard = broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]) => heard?,
        gave_up = gateway.gave_up() => return Err(gave_up),
    }
    let filters = ["system/+/+/response/vm-scan", NEW_FILE, ERROR];
    let scan = MqttPeer::connect(&broker.socket(), "vm-scan", &filters).await?;
    let gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    gui.connected().await?;
    Ok(Outside {
        broker,
        gateway,
        sockets,
        scan,
        gui,
        disks: disks.clone(),
        large: listing::expected(disks)?,
    })
}

impl Outside {
    async fn play(&mut self, guest: &mut Guest, table: &mut Table) -> Result<(), Missing> {
        self.begins(guest, table).await?;
        self.calls_to_mqtt(guest, table).await?;
        self.calls_from_mqtt(guest, table).await;
        self.restarts(guest, table).await;
        self.reads_late(guest, table).await;
        self.migrates(guest, table).await;
        self.gateway_restarts(guest, table).await
    }

    async fn begins(&mut self, guest: &mut Guest, table: &mut Table) -> Result<(), Missing> {
        let opened = guest.order(mvp("here")).await?;
        table.note(&format!(
            "a port that nobody had open is cooked, with echo: {}",
            opened["echoed"]
        ));
        let requests = ROOTS.map(|root| format!("{root}/request"));
        let served = self.broker.subscribed("sys-usb", requests);
        table.row("the gateway finds the channel and serves sys-usb", served).await;
        Ok(())
    }

    /// The domain calls one on MQTT that serves the same commands for once.
    async fn calls_to_mqtt(&mut self, guest: &mut Guest, table: &mut Table) -> Result<(), Missing> {
        let socket = self.broker.socket();
        let disks = self.disks.clone();
        let _server = MqttServer::start(&socket, "vm-server", Dialect::Psec, disks).await?;
        let ask = |command: &str, arguments: Value| {
            json!({"do": "ask", "to": "vm-server", "command": command, "arguments": arguments,
                   "answer": command})
        };
        let call = async {
            let answer = guest.order(ask("liste_disques", json!({}))).await?;
            right(answer["answer"][1] == "DISK1", &answer)
        };
        table.row("liste_disques > list_disks", call).await;
        let call = async {
            let answer = guest.order(ask("liste_fichiers", json!({"nom_disque": "LARGE"}))).await?;
            right(answer["listing"] == *self.large && listing::is_large(&answer["bytes"]), &answer)
        };
        table.row("liste_fichiers > list_files, a listing of 0.4 MB", call).await;
        Ok(())
    }

    /// `vm-scan` and `vm-gui` call the domain.
    async fn calls_from_mqtt(&mut self, guest: &mut Guest, table: &mut Table) {
        let (large, scan) = (&self.large, &mut self.scan);
        table.row("list_disks > liste_disques", list_disks(scan)).await;
        let call = async {
            let answer = scan.call(ROOTS[1], &json!({"disk": "LARGE"})).await?;
            right(listing::digest(&answer.json()["files"]) == *large, &Value::Null)
        };
        table.row("list_files > liste_fichiers, a listing of 0.4 MB", call).await;
        let read = json!({"source_disk": "DISK1", "filepath": "hello.txt"});
        let call = async {
            let answer = scan.call(ROOTS[2], &read).await?.json();
            right(answer["status"] == "ok", &answer)?;
            scan.expect("the new file", |m| m.topic == NEW_FILE).await.map(drop)
        };
        table.row("read_file > lit_fichier, and fichier > new_file", call).await;
        let told = async {
            let data = json!({"niveau": 30, "message": "from the guest"});
            guest.order(json!({"do": "tell", "event": "erreur", "data": data})).await?;
            announced(scan, "from the guest").await
        };
        table.row("erreur > error", told).await;
        let told = async {
            tell(scan, "from MQTT").await?;
            guest.order(heard("from MQTT")).await.map(drop)
        };
        table.row("error > erreur", told).await;
        let gui = &mut self.gui;
        let call = async {
            let arguments = json!({"nom_disque": "LARGE"});
            let line = gui.call("sys-usb", "liste_fichiers", &arguments, "liste_fichiers").await?;
            right(listing::digest(&line.data()["files"]) == *large, &Value::Null)
        };
        table.row("vm-gui (MVP) calls sys-usb: liste_fichiers, 0.4 MB", call).await;
    }

    /// Its program closes the port, and others open it: one that leaves the kernel's echo on, and the
    /// first again, at once, when much waits to be read and is echoed until it has set raw mode.
    async fn restarts(&mut self, guest: &mut Guest, table: &mut Table) {
        let (scan, gateway) = (&mut self.scan, &self.gateway);
        let echo = async {
            guest.order(json!({"do": "close"})).await?;
            tell(scan, "while the port is closed").await?;
            let until = json!({"do": "cooked", "until": "while the port is closed"});
            let cooked = guest.order(until).await?;
            right(cooked["echoed"] == true, &cooked)
        };
        table.row("the port is closed, and opened with the kernel's echo on", echo).await;
        let back = async {
            for number in 0..50 {
                tell(scan, &format!("waits to be read: {number}")).await?;
            }
            guest.order(mvp("here again")).await?;
            announced(scan, "here again").await?;
            list_disks(scan).await
        };
        table.row("its program is back, and what it says first is heard", back).await;
        let echo = async {
            let claims = gateway.log().matches("spoofed_source").count();
            right(claims == 0, &json!(gateway.log()))
        };
        table.row("what the kernel has echoed is taken for what it is", echo).await;
        let pieces = gateway.log().matches("not_json").count();
        table.note(&format!("refused, because raw mode cut an echo off: {pieces}"));
    }

    /// Its program does not read for a while. The others are not delayed, and it gets everything.
    async fn reads_late(&mut self, guest: &mut Guest, table: &mut Table) {
        const COUNT: usize = 300;
        let (scan, gui) = (&mut self.scan, &mut self.gui);
        gui.inbox.clear();
        let others = async {
            guest.order(json!({"do": "read", "on": false})).await?;
            for number in 0..COUNT {
                tell(scan, &format!("{number} {}", "x".repeat(8000))).await?;
            }
            for number in 0..COUNT {
                let next = gui.expect("an error", |line| line.tells("erreur")).await?;
                let message = next.data()["message"].as_str().unwrap_or_default();
                right(message.starts_with(&format!("{number} ")), next.data())?;
            }
            Ok(())
        };
        table.row("sys-usb does not read: vm-gui hears 300 errors of 8 KB", others).await;
        let late = async {
            guest.order(json!({"do": "read", "on": true})).await?;
            guest.order(json!({"do": "heard_in_order", "count": COUNT})).await
        };
        table.row("sys-usb reads again, and hears them all", late).await;
    }

    /// Its new program speaks MQTT at the same port, and is called by both kinds; then the old one is back.
    async fn migrates(&mut self, guest: &mut Guest, table: &mut Table) {
        let (scan, gui, broker) = (&mut self.scan, &mut self.gui, &mut self.broker);
        let comes = async {
            guest.order(json!({"do": "close"})).await?;
            guest.order(json!({"do": "mqtt", "name": "sys-usb"})).await
        };
        table.row("its new program runs, and speaks MQTT at the same port", comes).await;
        table.row("list_disks, through the tunnel", list_disks(scan)).await;
        let call = async {
            let answer = scan.call(ROOTS[1], &json!({"disk": "LARGE"})).await?;
            right(listing::digest(&answer.json()["files"]) == self.large, &Value::Null)
        };
        table.row("list_files, a listing of 0.4 MB, through the tunnel", call).await;
        let call = async {
            let line = gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
            right(line.data()[1] == "DISK1", line.data())
        };
        table.row("liste_disques > list_disks, from vm-gui (MVP)", call).await;
        let back = async {
            guest.order(json!({"do": "close"})).await?;
            guest.order(mvp("as before")).await?;
            broker.subscribed("sys-usb", ROOTS.map(|root| format!("{root}/request"))).await?;
            list_disks(scan).await
        };
        table.row("its MVP program is back: list_disks > liste_disques", back).await;
    }

    /// The gateway is killed. What the domain says meanwhile may be lost; afterwards all is well.
    async fn gateway_restarts(
        &mut self,
        guest: &mut Guest,
        table: &mut Table,
    ) -> Result<(), Missing> {
        self.gateway.kill().await?;
        table
            .row("the gateway is killed: sys-usb can still write 0.3 MB", async {
                guest.order(json!({"do": "write", "bytes": 300_000})).await
            })
            .await;
        self.gateway.run().map_err(|e| Missing::new(format!("the gateway: {e}")))?;
        let (scan, broker) = (&mut self.scan, &mut self.broker);
        let mut writings = 0;
        let back = async {
            broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]).await?;
            broker.subscribed("sys-usb", ROOTS.map(|root| format!("{root}/request"))).await?;
            // Xen's backend passes on what it has kept piece by piece, at each writing of the domain.
            for number in 0..50 {
                let message = format!("here, {number}");
                let data = json!({"niveau": 20, "message": message});
                guest.order(json!({"do": "tell", "event": "erreur", "data": data})).await?;
                let wanted = |m: &Message| m.text().contains(&message);
                if scan.inbox.expect_within(SOON, "it", wanted).await.is_ok() {
                    writings = number + 1;
                    break;
                }
            }
            list_disks(scan).await
        };
        table.row("the gateway is back, and hears the domain", back).await;
        let kept = scan.inbox.count(|m| m.text().contains("yyyy"));
        let what = if kept > 0 { "kept" } else { "dropped" };
        table.note(&format!(
            "the line that was written meanwhile: {what}; heard at writing {writings}"
        ));
        Ok(())
    }
}

fn mvp(first: &str) -> Value {
    json!({"do": "mvp", "name": "sys-usb", "first": first})
}

async fn list_disks(scan: &mut MqttPeer) -> Result<(), Missing> {
    let answer = scan.call(ROOTS[0], &json!({})).await?.json();
    right(answer["disks"][1]["id"] == "DISK1", &answer)
}

fn heard(part: &str) -> Value {
    json!({"do": "heard", "event": "erreur", "part": part})
}

async fn tell(scan: &mut MqttPeer, description: &str) -> Result<(), Missing> {
    let error = json!({"module": "m", "datetime": "d", "level": 40, "description": description});
    scan.publish(Message::new(ERROR, error.to_string()).from("vm-scan")).await.map(drop)
}

async fn announced(scan: &mut MqttPeer, description: &str) -> Result<(), Missing> {
    let wanted = |m: &Message| m.topic == ERROR && m.json()["description"] == description;
    scan.expect("the error", wanted).await.map(drop)
}
