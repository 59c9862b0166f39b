//! Observing: the old router goes on as if nothing stood between it and the domains.

use crate::peers::legacy::{command, notification};
use crate::peers::{DEADLINE, Disks, Gateway, LegacyDomain, Missing, MvpRouter, MvpServer};
use crate::recording::{Recorder, replay};
use crate::setting::{Ended, Outcome, PROGRAM, mappings, passerelle, until};
use passerelle::edge::watch::{Change, Watch};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

/// A gateway that observes, without any broker.
struct Observed {
    gateway: Gateway,
    sockets: TempDir,
    relay: TempDir,
}

impl Observed {
    fn start() -> Outcome<Self> {
        Self::start_with("")
    }

    fn start_with(more: &str) -> Outcome<Self> {
        let (sockets, relay) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent/mqtt.sock"))?
            .on_dom0(sockets.path())
            .with(&format!("[observe]\nrelay = \"{}\"\n{more}", relay.path().display()))
            .start()?;
        Ok(Self { gateway, sockets, relay })
    }

    fn own(&self, name: &str) -> PathBuf {
        self.sockets.path().join(format!("{name}-msg.sock"))
    }

    fn offered(&self, name: &str) -> PathBuf {
        self.relay.path().join(format!("{name}-msg.sock"))
    }

    /// The bare socket of a domain.
    fn backend(&self, name: &str) -> Outcome<UnixListener> {
        Ok(UnixListener::bind(self.own(name))?)
    }

    /// What connects to a domain where the router does, as soon as it can.
    async fn client(&self, name: &str) -> Outcome<UnixStream> {
        let mut watch = Watch::new(&self.offered(name))?;
        in_time("the relay's socket", watch.next()).await??;
        Ok(UnixStream::connect(self.offered(name)).await?)
    }

    /// What `passerelle coverage` says, and its exit code.
    async fn coverage(&self, more: &[&str]) -> Outcome<(i32, String)> {
        let config = self.gateway.config_file();
        let mut command = Command::new(PROGRAM);
        command.arg("coverage").arg("--config").arg(config).args(more);
        let output = command.output().await?;
        let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        Ok((output.status.code().unwrap_or(-1), text))
    }

    /// Ends it and reads what it has learnt: each message's domain, name, receiver and verdict, with
    /// its row or reason; and the whole.
    async fn learnt(&mut self) -> Outcome<(Vec<String>, Value)> {
        self.gateway.terminate()?;
        self.learnt_after().await
    }

    /// The same, once it has been told to end.
    async fn learnt_after(&mut self) -> Outcome<(Vec<String>, Value)> {
        assert!(self.gateway.ended().await?.success());
        let (_, text) = self.coverage(&["--json"]).await?;
        let whole: Value = serde_json::from_str(&text)?;
        let messages = whole["messages"].as_array().into_iter().flatten();
        let said = |m: &Value| {
            let by = m["row"].as_str().or(m["reason"].as_str()).unwrap_or_default().to_owned();
            let word = |key: &str| m[key].as_str().unwrap_or("-").to_owned();
            let of = ["domain", "type", "name", "to", "verdict"].map(word).join(" ");
            format!("{of} {by}").trim_end().to_owned()
        };
        Ok((messages.map(said).collect(), whole))
    }
}

async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> Outcome<T> {
    let waited = tokio::time::timeout(DEADLINE, done).await;
    Ok(waited.map_err(|_| Missing::new(format!("waited for {what} in vain")))?)
}

async fn accept(backend: &UnixListener) -> Outcome<UnixStream> {
    Ok(in_time("the gateway", backend.accept()).await??.0)
}

async fn line(stream: &mut BufReader<UnixStream>) -> Outcome<String> {
    let mut line = String::new();
    in_time("a line", stream.read_line(&mut line)).await??;
    Ok(line)
}

/// Bytes of no meaning, the same each time.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

#[tokio::test]
async fn what_is_said_is_recorded_and_a_mapping_is_tried_on_it() -> Outcome {
    let (sockets, relay) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent/mqtt.sock"))?
        .on_dom0(sockets.path())
        .with_control()
        .with(&format!("[observe]\nrelay = \"{}\"\n", relay.path().display()))
        .start()?;
    let mut router = MvpRouter::start(relay.path())?;
    let mut gui = LegacyDomain::start(sockets.path(), "vm-gui")?;
    let _usb = MvpServer::start(sockets.path(), "sys-usb", Disks::new()?)?;
    router.connected("vm-gui").await?;
    router.connected("sys-usb").await?;
    let recorder = Recorder::start(&gateway, "observed").await?;
    for _ in 0..2 {
        gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    }
    let listed = json!({"nom_disque": "__repository__"});
    gui.call("Dom0", "liste_fichiers", &listed, "liste_fichiers").await?;
    gui.ask("vm-scan", "scan_fichier", &json!({"n": 1}));
    gui.tell("tous", "test", &json!({}));
    gui.expect("the fence", |line| line.tells("test")).await?;
    let file = recorder.ended(&mut gateway).await?;

    let psec = mappings().join("psec.toml").display().to_string();
    let played = replay(&file, &["-m", &psec]).await?;
    assert_eq!(played.code, 1, "{played}");
    for kind in [
        "2  liste_disques of vm-gui: written to sys-usb\n",
        "2  liste_disques of sys-usb: written to vm-gui",
        "1  liste_fichiers of vm-gui: written to Dom0 for vm-gui\n",
        "1  scan_fichier of vm-gui: refused as not_mapped",
    ] {
        assert!(played.out.contains(kind), "{kind}: {played}");
    }
    Ok(())
}

#[tokio::test]
async fn the_old_router_goes_on_and_what_it_carries_is_learnt() -> Outcome {
    let mut observed = Observed::start()?;
    let mut router = MvpRouter::start(observed.relay.path())?;
    let mut gui = LegacyDomain::start(observed.sockets.path(), "vm-gui")?;
    let usb = MvpServer::start(observed.sockets.path(), "sys-usb", Disks::new()?)?;
    router.connected("vm-gui").await?;
    router.connected("sys-usb").await?;

    let disks = gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    assert_eq!(*disks.data(), json!(["Clé Élève", "DISK1"]));
    let listed = json!({"nom_disque": "__repository__"});
    gui.call("Dom0", "liste_fichiers", &listed, "liste_fichiers").await?;
    // The delete bug, a command of somebody's own, and what the mapping does not publish.
    gui.ask("sys-usb", "copie_fichier", &json!({"nom_fichier": "a.txt", "nom_disque": "DISK1"}));
    gui.ask("sys-usb", "copie_fichier", &json!({"disk": "DISK1", "filepath": "a.txt"}));
    gui.ask("vm-scan", "scan\u{1b}[2J", &json!({"n": 1}));
    gui.line("no message");
    gui.line(&command("vm-x", "sys-usb", "liste_disques", &json!({})));
    usb.domain.tell("tous", "disque", &json!({"nom": "D", "etat": "présent"}));
    gui.expect("the event", |line| line.tells("disque")).await?;
    gui.tell("tous", "test", &json!({}));
    gui.expect("the fence", |line| line.tells("test")).await?;

    let (messages, _) = observed.learnt().await?;
    assert_eq!(
        messages,
        [
            "Dom0 reponse liste_fichiers vm-gui dom0",
            "Dom0 notification etat_domu tous gateway",
            "sys-usb reponse liste_disques vm-gui covered LISTE_DISQUES",
            // The shipped router believes any `source`.
            "sys-usb reponse liste_disques vm-x covered LISTE_DISQUES",
            "sys-usb notification disque tous legacy_only",
            "sys-usb notification etat_domu Dom0 gateway",
            "vm-gui -   refused not_json",
            "vm-gui commande copie_fichier sys-usb covered SUPPRIME_FICHIER",
            "vm-gui commande copie_fichier sys-usb refused missing_argument",
            "vm-gui commande liste_disques sys-usb covered LISTE_DISQUES",
            "vm-gui commande liste_disques sys-usb refused spoofed_source",
            "vm-gui commande liste_fichiers Dom0 covered LISTE_FICHIERS",
            "vm-gui commande scan\u{1b}[2J vm-scan refused not_mapped",
            "vm-gui notification test tous legacy_only",
        ]
    );
    let (code, table) = observed.coverage(&[]).await?;
    assert_eq!(code, 1);
    for shown in [
        "commande  liste_disques        sys-usb           1",
        "NO: missing_argument",
        "vm-gui: commande scan\\u{1b}[2J to vm-scan: not_mapped",
        "| {\"type\":\"commande\",\"source\":\"vm-gui\",\"destination\":\"vm-scan\",",
        "-> write a row [[command]] for",
        "8 covered, 6 not covered",
    ] {
        assert!(table.contains(shown), "{shown:?} in\n{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(!table.contains('\u{1b}'));
    Ok(())
}

#[tokio::test]
async fn every_byte_passes_unchanged_both_ways() -> Outcome {
    let mut observed = Observed::start()?;
    let backend = observed.backend("vm-gui")?;
    let domain = accept(&backend).await?;
    let router = observed.client("vm-gui").await?;
    const SIZE: usize = 5_000_001;
    let (said, sent) = (noise(1, SIZE), noise(2, SIZE));
    let (mut domain_reads, mut domain_writes) = domain.into_split();
    let (mut router_reads, mut router_writes) = router.into_split();
    let (mut heard, mut got) = (vec![0; SIZE], vec![0; SIZE]);
    let all = async {
        tokio::try_join!(
            domain_writes.write_all(&said),
            router_writes.write_all(&sent),
            router_reads.read_exact(&mut heard),
            domain_reads.read_exact(&mut got),
        )
    };
    in_time("all bytes", all).await??;
    assert!(heard == said && got == sent);
    let (_, whole) = observed.learnt().await?;
    assert_eq!(whole["domains"]["vm-gui"]["discarded"], 0);
    Ok(())
}

#[tokio::test]
async fn a_router_that_restarts_finds_what_was_said_meanwhile() -> Outcome {
    let observed = Observed::start()?;
    let backend = observed.backend("vm-gui")?;
    let mut domain = accept(&backend).await?;
    let mut router = BufReader::new(observed.client("vm-gui").await?);
    domain.write_all(b"one\n").await?;
    assert_eq!(line(&mut router).await?, "one\n");
    // A second one waits, as it does with a backend.
    let mut second = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
    domain.write_all(b"two\n").await?;
    assert_eq!(line(&mut router).await?, "two\n");
    drop(router);
    domain.write_all(b"three\n").await?;
    assert_eq!(line(&mut second).await?, "three\n");
    // What it says last reaches the domain, although it closes at once.
    let last = noise(3, 100_000);
    second.get_mut().write_all(&last).await?;
    drop(second);
    domain.write_all(b"four\n").await?;
    let mut got = vec![0; last.len()];
    in_time("what was said last", domain.read_exact(&mut got)).await??;
    assert!(got == last);
    domain.write_all(b"five\n").await?;
    let mut third = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
    // `four` may have gone to the second, which did not read it.
    let mut heard = line(&mut third).await?;
    if heard == "four\n" {
        heard = line(&mut third).await?;
    }
    assert_eq!(heard, "five\n");
    Ok(())
}

#[tokio::test]
async fn a_domain_that_restarts_goes_and_comes_back() -> Outcome {
    let observed = Observed::start()?;
    let backend = observed.backend("vm-gui")?;
    let mut domain = accept(&backend).await?;
    let mut router = observed.client("vm-gui").await?;
    let mut changes = Watch::new(&observed.offered("vm-gui"))?;
    let offered = Change::Appeared(observed.offered("vm-gui"));
    assert_eq!(in_time("the socket", changes.next()).await??, offered);
    // It speaks, and is gone before its router has read that.
    let last = noise(4, 1_000_000);
    domain.write_all(&last).await?;
    drop((domain, backend));
    std::fs::remove_file(observed.own("vm-gui"))?;
    let gone = Change::Disappeared(observed.offered("vm-gui"));
    assert_eq!(in_time("its end", changes.next()).await??, gone);
    let backend = observed.backend("vm-gui")?;
    let mut domain = accept(&backend).await?;
    assert_eq!(in_time("the socket", changes.next()).await??, offered);
    let mut again = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
    domain.write_all(b"back\n").await?;
    assert_eq!(line(&mut again).await?, "back\n");
    let mut heard = Vec::new();
    in_time("the end", router.read_to_end(&mut heard)).await??;
    assert!(heard == last);
    Ok(())
}

#[tokio::test]
async fn a_domain_s_socket_that_is_moved_away_and_back_is_offered_again() -> Outcome {
    let observed = Observed::start()?;
    let backend = observed.backend("vm-gui")?;
    let mut domain = accept(&backend).await?;
    drop(observed.client("vm-gui").await?);
    let mut changes = Watch::new(&observed.offered("vm-gui"))?;
    let offered = Change::Appeared(observed.offered("vm-gui"));
    assert_eq!(in_time("the socket", changes.next()).await??, offered);
    let (own, away) = (observed.own("vm-gui"), observed.sockets.path().join("away"));
    std::fs::rename(&own, &away)?;
    let gone = Change::Disappeared(observed.offered("vm-gui"));
    assert_eq!(in_time("its end", changes.next()).await??, gone);
    std::fs::rename(&away, &own)?;
    assert_eq!(in_time("the socket", changes.next()).await??, offered);
    let mut router = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
    domain.write_all(b"back\n").await?;
    assert_eq!(line(&mut router).await?, "back\n");
    Ok(())
}

#[tokio::test]
async fn a_domain_that_restarts_at_once_is_offered_every_time() -> Outcome {
    let observed = Observed::start()?;
    let mut before = None;
    for _ in 0..300 {
        // The old one goes with its connection when the new one is there.
        let backend = observed.backend("vm-gui")?;
        drop(before.take());
        let domain = accept(&backend).await?;
        before = Some((backend, domain));
        std::fs::remove_file(observed.own("vm-gui"))?;
    }
    let backend = observed.backend("vm-gui")?;
    drop(before);
    let mut domain = accept(&backend).await?;
    let mut router = BufReader::new(observed.client("vm-gui").await?);
    domain.write_all(b"back\n").await?;
    assert_eq!(line(&mut router).await?, "back\n");
    Ok(())
}

#[tokio::test]
async fn a_domain_s_socket_that_is_a_link_is_found_again() -> Outcome {
    let observed = Observed::start()?;
    let target = observed.sockets.path().join("console");
    std::os::unix::fs::symlink(&target, observed.own("vm-gui"))?;
    let mut changes = Watch::new(&observed.offered("vm-gui"))?;
    for _ in 0..2 {
        let backend = UnixListener::bind(&target)?;
        let mut domain = accept(&backend).await?;
        let offered = Change::Appeared(observed.offered("vm-gui"));
        assert_eq!(in_time("the socket", changes.next()).await??, offered);
        let mut router = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
        domain.write_all(b"here\n").await?;
        assert_eq!(line(&mut router).await?, "here\n");
        std::fs::remove_file(&target)?;
        drop((backend, domain));
        let gone = Change::Disappeared(observed.offered("vm-gui"));
        assert_eq!(in_time("its end", changes.next()).await??, gone);
    }
    Ok(())
}

#[tokio::test]
async fn what_somebody_removes_of_the_relay_is_made_anew_and_said() -> Outcome {
    let (sockets, above) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let relay = above.path().join("relay");
    std::fs::create_dir(&relay)?;
    std::fs::set_permissions(&relay, PermissionsExt::from_mode(0o711))?;
    let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent/mqtt.sock"))?
        .on_dom0(sockets.path())
        .with_key("confine = false")
        .with(&format!("[observe]\nrelay = \"{}\"\n", relay.display()))
        .start()?;
    let backend = UnixListener::bind(sockets.path().join("vm-gui-msg.sock"))?;
    let mut domain = accept(&backend).await?;
    let offered = relay.join("vm-gui-msg.sock");
    gateway.logged("offered to the router", 1).await?;
    std::fs::remove_file(&offered)?;
    gateway.logged("the relay's socket was removed: made anew", 1).await?;
    gateway.logged("offered to the router", 2).await?;
    std::fs::remove_dir_all(&relay)?;
    gateway.logged("the relay's folder was removed: made anew", 1).await?;
    gateway.logged("offered to the router", 3).await?;
    assert_eq!(std::fs::metadata(&relay)?.permissions().mode() & 0o777, 0o711);
    let mut router = BufReader::new(UnixStream::connect(&offered).await?);
    domain.write_all(b"here\n").await?;
    assert_eq!(line(&mut router).await?, "here\n");
    Ok(())
}

#[tokio::test]
async fn a_router_that_does_not_read_loses_whole_lines_and_holds_nobody_up() -> Outcome {
    let mut observed = Observed::start_with("[limits]\nqueue = \"64 KiB\"\n")?;
    let backend = observed.backend("sys-usb")?;
    let mut domain = accept(&backend).await?;
    let mut router = BufReader::new(observed.client("sys-usb").await?);
    let event = |i: u32| {
        let data = json!({"i": i, "more": "x".repeat(i as usize % 300)});
        notification("sys-usb", "vm-gui", "test", &data) + "\n"
    };
    // Far more than all buffers on the way hold: it is read all the same.
    for i in 0..10_000 {
        in_time("the gateway to read", domain.write_all(event(i).as_bytes())).await??;
    }
    in_time("the other way", router.get_mut().write_all(b"still here\n")).await??;
    let mut domain = BufReader::new(domain);
    assert_eq!(line(&mut domain).await?, "still here\n");
    observed.gateway.terminate()?;
    let (mut heard, mut next) = (0, 0);
    loop {
        let said = line(&mut router).await?;
        if said.is_empty() {
            break;
        }
        let i = (next..10_000).find(|&i| event(i) == said);
        next = i.ok_or_else(|| Missing::new(format!("torn, glued or late: {said}")))? + 1;
        heard += 1;
    }
    assert!(heard > 100 && heard < 10_000, "{heard}");
    let log = observed.gateway.log();
    assert_eq!(log.matches("what the router does not read is discarded").count(), 1);
    let (_, whole) = observed.learnt_after().await?;
    assert!(whole["domains"]["sys-usb"]["discarded"].as_u64() > Some(1_000_000), "{whole}");
    assert_eq!(whole["messages"][0]["count"], 10_000);
    Ok(())
}

#[tokio::test]
async fn a_domain_that_does_not_read_delays_no_other() -> Outcome {
    let observed = Observed::start()?;
    let (stuck, fine) = (observed.backend("vm-stuck")?, observed.backend("vm-fine")?);
    let (mut stuck, mut fine) = (accept(&stuck).await?, accept(&fine).await?);
    let mut to_stuck = observed.client("vm-stuck").await?;
    let mut to_fine = BufReader::new(observed.client("vm-fine").await?);
    // Until nothing more goes: flow control, as with a backend.
    let flood = noise(5, 20_000_000);
    let flood = tokio::spawn(async move {
        let _ = to_stuck.write_all(&flood).await;
    });
    for _ in 0..1000 {
        to_fine.get_mut().write_all(b"ping\n").await?;
        let mut ping = [0; 5];
        in_time("the ping", fine.read_exact(&mut ping)).await??;
        fine.write_all(b"pong\n").await?;
        assert_eq!(line(&mut to_fine).await?, "pong\n");
    }
    assert!(!flood.is_finished());
    let mut all = vec![0; 20_000_000];
    in_time("all of it", stuck.read_exact(&mut all)).await??;
    assert!(all == noise(5, 20_000_000));
    Ok(())
}

#[tokio::test]
async fn sockets_that_a_killed_gateway_left_are_taken_over_or_removed() -> Outcome {
    let mut observed = Observed::start()?;
    let backend = observed.backend("vm-gui")?;
    std::fs::set_permissions(observed.own("vm-gui"), PermissionsExt::from_mode(0o751))?;
    let other = observed.backend("vm-gone")?;
    let (first, gone) = (accept(&backend).await?, accept(&other).await?);
    for name in ["vm-gui", "vm-gone"] {
        drop(observed.client(name).await?);
    }
    // Whoever may connect to the domain's socket may connect to this one.
    let mode = std::fs::metadata(observed.offered("vm-gui"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o751);
    observed.gateway.kill().await?;
    drop((first, gone, other));
    std::fs::remove_file(observed.own("vm-gone"))?;
    let mut changes = Watch::new(&observed.relay.path().join("*-msg.sock"))?;
    for name in ["vm-gone", "vm-gui"] {
        let left = Change::Appeared(observed.offered(name));
        assert_eq!(in_time("a socket", changes.next()).await??, left);
    }
    observed.gateway.run()?;
    let mut domain = accept(&backend).await?;
    let mut seen = Vec::new();
    while seen.last() != Some(&Change::Appeared(observed.offered("vm-gui"))) {
        seen.push(in_time("the new socket", changes.next()).await??);
    }
    assert!(seen.contains(&Change::Disappeared(observed.offered("vm-gone"))), "{seen:?}");
    let mut router = BufReader::new(UnixStream::connect(observed.offered("vm-gui")).await?);
    domain.write_all(b"again\n").await?;
    assert_eq!(line(&mut router).await?, "again\n");
    // At its end it leaves nothing.
    observed.gateway.terminate()?;
    assert!(observed.gateway.ended().await?.success());
    assert_eq!(std::fs::read_dir(observed.relay.path())?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn what_is_learnt_survives_a_restart_and_is_judged_by_the_mapping_of_now() -> Outcome {
    let mut observed = Observed::start()?;
    let ask = command("vm-gui", "vm-scan", "scan_fichier", &json!({"chemin": "a"})) + "\n";
    for run in 1..=2 {
        if run == 2 {
            observed.gateway.run()?;
        }
        let backend = observed.backend("vm-gui")?;
        let mut domain = accept(&backend).await?;
        domain.write_all(ask.as_bytes()).await?;
        let mut router = BufReader::new(observed.client("vm-gui").await?);
        assert_eq!(line(&mut router).await?, ask);
        let (messages, whole) = observed.learnt().await?;
        assert_eq!(messages, ["vm-gui commande scan_fichier vm-scan refused not_mapped"]);
        assert_eq!(whole["messages"][0]["count"], run);
        std::fs::remove_file(observed.own("vm-gui"))?;
    }
    let config = observed.gateway.config_file();
    let rows = "dialect = \"psec\"\nrequesters = \"named\"\nrequester_member = \"source\"\n\
        [[command]]\nname = \"SCAN\"\nlegacy = \"scan_fichier\"\ntopic = \"business/scan\"\n\
        handler = \"vm-scan\"\n[[command.answer]]\nreponse = \"scan\"\n";
    let business = config.with_file_name("business.toml");
    std::fs::write(&business, rows)?;
    let text = std::fs::read_to_string(&config)?;
    let named = format!("mappings = [\"{}\", ", business.display());
    std::fs::write(&config, text.replace("mappings = [", &named))?;
    let (code, table) = observed.coverage(&[]).await?;
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("1 covered, 0 not covered"), "{table}");
    // What makes no sense is said.
    let file = observed.gateway.state_dir().join("coverage.json");
    std::fs::write(&file, "{\"version\":7}")?;
    let (code, said) = observed.coverage(&[]).await?;
    assert_eq!((code, said), (2, format!("error: {}: \"version\" is not 1\n", file.display())));
    std::fs::remove_file(&file)?;
    let (code, said) = observed.coverage(&[]).await?;
    assert_eq!((code, said.lines().count()), (2, 2), "{said}");
    Ok(())
}

#[tokio::test]
async fn status_and_ready_say_that_it_observes() -> Outcome {
    let mut observed = Observed::start()?;
    let pid = observed.gateway.id()?;
    let says = |e: &Ended| e.code == 0 && e.out.contains(&format!("process {pid}"));
    let status = until(&observed.gateway, "status", &[], says).await?;
    assert!(status.out.starts_with("passerelle dom0: observes for "), "{status}");
    let json = passerelle(&observed.gateway, "status", &["--json"]).await?;
    let json: Value = serde_json::from_str(&json.out)?;
    assert_eq!(json["gateway"]["state"], "observing");
    let ready = passerelle(&observed.gateway, "ready", &[]).await?;
    assert_eq!(ready.code, 1, "{ready}");
    assert!(ready.out.starts_with("not ready: the gateway observes"), "{ready}");
    // Nor may another one run in its folder.
    let second = passerelle(&observed.gateway, "run", &[]).await?;
    assert!(second.code == 2 && second.err.contains(&format!("process {pid} has")), "{second}");
    observed.gateway.terminate()?;
    observed.gateway.ended().await?;
    let ready = passerelle(&observed.gateway, "ready", &[]).await?;
    assert!(ready.out.contains("no gateway has run"), "{ready}");
    Ok(())
}

#[tokio::test]
async fn what_it_has_heard_is_of_now_and_judged_whatever_is_on_disk() -> Outcome {
    let mut observed = Observed::start()?;
    observed.gateway.logged("passerelle observes", 1).await?;
    observed.gateway.terminate()?;
    observed.gateway.ended().await?;
    observed.gateway.edit("passerelle.toml", "socket = \"\"", "socket = \"control.sock\"")?;
    observed.gateway.run_as_it_is()?;
    let mut router = MvpRouter::start(observed.relay.path())?;
    let mut gui = LegacyDomain::start(observed.sockets.path(), "vm-gui")?;
    router.connected("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.tell("tous", "test", &json!({}));
    gui.expect("the fence", |line| line.tells("test")).await?;
    let heard = |e: &Ended| e.out.contains("liste_disques") && e.out.contains("LISTE_DISQUES");
    until(&observed.gateway, "coverage", &[], heard).await?;
    let says = passerelle(&observed.gateway, "status", &[]).await?;
    assert!(says.code == 0 && says.out.contains(": observes for "), "{says}");
    let reload = passerelle(&observed.gateway, "reload", &[]).await?;
    assert!(reload.code == 2 && reload.err.contains("anything else needs a restart"), "{reload}");
    assert_eq!(passerelle(&observed.gateway, "log", &["warn"]).await?.out, "warn\n");

    observed.gateway.edit("passerelle.toml", "psec.toml\"", "absent.toml\"")?;
    let judged = passerelle(&observed.gateway, "coverage", &[]).await?;
    assert!(judged.code == 1 && heard(&judged), "{judged}");
    assert!(judged.err.contains("absent.toml"), "{judged}");
    assert!(judged.out.contains("judged by the mapping that the gateway runs with"), "{judged}");
    Ok(())
}

#[tokio::test]
async fn a_fifo_where_it_keeps_what_it_learns_holds_nobody_up() -> Outcome {
    let mut observed = Observed::start()?;
    observed.gateway.logged("passerelle observes", 1).await?;
    observed.gateway.terminate()?;
    observed.gateway.ended().await?;
    let file = observed.gateway.state_dir().join("coverage.json");
    std::fs::remove_file(&file)?;
    mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0)?;
    let (code, text) = observed.coverage(&[]).await?;
    assert!(code == 2 && text.contains("no regular file"), "{code} {text}");
    observed.gateway.run()?;
    observed.gateway.logged("it is replaced", 1).await?;
    observed.gateway.logged("passerelle observes", 2).await?;
    Ok(())
}
