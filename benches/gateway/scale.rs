//! Many domains: what they cost when nothing happens, and whether a call costs more beside them.

use crate::flow::settle;
use crate::messages::{Command, Server};
use crate::process::{Setup, cpu_time, installed, resident, waits, wake_ups};
use crate::report::{Goal, Row};
use crate::stats::{Samples, median, micros, ratio};
use crate::world::{Floor, World};
use crate::{Extent, Res};
use std::thread;
use std::time::Duration;

/// M1. The keep-alive of the benchmark's gateways is an hour, so that none falls into it.
pub fn idle(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    const DOMAINS: usize = 32;
    let (program, kind) = installed();
    let setup = Setup { program: Some(program), ..Setup::named("idle") };
    let world = many(floor, &setup, "vm", DOMAINS)?;
    let gateway = world.gateway.id();
    settle(&[gateway])?;
    let watched = Duration::from_millis(if extent.short { 500 } else { 20_000 });
    let before = waits(gateway)?;
    thread::sleep(watched);
    let woken = wake_ups(gateway, &before)?;
    let memory = resident(gateway)? as f64 / f64::from(1 << 20);
    world.gateway.end()?;
    let what = format!("idle, {DOMAINS} domains: wake-ups in {watched:?}");
    let size = format!("idle, {DOMAINS} domains ({kind}): resident");
    Ok(vec![
        Row::plain("M1", size, "MiB", memory, Some(Goal::AtMost(8.0))),
        Row::plain("M1", what, "", woken as f64, Some(Goal::AtMost(0.0))),
    ])
}

fn many(floor: &mut Floor, setup: &Setup, prefix: &str, count: usize) -> Res<World> {
    let names: Vec<_> = (0..count).map(|i| format!("{prefix}-{i}")).collect();
    let borrowed: Vec<_> = names.iter().map(String::as_str).collect();
    floor.gateway(setup, &borrowed, false)
}

/// A gateway whose first domain makes calls, and what they took.
struct Variant {
    what: &'static str,
    world: World,
    times: Samples,
    costs: Vec<f64>,
}

/// S1.
pub fn scale(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let calls = extent.of(1000);
    let mut variants = Vec::new();
    for (what, domains, more_rows, pending) in [
        ("1 domain", 1, 0, 0),
        ("8 domains", 8, 0, 0),
        ("32 domains", 32, 0, 0),
        ("64 domains", 64, 0, 0),
        ("200 more rows", 1, 200, 0),
        ("1 000 pending calls", 1, 0, 1000),
    ] {
        let instance = format!("s{}", variants.len());
        let setup = Setup { instance: instance.clone(), more_rows, ..Setup::default() };
        let mut world = many(floor, &setup, &instance, domains)?;
        let first = world.first()?;
        first.leave_pending(pending)?;
        first.calls((Command::Disks, Server::Mqtt), extent.of(400), 1)?;
        let (times, costs) = (Samples::default(), Vec::new());
        variants.push(Variant { what, world, times, costs });
    }
    for variant in &variants {
        settle(&[variant.world.gateway.id()])?;
    }
    for _ in 0..extent.rounds {
        for variant in &mut variants {
            let gateway = variant.world.gateway.id();
            let before = cpu_time(gateway)?;
            let first = variant.world.first()?;
            let times = first.calls((Command::Disks, Server::Mqtt), calls, 1)?;
            variant.costs.push(micros(cpu_time(gateway)? - before) / calls as f64);
            variant.times.add(times);
        }
    }
    let mut rows = Vec::new();
    if let Some((base, others)) = variants.split_first() {
        let goal = Some(Goal::AtMost(1.2));
        for other in others {
            let (ours, theirs) = (other.times.each(50), base.times.each(50));
            let figure = ratio(&ours, &theirs);
            let figures = (median(theirs), median(ours), figure);
            rows.push(Row::ratio(
                "S1",
                format!("call L1, {}, p50", other.what),
                "us",
                figures,
                goal,
            ));
            let figure = ratio(&other.costs, &base.costs);
            let figures = (median(base.costs.clone()), median(other.costs.clone()), figure);
            let what = format!("call L1, {}, processor time", other.what);
            rows.push(Row::ratio("S1", what, "us", figures, goal));
        }
    }
    for variant in variants {
        variant.world.gateway.end()?;
    }
    Ok(rows)
}
