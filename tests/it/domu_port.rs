//! In a DomU: a serial port that is another, is nobody's or somebody else's, and what crosses it meanwhile.

use crate::confined::is_confined;
use crate::peers::legacy::notification;
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, Disks, ERROR, Gateway, Line, MqttPeer, MvpServer, NEW_FILE, Pty, ROOTS,
};
use crate::setting::{Ended, Outcome, PROGRAM, mappings, passerelle, until};
use crate::store::STORE;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A DomU's own broker, an application on it, and the gateway.
struct DomU {
    app: MqttPeer,
    gateway: Gateway,
    broker: Broker,
}

impl DomU {
    /// On a port, configured further.
    async fn on(port: &Path, configure: impl FnOnce(Gateway) -> Gateway) -> Outcome<Self> {
        let mut broker = Broker::start().await?;
        let filters = ["system/+/+/response/vm-gui", ERROR, "passerelle/dom0/domains/Dom0"];
        let app = MqttPeer::connect(&broker.socket(), "vm-gui", &filters).await?;
        let gateway = Gateway::new(PROGRAM, mappings(), &broker.gate())?.in_domu(port, "vm-gui");
        let gateway = configure(gateway).start()?;
        broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]).await?;
        Ok(Self { app, gateway, broker })
    }

    /// Waits until what is behind the port can be called.
    async fn is_served(&mut self) -> Outcome {
        let requests = ROOTS.map(|root| format!("{root}/request"));
        Ok(self.broker.subscribed("*", requests).await?)
    }

    async fn is_answered(&mut self) -> Outcome {
        let answer = self.app.call("system/disks/list_disks", &json!({})).await?;
        assert_eq!(answer.json()["disks"][1]["id"], "DISK1");
        Ok(())
    }

    async fn tell(&mut self, description: &str) -> Outcome {
        let event =
            json!({"module": "m", "datetime": "d", "level": 30, "description": description});
        self.app.publish(Message::new(ERROR, event.to_string())).await?;
        Ok(())
    }

    async fn is_unavailable(&mut self, why: &str) -> Outcome {
        let shows = |m: &Message| {
            let status = m.json();
            status["state"] == "unavailable"
                && status["cause"].as_str().is_some_and(|c| c.contains(why))
        };
        self.app.expect(why, shows).await?;
        Ok(())
    }
}

fn says(text: &str) -> impl Fn(&Line) -> bool {
    move |line| line.tells("erreur") && line.data()["message"] == text
}

#[tokio::test]
async fn a_port_that_another_program_sets_cooked_is_put_right() -> Outcome {
    let (pty, mut far) = Pty::open("sys-usb")?;
    let mut on = DomU::on(pty.path(), |gateway| gateway).await?;
    pty.raw().await?;
    pty.cook()?;
    // As Dom0 does, which sends what is for everyone back to its sender too: the kernel would echo it for ever.
    on.tell("from here").await?;
    let line = far.expect("the event", says("from here")).await?;
    far.line(line.text().trim_end());
    pty.raw().await?;
    on.gateway.logged("had changed the settings of its port", 1).await?;
    let note =
        |m: &Message| m.json()["cause"].as_str().is_some_and(|c| c.contains("so often so far: 1"));
    on.app.expect("the cause", note).await?;
    on.is_served().await?;
    let _far = MvpServer::over(far, Disks::new()?);
    on.is_answered().await
}

#[tokio::test]
async fn what_a_dom0_sends_back_of_an_echo_goes_round_once() -> Outcome {
    let (pty, mut far) = Pty::open("sys-usb")?;
    let mut on = DomU::on(pty.path(), |gateway| gateway).await?;
    pty.raw().await?;
    let event = |text: &str| {
        notification("sys-usb", "tous", "erreur", &json!({"niveau": 40, "message": text}))
    };
    let (wire, copies) = (far.wire(), far.wire());
    let router = tokio::spawn(async move {
        // What is for everyone it gives to everyone, its sender as well.
        while let Ok(line) = far.expect("an event", |line| line.tells("erreur")).await {
            copies.line(line.text().trim_end());
        }
    });
    for round in 1..=3 {
        pty.cook()?;
        wire.line(&event("from there"));
        pty.raw().await?;
        wire.line(&event("last"));
        on.app.expect("the last", |m| m.json()["description"] == "last").await?;
        let times = on.app.inbox.count(|m| m.json()["description"] == "from there");
        // One may be on its way for long.
        assert!((1..=2).contains(&times), "{times} times in round {round}");
        on.app.inbox.clear();
    }
    let note =
        |m: &Message| m.json()["cause"].as_str().is_some_and(|c| c.contains("so often so far: 3"));
    on.app.expect("the cause", note).await?;
    router.abort();
    Ok(())
}

#[tokio::test]
async fn a_port_that_another_program_has_hold_bytes_back_is_put_right() -> Outcome {
    let (pty, far) = Pty::open("sys-usb")?;
    let mut on = DomU::on(pty.path(), |gateway| gateway).await?;
    pty.raw().await?;
    for least in [0, 250] {
        pty.holds_back(least)?;
        far.tell("tous", "erreur", &json!({"niveau": 40, "message": "short"}));
        on.app.expect("the event", |m| m.json()["description"] == "short").await?;
    }
    on.gateway.logged("channel connected", 1).await?;
    assert!(!on.gateway.log().contains("channel lost"));
    Ok(())
}

#[tokio::test]
async fn the_settings_of_a_port_are_looked_at_though_nothing_comes() -> Outcome {
    let (pty, _far) = Pty::open("sys-usb")?;
    let on = DomU::on(pty.path(), |gateway| gateway).await?;
    pty.raw().await?;
    pty.cook()?;
    pty.raw().await?;
    on.gateway.logged("WARN another program had changed the settings of its port", 1).await?;
    Ok(())
}

#[tokio::test]
async fn two_gateways_do_not_share_a_port() -> Outcome {
    let (pty, far) = Pty::open("sys-usb")?;
    let mut first = DomU::on(pty.path(), |gateway| gateway).await?;
    pty.raw().await?;
    first.is_served().await?;
    let _far = MvpServer::over(far, Disks::new()?);
    let mut second = DomU::on(pty.path(), |gateway| gateway).await?;
    let why = "another program has it, such as a second gateway";
    second.gateway.logged(why, 1).await?;
    second.is_unavailable(why).await?;
    for _ in 0..20 {
        first.is_answered().await?;
    }
    first.gateway.terminate()?;
    first.gateway.ended().await?;
    second.is_served().await?;
    second.is_answered().await
}

#[tokio::test]
async fn half_a_line_from_before_a_restart_costs_no_other() -> Outcome {
    let (pty, far) = Pty::open("sys-usb")?;
    let mut on = DomU::on(pty.path(), |gateway| gateway.with(STORE)).await?;
    pty.raw().await?;
    // Any JSON is a message, whatever its blanks.
    let line = |text: &str| {
        let line =
            notification("sys-usb", "tous", "erreur", &json!({"niveau": 40, "message": text}));
        line.replacen('{', "{ ", 1)
    };
    let halved = line("halved");
    let (begin, end) = halved.split_at(halved.len() - 20);
    far.raw(format!("{}\n{begin}", line("before")));
    on.app.expect("the first", |m| m.json()["description"] == "before").await?;
    on.gateway.terminate()?;
    on.gateway.ended().await?;
    // Nobody has the port: that is dropped when it is opened.
    far.line(end);
    on.gateway.run()?;
    on.gateway.logged("channel connected", 2).await?;
    far.line(&line("after"));
    on.app.expect("the next", |m| m.json()["description"] == "after").await?;
    // Another gateway goes on with a line of which nothing was lost.
    let halved = line("whole");
    let (begin, end) = halved.split_at(halved.len() - 20);
    far.raw(format!("{}\n{begin}", line("before that")));
    on.app.expect("the first", |m| m.json()["description"] == "before that").await?;
    on.gateway.terminate()?;
    on.gateway.ended().await?;
    on.gateway.run()?;
    on.gateway.logged("channel connected", 3).await?;
    far.line(end);
    on.app.expect("the whole line", |m| m.json()["description"] == "whole").await?;
    Ok(())
}

#[tokio::test]
async fn half_a_line_that_was_written_before_a_restart_comes_whole() -> Outcome {
    let (pty, mut far) = Pty::open("sys-usb")?;
    let stored = |gateway: Gateway| gateway.with_key("grace = \"100ms\"").with(STORE);
    let mut on = DomU::on(pty.path(), stored).await?;
    pty.raw().await?;
    on.tell("first").await?;
    far.expect("the first", says("first")).await?;
    far.stop_reading();
    let long = "x".repeat(200_000);
    on.tell(&long).await?;
    on.tell("last").await?;
    // Once it is answered, both are taken.
    far.tell("tous", "erreur", &json!({"niveau": 40, "message": "from there"}));
    on.app.expect("the answer", |m| m.json()["description"] == "from there").await?;
    on.gateway.terminate()?;
    on.gateway.ended().await?;
    far.tell("tous", "test", &json!({}));
    far.read_again();
    on.gateway.run()?;
    far.expect("the whole line", says(&long)).await?;
    far.expect("the next", says("last")).await?;
    Ok(())
}

/// Has a link lead to another port, at once.
fn lead(link: &Path, to: &Path) -> Outcome {
    let new = link.with_extension("new");
    symlink(to, &new)?;
    fs::rename(new, link)?;
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_made_anew_is_found() -> Outcome {
    let place = tempfile::tempdir()?;
    let link = place.path().join("hvc2");
    let (before, far_before) = Pty::open("sys-usb")?;
    symlink(before.path(), &link)?;
    let mut on = DomU::on(&link, |gateway| gateway).await?;
    before.raw().await?;
    let (after, far) = Pty::open("sys-usb")?;
    lead(&link, after.path())?;
    // Its far end hangs up.
    drop((before, far_before));
    after.raw().await?;
    on.is_served().await?;
    let _far = MvpServer::over(far, Disks::new()?);
    on.is_answered().await
}

#[tokio::test]
async fn a_link_that_leads_to_another_port_is_followed_though_the_old_one_lives() -> Outcome {
    let place = tempfile::tempdir()?;
    let link = place.path().join("hvc2");
    let (before, _far_before) = Pty::open("sys-usb")?;
    symlink(before.path(), &link)?;
    let mut on = DomU::on(&link, |gateway| gateway).await?;
    before.raw().await?;
    let (after, far) = Pty::open("sys-usb")?;
    lead(&link, after.path())?;
    after.raw().await?;
    let _far = MvpServer::over(far, Disks::new()?);
    on.is_served().await?;
    on.is_answered().await
}

#[tokio::test]
async fn what_the_confinement_forbids_is_said_as_that() -> Outcome {
    let place = tempfile::tempdir()?;
    let link = place.path().join("hvc2");
    let mut on = DomU::on(&link, |gateway| gateway).await?;
    let is_confined = is_confined(&on.gateway).await?;
    let (pty, far) = Pty::open("sys-usb")?;
    symlink(pty.path(), &link)?;
    if is_confined {
        on.gateway.logged("the gateway is confined to the devices that it started with", 1).await?;
        on.is_unavailable("restart it").await?;
        // As it says.
        on.gateway.terminate()?;
        on.gateway.ended().await?;
        on.gateway.run()?;
    }
    pty.raw().await?;
    on.is_served().await?;
    let _far = MvpServer::over(far, Disks::new()?);
    on.is_answered().await
}

#[tokio::test]
async fn what_is_no_serial_port_is_named() -> Outcome {
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "text")?;
    fs::create_dir(at("folder"))?;
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0)?;
    symlink("/dev/null", at("null"))?;
    let kinds = [
        ("file", "a regular file"),
        ("folder", "a directory"),
        ("fifo", "a FIFO"),
        ("null", "a device that is no terminal"),
    ];
    for (name, kind) in kinds {
        let mut on = DomU::on(&at(name), |gateway| gateway).await?;
        let why = format!("it is {kind}, and no serial port");
        on.is_unavailable(&why).await?;
        on.gateway.logged(&why, 1).await?;
        let config = on.gateway.config_file().display().to_string();
        let checked =
            tokio::process::Command::new(PROGRAM).args(["check", &config]).output().await?;
        let said =
            String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("is {kind}, and no serial port")), "{said}");
    }
    assert_eq!(fs::read(at("file"))?, b"text");
    Ok(())
}

/// The sum of the last counters that the gateway has logged.
fn count(log: &str, what: &str) -> Option<usize> {
    let line = log.lines().rfind(|line| line.contains("counters in all"))?;
    let (_, rest) = line.split_once(&format!("{what}="))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[tokio::test]
async fn what_dom0_does_not_read_is_not_counted_as_delivered() -> Outcome {
    const ALL: usize = 500;
    let (pty, mut far) = Pty::open("sys-usb")?;
    let small = "[limits]\nqueue = \"64 KiB\"\nstuck = \"1s\"\n";
    let mut on = DomU::on(pty.path(), |gateway| gateway.with(small)).await?;
    pty.raw().await?;
    on.tell("first").await?;
    far.expect("the first", says("first")).await?;
    far.stop_reading();
    let long = "x".repeat(1000);
    for _ in 1..ALL {
        on.tell(&long).await?;
    }
    on.gateway.logged("domain_stuck", 1).await?;
    far.read_again();
    let ended = |on: &DomU| {
        let log = on.gateway.log();
        let [delivered, stuck] =
            ["delivered", "refused[domain_stuck]"].map(|what| count(&log, what));
        (delivered.unwrap_or_default(), stuck.unwrap_or_default())
    };
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let all_have_ended = async {
        while ended(&on).0 + ended(&on).1 < ALL {
            pace.tick().await;
            on.gateway.signal(Signal::USR1)?;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(crate::peers::DEADLINE, all_have_ended).await??;
    let (delivered, stuck) = ended(&on);
    assert_eq!(delivered + stuck, ALL);
    assert!(stuck > ALL / 2, "{stuck}");
    // All that was written is there before what is written now.
    on.tell("last").await?;
    far.expect("the last", says("last")).await?;
    let arrived = far.inbox.count(|line| line.tells("erreur") && line.data()["message"] == *long);
    assert_eq!(arrived + 1, delivered);
    Ok(())
}

#[tokio::test]
async fn nobody_behind_the_port_is_told_of_as_that() -> Outcome {
    let place = tempfile::tempdir()?;
    let short = "[limits]\naway = \"1s\"\n";
    let mut on = DomU::on(&place.path().join("hvc2"), |gateway| gateway.with(short)).await?;
    on.gateway.logged("no longer a legacy domain here", 1).await?;
    let no_port = |m: &Message| m.json()["cause"].as_str().is_some_and(|c| c.contains("no port"));
    on.app.expect("the cause", no_port).await?;
    on.tell("for nobody").await?;
    let said = |e: &Ended| {
        e.out.contains("no_such_domain") || on.gateway.log().contains("nobody is behind")
    };
    assert!(said(&until(&on.gateway, "status", &[], said).await?));
    passerelle(&on.gateway, "status", &[]).await?;
    Ok(())
}
