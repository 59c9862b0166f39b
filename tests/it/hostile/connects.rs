//! CONNECT after CONNECT on one channel, without a pause and in every company.

use super::Scene;
use crate::peers::raw_mqtt::{DISCONNECT, LEVELS, publish};
use crate::peers::{Hello, RawMqtt};
use crate::setting::Outcome;
use tokio::io::AsyncWriteExt as _;

/// What is written without a pause: several megabytes.
const STORM: usize = 8 << 20;

/// CONNECTs, and what comes between two of them.
async fn storm(company: &'static [u8]) -> Outcome {
    let mut scene = Scene::start().await?;
    let mut console = scene.dom0.console("vm-hostile").await?;
    let (mut reader, mut writer) = console.open().await?.into_split();
    let hostile = tokio::spawn(async move {
        let round = LEVELS.map(|level| {
            let hello = Hello { level, id: "storm", ..Hello::default() }.packet();
            [&hello[..], company].concat()
        });
        let round = round.concat().repeat(100);
        for _ in 0..STORM / round.len() {
            writer.write_all(&round).await?;
        }
        writer.shutdown().await
    });
    let read =
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    // The others go on meanwhile, and the gateway stays small.
    for _ in 0..20 {
        scene.others.go_on().await?;
    }
    let peak = scene.dom0.gateway.peak_memory()?;
    assert!(peak < super::MOST, "{} KiB", peak >> 10);
    hostile.abort();
    read.abort();
    let _ = hostile.await;
    // The domain starts anew, and its program is let in: nothing is left of the storm.
    console.stop().await?;
    console.listen()?;
    let mut port = RawMqtt::open(console.port()).await?;
    port.hello(&Hello { level: 4, id: "honest", ..Hello::default() }).await?;
    port.write(&publish(4, 1, 7, "to/nobody", b"")).await?;
    port.expect(0x40).await?;
    scene.others.go_on().await?;
    scene.others.finish().await?;
    Ok(())
}

#[tokio::test]
async fn connects_and_nothing_else() -> Outcome {
    storm(b"").await
}

#[tokio::test]
async fn connects_and_disconnects() -> Outcome {
    storm(&DISCONNECT).await
}

#[tokio::test]
async fn connects_and_garbage() -> Outcome {
    storm(b"\x00\xFF\xFF garbage").await
}

#[tokio::test]
async fn connects_and_lines() -> Outcome {
    storm(b"{\"type\":\"notification\"}\n").await
}
