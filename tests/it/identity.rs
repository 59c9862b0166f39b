//! Who somebody is, the channel says: on the broker, a proxy and a tunnel are their domain.

use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::{DISCONNECT, LEVELS, publish, subscribe};
use crate::peers::{Broker, Dom0, Gateway, Hello, MqttPeer, RawMqtt, secret_of};
use crate::setting::{Outcome, PROGRAM, mappings, setting_with};
use std::path::Path;

const USERS: [&str; 4] = ["passerelle", "vm-gui", "vm-scan", "operator"];

/// The gateway and an operator may do everything, each domain what is under its name.
const ACL: &str = "user passerelle
topic readwrite #
user operator
topic readwrite #
user vm-gui
topic readwrite vm-gui/#
user vm-scan
topic readwrite vm-scan/#
";

async fn guarded(domains: &[&str]) -> Outcome<Dom0> {
    let broker = Broker::start_guarded(ACL, &USERS).await?;
    let configure = |gateway: Gateway| {
        let gateway = gateway.with_argument("--log").with_argument("trace");
        gateway.with_passwords(domains).expect("a place for passwords")
    };
    Ok(setting_with(broker, configure).await?)
}

/// Whether a text has a secret in it: as it is, as `Debug` shows bytes, or in Base64.
fn has_a_secret(text: &str) -> bool {
    ["secret of", "115, 101, 99, 114, 101, 116", "c2VjcmV0I"].iter().any(|form| text.contains(form))
}

/// Nobody's secret is in the log.
fn says_no_secret(setting: &Dom0) {
    let log = setting.gateway.log();
    assert!(!has_a_secret(&log) && log.contains("TRACE"), "{log}");
}

#[tokio::test]
async fn a_tunnel_is_its_channels_domain_whatever_the_program_says() -> Outcome {
    let mut setting = guarded(&["vm-gui", "vm-scan"]).await?;
    let mut operator =
        MqttPeer::connect(&setting.broker.socket(), "operator", &["vm-gui/#", "vm-scan/#"]).await?;
    let console = setting.console("vm-scan").await?;
    let other = secret_of("vm-gui");
    for level in LEVELS {
        for login in [None, Some(("vm-gui", &*other)), Some(("vm-scan", "wrong"))] {
            let mut port = RawMqtt::open(console.port()).await?;
            let will = Some(("vm-gui/will", "gone"));
            let connack = port
                .hello(&Hello { level, id: "app", login, will, keep_alive: 60, ..Hello::default() })
                .await?;
            assert_eq!(connack[1], 0, "{level} {login:?}");
            setting.broker.logged("u'vm-scan')").await?;
            for filter in ["vm-scan/in", "vm-gui/in"] {
                port.write(&subscribe(level, 1, filter, 0)).await?;
                port.expect(0x90).await?;
            }
            port.write(&publish(level, 1, 2, "vm-gui/out", b"{}")).await?;
            let refused = port.expect(0x40).await?;
            assert_eq!(refused.get(2).copied().unwrap_or(0x87), 0x87, "not authorized");
            port.write(&publish(level, 1, 3, "vm-scan/out", b"{}")).await?;
            port.expect(0x40).await?;
            // What it may not say nobody hears.
            let heard = operator.expect("what it says", |_| true).await?;
            assert_eq!(heard.topic, "vm-scan/out", "{level} {login:?}");
            // What it may not hear it does not.
            for topic in ["vm-gui/in", "vm-scan/in"] {
                let message = Message::new(topic, "{}");
                operator.publish(message).await?;
                operator.expect(topic, |m| m.topic == topic).await?;
            }
            let came = port.expect(0x30).await?;
            assert!(came.starts_with(b"\0\x0avm-scan/in"), "{came:?}");
        }
    }
    says_no_secret(&setting);
    Ok(())
}

#[tokio::test]
async fn a_proxy_logs_in_as_its_domain() -> Outcome {
    let mut setting = guarded(&["vm-gui", "vm-scan"]).await?;
    setting.broker.logged("as passerelle-dom0 (p5, c1, k30, u'passerelle')").await?;
    for name in ["vm-gui", "vm-scan"] {
        let _domain = setting.legacy(name).await?;
        setting.broker.logged(&format!("as {name} (p5, c1, k30, u'{name}')")).await?;
    }
    says_no_secret(&setting);
    Ok(())
}

#[tokio::test]
async fn no_secret_is_said_on_mqtt() -> Outcome {
    let mut setting = guarded(&["vm-gui", "vm-scan"]).await?;
    let mut operator = MqttPeer::connect(&setting.broker.socket(), "operator", &["#"]).await?;
    let _gui = setting.legacy("vm-gui").await?;
    setting.broker.logged("u'vm-gui')").await?;
    let console = setting.console("vm-scan").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    let secret = secret_of("operator");
    let login = Some(("operator", &*secret));
    let hello = Hello { level: 5, id: "app", login, keep_alive: 60, ..Hello::default() };
    assert_eq!(port.hello(&hello).await?[1], 0);
    port.write(&DISCONNECT).await?;
    port.write(b"{\"type\":1}\n").await?;
    assert!([secret.clone(), format!("{:?}", secret.as_bytes())].iter().all(|s| has_a_secret(s)));
    let mut said = Vec::new();
    // It has gone back, and its line that is no message is the last thing that anything is said of.
    for wanted in ["not_an_envelope", "\"state\":\"legacy\""] {
        let heard = |m: &Message| {
            said.push(format!("{m:?}"));
            m.text().contains(wanted)
        };
        operator.expect(wanted, heard).await?;
    }
    assert!(said.len() > 3, "{said:#?}");
    assert!(!said.iter().any(|m| has_a_secret(m)), "{said:#?}");
    says_no_secret(&setting);
    Ok(())
}

#[tokio::test]
async fn nobody_may_have_the_name_of_the_gateways_user() -> Outcome {
    let setting = guarded(&["vm-gui"]).await?;
    let _socket = crate::peers::Console::start(setting.sockets(), "passerelle")?;
    setting.gateway.logged("not a domain's: not connected domain=passerelle", 1).await?;
    Ok(())
}

#[tokio::test]
async fn passwords_are_loaded_anew() -> Outcome {
    let setting = guarded(&["vm-gui"]).await?;
    let console = setting.console("vm-scan").await?;
    let hello = Hello { level: 5, id: "app", keep_alive: 60, ..Hello::default() };
    let mut port = RawMqtt::open(console.port()).await?;
    // Without a password of its own it is nobody, and is never the gateway.
    assert_eq!(port.hello(&hello).await?[1], 0x87);
    setting.gateway.logged("there is no password for it", 1).await?;
    let line = format!("vm-scan:{}\nvm-gui:", secret_of("vm-scan"));
    setting.gateway.edit("passwords", "vm-gui:", &line)?;
    // The file's mode is looked at each time.
    setting.gateway.reload()?;
    setting.gateway.logged("its mode is 644", 1).await?;
    let file = setting.gateway.folder().join("passwords");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, mode)?;
    setting.gateway.reload()?;
    setting.gateway.logged("INFO reloaded", 1).await?;
    assert_eq!(port.hello(&hello).await?[1], 0);
    says_no_secret(&setting);
    Ok(())
}

#[tokio::test]
async fn without_passwords_a_tunnel_still_has_its_domains_name() -> Outcome {
    let broker = Broker::start().await?;
    let mut setting = setting_with(broker, |gateway| gateway).await?;
    let console = setting.console("vm-scan").await?;
    let mut port = RawMqtt::open(console.port()).await?;
    let login = Some(("vm-gui", "password"));
    let hello = Hello { level: 4, id: "app", login, keep_alive: 60, ..Hello::default() };
    assert_eq!(port.hello(&hello).await?[1], 0);
    // Versions of Mosquitto name the protocol's version differently.
    setting.broker.logged("c1, k60, u'vm-scan')").await?;
    Ok(())
}

#[tokio::test]
async fn passwords_that_others_may_read_keep_the_gateway_from_starting() -> Outcome {
    let sockets = tempfile::tempdir()?;
    let broker = sockets.path().join("absent");
    let gateway = Gateway::new(Path::new(PROGRAM), mappings(), &broker)?;
    let gateway = gateway.on_dom0(sockets.path()).with_passwords(&["vm-gui"])?;
    let file = gateway.folder().join("passwords");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let mut gateway = gateway.start()?;
    assert_eq!(gateway.ended().await?.code(), Some(2));
    let help = format!("help: chmod 600 {}", file.display());
    assert!(gateway.log().contains(&help), "{}", gateway.log());
    Ok(())
}

/// A gateway that knows domains by everything but their channels, and has an earlier run's memory.
async fn knowing() -> Outcome<Dom0> {
    let configure = |gateway: Gateway| {
        let memory = r#"{"format":1,"run":"x","saved":"2026-01-01T00:00:00Z",
            "watching_since":"2026-01-01T00:00:00Z","watched":1,
            "monotonic":1,"set_aside":null,"domains":{"vm-old":[{"type":"commande","name":"a","count":1,
            "last":"2026-01-01T00:00:00Z","watched":1}]},
            "mqtt":["vm-before"]}"#;
        let file = gateway.folder().join("state/seen.json");
        std::fs::write(file, memory).expect("a place for the memory");
        let gateway = gateway.with_passwords(&["vm-scan", "vm-secret"]).expect("a place");
        gateway.with("[[allow]]\nfrom = \"vm-allowed\"\nto = \"vm-told\"\n")
    };
    let broker = Broker::start_guarded(ACL, &["passerelle", "vm-scan", "vm-secret"]).await?;
    Ok(setting_with(broker, configure).await?)
}

#[tokio::test]
async fn the_client_id_of_a_domain_that_is_not_there_is_refused_too() -> Outcome {
    let setting = knowing().await?;
    let console = setting.console("vm-scan").await?;
    let known = ["vm-secret", "vm-allowed", "vm-told", "vm-old", "vm-before", "sys-usb"];
    let nobodys = ["dom0", "mqtt", "tous", "passerelle", "passerelle-dom0", "passerelle-other"];
    let refused = known.iter().chain(&nobodys).map(|id| (4, *id, 2));
    let more = [(3, "vm-old", 2), (5, "vm-before", 0x85), (5, "VM-OLD", 0), (5, "vm-scan", 0)];
    for (level, id, code) in refused.chain(more) {
        let mut port = RawMqtt::open(console.port()).await?;
        let hello = Hello { level, id, keep_alive: 60, ..Hello::default() };
        assert_eq!(port.hello(&hello).await?[1], code, "{level} {id}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_id_is_whoever_had_it_first() -> Outcome {
    let broker = Broker::start().await?;
    let setting = setting_with(broker, |gateway| gateway).await?;
    let (first, second) = (setting.console("vm-a").await?, setting.console("vm-b").await?);
    for level in LEVELS {
        let denied = if level == 5 { 0x85 } else { 2 };
        let hello = |id| Hello { level, id, keep_alive: 60, resume: true, ..Hello::default() };
        let mut a = RawMqtt::open(first.port()).await?;
        assert_eq!(a.hello(&hello("app")).await?[1], 0);
        let mut b = RawMqtt::open(second.port()).await?;
        assert_eq!(b.hello(&hello("app")).await?[1], denied, "{level}");
        // The one who has it is not disturbed, and has it still when it is not connected.
        a.ping().await?;
        a.write(&DISCONNECT).await?;
        assert_eq!(b.hello(&hello("app")).await?[1], denied, "{level}");
        // Its own name is always its own; then the other one is free.
        assert_eq!(a.hello(&hello("vm-a")).await?[1], 0);
        assert_eq!(b.hello(&hello("app")).await?[1], 0, "{level}");
        assert_eq!(b.hello(&hello("vm-b")).await?[1], 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_whose_name_means_something_is_no_domains() -> Outcome {
    let broker = Broker::start().await?;
    let setting = setting_with(broker, |gateway| gateway).await?;
    let mut consoles = Vec::new();
    for name in ["mqtt", "tous", "dom0", "passerelle", "passerelle-dom0", "passerelle-x"] {
        consoles.push(crate::peers::Console::start(setting.sockets(), name)?);
        let shown = if name == "dom0" { "Dom0" } else { name };
        let said = format!("not a domain's: not connected domain={shown} meaning=");
        setting.gateway.logged(&said, 1).await?;
    }
    Ok(())
}
