//! The log's bound: whatever comes in, and however much of it, so many lines a second are written, the
//! others are counted, and no line is long.

use crate::peers::legacy::LegacyDomain;
use crate::peers::mqtt_peer::Message;
use crate::peers::raw_mqtt::DISCONNECT;
use crate::peers::{Broker, Dom0, ERROR, Gateway, Hello, MqttPeer, NEW_FILE};
use crate::setting::{Outcome, setting_with};
use crate::tunnel_switch::new_file;
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::io::AsyncWriteExt as _;

/// Lines a second; five times as many at once.
const RATE: u64 = 20;
const LONGEST: usize = 4096;
const COUNT: &str = "more lines were not written";

/// A line of either format.
struct Entry {
    at: SystemTime,
    text: String,
}

fn entries(log: &str) -> Outcome<Vec<Entry>> {
    let entry = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let time =
            value["timestamp"].as_str().unwrap_or_else(|| line.split(' ').next().unwrap_or(""));
        Ok(Entry { at: humantime::parse_rfc3339(time)?, text: line.to_owned() })
    };
    log.lines().map(entry).collect()
}

/// By the log's own times: no more lines than the bound says, and one a second that counts the others.
fn holds_the_bound(gateway: &Gateway) -> Outcome {
    let entries = entries(&gateway.log())?;
    let (first, last) = (entries.first().expect("a line").at, entries.last().expect("a line").at);
    let seconds = last.duration_since(first)?.as_secs() + 1;
    let most = 5 * RATE + seconds * RATE + seconds + 1;
    let count = entries.len() as u64;
    assert!(count <= most, "{count} lines in {seconds} s, {most} at most");
    let longest = entries.iter().map(|entry| entry.text.len() + 1).max();
    assert!(longest <= Some(LONGEST), "{longest:?}");
    Ok(())
}

/// How many lines of a kind were written, and how many are said not to have been.
fn written_and_counted(gateway: &Gateway, what: &str, domain: &str) -> Outcome<(u64, u64)> {
    let (mut written, mut counted) = (0, 0);
    let kind = format!("{what} ({domain}): ");
    for Entry { text, .. } in entries(&gateway.log())? {
        if text.contains(COUNT) {
            let count = text.split_once(&kind).map(|(_, rest)| rest);
            let count = count.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            counted += count.map_or(Ok(0), str::parse)?;
        } else if text.contains(what) && text.contains(domain) {
            written += 1;
        }
    }
    Ok((written, counted))
}

async fn start(arguments: &[&str]) -> Outcome<Dom0> {
    let configure = |gateway: Gateway| {
        let gateway = gateway.with(&format!("[log]\nrate = {RATE}\n"));
        arguments.iter().fold(gateway, |gateway, argument| gateway.with_argument(argument))
    };
    Ok(setting_with(Broker::start().await?, configure).await?)
}

/// Waits until all that a domain has said is taken.
async fn fence(domain: &mut LegacyDomain) -> Outcome {
    domain.tell(&domain.name.clone(), "test", &json!({}));
    domain.expect("its own line", |line| line.tells("test")).await?;
    Ok(())
}

/// Every kind of bad input, to every place that logs.
async fn everything_bad(dom0: &mut Dom0) -> Outcome {
    const LINES: usize = 5000;
    let mut bad = dom0.legacy("vm-bad").await?;
    bad.raw("no message\n".repeat(LINES));
    bad.raw(format!("{{\"type\":\"{}\"}}\n", "\u{202e}x\\u0000".repeat(20_000)));
    fence(&mut bad).await?;

    // Bytes that look like the beginning of a CONNECT.
    let junk = dom0.console("vm-junk").await?;
    let mut observer = MqttPeer::connect(&dom0.broker.socket(), "observer", &[NEW_FILE]).await?;
    let mut port = junk.open().await?;
    for _ in 0..50 {
        port.write_all(&[0x10; 1000]).await?;
    }
    port.write_all(format!("\n{}", new_file("vm-junk", 1)).as_bytes()).await?;
    observer.expect("what follows", |m| m.topic == NEW_FILE).await?;

    // Lines and MQTT in turn, and CONNECTs that are rejected.
    let client_id = "x".repeat(300);
    for id in ["vm-turn", "dom0", &client_id] {
        let turn = dom0.console(&format!("vm-{}", id.len())).await?;
        let hello = Hello { level: 5, id, ..Hello::default() };
        let both = [&hello.packet(), &DISCONNECT[..], b"\nno message\n"].concat();
        let port = turn.open().await?;
        // The gateway need not read all of it.
        let _ = port.try_write(&both.repeat(200));
        for _ in 0..40 {
            let mut port = turn.open().await?;
            port.write_all(&both).await?;
        }
    }

    // From the other side.
    let mut peer = MqttPeer::connect(&dom0.broker.socket(), "vm-mqtt", &[ERROR]).await?;
    for _ in 0..500 {
        peer.publish(Message::new("system/disks/list_disks/request", "no JSON")).await?;
    }
    peer.expect("the last refusal", |m| m.topic == ERROR).await?;

    // With nobody there to connect to.
    dom0.broker.shut()?;
    dom0.broker.kill().await?;
    let turn = dom0.console("vm-alone").await?;
    let hello = Hello { level: 5, id: "vm-alone", ..Hello::default() };
    let port = turn.open().await?;
    let _ = port.try_write(&[&hello.packet()[..], b"\n{}\n"].concat().repeat(300));
    bad.raw("no message\n".repeat(LINES));
    fence(&mut bad).await
}

async fn bounded(arguments: &[&str]) -> Outcome {
    let mut dom0 = start(arguments).await?;
    everything_bad(&mut dom0).await?;
    dom0.gateway.logged(COUNT, 1).await?;
    // What somebody must know is not hidden by it.
    dom0.gateway.edit("passerelle.toml", "instance = ", "instant = ")?;
    dom0.gateway.reload()?;
    dom0.gateway.logged("not reloaded", 1).await?;
    dom0.gateway.terminate()?;
    dom0.gateway.ended().await?;
    holds_the_bound(&dom0.gateway)?;
    let (written, counted) = written_and_counted(&dom0.gateway, "refused", "vm-bad")?;
    // Two floods, and the long line.
    assert_eq!(written + counted, 10_001, "{written} written");
    Ok(())
}

#[tokio::test]
async fn whatever_comes_in_the_log_grows_no_faster_than_its_rate() -> Outcome {
    bounded(&[]).await
}

#[tokio::test]
async fn not_in_json_at_debug_either() -> Outcome {
    bounded(&["--log=debug", "--log-format=json"]).await
}

#[tokio::test]
async fn a_run_of_junk_is_one_line() -> Outcome {
    let mut setting = setting_with(Broker::start().await?, |gateway| gateway).await?;
    let mut observer = MqttPeer::connect(&setting.broker.socket(), "observer", &[NEW_FILE]).await?;
    let console = setting.console("vm-junk").await?;
    let mut port = console.open().await?;
    port.write_all(&[0x10; 5000]).await?;
    port.write_all(format!("\n{}", new_file("vm-junk", 1)).as_bytes()).await?;
    observer.expect("what follows", |m| m.topic == NEW_FILE).await?;
    setting.gateway.terminate()?;
    setting.gateway.ended().await?;
    let log = setting.gateway.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("skipped: ")).collect();
    // The first at once, and what came after it within a second, or at the end; its end of a line too.
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
    let bytes = |line: &&str| {
        line.rsplit_once("bytes=")?.1.split_whitespace().next()?.parse::<usize>().ok()
    };
    assert_eq!(lines.iter().filter_map(bytes).sum::<usize>(), 5001, "{lines:?}");
    Ok(())
}
