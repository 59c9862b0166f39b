//! Instructions for one call, counted by valgrind: the same on an idle machine and on a busy one.

use crate::messages::{Command, Server};
use crate::mqtt_end::MqttEnd;
use crate::process::Setup;
use crate::report::Row;
use crate::world::Floor;
use crate::{Extent, Res};

/// I1: without a goal, to compare one version with another. The kernel's are not counted.
pub fn instructions(extent: Extent) -> Res<Vec<Row>> {
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        println!("I1  instructions for one call: not measured, valgrind is not installed");
        return Ok(Vec::new());
    }
    let ways = [
        ("instructions of the gateway for one call L1", false, Server::Mqtt),
        ("instructions of the gateway for one call L2", true, Server::Legacy),
        ("instructions of the gateway for one call L3", false, Server::Legacy),
    ];
    let mut rows = Vec::new();
    for (what, from_mqtt, server) in ways {
        // Its start costs more than many calls: what some calls more cost is what they cost.
        let calls = extent.of(1000);
        let few = counted(50, from_mqtt, server)?;
        let many = counted(50 + calls, from_mqtt, server)?;
        let each = (many as f64 - few as f64) / calls as f64;
        rows.push(Row::plain("I1", what, "", each, None));
    }
    Ok(rows)
}

fn counted(calls: usize, from_mqtt: bool, server: Server) -> Res<u64> {
    let mut floor = Floor::start()?;
    let under = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let under = under.map(str::to_owned).to_vec();
    let setup = Setup { under, ..Setup::named("counted") };
    let mut world = floor.gateway(&setup, &["vm-a"], true)?;
    let way = (Command::Disks, server);
    if from_mqtt {
        MqttEnd::requester(&floor.socket(), "vm-m")?.calls(way, calls, 1)?;
    } else {
        world.first()?.calls(way, calls, 1)?;
    }
    let log = world.gateway.end()?;
    // "==123== Collected : 456"
    let number =
        log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    number.ok_or_else(|| format!("valgrind has counted nothing:\n{log}").into())
}
