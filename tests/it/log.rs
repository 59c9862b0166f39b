//! A log that nobody reads, and odd characters in it and in the status.

use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, Gateway, MqttPeer};
use crate::setting::{Outcome, setting_with, until};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};

/// A pipe in the place of the log file.
fn pipe(gateway: &Gateway) -> std::io::Result<File> {
    let path = gateway.log_file();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Who opens it for both needs no other side.
    Ok(rustix::fs::open(&path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())?.into())
}

/// What is in it.
fn read(pipe: &mut File) -> Outcome<String> {
    let mut bytes = Vec::new();
    match pipe.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("the pipe has no end: {other:?}"),
    }
    Ok(String::from_utf8(bytes)?)
}

async fn lost(arguments: &[&str], expected: &str) -> Outcome {
    const CALLS: usize = 500;
    let mut log = None;
    let configure = |gateway: Gateway| {
        log = Some(pipe(&gateway));
        let gateway = gateway.with_argument("--log").with_argument("debug");
        let gateway = gateway.with("[log]\nrate = 1000000\n");
        arguments.iter().fold(gateway, |gateway, argument| gateway.with_argument(argument))
    };
    let mut setting = setting_with(Broker::start().await?, configure).await?;
    fs::remove_file(setting.gateway.log_file())?;
    let mut log = log.expect("it was configured")?;
    let _usb = setting.mvp_server().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    for _ in 0..CALLS {
        gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    }
    let mut text = read(&mut log)?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    text += &read(&mut log)?;
    let lines = text.lines().find_map(|line| line.split_once(expected));
    let lines = lines.map(|(_, lines)| lines.trim_end_matches('}').parse::<usize>());
    assert!(matches!(lines, Some(Ok(1..))), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() -> Outcome {
    lost(&[], "lines are lost lines=").await
}

#[tokio::test]
async fn in_json_too() -> Outcome {
    lost(&["--log-format", "json"], "lines are lost\",\"lines\":").await
}

/// What a terminal obeys or does not show.
const ODD: &str = "\u{1b}[2J\u{7f}\u{9b}\u{200b}\u{202e}\u{2066}\u{2028}\u{feff}";

#[tokio::test]
async fn nothing_in_a_line_does_anything_to_a_terminal() -> Outcome {
    for format in ["text", "json"] {
        let configure = |gateway: Gateway| {
            gateway.with_argument("--log=debug").with_argument(&format!("--log-format={format}"))
        };
        let setting = setting_with(Broker::start().await?, configure).await?;
        let gui = setting.legacy("vm-gui").await?;
        gui.line(
            &json!({"type": ODD, "source": ODD, "destination": ODD, "payload": {}}).to_string(),
        );
        gui.line(ODD);
        setting.gateway.logged("refused", 2).await?;
        let log = setting.gateway.log();
        assert_eq!(
            log.chars().find(|c| *c != '[' && *c != '2' && *c != 'J' && ODD.contains(*c)),
            None
        );
        let whole = log.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        assert_eq!(whole, if format == "json" { log.lines().count() } else { 0 }, "{log}");
    }
    Ok(())
}

/// Anybody may write a status in an open broker.
#[tokio::test]
async fn nothing_in_a_status_does_either() -> Outcome {
    let mut setting = setting_with(Broker::start().await?, |gateway| gateway).await?;
    // A gateway that runs would mend it.
    setting.gateway.kill().await?;
    let mut peer = MqttPeer::connect(&setting.broker.socket(), "vm-odd", &[]).await?;
    let status = json!({"state": ODD, "cause": ODD, "since": ODD, "counters": {}}).to_string();
    let mut message = Message::new("passerelle/dom0/domains/vm-odd", status);
    message.retain = true;
    peer.publish(message).await?;
    let shown =
        until(&setting.gateway, "status", &[], |ended| ended.out.contains("vm-odd")).await?;
    assert!(shown.out.contains("\\u{1b}[2J\\u{7f}\\u{9b}"), "{shown}");
    assert_eq!(shown.out.chars().find(|c| !c.is_ascii() || *c == '\u{7f}' || *c == '\u{1b}'), None);
    let as_json =
        until(&setting.gateway, "status", &["--json"], |e| e.out.contains("vm-odd")).await?;
    assert_eq!(as_json.out.chars().find(|c| !c.is_ascii() || c.is_control() && *c != '\n'), None);
    let value: Value = serde_json::from_str(&as_json.out)?;
    assert_eq!(value["domains"]["vm-odd"]["cause"], ODD);
    Ok(())
}
