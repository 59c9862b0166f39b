//! The broker behind TLS: who is believed, and that everything goes through.

use crate::peers::broker::Persistence;
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Authority, Broker, Dialect, Disks, Gateway, LegacyDomain, Missing, MqttPeer, MqttServer,
    MvpServer,
};
use crate::setting::{Ended, Outcome, PROGRAM, mappings, passerelle, setting_with, until};
use serde_json::json;
use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// A port that nobody has now.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn odd(error: Box<dyn Error>) -> Missing {
    Missing::new(error.to_string())
}

/// A broker that also listens with a certificate for these names, and its address for a gateway.
async fn broker(authority: &Authority, names: &[&str], more: &str) -> Outcome<(Broker, String)> {
    let (certificate, key) = authority.sign(names).map_err(odd)?;
    let port = free_port()?;
    let listener = format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
        authority.file().display(),
        certificate.display(),
        key.display()
    );
    let broker = Broker::start_with(Persistence::Lost, &listener).await?;
    Ok((broker, format!("mqtts://localhost:{port}")))
}

fn believes(authority: &Authority) -> String {
    format!("ca_file = \"{}\"\n", authority.file().display())
}

/// The keys of a gateway that shows a certificate of its own.
fn shows(authority: &Authority, name: &str) -> Outcome<String> {
    let (certificate, key) = authority.sign(&[name]).map_err(odd)?;
    let [certificate, key] = [certificate.display(), key.display()];
    Ok(format!("cert_file = \"{certificate}\"\nkey_file = \"{key}\"\n"))
}

/// A gateway that is not expected to connect.
fn gateway(sockets: &Path, url: &str, keys: &str) -> Outcome<Gateway> {
    let gateway = Gateway::new(PROGRAM, mappings(), Path::new("/absent"))?.on_dom0(sockets);
    Ok(gateway.with_url(url.to_owned()).with_broker_keys(keys).start()?)
}

#[tokio::test]
async fn everything_goes_through_tls_and_the_gateway_proves_who_it_is() -> Outcome {
    let authority = Authority::new().map_err(odd)?;
    let more = "require_certificate true";
    let (broker, url) = broker(&authority, &["localhost"], more).await?;
    let keys = believes(&authority) + &shows(&authority, "passerelle")?;
    let mut setting =
        setting_with(broker, |gateway| gateway.with_url(url).with_broker_keys(&keys)).await?;
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let (reader, writer) = console.open().await?.into_split();
    let old = LegacyDomain::over("sys-usb", reader, writer);
    let old = MvpServer::over(old, Disks::new()?);
    setting.served("sys-usb").await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    drop(old);
    // It moves, on its old channel: word for word, and with TLS from Dom0 on.
    let _new = MqttServer::start(console.port(), "sys-usb", Dialect::Psec, Disks::new()?).await?;
    scan.call("system/disks/list_disks", &json!({})).await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    let shown = until(&setting.gateway, "status", &[], |e| e.out.contains("vm-gui")).await?;
    assert!(shown.out.contains("sys-usb"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_message_of_many_records_goes_both_ways() -> Outcome {
    let authority = Authority::new().map_err(odd)?;
    let (broker, url) = broker(&authority, &["localhost"], "").await?;
    let keys = believes(&authority);
    let mut setting =
        setting_with(broker, |gateway| gateway.with_url(url).with_broker_keys(&keys)).await?;
    let socket = setting.broker.socket();
    let mut scan = MqttPeer::connect(&socket, "vm-scan", &["system/+/+/response/vm-scan"]).await?;
    let mut usb = setting.legacy("sys-usb").await?;
    setting.served("sys-usb").await?;
    let large = "x".repeat(4 << 20);
    for _ in 0..3 {
        let correlation = scan.ask("system/disks/list_disks", &json!({"more": large})).await?;
        usb.expect("the command", |line| line.asks("liste_disques")).await?;
        usb.line(&crate::peers::legacy::response(
            "sys-usb",
            "vm-scan",
            "liste_disques",
            &json!([{"nom": large}]),
        ));
        let answer =
            scan.expect("the answer", |m| m.correlation.as_ref() == Some(&correlation)).await?;
        assert!(answer.payload.len() > large.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_cannot_prove_its_name_is_told_nothing() -> Outcome {
    let (authority, other) = (Authority::new().map_err(odd)?, Authority::new().map_err(odd)?);
    let sockets = tempfile::tempdir()?;
    let (right, url) = broker(&authority, &["localhost"], "").await?;
    let (wrong, wrong_url) = broker(&authority, &["elsewhere"], "").await?;
    let by_address = url.replace("localhost", "127.0.0.1");
    for (url, keys, why) in [
        (&url, believes(&other), "no authority of `broker.ca_file` has signed"),
        (&wrong_url, believes(&authority), "another name than `broker.url`"),
        (&by_address, believes(&authority), "another name than `broker.url`"),
    ] {
        let gateway = gateway(sockets.path(), url, &keys)?;
        gateway.logged(why, 1).await?;
        let Ended { code, err, .. } = passerelle(&gateway, "status", &[]).await?;
        assert!(code == 3 && err.contains(why), "{code} {err}");
    }
    drop((right, wrong));
    Ok(())
}

#[tokio::test]
async fn a_broker_that_wants_a_certificate_says_so() -> Outcome {
    let (authority, other) = (Authority::new().map_err(odd)?, Authority::new().map_err(odd)?);
    let sockets = tempfile::tempdir()?;
    let more = "require_certificate true";
    let (broker, url) = broker(&authority, &["localhost"], more).await?;
    for own in [String::new(), shows(&other, "passerelle")?] {
        let gateway = gateway(sockets.path(), &url, &(believes(&authority) + &own))?;
        gateway.logged("the broker refuses the gateway: look at `broker.cert_file`", 1).await?;
    }
    drop(broker);
    Ok(())
}

#[tokio::test]
async fn a_plain_port_is_no_tls() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let authority = Authority::new().map_err(odd)?;
    let port = free_port()?;
    let broker =
        Broker::start_with(Persistence::Lost, &format!("listener {port} 127.0.0.1")).await?;
    let url = format!("mqtts://localhost:{port}");
    let gateway = gateway(sockets.path(), &url, &believes(&authority))?;
    gateway.logged("client id `passerelle-dom0`", 1).await?;
    drop(broker);
    Ok(())
}

#[tokio::test]
async fn a_reload_reads_the_certificates_anew() -> Outcome {
    let (before, after) = (Authority::new().map_err(odd)?, Authority::new().map_err(odd)?);
    let sockets = tempfile::tempdir()?;
    let (mut broker, url) = broker(&after, &["localhost"], "").await?;
    let gateway = gateway(sockets.path(), &url, &believes(&before))?;
    gateway.logged("no authority of `broker.ca_file` has signed", 1).await?;
    // What is no certificate changes nothing.
    let good = fs::read(after.file())?;
    fs::write(before.file(), "-----BEGIN CERTIFICATE-----\n")?;
    gateway.reload()?;
    gateway.logged("not reloaded", 1).await?;
    fs::write(before.file(), good)?;
    gateway.reload()?;
    broker.subscribed("passerelle-dom0", [crate::peers::NEW_FILE]).await?;
    Ok(())
}

#[tokio::test]
async fn what_waits_is_written_on_a_quiet_line() -> Outcome {
    let authority = Authority::new().map_err(odd)?;
    let (broker, url) = broker(&authority, &["localhost"], "").await?;
    let keys = believes(&authority);
    let setting =
        setting_with(broker, |gateway| gateway.with_url(url).with_broker_keys(&keys)).await?;
    let mut observer =
        MqttPeer::connect(&setting.broker.socket(), "observer", &[crate::peers::ERROR]).await?;
    let usb = setting.legacy("sys-usb").await?;
    // More than the kernel takes at once while the broker stands still.
    setting.broker.freeze()?;
    let text = "y".repeat(1 << 20);
    for _ in 0..6 {
        usb.tell("tous", "erreur", &json!({"niveau": 20, "message": text}));
    }
    setting.broker.thaw()?;
    for n in 0..6 {
        observer.expect(&format!("error {n}"), |m: &Message| m.text().contains(&text)).await?;
    }
    Ok(())
}
