//! `passerelle ready`, and the memory that it reads.

use crate::peers::Gateway;
use crate::setting::{Ended, Outcome, passerelle, setting, until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::fs;

async fn ready(gateway: &Gateway, quiet_for: &str) -> Outcome<Ended> {
    passerelle(gateway, "ready", &["--quiet-for", quiet_for]).await
}

/// Waits until the memory has this.
async fn remembers(gateway: &Gateway, what: &str) -> Outcome<Ended> {
    until(gateway, "ready", &[], |e| e.code == 1 && e.out.contains(what)).await
}

#[tokio::test]
async fn it_is_ready_when_nobody_has_spoken_for_long_enough() -> Outcome {
    let setting = setting().await?;
    // Nobody has ever spoken, but it has not watched for a week.
    let young =
        until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    assert_eq!(young.code, 1, "{young}");
    assert!(young.out.starts_with("not ready: it has not watched for 7 days yet\n"), "{young}");

    let gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.ask("vm-nobody", "an\u{1b}[2J \"odd\" one", &json!({}));
    gui.tell("tous", "erreur", &json!({"niveau": 20, "message": "m"}));
    let spoken =
        remembers(&setting.gateway, "1 domain has spoken legacy in the last 7 days").await?;
    for part in
        ["  vm-gui: last ", "    commande liste_disques: 1 in all", "notification erreur: 1"]
    {
        assert!(spoken.out.contains(part), "{part}\n{spoken}");
    }
    assert!(spoken.out.contains(r#"commande an\u{1b}[2J "odd" one: 1"#), "{spoken}");

    let quiet = until(&setting.gateway, "ready", &["--quiet-for", "2s"], |e| e.code == 0).await?;
    assert!(quiet.out.starts_with("ready: no domain has spoken legacy for 2s\n"), "{quiet}");
    assert_eq!(ready(&setting.gateway, "1h").await?.code, 1);
    Ok(())
}

#[tokio::test]
async fn the_memory_survives_an_end_and_a_kill() -> Outcome {
    let mut setting = setting().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    gui.expect("the refusal", |line| line.tells("erreur")).await?;
    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    // What was heard last is written at the end.
    let ended = ready(&setting.gateway, "1h").await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.out.starts_with("not ready: the gateway does not run; "), "{ended}");
    assert!(ended.out.contains("commande liste_disques: 1 in all"), "{ended}");
    // Quiet for long enough, and still not ready: nobody listens now.
    let ended = ready(&setting.gateway, "0s").await?;
    assert_eq!(ended.code, 1, "{ended}");

    setting.gateway.run()?;
    gui.connected().await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    remembers(&setting.gateway, "commande liste_disques: 2 in all").await?;
    setting.gateway.kill().await?;
    let killed = ready(&setting.gateway, "1h").await?;
    assert!(killed.out.starts_with("not ready: the gateway does not run; "), "{killed}");
    assert!(killed.out.contains("commande liste_disques: 2 in all"), "{killed}");

    setting.gateway.run()?;
    gui.connected().await?;
    gui.line("no message");
    let again = remembers(&setting.gateway, "unreadable not_json: 1 in all").await?;
    assert!(again.out.contains("commande liste_disques: 2 in all"), "{again}");
    assert!(!again.out.contains("does not run"), "{again}");
    Ok(())
}

#[tokio::test]
async fn a_memory_that_cannot_be_read_is_set_aside() -> Outcome {
    let mut setting = setting().await?;
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    setting.gateway.kill().await?;
    let folder = setting.gateway.state_dir();
    let file = folder.join("seen.json");
    let good = fs::read_to_string(&file)?;
    let later = good.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_ne!(good, later);
    for bad in ["", "{\"format\": 1", &later] {
        fs::write(&file, bad)?;
        let ended = ready(&setting.gateway, "0s").await?;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended}");
        assert!(ended.err.contains("seen.json: "), "{ended}");

        setting.gateway.run()?;
        let told = remembers(&setting.gateway, "and was set aside: ").await?;
        let place = told.out.trim_end().rsplit(' ').next().unwrap_or_default();
        assert_eq!(fs::read_to_string(place)?, bad);
        assert!(setting.gateway.log().contains(place), "{}", setting.gateway.log());
        setting.gateway.kill().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_without_a_memory_runs_and_says_so() -> Outcome {
    let mut setting = setting().await?;
    setting.gateway.kill().await?;
    let folder = setting.gateway.state_dir();
    fs::remove_dir_all(&folder)?;
    setting.gateway.run()?;
    let error = format!("{}/passerelle.lock: No such file or directory", folder.display());
    let told = |e: &Ended| {
        e.code == 4 && {
            let status: Value = serde_json::from_str(&e.out).unwrap_or_default();
            status["gateway"]["memory_error"].as_str().is_some_and(|m| m.starts_with(&error))
        }
    };
    until(&setting.gateway, "status", &["--json"], told).await?;
    assert!(setting.gateway.log().contains(&error), "{}", setting.gateway.log());
    let ended = ready(&setting.gateway, "0s").await?;
    assert_eq!(ended.code, 1, "{ended}");
    assert!(
        ended.out.starts_with("not ready: no gateway has run with this `state_dir`"),
        "{ended}"
    );
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_cannot_write_is_not_believed() -> Outcome {
    let setting = setting().await?;
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    // From now on a new file cannot be made: a folder has its name.
    fs::create_dir(setting.gateway.state_dir().join("seen.json.new"))?;
    let gui = setting.legacy("vm-gui").await?;
    gui.ask("vm-nobody", "liste_disques", &json!({}));
    let ended = until(&setting.gateway, "ready", &["--quiet-for", "1s"], |e| e.code == 2).await?;
    assert!(ended.err.contains("the gateway runs and cannot write there"), "{ended}");
    until(&setting.gateway, "status", &[], |e| e.out.contains("is not remembered")).await?;
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_could_never_write_is_not_believed_either() -> Outcome {
    let mut setting = setting().await?;
    setting.gateway.kill().await?;
    let folder = setting.gateway.state_dir();
    fs::remove_dir_all(&folder)?;
    fs::create_dir_all(folder.join("seen.json.new"))?;
    setting.gateway.run()?;
    let ended = until(&setting.gateway, "ready", &[], |e| e.code == 2).await?;
    assert!(ended.err.contains("the gateway runs and cannot write there"), "{ended}");
    until(&setting.gateway, "status", &[], |e| e.out.contains("is not remembered")).await?;
    // Once it can, nobody is told otherwise.
    fs::remove_dir(folder.join("seen.json.new"))?;
    Ok(())
}

#[tokio::test]
async fn a_second_gateway_of_one_folder_ends_and_says_whose_it_is() -> Outcome {
    let setting = setting().await?;
    let gui = setting.legacy("vm-gui").await?;
    let second = passerelle(&setting.gateway, "run", &[]).await?;
    assert_eq!(second.code, 2, "{second}");
    let who = format!("process {} has this `state_dir`", setting.gateway.id()?);
    assert!(second.err.contains(&who), "{second}");
    gui.connected().await?;
    assert!(!setting.gateway.log().contains("contested"), "{}", setting.gateway.log());
    Ok(())
}

#[tokio::test]
async fn whatever_lies_in_the_folder_holds_nobody_up() -> Outcome {
    let mut setting = setting().await?;
    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    let folder = setting.gateway.state_dir();
    for (name, told) in [("seen.json", "it is replaced"), ("passerelle.lock", "no regular file")] {
        fs::remove_file(folder.join(name))?;
        mknodat(CWD, folder.join(name), FileType::Fifo, Mode::RWXU, 0)?;
        let looked = ready(&setting.gateway, "1s").await?;
        assert!(looked.err.contains("no regular file"), "{looked}");
        setting.gateway.run()?;
        setting.gateway.logged("passerelle starts", 1).await?;
        setting.gateway.logged(told, 1).await?;
        setting.gateway.terminate()?;
        setting.gateway.ended().await?;
    }
    Ok(())
}

#[tokio::test]
async fn both_work_while_the_mapping_is_broken() -> Outcome {
    let setting = setting().await?;
    until(&setting.gateway, "ready", &[], |e| e.out.contains("It watches since")).await?;
    setting.gateway.edit("passerelle.toml", "[broker]", "[nonsense]\nx = 1\n[broker]")?;
    setting.gateway.edit("passerelle.toml", "psec.toml", "absent.toml")?;
    setting.gateway.reload()?;
    let refused = |e: &Ended| e.code == 4 && e.out.contains("last reload refused");
    until(&setting.gateway, "status", &[], refused).await?;
    assert!(ready(&setting.gateway, "1h").await?.out.contains("It watches since"));
    Ok(())
}
