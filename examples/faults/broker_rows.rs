//! The broker is killed, stops, or is not there.

use super::peers::Missing;
use super::peers::broker::Persistence;
use super::world::{Account, Setting, World};
use std::time::Duration;

/// It is killed, and comes back some messages later.
pub async fn killed(
    setting: Setting,
    persistence: Persistence,
    times: u32,
) -> Result<Account, Missing> {
    let mut world = World::start(&Setting { persistence, ..setting }).await?;
    for _ in 0..times {
        world.some_more().await?;
        world.kill_broker().await?;
    }
    world.some_more().await?;
    world.end().await
}

/// It stops in its tracks, and goes on some messages later.
pub async fn stopped(
    setting: Setting,
    persistence: Persistence,
    times: u32,
) -> Result<Account, Missing> {
    let mut world = World::start(&Setting { persistence, ..setting }).await?;
    for _ in 0..times {
        world.some_more().await?;
        world.broker.freeze()?;
        world.some_more_from_legacy().await?;
        world.broker.thaw()?;
    }
    world.some_more().await?;
    world.end().await
}

/// Its socket is not there for a while.
pub async fn absent(setting: Setting, time: Duration) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    world.tap.shut().await?;
    // A domain's session ends at the broker after `limits.away`, a minute.
    world.broker_forgets = time >= Duration::from_secs(50);
    // The time is the fault.
    tokio::time::sleep(time).await;
    world.tap.open()?;
    world.some_more().await?;
    world.end().await
}

/// It is not there, and the gateway ends: what waits is in the store.
pub async fn absent_at_the_end(setting: Setting, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&Setting { key: "grace = \"1s\"", ..setting }).await?;
    // What is said on MQTT waits in the broker, where nobody looks.
    world.hush_mqtt().await?;
    world.tap.shut().await?;
    for _ in 0..times {
        world.some_more_from_legacy().await?;
        world.end_gateway().await?;
    }
    world.some_more_from_legacy().await?;
    world.hush().await?;
    world.account().await
}
