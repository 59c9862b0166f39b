//! The store when its disk is full, read-only or damaged, and what is seen of it from outside.

use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, Dom0, ERROR, Gateway, Missing, MqttPeer};
use crate::setting::{Outcome, setting_with, until};
use crate::store::{STORE, arrive, lines, number, store, stored, taken, tell};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The folder of the store is a file, so that nothing can be kept: the gateway goes on in memory.
#[tokio::test]
async fn without_a_folder_it_goes_on_in_memory_and_says_so() -> Outcome {
    let broker = Broker::start().await?;
    let tables = "[store]\ndir = \"passerelle.toml/store\"\n";
    let mut setting = setting_with(broker, |gateway| gateway.with(tables)).await?;
    let status = until(&setting.gateway, "status", &[], |e| e.out.contains("not kept on disk"));
    assert!(status.await?.out.contains("passerelle.toml/store"));
    let mut gui = setting.legacy("vm-gui").await?;
    let _usb = setting.mvp_server().await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_kept_is_listed_and_thrown_away() -> Outcome {
    let mut setting = stored("").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..3);
    taken(&usb, &mut gui).await?;
    let listed = store(&setting.gateway, "list", &[]).await?;
    assert!(listed.out.contains("a gateway runs with it"), "{listed}");
    let usb_line = listed.out.lines().find(|line| line.starts_with("sys-usb"));
    assert!(usb_line.is_some_and(|line| line.contains(" 3 ")), "{listed}");
    let refused = store(&setting.gateway, "drop", &["sys-usb"]).await?;
    assert!(refused.code == 2 && refused.err.contains("stop it first"), "{refused}");
    setting.gateway.kill().await?;
    let dropped = store(&setting.gateway, "drop", &["sys-usb"]).await?;
    assert!(dropped.code == 0 && dropped.out.contains("3 records"), "{dropped}");
    let nothing = store(&setting.gateway, "drop", &["sys-usb"]).await?;
    assert_eq!(nothing.code, 1, "{nothing}");
    Ok(())
}

/// What is said to be kept is on disk, whatever somebody has done to the folder meanwhile.
#[tokio::test]
async fn a_store_that_is_removed_while_it_is_used_is_made_anew() -> Outcome {
    for at_the_end in [false, true] {
        let mut setting = stored("").await?;
        let usb = setting.legacy("sys-usb").await?;
        let mut gui = setting.legacy("vm-gui").await?;
        setting.broker.shut()?;
        setting.broker.kill().await?;
        tell(&usb, 0..3);
        taken(&usb, &mut gui).await?;
        let folder = setting.gateway.folder().join("store/sys-usb@");
        fs::remove_dir_all(&folder)?;
        if !at_the_end {
            tell(&usb, 3..4);
            setting.gateway.logged("it was removed while the gateway ran", 1).await?;
        }
        setting.gateway.terminate()?;
        setting.gateway.ended().await?;
        setting.gateway.logged("it was removed while the gateway ran", 1).await?;
        let listed = store(&setting.gateway, "list", &[]).await?;
        let usb_line = listed.out.lines().find(|line| line.starts_with("sys-usb"));
        let count = if at_the_end { " 3 " } else { " 4 " };
        assert!(usb_line.is_some_and(|line| line.contains(count)), "{listed}");
    }
    Ok(())
}

/// Where the kernel's boot id cannot be read, what that costs is said: calls end with the gateway.
#[tokio::test]
async fn without_a_boot_id_it_says_that_calls_do_not_outlive_it() -> Outcome {
    let script = "mount --bind /dev/null /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let tried = Command::new(hidden[0]).args(&hidden[1..]).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("not tested: this machine lets nobody hide the boot id");
        return Ok(());
    }
    let broker = Broker::start().await?;
    let setting = setting_with(broker, |gateway| gateway.started_by(&hidden).with(STORE)).await?;
    setting.gateway.logged("not kept on disk: calls under way", 1).await?;
    let status = until(&setting.gateway, "status", &[], |e| e.out.contains("not kept on disk"));
    let status = status.await?;
    for part in ["random/boot_id: it holds no id", "`expired`", "let the gateway read that file"] {
        assert!(status.out.contains(part), "{status}");
    }
    Ok(())
}

/// What a folder holds.
fn names(folder: &std::path::Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Whatever was in it meanwhile: a store that holds nothing leaves nothing but its lock.
#[tokio::test]
async fn an_empty_store_leaves_no_segments() -> Outcome {
    let mut setting = stored("").await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    tell(&usb, 0..3);
    taken(&usb, &mut gui).await?;
    arrive(&mut observer, 0..3).await?;
    let folder = setting.gateway.folder().join("store");
    assert!(names(&folder)?.contains(&"sys-usb@".to_owned()));
    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    assert_eq!(names(&folder)?, ["lock"]);
    Ok(())
}

/// A small disk of its own, if this machine lets us have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// A disk and a gateway that has its store there. What could be tested without is said.
    async fn new(more: &str) -> Outcome<Option<(Self, Dom0)>> {
        let disk = Self(tempfile::tempdir()?);
        if !disk.mount("size=256k") {
            eprintln!("not tested: this machine lets nobody mount a small disk");
            return Ok(None);
        }
        let tables = format!("[store]\ndir = \"{}\"\n{more}", disk.0.path().display());
        let broker = Broker::start().await?;
        Ok(Some((disk, setting_with(broker, |gateway| gateway.with(&tables)).await?)))
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path());
        mount.status().is_ok_and(|status| status.success())
    }

    /// Lets nobody, or everybody, write to it. Nobody may have anything open there.
    fn set_read_only(&self, read_only: bool) -> bool {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        self.mount(options)
    }

    /// Takes all the room that there is; gives the file that does.
    fn fill(&self) -> Outcome<PathBuf> {
        let path = self.0.path().join("filler");
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

/// Says so much that neither memory nor the store has room for all: those that were taken in arrive, in
/// their order, and the others are refused.
async fn full(setting: &mut Dom0, why: &str) -> Outcome {
    const ALL: usize = 4000;
    let mut usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..ALL);
    taken(&usb, &mut gui).await?;
    let log = setting.gateway.log();
    assert!(log.contains(why), "{why} is not in the log");
    // A domain that has less is not touched by it, and calls between legacy domains even less.
    gui.ask("sys-usb", "liste_disques", &json!({}));
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    let mut told = Vec::new();
    while told.last().is_none_or(|n| *n < ALL) {
        let wanted = |m: &Message| number(m).is_some();
        match observer.inbox.expect_within(Duration::from_millis(100), "a message", wanted).await {
            Ok(message) => told.extend(number(&message)),
            // All that was kept is out, or else this comes after it.
            Err(_) => tell(&usb, ALL..ALL + 1),
        }
    }
    assert!(told.is_sorted_by(|a, b| a < b), "in order, and once: {told:?}");
    if setting.gateway.log().contains("the store takes nothing") {
        setting.gateway.logged("takes what comes again", 1).await?;
    }
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    let log = setting.gateway.log();
    let counters = log.lines().find(|l| l.contains("passerelle has ended")).unwrap_or_default();
    let refused = counters.split("refused[store_full]=").nth(1).and_then(|n| n.split(' ').next());
    let refused: usize = refused.and_then(|n| n.parse().ok()).unwrap_or_default();
    assert!(refused > 0 && told.len() > 100, "{refused} refused, {} told: {counters}", told.len());
    let told = told.iter().filter(|n| **n < ALL).count();
    assert!(told + refused >= ALL, "{told} told, {refused} refused");
    Ok(())
}

#[tokio::test]
async fn a_full_store_refuses_what_has_no_room_and_keeps_the_rest() -> Outcome {
    let broker = Broker::start().await?;
    let tables = "[store]\ndir = \"store\"\nsize = \"1 MiB\"\n[limits]\noutbox = \"64 KiB\"\n";
    let mut setting = setting_with(broker, |gateway| gateway.with(tables)).await?;
    full(&mut setting, "reason=\"store_full\"").await?;
    assert!(!setting.gateway.log().contains("the store takes nothing"), "the disk has room");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_told_and_memory_goes_on() -> Outcome {
    let disk = SmallDisk::new("[limits]\noutbox = \"64 KiB\"\n").await?;
    let Some((_disk, mut setting)) = disk else { return Ok(()) };
    full(&mut setting, "the store takes nothing").await
}

/// What came while the disk was full is on it as soon as it takes something again, and in its order.
#[tokio::test]
async fn a_disk_that_has_room_again_has_what_came_meanwhile() -> Outcome {
    let Some((disk, mut setting)) = SmallDisk::new("").await? else { return Ok(()) };
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..10);
    taken(&usb, &mut gui).await?;
    let filler = disk.fill()?;
    tell(&usb, 10..200);
    taken(&usb, &mut gui).await?;
    assert!(setting.gateway.log().contains("the store takes nothing"), "the disk is not full");
    let kept = lines(&store(&setting.gateway, "show", &["sys-usb"]).await?).len();
    assert!((10..200).contains(&kept), "{kept}");
    fs::remove_file(filler)?;
    let mut next = 200;
    // Paces the attempts: once a second is soon enough for the gateway.
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while !setting.gateway.log().contains("takes what comes again") {
        pace.tick().await;
        tell(&usb, next..next + 1);
        next += 1;
        taken(&usb, &mut gui).await?;
        assert!(next < 400, "it takes nothing any more");
    }
    setting.gateway.kill().await?;
    setting.gateway.run()?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..next).await
}

/// A disk that has become read-only costs nothing that is on it, and the gateway goes on without.
#[tokio::test]
async fn a_read_only_disk_is_told_and_keeps_what_it_has() -> Outcome {
    let Some((disk, mut setting)) = SmallDisk::new("").await? else { return Ok(()) };
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..20);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    assert!(disk.set_read_only(true), "it cannot be made read-only");
    setting.gateway.run()?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    let told = until(&setting.gateway, "status", &[], |e| e.out.contains("not kept on disk"));
    assert!(told.await?.out.contains("Read-only file system"));
    usb.connected().await?;
    tell(&usb, 100..101);
    let m = observer.expect("a message", |m| number(m).is_some()).await?;
    assert_eq!(number(&m), Some(100));
    setting.gateway.terminate()?;
    assert!(setting.gateway.ended().await?.success());
    assert!(disk.set_read_only(false), "it cannot be made writable");
    setting.gateway.run()?;
    arrive(&mut observer, 0..20).await
}

/// The files of a domain's log, in their order: there are some.
fn segments(gateway: &Gateway, domain: &str) -> Outcome<Vec<PathBuf>> {
    let folder = gateway.folder().join("store").join(format!("{domain}@"));
    let mut paths = Vec::new();
    for file in fs::read_dir(folder)? {
        paths.push(file?.path());
    }
    paths.sort();
    assert!(!paths.is_empty(), "{domain} has no log");
    Ok(paths)
}

/// A machine that lost its power in the middle of a record costs that record, and it is told.
#[tokio::test]
async fn a_torn_end_is_cut_off_and_told() -> Outcome {
    let mut setting = stored("").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..20);
    taken(&usb, &mut gui).await?;
    setting.gateway.kill().await?;
    let paths = segments(&setting.gateway, "sys-usb")?;
    let last = paths.last().ok_or_else(|| Missing::new("a segment"))?;
    let length = fs::metadata(last)?.len();
    OpenOptions::new().write(true).open(last)?.set_len(length - 3)?;
    let shown = store(&setting.gateway, "show", &["sys-usb"]).await?;
    assert!(shown.err.contains("its end is cut off from byte"), "{shown}");
    assert_eq!(fs::metadata(last)?.len(), length - 3, "nothing is changed by looking");
    setting.gateway.run()?;
    setting.gateway.logged("its end is cut off from byte", 1).await?;
    usb.connected().await?;
    tell(&usb, 20..30);
    taken(&usb, &mut gui).await?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    let mut told = Vec::new();
    while told.last() != Some(&29) {
        told.extend(number(&observer.expect("a message", |m| number(m).is_some()).await?));
    }
    assert_eq!(told, (0..19).chain(20..30).collect::<Vec<_>>());
    assert!(!setting.gateway.log().contains("reason="), "nothing was refused");
    Ok(())
}

/// What is wrong with one domain's log is told, and costs no other's.
#[tokio::test]
async fn a_damaged_log_costs_nobody_else() -> Outcome {
    let mut setting = stored("").await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    tell(&usb, 0..20);
    taken(&usb, &mut gui).await?;
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "lost"}));
    let mut usb = usb;
    taken(&gui, &mut usb).await?;
    setting.gateway.kill().await?;
    for path in segments(&setting.gateway, "vm-gui")? {
        let bytes: Vec<u8> = fs::read(&path)?.iter().map(|byte| byte ^ 0x55).collect();
        fs::write(&path, bytes)?;
    }
    setting.gateway.run()?;
    setting.gateway.logged("the store was damaged", 1).await?;
    setting.broker.run().await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[ERROR]).await?;
    setting.broker.open()?;
    arrive(&mut observer, 0..20).await
}
