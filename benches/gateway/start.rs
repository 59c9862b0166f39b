//! The program: how large it is, and how soon it carries a message.

use crate::legacy_end::Listening;
use crate::messages::MOVED;
use crate::mqtt_end::MqttEnd;
use crate::process::{Gateway, Setup, directory, installed};
use crate::report::{Goal, Row};
use crate::stats::{median, millis};
use crate::world::Floor;
use crate::{Extent, Res};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

/// X1.
pub fn start(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let (program, kind) = installed();
    let size = std::fs::metadata(&program)?.len() as f64 / f64::from(1 << 20);
    let setup = Setup { program: Some(program), ..Setup::named("start") };
    let mut times = Vec::new();
    for _ in 0..extent.rounds {
        let directory = directory()?;
        let domain = Listening::start(directory.path(), "vm-a")?;
        let mut screen = MqttEnd::connect(&floor.socket(), "vm-screen", &[MOVED.to_owned()])?;
        let start = Instant::now();
        let gateway = Gateway::start(&setup, directory, &floor.socket())?;
        let mut domain = domain.accept()?;
        let arrived = AtomicUsize::new(0);
        domain.notify(1, &arrived)?;
        screen.receive(1, &arrived)?;
        times.push(millis(start.elapsed()));
        gateway.end()?;
    }
    Ok(vec![
        Row::plain(
            "X1",
            format!("the program ({kind}): size"),
            "MiB",
            size,
            Some(Goal::AtMost(6.0)),
        ),
        Row::plain(
            "X1",
            "from its start to its first message",
            "ms",
            median(times),
            Some(Goal::AtMost(20.0)),
        ),
    ])
}
