//! What the gateway keeps to itself: its files, and its memory.

use crate::peers::{Broker, DEADLINE, Gateway};
use crate::setting::{Outcome, PROGRAM, mappings, passerelle, setting_with};
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit, umask};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

/// The names of the files below a folder; each is for its owner alone.
fn files(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let mode = path.metadata()?.permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{path:?}");
            names.extend(files(&path)?);
        } else {
            assert_eq!(mode, 0o600, "{path:?}");
            names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[tokio::test]
async fn nobody_else_may_read_what_it_writes_whatever_the_umask() -> Outcome {
    for mask in [0o000, 0o022] {
        let before = umask(Mode::from_raw_mode(0o022));
        let broker = Broker::start().await?;
        let configure = |gateway: Gateway| {
            // An earlier version has left it so.
            fs::write(gateway.state_dir().join("passerelle.lock"), "").expect("a file");
            umask(Mode::from_raw_mode(mask));
            gateway.with("[store]\ndir = \"store\"\n")
        };
        let setting = setting_with(broker, configure).await;
        umask(before);
        let mut setting = setting?;
        let _usb = setting.mvp_server().await?;
        let mut gui = setting.legacy("vm-gui").await?;
        gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
        setting.gateway.terminate()?;
        setting.gateway.ended().await?;
        let state = files(&setting.gateway.state_dir())?;
        assert!(
            ["seen.json", "passerelle.lock"].iter().all(|n| state.contains(&(*n).to_owned())),
            "{state:?}"
        );
        files(&setting.gateway.folder().join("store"))?;
    }
    Ok(())
}

#[tokio::test]
async fn nor_what_it_learns() -> Outcome {
    let (sockets, relay) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let before = umask(Mode::empty());
    let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent/mqtt.sock"))?
        .on_dom0(sockets.path())
        .with(&format!("[observe]\nrelay = \"{}\"\n", relay.path().display()))
        .start();
    umask(before);
    let mut gateway = gateway?;
    gateway.logged("passerelle observes", 1).await?;
    gateway.terminate()?;
    gateway.ended().await?;
    let mut state = files(&gateway.state_dir())?;
    state.sort();
    assert_eq!(state, ["coverage.json", "passerelle.lock"]);
    Ok(())
}

#[tokio::test]
async fn who_owns_the_passwords_is_looked_at() -> Outcome {
    let broker = Broker::start().await?;
    let gateway =
        Gateway::new(PROGRAM, mappings(), &broker.socket())?.with_passwords(&["vm-gui"])?;
    let mut gateway = gateway.on_dom0(broker.socket().parent().expect("a folder"));
    if chown(gateway.folder().join("passwords"), Some(65_533), None).is_err() {
        eprintln!("not tested: only root can give files away");
        return Ok(());
    }
    gateway.run()?;
    assert_eq!(gateway.ended().await?.code(), Some(2));
    let log = gateway.log();
    assert!(log.contains("the user 65533 owns it"), "{log}");
    // Root looks at the files of the gateway's user.
    chown(gateway.state_dir(), Some(65_533), None)?;
    let acl = passerelle(&gateway, "acl", &[]).await?;
    assert_eq!(acl.code, 0, "{acl}");
    Ok(())
}

fn crash(id: u32) -> Outcome {
    let pid = Pid::from_raw(id.cast_signed()).expect("a process");
    let most = Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
    prlimit(Some(pid), Resource::Core, most)?;
    kill_process(pid, Signal::ABORT)?;
    Ok(())
}

#[tokio::test]
async fn no_core_dump_can_have_passwords() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut sleep = tokio::process::Command::new("sleep");
    let mut other = sleep.arg("1000").current_dir(folder.path()).kill_on_drop(true).spawn()?;
    crash(other.id().expect("it runs"))?;
    let dumped = |status: ExitStatus| status.core_dumped();
    if !dumped(tokio::time::timeout(DEADLINE, other.wait()).await??) {
        eprintln!("not tested: this machine writes no core dumps");
        return Ok(());
    }
    let mut setting = setting_with(Broker::start().await?, |gateway| gateway).await?;
    let _gui = setting.legacy("vm-gui").await?;
    crash(setting.gateway.id()?)?;
    assert!(!dumped(setting.gateway.ended().await?));
    Ok(())
}
