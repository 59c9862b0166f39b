//! Notifications: how many fit, and whether one domain's are in the way of another's calls.

use crate::messages::{Command, MOVED, Server};
use crate::mqtt_end::{DEADLINE, MqttEnd};
use crate::process::{Setup, cpu_time};
use crate::report::{Goal, Row};
use crate::stats::{Samples, median, ratio};
use crate::world::Floor;
use crate::{Extent, Res};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

/// Where the bare publisher publishes: not the gateway's topic, for that it would have to read itself.
const BARE: &str = "bench/bare/notification";

/// The same, with two who listen.
const TWICE: &str = "bench/bare/twice";

/// T2.
pub fn notifications(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let count = extent.of(20_000);
    let mut world = floor.gateway(&Setup::named("events"), &["vm-a"], false)?;
    let socket = floor.socket();
    let mut bare = MqttEnd::connect(&socket, "vm-bare", &[])?;
    let mut listener = MqttEnd::connect(&socket, "vm-bare-screen", &[BARE.to_owned()])?;
    let mut second = MqttEnd::connect(&socket, "vm-bare-second", &[TWICE.to_owned()])?;
    let mut twice = MqttEnd::connect(&socket, "vm-bare-twice", &[TWICE.to_owned()])?;
    let mut screen = MqttEnd::connect(&socket, "vm-screen", &[MOVED.to_owned()])?;
    let (mut theirs, mut twofold, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let legacy = world.first()?;
    for _ in 0..extent.rounds {
        theirs.push(rate(&mut listener, count, |_| bare.publish(count, BARE))?);
        twofold.push(rate(&mut twice, count, |_| {
            thread::scope(|scope| {
                let too = scope.spawn(|| second.receive(count, &AtomicUsize::new(0)));
                bare.publish(count, TWICE)?;
                too.join().map_err(|_| "the second listener has failed")?
            })
        })?);
        ours.push(rate(&mut screen, count, |arrived| legacy.notify(count, arrived))?);
    }
    world.gateway.end()?;
    let whats = [
        (
            "notifications, legacy -> MQTT, beside a bare publisher",
            theirs,
            Some(Goal::AtLeast(0.8)),
        ),
        // As it is with the gateway: its own session has to listen for the others'.
        ("the same, where one more client listens to both", twofold, None),
    ];
    let row = |(what, theirs, goal): (&str, Vec<f64>, Option<Goal>)| {
        let figures = (median(theirs.clone()), median(ours.clone()), ratio(&ours, &theirs));
        Row::ratio("T2", what, "/s", figures, goal)
    };
    Ok(whats.into_iter().map(row).collect())
}

/// How many of `count` arrive a second.
fn rate(
    listener: &mut MqttEnd,
    count: usize,
    send: impl FnOnce(&AtomicUsize) -> Res + Send,
) -> Res<f64> {
    let arrived = AtomicUsize::new(0);
    let start = Instant::now();
    let time = thread::scope(|scope| {
        let sender = scope.spawn(|| send(&arrived));
        listener.receive(count, &arrived)?;
        let time = start.elapsed();
        sender.join().map_err(|_| "the sender has failed")??;
        Res::Ok(time)
    })?;
    Ok(count as f64 / time.as_secs_f64())
}

/// F1.
pub fn fairness(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let calls = extent.of(2000);
    let mut world = floor.gateway(&Setup::named("fair"), &["vm-a", "vm-flood"], true)?;
    let mut flooding = world.ends.pop().ok_or("no domain")?;
    let mut mqtt = MqttEnd::requester(&floor.socket(), "vm-m")?;
    let busy = [world.gateway.id(), floor.broker()?];
    let legacy = world.first()?;
    let (mut quiet, mut loud): ([Samples; 3], [Samples; 3]) = Default::default();
    let mut measure = |samples: &mut [Samples; 3]| -> Res {
        let [direct, l1, l3] = samples;
        direct.add(mqtt.calls((Command::Disks, Server::Mqtt), calls, 1)?);
        l1.add(legacy.calls((Command::Disks, Server::Mqtt), calls, 1)?);
        l3.add(legacy.calls((Command::Disks, Server::Legacy), calls, 1)?);
        Ok(())
    };
    for _ in 0..extent.rounds {
        settle(&busy)?;
        measure(&mut quiet)?;
        let stop = Arc::new(AtomicBool::new(false));
        let flood = flooding.flood(Arc::clone(&stop));
        let measured = measure(&mut loud);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        flooding = flood.join().map_err(|_| "the flood has failed")?;
        measured?;
    }
    let mut rows = Vec::new();
    let goal = Some(Goal::AtMost(3.0));
    let whats = [
        // What the machine and the broker have left while they are flooded.
        ("the direct path's calls in a flood, p99", None),
        ("another's calls L1 in a flood, p99", goal),
        ("another's calls L3 in a flood, p99", goal),
    ];
    for (((what, goal), quiet), loud) in whats.into_iter().zip(quiet).zip(loud) {
        let (quiet, loud) = (quiet.each(99), loud.each(99));
        let figure = ratio(&loud, &quiet);
        rows.push(Row::ratio("F1", what, "us", (median(quiet), median(loud), figure), goal));
    }
    world.gateway.end()?;
    Ok(rows)
}

/// Waits until these processes have nothing to do.
pub fn settle(processes: &[u32]) -> Res {
    const LOOK: Duration = Duration::from_millis(50);
    const NOTHING: Duration = Duration::from_micros(500);
    let used = || processes.iter().map(|p| cpu_time(*p)).sum::<Res<Duration>>();
    let start = Instant::now();
    let mut before = used()?;
    while start.elapsed() < DEADLINE {
        thread::sleep(LOOK);
        let now = used()?;
        if now - before < NOTHING {
            return Ok(());
        }
        before = now;
    }
    Err("the gateway does not come to rest".into())
}
