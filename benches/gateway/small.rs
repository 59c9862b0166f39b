//! Small calls: how long one takes, how many fit, and what they cost.

use crate::legacy_end::LegacyEnd;
use crate::messages::{Command, Server};
use crate::mqtt_end::MqttEnd;
use crate::process::{Setup, cpu_time};
use crate::report::{Goal, Row};
use crate::stats::{Samples, median, micros, ratio};
use crate::world::Floor;
use crate::{Extent, Res};
use std::thread;
use std::time::{Duration, Instant};

/// A listing of two disks, by the server on MQTT or the legacy one.
const TO_MQTT: (Command, Server) = (Command::Disks, Server::Mqtt);
const TO_LEGACY: (Command, Server) = (Command::Disks, Server::Legacy);

/// The processor time of the gateway and of the broker for one call, over the rounds.
#[derive(Default)]
struct Cost {
    gateway: Vec<f64>,
    broker: Vec<f64>,
}

impl Cost {
    fn row(&self, what: &str) -> Row {
        let figure = ratio(&self.gateway, &self.broker);
        let figures = (median(self.broker.clone()), median(self.gateway.clone()), figure);
        Row::ratio("C1", what, "us", figures, Some(Goal::AtMost(1.0)))
    }
}

/// L1, L2, L3 and C1.
pub fn latency(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let calls = extent.of(2000);
    let mut world = floor.gateway(&Setup::named("small"), &["vm-a"], true)?;
    let mut mqtt = MqttEnd::requester(&floor.socket(), "vm-m")?;
    let (gateway, broker) = (world.gateway.id(), floor.broker()?);
    let legacy = world.first()?;
    let warm = extent.of(400);
    mqtt.calls(TO_MQTT, warm, 1)?;
    mqtt.calls(TO_LEGACY, warm, 1)?;
    legacy.calls(TO_MQTT, warm, 1)?;
    legacy.calls(TO_LEGACY, warm, 1)?;
    let (mut direct, mut l1, mut l2, mut l3) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    let (mut c1, mut c2) = (Cost::default(), Cost::default());
    let costs = |cost: &mut Cost, measure: &mut dyn FnMut() -> Res<Vec<Duration>>| {
        let before = (cpu_time(gateway)?, cpu_time(broker)?);
        let times = measure()?;
        let each = |now: Duration, then: Duration| micros(now - then) / times.len().max(1) as f64;
        cost.gateway.push(each(cpu_time(gateway)?, before.0));
        cost.broker.push(each(cpu_time(broker)?, before.1));
        Res::Ok(times)
    };
    for _ in 0..extent.rounds {
        direct.add(mqtt.calls(TO_MQTT, calls, 1)?);
        l1.add(costs(&mut c1, &mut || legacy.calls(TO_MQTT, calls, 1))?);
        l2.add(costs(&mut c2, &mut || mqtt.calls(TO_LEGACY, calls, 1))?);
        l3.add(legacy.calls(TO_LEGACY, calls, 1)?);
    }
    let mut rows = Vec::new();
    let mut add = |id, what: &str, samples: &Samples, goals: [Option<Goal>; 2]| {
        for (percent, goal) in [50, 99].into_iter().zip(goals) {
            let (ours, theirs) = (samples.each(percent), direct.each(percent));
            let figure = ratio(&ours, &theirs);
            let figures = (median(theirs), median(ours), figure);
            rows.push(Row::ratio(id, format!("{what}, p{percent}"), "us", figures, goal));
        }
    };
    let goals = [Some(Goal::AtMost(1.5)), Some(Goal::AtMost(2.0))];
    add("L1", "call, legacy -> MQTT server", &l1, goals);
    add("L2", "call, MQTT -> legacy server", &l2, goals);
    add("L3", "call, legacy -> legacy server", &l3, [Some(Goal::AtMost(0.8)), None]);
    rows.push(c1.row("processor time of a call L1, beside the broker's"));
    rows.push(c2.row("processor time of a call L2, beside the broker's"));
    world.gateway.end()?;
    Ok(rows)
}

/// T1.
pub fn throughput(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    const DOMAINS: usize = 8;
    let calls = extent.of(6000);
    let names: Vec<_> = (0..DOMAINS).map(|i| format!("vm-{i}")).collect();
    let borrowed: Vec<_> = names.iter().map(String::as_str).collect();
    let mut world = floor.gateway(&Setup::named("many"), &borrowed, false)?;
    let mut mqtt = (0..DOMAINS)
        .map(|i| MqttEnd::requester(&floor.socket(), &format!("vm-m{i}")))
        .collect::<Res<Vec<_>>>()?;
    let mut rates: [Vec<f64>; 4] = Default::default();
    let [direct_1, ours_1, direct_8, ours_8] = &mut rates;
    rate(&mut mqtt, extent.of(400), MqttEnd::calls)?;
    rate(&mut world.ends, extent.of(400), LegacyEnd::calls)?;
    for _ in 0..extent.rounds {
        direct_1.push(rate(mqtt.get_mut(..1).unwrap_or_default(), calls, MqttEnd::calls)?);
        let first = world.ends.get_mut(..1).unwrap_or_default();
        ours_1.push(rate(first, calls, LegacyEnd::calls)?);
        direct_8.push(rate(&mut mqtt, calls / DOMAINS, MqttEnd::calls)?);
        ours_8.push(rate(&mut world.ends, calls / DOMAINS, LegacyEnd::calls)?);
    }
    world.gateway.end()?;
    let row = |what, reference: &[f64], ours: &[f64], least| {
        let figures = (median(reference.to_vec()), median(ours.to_vec()), ratio(ours, reference));
        Row::ratio("T1", what, "calls/s", figures, Some(Goal::AtLeast(least)))
    };
    Ok(vec![
        row("calls, 16 in flight, 1 domain", direct_1, ours_1, 0.6),
        row("calls, 16 in flight each, 8 domains", direct_8, ours_8, 0.6),
        row("8 domains together, beside 1 domain", ours_1, ours_8, 1.0),
    ])
}

/// What an end does: calls of a way, so many, and so many of them in flight.
type Calls<E> = fn(&mut E, (Command, Server), usize, usize) -> Res<Vec<Duration>>;

/// How many calls a second all of these make together, each so many with 16 in flight.
fn rate<E: Send>(ends: &mut [E], calls: usize, call: Calls<E>) -> Res<f64> {
    let all = calls * ends.len();
    let start = Instant::now();
    thread::scope(|scope| {
        let ends = ends.iter_mut();
        let running: Vec<_> =
            ends.map(|end| scope.spawn(move || call(end, TO_MQTT, calls, 16))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done.map(|_| ()),
            Err(_) => Err("an end has failed".into()),
        })
    })?;
    Ok(all as f64 / start.elapsed().as_secs_f64())
}
