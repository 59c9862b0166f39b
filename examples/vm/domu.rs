//! The gateway in a DomU, at its real `/dev/hvc2`; Dom0 and all behind it are MVP.

use crate::guest::{Guest, Host, connect};
use crate::peers::legacy::Line;
use crate::peers::{Disks, ERROR, LegacyDomain, Missing, MvpServer, ROOTS, Table};
use crate::{listing, right};
use serde_json::json;
use tempfile::TempDir;

/// All that is behind the port: Dom0's router and `sys-usb`, both MVP.
struct Dom0 {
    sockets: TempDir,
    disks: Disks,
    /// What the listing of the large disk is to be.
    large: String,
}

/// The whole scene: `vm-gui` has moved, and is in the guest.
pub async fn scene(host: &Host, disks: &Disks, table: &mut Table) -> Result<(), Missing> {
    table.scene("DomU: the gateway, a broker and vm-gui (MQTT) at hvc2, Dom0 (MVP) at the socket");
    let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
    let large = listing::expected(disks)?;
    let dom0 = Dom0 { sockets, disks: disks.clone(), large };
    let boot = host.boot(dom0.sockets.path(), "vm-gui");
    let Some(mut guest) = table.row("the guest boots", boot).await else {
        return Ok(());
    };
    let mut played = dom0.play(&mut guest, table).await;
    if played.is_ok() && host.plugs_in() {
        played = dom0.late_port(&mut guest, table).await;
    }
    if let Err(missing) = played {
        table.missing(missing.to_string());
    }
    if table.lacks() {
        table.missing(guest.console());
    }
    table.row("the guest powers off", guest.power_off()).await;
    Ok(())
}

impl Dom0 {
    async fn play(&self, guest: &mut Guest, table: &mut Table) -> Result<(), Missing> {
        let mut far = self.attach("vm-gui").await?;
        // It comes before the gateway has set raw mode, so it may be echoed.
        far.domain.tell("tous", "erreur", &json!({"niveau": 30, "message": "too early"}));
        guest.order(json!({"do": "domu", "port": "/dev/hvc2"})).await?;
        let ready = guest.order(json!({"do": "subscribed"}));
        table.row("the gateway opens the port", ready).await;
        self.calls(guest, &mut far, table).await;
        notifications(guest, &mut far, table).await;
        let restart = async {
            far.domain.tell("tous", "erreur", &json!({"niveau": 30, "message": "in between"}));
            guest.order(json!({"do": "restart"})).await?;
            list_disks(guest).await
        };
        table.row("the gateway ends and comes back, and list_disks > liste_disques", restart).await;
        let early = |line: &Line| line.text().contains("too early");
        let echoed = far.domain.inbox.count(early);
        table.note(&format!("lines from before raw mode that came back as an echo: {echoed}"));
        guest.order(json!({"do": "close"})).await.map(drop)
    }

    /// Connects to a guest's socket, as Dom0's router does.
    async fn attach(&self, name: &str) -> Result<MvpServer, Missing> {
        let socket = self.sockets.path().join(format!("{name}-msg.sock"));
        let (reader, writer) = connect(&socket).await?.into_split();
        Ok(MvpServer::over(LegacyDomain::over("sys-usb", reader, writer), self.disks.clone()))
    }

    async fn calls(&self, guest: &mut Guest, far: &mut MvpServer, table: &mut Table) {
        table.row("list_disks > liste_disques", list_disks(guest)).await;
        let call = async {
            let order = json!({"do": "call", "root": ROOTS[1], "payload": {"disk": "LARGE"}});
            let answer = guest.order(order).await?;
            right(answer["listing"] == *self.large && listing::is_large(&answer["bytes"]), &answer)
        };
        table.row("list_files > liste_fichiers, a listing of 0.4 MB", call).await;
        let call = async {
            far.domain.ask("tous", "liste_composants", &json!({}));
            let answer = json!({"components": [{"id": "gui", "label": "GUI", "type": "app"}]});
            let topic = format!("{}/request", ROOTS[8]);
            guest.order(json!({"do": "received", "topic": topic, "answer": answer})).await?;
            let line = far.domain.expect("it", |line| line.answers("etat_composant")).await?;
            let answered = line.data()["composant"] == "gui" && line.value["source"] == "vm-gui";
            right(answered, &line.value)
        };
        table.row("liste_composants > discover, from Dom0", call).await;
    }

    /// A port whose backend comes only after the gateway has tried it.
    async fn late_port(&self, guest: &mut Guest, table: &mut Table) -> Result<(), Missing> {
        guest.order(json!({"do": "domu", "port": "/dev/hvc3"})).await?;
        table
            .row("hvc3 is ENODEV: the gateway tries it", guest.order(json!({"do": "tried"})))
            .await;
        let late = async {
            guest.plug_in(self.sockets.path(), "vm-late").await?;
            let _far = self.attach("vm-late").await?;
            guest.order(json!({"do": "subscribed"})).await?;
            list_disks(guest).await
        };
        table.row("hvc3 gets a backend, and list_disks > liste_disques", late).await;
        guest.order(json!({"do": "close"})).await.map(drop)
    }
}

async fn list_disks(guest: &mut Guest) -> Result<(), Missing> {
    let answer = guest.order(json!({"do": "call", "root": ROOTS[0], "payload": {}})).await?;
    right(answer["answer"]["disks"][1]["id"] == "DISK1", &answer)
}

async fn notifications(guest: &mut Guest, far: &mut MvpServer, table: &mut Table) {
    let error = json!({"module": "m", "datetime": "d", "level": 30, "description": "from here"});
    let mut line = None;
    let told = async {
        guest.order(json!({"do": "publish", "topic": ERROR, "payload": error})).await?;
        let wanted = |l: &Line| l.tells("erreur") && l.data()["message"] == "from here";
        line = Some(far.domain.expect("the error", wanted).await?);
        Ok(())
    };
    table.row("error > erreur", told).await;
    let once = async {
        // Dom0's router sends what is for everyone back to its sender too.
        if let Some(line) = line {
            far.domain.line(line.text());
        }
        let there = json!({"niveau": 40, "message": "from there"});
        far.domain.tell("tous", "erreur", &there);
        let received = |part| json!({"do": "received", "topic": ERROR, "part": part});
        guest.order(received("from there")).await?;
        let own = guest.order(received("from here")).await?;
        right(own["more"] == 0, &own)
    };
    table.row("erreur > error, and its own line that comes back is an echo", once).await;
}
