//! A log that nobody reads.

use crate::peers::{Broker, Gateway};
use crate::setting::{Outcome, setting_with};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::json;
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
