//! `make soak`: mixed traffic with faults for as long as is wanted; what it costs is printed as it goes.

use super::ledger::{Book, Kind};
use super::peers::Missing;
use super::recording::Recording;
use super::world::{Setting, World};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What has ended for so long is forgotten; calls take 4 s at most.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Memory may differ by so much after the warm-up, or by a quarter: the allocator's, and what waits.
const LITTLE: usize = 4 << 20;

/// Runs for `time`, and says something every `each`. Fails if memory has grown, or something is lost; or, if it is
/// `recorded`, does something else when it is played again.
pub async fn soak(setting: &Setting, time: Duration, each: Duration, recorded: bool) -> ExitCode {
    match run(setting, time, each, recorded).await {
        Ok(flat) if flat => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(missing) => {
            println!("FAILED: {missing}");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    setting: &Setting,
    time: Duration,
    each: Duration,
    recorded: bool,
) -> Result<bool, Missing> {
    let mut world = World::start(setting).await?;
    let recording = match recorded {
        true => Some(Recording::start(&setting.program, &world.gateway).await?),
        false => None,
    };
    let began = Instant::now();
    println!(
        "    s  KiB own     sent  again  call p50    p99 ms   ask p50    p99 ms  fault since then"
    );
    let (mut sizes, mut from) = (Vec::new(), Instant::now());
    let mut faults = Vec::new();
    let mut next = began + each;
    while began.elapsed() < time {
        // Some seconds. A broker that goes again at once is taken for one whose sessions are contested.
        let calm = world.random.between(1000, 4000);
        world.more(usize::try_from(calm).unwrap_or_default()).await?;
        faults.push(fault(&mut world).await?);
        if Instant::now() < next {
            continue;
        }
        // A fault's end is no time to measure: what waited meanwhile goes first.
        world.more(1000).await?;
        let size = world.gateway.memory()?;
        sizes.push((began.elapsed(), size));
        print(&world, began, size, from, &faults);
        world.ledger.forget(REMEMBERED);
        faults.clear();
        (from, next) = (Instant::now(), next + each);
    }
    let flat = flat(&sizes, time);
    let account = world.end().await?;
    let t = &account.tally;
    println!(
        "the last {} messages: {} delivered, {} at risk, {} forgotten by the broker, {} refused, {} lost",
        t.sent,
        t.delivered,
        t.at_risk,
        t.forgotten,
        t.refused.values().sum::<usize>(),
        t.lost.len()
    );
    for what in &account.wrong {
        println!("    {what}");
    }
    let mut same = true;
    if let Some(recording) = recording {
        let (said, is) = recording.play().await?;
        print!("played again: {said}");
        same = is;
    }
    Ok(flat && account.wrong.is_empty() && same)
}

/// Something fails, and is well again; what it was. The gateway goes on all the time: it is its memory
/// that is measured.
async fn fault(world: &mut World) -> Result<&'static str, Missing> {
    Ok(match world.random.between(0, 3) {
        0 => {
            world.kill_broker().await?;
            "broker killed"
        }
        1 => {
            world.broker.freeze()?;
            world.some_more_from_legacy().await?;
            world.broker.thaw()?;
            "broker stopped"
        }
        2 => {
            world.tap.shut().await?;
            world.some_more_from_legacy().await?;
            world.tap.open()?;
            "broker absent"
        }
        _ => {
            world.usb.stop().await?;
            world.usb.listen()?;
            world.usb.connected().await?;
            "domain restarted"
        }
    })
}

fn print(world: &World, began: Instant, size: usize, from: Instant, faults: &[&str]) {
    let (calls, asks) = world
        .ledger
        .look(|book| (latencies(book, Kind::Call, from), latencies(book, Kind::Ask, from)));
    let (sent, again) = world.ledger.look(|book| (book.sent, book.again.0 + book.again.1));
    let mut names: Vec<_> = faults.to_vec();
    names.sort_unstable();
    names.dedup();
    let names = names
        .iter()
        .map(|name| format!("{} {name}", faults.iter().filter(|fault| *fault == name).count()));
    println!(
        "{:>5} {:>8} {sent:>8} {again:>6} {:>9.1} {:>9.1} {:>9.1} {:>9.1}  {}",
        began.elapsed().as_secs(),
        size / 1024,
        at(&calls, 0.5),
        at(&calls, 0.99),
        at(&asks, 0.5),
        at(&asks, 0.99),
        names.collect::<Vec<_>>().join(", ")
    );
}

/// How long the calls of a kind took that began since then, in milliseconds, the shortest first.
pub fn latencies(book: &Book, kind: Kind, from: Instant) -> Vec<f64> {
    let entries = book.entries.iter().filter(|(number, _)| Kind::of(**number) == kind);
    let times = entries.filter_map(|(_, entry)| {
        let begun = entry.begun.filter(|begun| *begun > from)?;
        Some(entry.at?.saturating_duration_since(begun).as_secs_f64() * 1000.0)
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The value below which this part of them is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

/// Whether the memory of the last third is no more than that of the one before: the first third warms up.
fn flat(sizes: &[(Duration, usize)], time: Duration) -> bool {
    let median = |from: Duration, to: Duration| {
        let sizes = sizes.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, size)| *size);
        let mut sizes: Vec<usize> = sizes.collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied()
    };
    let (Some(middle), Some(last)) =
        (median(time / 3, time * 2 / 3), median(time * 2 / 3, Duration::MAX))
    else {
        println!("memory: too short to tell");
        return true;
    };
    let flat = last <= middle + LITTLE.max(middle / 4);
    let verdict = if flat { "flat" } else { "FAILED: it grows" };
    println!(
        "memory: {} KiB in the second third (median), {} KiB in the last: {verdict}",
        middle / 1024,
        last / 1024
    );
    flat
}
