//! `passerelle record` and `passerelle replay`: what a gateway was told, once more.

use crate::peers::broker::Persistence;
use crate::peers::legacy::response;
use crate::peers::{
    Broker, DEADLINE, Dialect, Disks, Dom0, Gateway, LegacyDomain, Missing, MqttPeer, MqttServer,
};
use crate::setting::{Ended, Outcome, PROGRAM, mappings, setting_with};
use crate::store::STORE;
use crate::tunnel::legacy;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::{Child, Command};

/// Somebody who records.
pub struct Recorder {
    file: PathBuf,
    program: Child,
}

impl Recorder {
    /// It records when it returns.
    pub async fn start(gateway: &Gateway, name: &str) -> Outcome<Self> {
        Self::start_with(gateway, name, &[]).await
    }

    pub async fn start_with(gateway: &Gateway, name: &str, more: &[&str]) -> Outcome<Self> {
        let before = gateway.log().matches("somebody records").count();
        let file = gateway.folder().join(name);
        let program = Command::new(PROGRAM)
            .args(["record", "--config"])
            .arg(gateway.config_file())
            .arg(&file)
            .args(more)
            .kill_on_drop(true)
            .spawn()?;
        gateway.logged("somebody records", before + 1).await?;
        Ok(Self { file, program })
    }

    /// It ends with the gateway.
    pub async fn ended(mut self, gateway: &mut Gateway) -> Outcome<PathBuf> {
        gateway.terminate()?;
        gateway.ended().await?;
        let ended = tokio::time::timeout(DEADLINE, self.program.wait()).await??;
        assert_eq!(ended.code(), Some(0), "record");
        Ok(self.file)
    }
}

pub async fn replay(file: &Path, more: &[&str]) -> Outcome<Ended> {
    let mut program = Command::new(PROGRAM);
    program.arg("replay").arg(file).args(more).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, program.output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Ended { code, out: text(output.stdout), err: text(output.stderr) })
}

async fn setting() -> Result<Dom0, Missing> {
    let broker = Broker::start_with(Persistence::Kept, "").await?;
    setting_with(broker, |gateway| gateway.with_control().with(STORE)).await
}

/// A call between legacy domains.
async fn call(gui: &mut LegacyDomain, usb: &mut LegacyDomain) -> Outcome {
    gui.ask("sys-usb", "liste_disques", &json!({}));
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    usb.line(&response("sys-usb", "vm-gui", "liste_disques", &json!(["KEY"])));
    gui.expect("the answer", |line| line.answers("liste_disques")).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_recorded_does_the_same_again_whatever_had_happened_before() -> Outcome {
    let mut setting = setting().await?;
    let socket = setting.broker.socket();
    let mut gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let mut usb = legacy(&console, "sys-usb").await?;
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    setting.served("sys-usb").await?;
    // It begins in the middle: a call is under way, another has ended, and one waits for MQTT.
    call(&mut gui, &mut usb).await?;
    scan.ask("system/disks/list_disks", &json!({"source": "vm-scan"})).await?;
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    gui.ask("Dom0", "liste_fichiers", &json!({"nom_disque": "__repository__"}));
    let recorder = Recorder::start(&setting.gateway, "recording").await?;
    usb.line(&response("sys-usb", "vm-scan", "liste_disques", &json!(["KEY"])));
    scan.expect("the answer", |m| m.topic == "system/disks/list_disks/response/vm-scan").await?;
    call(&mut gui, &mut usb).await?;
    gui.ask("vm-nobody", "no_such_command", &json!({}));
    gui.raw(&b"no JSON\n\xff\xfe\n{\"type\":\"com"[..]);
    // The broker goes, and what is said meanwhile is kept on disk.
    setting.broker.kill().await?;
    usb.tell("tous", "nouveau_disque", &json!({"nom_disque": "KEY"}));
    call_again(&gui, &mut usb).await?;
    setting.broker.run().await?;
    scan.connected(true).await?;
    // A domain comes over to MQTT, and is asked there.
    drop(usb);
    let disks = Disks::new()?;
    let _new = MqttServer::start(console.port(), "sys-usb", Dialect::Psec, disks).await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    let file = recorder.ended(&mut setting.gateway).await?;

    let replayed = replay(&file, &[]).await?;
    assert_eq!(replayed.code, 0, "{replayed}");
    assert!(replayed.out.ends_with(": 0 differences\n"), "{replayed}");
    assert!(!fs::read_to_string(&file)?.contains("unwritable"));
    // One byte of it was another: it is told.
    let text = fs::read_to_string(&file)?;
    let other = text.replacen("[\\\"KEY\\\"]", "[\\\"KEX\\\"]", 1);
    assert_ne!(text, other);
    fs::write(&file, other)?;
    let replayed = replay(&file, &[]).await?;
    assert_eq!(replayed.code, 1, "{replayed}");
    assert!(replayed.out.contains("it was "), "{replayed}");
    // It is cut off: the rest is played.
    fs::write(&file, &text[..text.len() - 5])?;
    let replayed = replay(&file, &[]).await?;
    assert_eq!(replayed.code, 0, "{replayed}");
    assert!(replayed.out.contains("it is cut off, and left out"), "{replayed}");
    Ok(())
}

/// The same command, on which nothing is waited for at the caller's end: half a line of its stands there.
async fn call_again(gui: &LegacyDomain, usb: &mut LegacyDomain) -> Outcome {
    gui.raw(&b"mande\n"[..]);
    gui.ask("sys-usb", "liste_disques", &json!({}));
    usb.expect("the command", |line| line.asks("liste_disques")).await?;
    usb.line(&response("sys-usb", "vm-gui", "liste_disques", &json!([])));
    Ok(())
}

#[tokio::test]
async fn another_mapping_is_tried_on_what_was_recorded() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let server = Disks::new()?;
    let socket = setting.broker.socket();
    let _usb = MqttServer::start(&socket, "sys-usb", Dialect::Psec, server).await?;
    let recorder = Recorder::start(&setting.gateway, "recording").await?;
    for _ in 0..3 {
        gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    }
    gui.tell("tous", "nouveau_disque", &json!({"nom_disque": "KEY"}));
    let file = recorder.ended(&mut setting.gateway).await?;

    // The same mapping: nothing. Another: what is different, counted and with an example.
    let psec = mappings().join("psec.toml");
    let same = replay(&file, &["-m", &psec.display().to_string()]).await?;
    assert_eq!(same.code, 0, "{same}");
    assert!(same.out.ends_with(": 0 differences of 0 kinds\n"), "{same}");
    let text = fs::read_to_string(&psec)?.replace("system/disks/list_disks", "system/disks/all");
    let other = file.with_file_name("other.toml");
    fs::write(&other, text)?;
    let other = replay(&file, &["-m", &other.display().to_string()]).await?;
    assert_eq!(other.code, 1, "{other}");
    let kind = "      3  liste_disques of vm-gui: published to system/disks/list_disks/request -> published to system/disks/all/request\n";
    assert!(other.out.contains(kind), "{other}");
    assert!(other.out.contains("  + {\"publish\":\"system/disks/all/request\""), "{other}");

    // One call of it is a conversation.
    let mapping = psec.display().to_string();
    let cut = replay(&file, &["--conversation", "liste_disques", "-m", &mapping]).await?;
    assert_eq!(cut.code, 0, "{cut}");
    let conversation = file.with_file_name("liste_disques.jsonl");
    fs::write(&conversation, &cut.out)?;
    assert_eq!(cut.out.lines().count(), 5, "a header, two inputs and their effects: {cut}");
    let tested = Command::new(PROGRAM).arg("test").arg(&conversation).output().await?;
    assert!(tested.status.success(), "{}\n{cut}", String::from_utf8_lossy(&tested.stdout));
    let none = replay(&file, &["--conversation", "supprime", "-m", &mapping]).await?;
    assert_eq!((none.code, none.out.as_str()), (1, ""), "{none}");
    Ok(())
}

#[tokio::test]
async fn values_can_be_taken_out_of_it() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let disks = Disks::new()?;
    disks.put("KEY", "secret-name.txt", b"1")?;
    let socket = setting.broker.socket();
    let _usb = MqttServer::start(&socket, "sys-usb", Dialect::Psec, disks).await?;
    let recorder = Recorder::start_with(&setting.gateway, "redacted", &["--redact"]).await?;
    let disk = json!({"nom_disque": "KEY"});
    gui.call("sys-usb", "liste_fichiers", &disk, "liste_fichiers").await?;
    gui.ask("vm-nobody", "no_such_command", &json!({"text": "secret words"}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    let file = recorder.ended(&mut setting.gateway).await?;
    let text = fs::read_to_string(&file)?;
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("liste_fichiers") && text.contains("sys-usb"), "{text}");
    let without = replay(&file, &[]).await?;
    assert_eq!((without.code, without.err.contains("name a mapping")), (2, true), "{without}");
    // It is still worth something: both of the call's halves are mapped.
    let psec = mappings().join("psec.toml").display().to_string();
    let played = replay(&file, &["-m", &psec]).await?;
    assert_eq!(played.code, 1, "{played}");
    for kind in [
        "1  liste_fichiers of vm-gui: published to system/disks/list_files/request\n",
        "/vm-gui): written to vm-gui\n",
        "1  no_such_command of vm-gui: refused as not_mapped",
    ] {
        assert!(played.out.contains(kind), "{kind}: {played}");
    }
    Ok(())
}

#[tokio::test]
async fn a_recording_has_a_size_and_a_time_and_is_for_its_owner_alone() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let record = async |name: &str, more: &[&str]| -> Outcome<Ended> {
        let file = setting.gateway.folder().join(name).display().to_string();
        crate::setting::passerelle(&setting.gateway, "record", &[&[&*file], more].concat()).await
    };
    let ended = record("time", &["--for", "1ms"]).await?;
    assert_eq!(ended.code, 0, "{ended}");
    let file = setting.gateway.folder().join("time");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let replayed = replay(&file, &[]).await?;
    assert_eq!(replayed.code, 0, "{replayed}");
    // It is not written over.
    let again = record("time", &["--for", "1ms"]).await?;
    assert_eq!((again.code, again.err.contains("File exists")), (2, true), "{again}");
    let sized = record("size", &["--size", "1"]);
    let speaks = async {
        // Something is said until it is full.
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
        loop {
            pace.tick().await;
            gui.tell("tous", "nouveau_disque", &json!({"nom_disque": "KEY"}));
        }
    };
    let sized = tokio::select! {
        ended = sized => ended?,
        () = speaks => unreachable!("it speaks for ever"),
    };
    assert!(sized.out.contains("as large as it may be"), "{sized}");
    // Two at once are one too many.
    let recorder = Recorder::start(&setting.gateway, "first").await?;
    let second = record("second", &[]).await?;
    assert_eq!(
        (second.code, second.err.contains("somebody records already")),
        (2, true),
        "{second}"
    );
    drop(recorder);
    let none = replay(&setting.gateway.config_file(), &[]).await?;
    assert_eq!(
        (none.code, none.err.contains("no recording") || none.err.contains("expected")),
        (2, true),
        "{none}"
    );
    Ok(())
}
