//! A legacy domain restarts, does not read, writes badly, or has a backend that throws away.

use super::backend::{Backend, Make};
use super::guest::{CALLER, Manner, Piece};
use super::ledger::Kind;
use super::peers::Missing;
use super::wire;
use super::world::{Account, Setting, World};

/// A domain restarts, one or the other.
pub async fn restarts(setting: Setting, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    for _ in 0..times {
        world.some_more().await?;
        let which = world.random.between(0, 1);
        let guest = if which == 0 { &mut world.usb } else { &mut world.gui };
        guest.stop().await?;
        world.more(5).await?;
        let guest = if which == 0 { &mut world.usb } else { &mut world.gui };
        guest.listen()?;
        guest.connected().await?;
    }
    world.some_more().await?;
    world.end().await
}

/// It goes in the middle of a line, and sometimes comes back with the rest of it.
pub async fn torn_lines(setting: Setting, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    let mut torn = world.guest("vm-torn").await?;
    let out = torn.outgoing();
    for _ in 0..times {
        let line = wire::tell("vm-torn", CALLER, "test", 0);
        let at = usize::try_from(world.random.between(1, 100)).unwrap_or(1);
        let (half, rest) = line.split_at(at);
        send(&out, aside(&world, "vm-torn", CALLER)).await?;
        send(&out, Piece::raw(half.as_bytes())).await?;
        torn.idle().await?;
        torn.stop().await?;
        world.more(5).await?;
        torn.listen()?;
        torn.connected().await?;
        if world.random.between(0, 1) == 1 {
            send(&out, Piece::raw(rest.as_bytes())).await?;
        }
        send(&out, aside(&world, "vm-torn", CALLER)).await?;
    }
    torn.idle().await?;
    world.end().await
}

/// It never reads, until the end.
pub async fn never_reads(setting: Setting, lines: u32) -> Result<Account, Missing> {
    let limits = "[limits]\nqueue = \"64 KiB\"\nstuck = \"1s\"\n";
    let tables = format!("{}{limits}", setting.tables);
    let mut world = World::start(&Setting { tables, ..setting }).await?;
    let mute = world.guest("vm-mute").await?;
    mute.set_reads(false);
    let speaker = world.guest("vm-speaks").await?;
    for _ in 0..lines {
        send(&speaker.outgoing(), aside(&world, "vm-speaks", "vm-mute")).await?;
    }
    speaker.idle().await?;
    world.gateway.logged("domain_stuck", 1).await?;
    world.some_more().await?;
    mute.set_reads(true);
    for _ in 0..10 {
        send(&speaker.outgoing(), aside(&world, "vm-speaks", "vm-mute")).await?;
    }
    speaker.idle().await?;
    world.end().await
}

/// It writes a byte at a time.
pub async fn bytewise(setting: Setting, lines: u32) -> Result<Account, Missing> {
    written(setting, lines, Manner::Bytewise).await
}

/// It writes as fast as it can, more than it may.
pub async fn floods(setting: Setting, lines: u32) -> Result<Account, Missing> {
    let tables = format!("{}[limits]\nrate = 2000\n", setting.tables);
    written(Setting { tables, ..setting }, lines, Manner::Flood).await
}

async fn written(setting: Setting, lines: u32, manner: Manner) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    let guest = world.guest("vm-other").await?;
    guest.set_manner(manner);
    let out = guest.outgoing();
    for _ in 0..lines {
        send(&out, aside(&world, "vm-other", CALLER)).await?;
    }
    guest.idle().await?;
    world.some_more().await?;
    world.end().await
}

/// What the domain writes before its backend has a turn.
const SPURT: usize = 64 << 10;

/// Its backend throws away what comes while nobody is connected, or the client stalls.
pub async fn discards(setting: Setting, make: Make, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    let backend = Backend::start(world.sockets(), "vm-virt", make, world.ledger.clone())?;
    let flood = |world: &World, bytes: usize| {
        let mut written = 0;
        while written < bytes {
            let number = world.ledger.number(Kind::Aside);
            let line = wire::tell("vm-virt", CALLER, "test", number);
            written += line.len();
            backend.write(number, &line);
        }
    };
    backend.connected(true).await?;
    for _ in 0..times {
        world.some_more().await?;
        flood(&world, 500);
        // The client stalls: more than the backend and the socket between them hold.
        world.gateway.freeze()?;
        for _ in 0..make.most() / SPURT + 8 {
            flood(&world, SPURT);
            tokio::task::yield_now().await;
        }
        world.gateway.thaw()?;
        world.some_more().await?;
        flood(&world, 500);
        backend.read().await?;
        // Nobody is connected.
        world.gateway.terminate()?;
        backend.connected(false).await?;
        flood(&world, 2000);
        world.gateway.ended().await?;
        world.gateway.run().map_err(|e| Missing::new(e.to_string()))?;
        backend.connected(true).await?;
        flood(&world, 500);
    }
    if !backend.has_discarded() {
        return Err(Missing::new("the backend has thrown nothing away"));
    }
    backend.read().await?;
    backend.count();
    world.end().await
}

fn aside(world: &World, from: &str, to: &str) -> Piece {
    let (mut piece, number) = (Piece::default(), world.ledger.number(Kind::Aside));
    piece.add(&wire::tell(from, to, "test", number), number);
    piece
}

async fn send(to: &tokio::sync::mpsc::Sender<Piece>, piece: Piece) -> Result<(), Missing> {
    to.send(piece).await.map_err(|_| Missing::new("a domain has gone"))
}
