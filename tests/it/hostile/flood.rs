//! 100 000 calls at once, in each direction. Each is answered or refused, and counted as that.

use super::{CREATE, Scene, request};
use crate::peers::legacy::{command, response};
use crate::peers::mqtt_peer::Message;
use crate::peers::{DEADLINE, Missing, MqttPeer};
use crate::setting::Outcome;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const CALLS: u64 = 100_000;

/// What became of calls.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Ends {
    answered: u64,
    stuck: u64,
}

/// A domain that looks at nothing more closely than it must: it has to keep up with a flood.
async fn domain(scene: &Scene, name: &str) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let path = scene.dom0.sockets().join(format!("{name}-msg.sock"));
    let (stream, _) = UnixListener::bind(path)?.accept().await?;
    Ok(UnixStream::into_split(stream))
}

/// Hands each line to `each`, until there are no more.
async fn lines(from: OwnedReadHalf, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut reader, mut line) = (BufReader::with_capacity(1 << 16, from), Vec::new());
    while reader.read_until(b'\n', &mut line).await? > 0 {
        each(&line);
        line.clear();
    }
    Ok(())
}

/// Makes all calls at once, and reads what becomes of them until the gateway ends; tells when the first is
/// refused.
async fn make_calls(
    (reader, mut writer): (OwnedReadHalf, OwnedWriteHalf),
    line: String,
    first: oneshot::Sender<()>,
) -> io::Result<Ends> {
    let (mut ends, mut first) = (Ends::default(), Some(first));
    let write = async {
        for _ in 0..100 {
            writer.write_all(line.repeat(1000).as_bytes()).await?;
        }
        Ok(())
    };
    let read = lines(reader, |line| {
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        if has(r#""module":"passerelle","message":"domain_stuck: "#) {
            ends.stuck += 1;
            first.take().map(|first| first.send(()));
        } else {
            assert!(has(r#""type":"reponse""#), "{}", String::from_utf8_lossy(line));
            ends.answered += 1;
        }
    });
    tokio::try_join!(write, read)?;
    Ok(ends)
}

/// Waits until all calls have been taken in and none is pending; then that each was answered or refused.
/// Whoever floods the gateway faster than it reads is told as much as its queue has room for.
async fn all_have_ended(
    scene: Scene,
    mut status: MqttPeer,
    calls: JoinHandle<io::Result<Ends>>,
) -> Outcome {
    let all = |m: &Message| {
        m.json()["counters"]["received"].as_u64() >= Some(CALLS) && m.json()["calls_pending"] == 0
    };
    status.inbox.expect_within(4 * DEADLINE, "all calls counted", all).await?;
    let counted = scene.end_counted().await?;
    let told = calls.await??;
    eprintln!("{told:?} {counted:?}");
    assert_eq!(counted.keys().collect::<Vec<_>>(), ["domain_stuck"]);
    let stuck = counted["domain_stuck"];
    assert!(told.stuck > 0 && told.stuck <= stuck, "{told:?} {counted:?}");
    assert!(told.answered > 0 && told.answered + stuck >= CALLS, "{told:?} {counted:?}");
    Ok(())
}

/// Somebody who sees how the domain is doing.
async fn status(scene: &Scene, name: &str) -> Result<MqttPeer, Missing> {
    let topic = format!("passerelle/dom0/domains/{name}");
    MqttPeer::connect(&scene.dom0.broker.socket(), "status", &[&topic]).await
}

#[tokio::test]
async fn calls_from_a_legacy_domain_to_mqtt() -> Outcome {
    let scene = Scene::start().await?;
    let status = status(&scene, "vm-hostile").await?;
    let topic = "system/disks/list_disks/request";
    let mut server = MqttPeer::connect(&scene.dom0.broker.socket(), "sys-usb", &[topic]).await?;
    let (first, refused) = oneshot::channel();
    let serve = tokio::spawn(async move {
        // Until the first is refused all are pending.
        let _ = refused.await;
        let publisher = server.publisher();
        while let Ok(asked) = server.inbox.next("a request").await {
            let answer = Message::new(asked.response_topic.unwrap_or_default(), r#"{"disks":[]}"#);
            let correlation = asked.correlation;
            publisher.publish(Message { correlation, ..answer }.from("sys-usb")).await?;
        }
        Ok::<_, Missing>(())
    });
    let hostile = domain(&scene, "vm-hostile").await?;
    let line = command("vm-hostile", "sys-usb", "liste_disques", &json!({})) + "\n";
    let calls = tokio::spawn(make_calls(hostile, line, first));
    all_have_ended(scene, status, calls).await?;
    serve.abort();
    Ok(())
}

#[tokio::test]
async fn calls_between_legacy_domains() -> Outcome {
    let scene = Scene::start().await?;
    let status = status(&scene, "vm-hostile").await?;
    let (hostile, friend) =
        tokio::try_join!(domain(&scene, "vm-hostile"), domain(&scene, "vm-friend"))?;
    let (first, refused) = oneshot::channel();
    let answer = response("vm-friend", "vm-hostile", "zzz", &json!({})) + "\n";
    let serve = tokio::spawn(async move {
        // Until the first is refused it reads nothing.
        let _ = refused.await;
        let (reader, mut writer) = friend;
        let (asked, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let read = lines(reader, |_| {
            let _ = asked.send(());
        });
        let write = async {
            while answers.recv().await.is_some() {
                writer.write_all(answer.as_bytes()).await?;
            }
            Ok(())
        };
        tokio::try_join!(read, write).map(drop)
    });
    let long = json!({"x": "x".repeat(100)});
    let line = command("vm-hostile", "vm-friend", "zzz", &long) + "\n";
    let calls = tokio::spawn(make_calls(hostile, line, first));
    all_have_ended(scene, status, calls).await?;
    serve.abort();
    Ok(())
}

#[tokio::test]
async fn calls_from_mqtt_to_a_legacy_domain() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut status = status(&scene, "sys-usb").await?;
    let (reader, mut writer) = domain(&scene, "sys-usb").await?;
    scene.dom0.served("sys-usb").await?;
    let mut hostile = scene.mqtt("vm-hostile").await?;
    let publisher = hostile.publisher();
    let sending = tokio::spawn(async move {
        for number in 0..CALLS {
            let payload = json!({"disk": "D", "filepath": number.to_string(), "data": ""});
            let mut message = request(CREATE, "vm-hostile", payload.to_string());
            message.correlation = Some(number.to_string().into());
            publisher.publish(message).await?;
        }
        Ok::<_, Missing>(())
    });
    let (first, refused) = oneshot::channel::<()>();
    let said = Arc::new(AtomicU64::new(0));
    let saying = Arc::clone(&said);
    let serve = tokio::spawn(async move {
        // Until the first is refused all are pending.
        let _ = refused.await;
        let (asked, mut paths) = tokio::sync::mpsc::unbounded_channel();
        let read = lines(reader, |line| {
            let asks = serde_json::from_slice::<serde_json::Value>(line).unwrap_or_default();
            drop(asked.send(asks["payload"]["arguments"]["filepath"].clone()));
        });
        let write = async {
            while let Some(path) = paths.recv().await {
                let data = json!({"filepath": path, "disk": "D", "footprint": "", "success": true});
                let line = response("sys-usb", "vm-hostile", "file_creation", &data) + "\n";
                writer.write_all(line.as_bytes()).await?;
                saying.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        tokio::try_join!(read, write).map(drop)
    });
    // Everything is counted: each request, and each answer of the domain's.
    let all = |m: &Message| {
        let counters = &m.json()["counters"];
        let received = counters["received"].as_u64().unwrap_or_default();
        received == CALLS + said.load(Ordering::Relaxed) && m.json()["calls_pending"] == 0
    };
    let counted = status.inbox.expect_within(2 * DEADLINE, "all of them counted", all);
    tokio::pin!(counted);
    let (mut ends, mut first) = (Ends::default(), Some(first));
    let counters = loop {
        tokio::select! {
            counted = &mut counted => break counted?.json()["counters"].clone(),
            answer = hostile.inbox.next("an answer") => count(&answer?, &mut ends, &mut first),
        }
    };
    let answered = counters["answered"].as_u64().unwrap_or_default();
    let refused = |reason: &str| counters["refused"][reason].as_u64().unwrap_or_default();
    let (stuck, full) = (refused("domain_stuck"), refused("store_full"));
    // How many are refused depends on the broker's pace; while it takes less than it gives, not everybody
    // can be told.
    while ends.answered < answered || ends.stuck < (stuck + full) / 2 {
        count(&hostile.inbox.next("an answer").await?, &mut ends, &mut first);
    }
    eprintln!("{ends:?} {counters}");
    assert!(ends.answered == answered && answered >= 1024, "{ends:?} {counters}");
    assert!(answered + stuck + full >= CALLS, "{ends:?} {counters}");
    sending.await??;
    serve.abort();
    let full = [("domain_stuck", stuck), ("store_full", full)];
    scene.end_flooded(full.get(..if full[1].1 > 0 { 2 } else { 1 }).unwrap_or_default()).await
}

/// What a caller on MQTT is answered.
fn count(answer: &Message, ends: &mut Ends, first: &mut Option<oneshot::Sender<()>>) {
    match answer.json()["status"].as_str() {
        Some("ok") => ends.answered += 1,
        Some("error") => {
            ends.stuck += 1;
            first.take().map(|first| first.send(()));
        }
        other => panic!("{other:?}"),
    }
}
