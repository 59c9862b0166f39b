//! One large message: how long it takes, and how much memory.

use crate::flow::settle;
use crate::legacy_end::LegacyEnd;
use crate::messages::{Command, Server};
use crate::mqtt_end::MqttEnd;
use crate::process::{Setup, forget_peak, peak};
use crate::report::{Goal, Row};
use crate::stats::{median, millis, ratio};
use crate::world::Floor;
use crate::{Extent, Res};
use serde::de::IgnoredAny;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// B1.
pub fn listings(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let size =
        (Command::Files.data().unwrap_or_default(), Command::Files.answer().unwrap_or_default());
    let legacy_asks =
        Case { id: "B1", what: "100 000 files, MQTT -> legacy", command: Command::Files };
    let mqtt_asks = Case { what: "100 000 files, legacy -> MQTT", ..legacy_asks };
    let mut rows = mqtt_asks.measure(floor, extent, Server::Legacy, (&size.0, &size.1))?;
    rows.extend(legacy_asks.measure(floor, extent, Server::Mqtt, (&size.1, &size.0))?);
    Ok(rows)
}

/// B2.
pub fn files(floor: &mut Floor, extent: Extent) -> Res<Vec<Row>> {
    let command = Command::Create;
    let (line, payload) = (command.line("vm-a", Server::Mqtt), command.payload("vm-m"));
    let legacy_asks = Case { id: "B2", what: "create_file of 8 MiB, legacy -> MQTT", command };
    let mqtt_asks = Case { what: "create_file of 8 MiB, MQTT -> legacy", ..legacy_asks };
    let mut rows = legacy_asks.measure(floor, extent, Server::Mqtt, (&line, &payload))?;
    rows.extend(mqtt_asks.measure(floor, extent, Server::Legacy, (&payload, &line))?);
    Ok(rows)
}

#[derive(Clone, Copy)]
struct Case {
    id: &'static str,
    what: &'static str,
    command: Command,
}

impl Case {
    /// Measures calls of this server. `read` is the large message as the gateway reads it, `written` as
    /// it writes it.
    fn measure(
        self,
        floor: &mut Floor,
        extent: Extent,
        server: Server,
        (read, written): (&str, &str),
    ) -> Res<Vec<Row>> {
        let mut direct = MqttEnd::requester(&floor.socket(), "vm-m")?;
        let on_the_wire = if server == Server::Legacy && self.command == Command::Files
            || server == Server::Mqtt && self.command == Command::Create
        {
            read
        } else {
            written
        };
        let (mut bounds, mut ours, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..extent.rounds.min(5) {
            // A fresh one each time: it would keep the memory that it once had.
            let mut world = floor.gateway(&Setup::named("bulk"), &["vm-a"], true)?;
            let gateway = world.gateway.id();
            let ways = (&mut direct, world.first()?);
            warm(ways, server)?;
            settle(&[gateway])?;
            let straight = once(&direct.calls((self.command, Server::Mqtt), 1, 1)?);
            let socket = millis(through_a_socket(on_the_wire.as_bytes())?);
            bounds.push(straight + socket + 2.0 * millis(parsed(read)?));
            forget_peak(gateway)?;
            let took = match server {
                Server::Mqtt => world.first()?.calls((self.command, server), 1, 1)?,
                Server::Legacy => direct.calls((self.command, server), 1, 1)?,
            };
            ours.push(once(&took));
            peaks.push(peak(gateway)? as f64 / read.len() as f64);
            world.gateway.end()?;
        }
        let figures = (median(bounds.clone()), median(ours.clone()), ratio(&ours, &bounds));
        let time = format!("{}: 2 x parse + transport", self.what);
        let memory = format!("{}: peak resident / message", self.what);
        Ok(vec![
            Row::ratio(self.id, time, "ms", figures, Some(Goal::AtMost(1.0))),
            Row::plain(self.id, memory, "x", median(peaks), Some(Goal::AtMost(3.0))),
        ])
    }
}

/// Small calls by the same way.
fn warm((mqtt, legacy): (&mut MqttEnd, &mut LegacyEnd), server: Server) -> Res {
    let way = (Command::Disks, server);
    match server {
        Server::Mqtt => legacy.calls(way, 20, 1)?,
        Server::Legacy => mqtt.calls(way, 20, 1)?,
    };
    Ok(())
}

fn once(times: &[Duration]) -> f64 {
    times.first().copied().map(millis).unwrap_or_default()
}

/// How long it takes to read it once and look at nothing.
fn parsed(text: &str) -> Res<Duration> {
    let start = Instant::now();
    serde_json::from_str::<IgnoredAny>(text.trim_end())?;
    Ok(start.elapsed())
}

/// How long bytes take through a UNIX socket.
fn through_a_socket(bytes: &[u8]) -> Res<Duration> {
    let (mut writer, mut reader) = UnixStream::pair()?;
    let mut buffer = vec![0; 256 * 1024];
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(bytes));
        let mut left = bytes.len();
        while left > 0 {
            match reader.read(&mut buffer)? {
                0 => return Err("the socket has closed".into()),
                count => left = left.saturating_sub(count),
            }
        }
        Ok(start.elapsed())
    })
}
