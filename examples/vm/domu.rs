//! The gateway in a DomU, at its real `/dev/hvc2`; Dom0 and all behind it are MVP.

use crate::guest::{Guest, Images, connect};
use crate::peers::legacy::Line;
use crate::peers::{ERROR, LegacyDomain, Missing, MvpServer, ROOTS, Table};
use crate::listing;
use serde_json::{Value, json};
use std::path::Path;

/// The whole scene: `vm-gui` has moved, and is in the guest.
pub async fn scene(images: &Images, table: &mut Table) -> Result<(), Missing> {
    table.scene("DomU: the gateway, a broker and vm-gui (MQTT) at hvc2, Dom0 (MVP) at the socket");
    let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
    let mut booted = Err(Missing::new("not booted"));
    let boot = async {
        booted = Guest::boot_in_qemu(images, sockets.path(), "vm-gui").await;
        booted.as_ref().map(drop).map_err(|missing| Missing::new(missing.to_string()))
    };
    table.row("the guest boots", boot).await;
    let mut guest = booted?;
    if let Err(missing) = play(&mut guest, sockets.path(), table).await {
        return Err(Missing::new(format!("{missing}\n{}", guest.console())));
    }
    table.row("the guest powers off", guest.power_off()).await;
    Ok(())
}

async fn play(guest: &mut Guest, sockets: &Path, table: &mut Table) -> Result<(), Missing> {
    let mut far = dom0(&sockets.join("vm-gui-msg.sock")).await?;
    // It comes before the gateway has set raw mode, so it may be echoed.
    far.domain.tell("tous", "erreur", &json!({"niveau": 30, "message": "too early"}));
    guest.order(json!({"do": "domu", "port": "/dev/hvc2"})).await?;
    let ready = async { guest.order(json!({"do": "subscribed"})).await.map(drop) };
    table.row("the gateway opens the port", ready).await;
    calls(guest, &mut far, table).await?;
    notifications(guest, &mut far, table).await;
    let restart = async {
        guest.order(json!({"do": "restart"})).await?;
        list_disks(guest).await
    };
    table.row("the gateway ends and comes back, and list_disks > liste_disques", restart).await;
    let echoed = far.domain.inbox.count(|line| line.text().contains("too early"));
    table.note(&format!("lines from before raw mode that came back as an echo: {echoed}"));
    guest.order(json!({"do": "close"})).await?;
    late_port(guest, sockets, table).await
}

/// Dom0's router and `sys-usb`, both MVP: all that is behind the port.
async fn dom0(socket: &Path) -> Result<MvpServer, Missing> {
    let (reader, writer) = connect(socket).await?.into_split();
    let domain = LegacyDomain::over("sys-usb", reader, writer);
    Ok(MvpServer::over(domain, listing::disks()?))
}

async fn list_disks(guest: &mut Guest) -> Result<(), Missing> {
    let answer = guest.order(json!({"do": "call", "root": ROOTS[0], "payload": {}})).await?;
    right(answer["answer"]["disks"][1]["id"] == "DISK1", &answer)
}

async fn calls(guest: &mut Guest, far: &mut MvpServer, table: &mut Table) -> Result<(), Missing> {
    table.row("list_disks > liste_disques", list_disks(guest)).await;
    let large = listing::expected()?;
    let mut bytes = Value::Null;
    let call = async {
        let order = json!({"do": "call", "root": ROOTS[1], "payload": {"disk": "LARGE"}});
        let answer = guest.order(order).await?;
        bytes = answer["bytes"].clone();
        right(answer["listing"] == large, &answer)
    };
    table.row("list_files > liste_fichiers", call).await;
    table.note(&format!("{bytes} bytes"));
    let call = async {
        far.domain.ask("tous", "liste_composants", &json!({}));
        let answer = json!({"components": [{"id": "gui", "label": "GUI", "type": "app"}]});
        let topic = format!("{}/request", ROOTS[8]);
        guest.order(json!({"do": "received", "topic": topic, "answer": answer})).await?;
        let line = far.domain.expect("it", |line| line.answers("etat_composant")).await?;
        right(line.data()["composant"] == "gui" && line.value["source"] == "vm-gui", &line.value)
    };
    table.row("liste_composants > discover, from Dom0", call).await;
    Ok(())
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

/// A port whose backend comes only after the gateway has tried it.
async fn late_port(guest: &mut Guest, sockets: &Path, table: &mut Table) -> Result<(), Missing> {
    guest.order(json!({"do": "domu", "port": "/dev/hvc3"})).await?;
    let mut tries = Value::Null;
    let late = async {
        guest.order(json!({"do": "tried"})).await?;
        guest.plug_in(sockets, "vm-late").await?;
        let _far = dom0(&sockets.join("vm-late-msg.sock")).await?;
        tries = guest.order(json!({"do": "subscribed"})).await?;
        list_disks(guest).await
    };
    table.row("hvc3 is ENODEV, then gets a backend: list_disks > liste_disques", late).await;
    table.note(&format!("opened in vain: {} times", tries["tries_in_vain"]));
    guest.order(json!({"do": "close"})).await?;
    Ok(())
}

fn right(is: bool, answer: &Value) -> Result<(), Missing> {
    if is { Ok(()) } else { Err(Missing::new(format!("not the right answer: {answer}"))) }
}
