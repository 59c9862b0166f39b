//! The gateway can do no more than its configuration says, and goes on doing all of that.

use crate::peers::broker::Persistence;
use crate::peers::legacy::command;
use crate::peers::{Broker, Gateway, MqttPeer};
use crate::setting::{Outcome, PROGRAM, mappings, setting, setting_with, until};
use serde_json::json;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Whether the kernel can confine anybody. The gateway must say the same.
pub async fn is_confined(gateway: &Gateway) -> Outcome<bool> {
    gateway.logged("passerelle ", 1).await?;
    let log = gateway.log();
    let holds = log.contains("INFO confined holds=\"files");
    if !holds {
        assert!(log.contains("INFO not confined why=\"the kernel has no Landlock\""), "{log}");
        eprintln!("skipped: the kernel has no Landlock");
    }
    Ok(holds)
}

#[tokio::test]
async fn none_of_its_threads_can_gain_rights() -> Outcome {
    let setting = setting().await?;
    if !is_confined(&setting.gateway).await? {
        return Ok(());
    }
    // This starts another thread.
    setting.gateway.reload()?;
    setting.gateway.logged("INFO reloaded", 1).await?;
    let tasks = format!("/proc/{}/task", setting.gateway.id()?);
    let mut count = 0;
    for task in fs::read_dir(tasks)? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        count += 1;
    }
    assert!(count > 1, "{count} threads");
    Ok(())
}

/// Puts an empty folder in the place of one that the gateway may write to.
fn replace(folder: &Path) -> Outcome {
    fs::rename(folder, folder.with_extension("before"))?;
    Ok(fs::create_dir(folder)?)
}

#[tokio::test]
async fn a_thread_of_its_own_cannot_write_elsewhere() -> Outcome {
    let setting = setting().await?;
    let is_confined = is_confined(&setting.gateway).await?;
    // It has written there at its start.
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    replace(&setting.gateway.state_dir())?;
    let gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    if is_confined {
        setting.gateway.logged("cannot tell; tried again", 1).await?;
        let log = setting.gateway.log();
        let line = log.lines().find(|line| line.contains("cannot tell; tried again"));
        assert!(line.is_some_and(|line| line.contains("Permission denied")), "{log}");
        assert_eq!(fs::read_dir(setting.gateway.state_dir())?.count(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn its_first_thread_cannot_either() -> Outcome {
    let (sockets, relays) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let relay = relays.path().join("relay");
    fs::create_dir(&relay)?;
    let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent/mqtt.sock"))?
        .on_dom0(sockets.path())
        .with(&format!("[observe]\nrelay = \"{}\"\n", relay.display()))
        .with_control()
        .start()?;
    let is_confined = is_confined(&gateway).await?;
    replace(&relay)?;
    let _backend = tokio::net::UnixListener::bind(sockets.path().join("vm-gui-msg.sock"))?;
    if is_confined {
        gateway.logged("cannot be offered to the router yet", 1).await?;
        assert!(gateway.log().contains("error=Permission denied"), "{}", gateway.log());
        assert_eq!(fs::read_dir(&relay)?.count(), 0);
        fs::remove_dir(&relay)?;
        let lost = format!("the folder of sockets {}", relay.display());
        let said = |e: &crate::setting::Ended| e.out.replace('\n', " ").contains(&lost);
        until(&gateway, "status", &[], said).await?;
    }
    Ok(())
}

const WHY: &str = "is confined to the one that it started with";

#[tokio::test]
async fn a_state_dir_that_is_removed_is_told_though_nothing_is_to_be_written() -> Outcome {
    let setting = setting().await?;
    let is_confined = is_confined(&setting.gateway).await?;
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    fs::remove_dir_all(setting.gateway.state_dir())?;
    if is_confined {
        let told = |e: &crate::setting::Ended| {
            let status: serde_json::Value = serde_json::from_str(&e.out).unwrap_or_default();
            status["gateway"]["memory_error"].as_str().is_some_and(|error| error.contains(WHY))
        };
        until(&setting.gateway, "status", &["--json"], told).await?;
    } else {
        until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_removed_is_not_made_anew_and_why_is_said() -> Outcome {
    let mut setting = crate::store::stored("").await?;
    let is_confined = is_confined(&setting.gateway).await?;
    let usb = setting.legacy("sys-usb").await?;
    let mut gui = setting.legacy("vm-gui").await?;
    setting.broker.shut()?;
    setting.broker.kill().await?;
    crate::store::tell(&usb, 0..3);
    crate::store::taken(&usb, &mut gui).await?;
    fs::remove_dir_all(setting.gateway.folder().join("store"))?;
    crate::store::tell(&usb, 3..4);
    if is_confined {
        setting.gateway.logged(WHY, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_in_another_folder_needs_a_restart() -> Outcome {
    let elsewhere = tempfile::tempdir()?;
    let mut setting = setting().await?;
    let is_confined = is_confined(&setting.gateway).await?;
    let gateway = &setting.gateway;
    let file = elsewhere.path().join("psec.toml");
    fs::copy(mappings().join("psec.toml"), &file)?;
    let before = format!("{}/psec.toml", mappings().display());
    gateway.edit("passerelle.toml", &before, &file.display().to_string())?;
    gateway.reload()?;
    if is_confined {
        let finding = format!("passerelle.toml:1: {} needs a restart: ", file.display());
        gateway.logged(&finding, 1).await?;
        gateway.logged("not reloaded", 1).await?;
        assert!(!gateway.log().contains("Permission denied"), "{}", gateway.log());
        // As it says.
        gateway.terminate()?;
        setting.gateway.ended().await?;
        setting.gateway.run_as_it_is()?;
        setting.gateway.logged("passerelle starts", 2).await?;
        setting.gateway.reload()?;
    }
    setting.gateway.logged("INFO reloaded", 1).await?;
    Ok(())
}

/// A call of a legacy domain's is answered, through a broker that is reached like this.
async fn works(host: &str, at: IpAddr) -> Outcome {
    let free = std::net::TcpListener::bind((at, 0))?;
    let port = free.local_addr()?.port();
    drop(free);
    let listener = format!("listener {port} {at}");
    let broker = Broker::start_with(Persistence::Lost, &listener).await?;
    let url = format!("tcp://{host}:{port}");
    let mut setting = setting_with(broker, |gateway| gateway.with_url(url)).await?;
    let filters = ["system/+/+/response/vm-scan"];
    let mut scan = MqttPeer::connect(&setting.broker.socket(), "vm-scan", &filters).await?;
    let _usb = setting.mvp_server().await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    until(&setting.gateway, "status", &[], |e| e.code == 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_is_reached_by_its_address_and_by_its_name() -> Outcome {
    works("127.0.0.1", Ipv4Addr::LOCALHOST.into()).await?;
    works("localhost", Ipv4Addr::LOCALHOST.into()).await?;
    match std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => works("[::1]", Ipv6Addr::LOCALHOST.into()).await,
        Err(error) => {
            eprintln!("not tested: this machine has no IPv6: {error}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn it_is_not_confined_where_that_is_not_wanted() -> Outcome {
    let broker = Broker::start().await?;
    let setting = setting_with(broker, |gateway| gateway.with_key("confine = false")).await?;
    setting.gateway.logged("INFO not confined why=\"`confine = false`\"", 1).await?;
    // Then it may write wherever its user may.
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    replace(&setting.gateway.state_dir())?;
    let gui = setting.legacy("vm-gui").await?;
    gui.line(&command("vm-gui", "vm-nobody", "liste_disques", &json!({})));
    let file = setting.gateway.state_dir().join("seen.json");
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let written = async {
        while !file.exists() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(crate::peers::DEADLINE, written).await?;
    Ok(())
}
