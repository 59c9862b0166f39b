//! Dom0's program of the MVP, which goes on: its sockets, and what it says on them.

use crate::kit::{assert_ledger, command, gateway, name, notification, request, response};
use passerelle::engine::gateway::STRANGERS;
use passerelle::engine::refusal::Reason;
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use std::time::Duration;

const LIST: &str = "system/disks/list_files";
const REPOSITORY: &str = r#"{"disk":"__repository__"}"#;

/// A gateway whose Dom0 is legacy, and these sockets to which its program has connected.
fn relayed(sockets: &[&str]) -> Rehearsal {
    let mut gateway = gateway(&["vm-gui", "sys-usb"]);
    gateway.relay(true);
    for socket in sockets {
        assert!(gateway.connect_socket(&name(socket), true), "{socket}");
    }
    gateway.take_effects();
    gateway
}

fn say(gateway: &mut Rehearsal, socket: &str, line: &str) {
    assert!(gateway.receive_on(&name(socket), format!("{line}\n").as_bytes()), "{socket}");
}

/// How many lines a domain was given.
fn given(effects: &[Observed], to: &str) -> usize {
    effects
        .iter()
        .filter(|e| matches!(e, Observed::Written(name, _) if name.as_str() == to))
        .count()
}

fn refusals(effects: &[Observed]) -> Vec<(Reason, &str)> {
    let refused = effects.iter().filter_map(|effect| match effect {
        Observed::Refused(refusal) => Some((refusal.reason, refusal.from.as_str())),
        _ => None,
    });
    refused.collect()
}

#[test]
fn strangers_have_so_many_sockets_and_everyone_else_has_one() {
    let mut gateway = relayed(&["mqtt", "vm-gui"]);
    for n in 0..=STRANGERS {
        let stranger = format!("x{n}");
        gateway.publish(&request(LIST, &stranger, &stranger, REPOSITORY));
        let effects = gateway.take_effects();
        let offered = effects.contains(&Observed::Offered(name(&stranger), true));
        assert_eq!(offered, n < STRANGERS, "{n}");
        let last = format!("x{STRANGERS}");
        let refused = [(Reason::DomainStuck, last.as_str())];
        assert_eq!(refusals(&effects), if offered { &[][..] } else { &refused }, "{n}");
    }
    // A domain that comes here later, one that the mapping names, and whoever does not say its name.
    gateway.connect(&name("vm-new"));
    gateway.take_effects();
    for (domain, socket) in [("vm-new", "vm-new"), ("vm-gui", "vm-gui")] {
        gateway.connect_socket(&name(socket), true);
        let line = command(
            domain,
            "Dom0",
            "get_file_footprint",
            r#"{"filepath":"a","disk":"__repository__"}"#,
        );
        assert!(gateway.receive(&name(domain), format!("{line}\n").as_bytes()));
        let given = |e: &Observed| matches!(e, Observed::WrittenOn(on, _) if on.as_str() == socket);
        assert_eq!(gateway.take_effects().iter().filter(|e| given(e)).count(), 1, "{domain}");
    }
    // What they wait for, they wait for as long as a call may take.
    gateway.elapse(Duration::from_secs(30));
    let effects = gateway.take_effects();
    let expired = refusals(&effects).iter().filter(|(why, _)| *why == Reason::Expired).count();
    assert_eq!(expired, STRANGERS);
    assert_ledger(&gateway);
    // The program ends: those who ask for nothing any more are forgotten, and others have room.
    for socket in ["mqtt", "vm-gui", "vm-new"] {
        gateway.connect_socket(&name(socket), false);
    }
    let effects = gateway.take_effects();
    let withdrawn = effects.iter().filter(|e| matches!(e, Observed::Offered(_, false))).count();
    assert_eq!(withdrawn, STRANGERS);
}

#[test]
fn what_is_told_everyone_is_told_as_often_as_on_the_socket_that_has_it_most_often() {
    let line = notification("Dom0", "tous", "disque", r#"{"nom":"D","etat":"absent"}"#);
    let mut gateway = relayed(&["vm-gui", "sys-usb"]);
    let told = |gateway: &mut Rehearsal, sockets: &[&str]| -> Vec<usize> {
        let once = |socket: &&str| {
            say(gateway, socket, &line);
            given(&gateway.take_effects(), "vm-gui")
        };
        sockets.iter().map(once).collect()
    };
    assert_eq!(
        told(&mut gateway, &["vm-gui", "vm-gui", "sys-usb", "sys-usb", "sys-usb"]),
        [1, 1, 0, 0, 1]
    );
    // The first has it for the third time, too.
    assert_eq!(told(&mut gateway, &["vm-gui", "vm-gui"]), [0, 1]);
    // One that opens now was not there for what was told before.
    gateway.connect_socket(&name("mqtt"), true);
    assert_eq!(told(&mut gateway, &["mqtt", "vm-gui", "sys-usb"]), [1, 0, 0]);
    // Later it is news.
    gateway.elapse(Duration::from_secs(10));
    assert_eq!(told(&mut gateway, &["sys-usb", "vm-gui", "mqtt"]), [1, 0, 0]);
    // Another program has told nothing.
    for socket in ["vm-gui", "sys-usb", "mqtt"] {
        gateway.connect_socket(&name(socket), false);
    }
    gateway.connect_socket(&name("vm-gui"), true);
    assert_eq!(told(&mut gateway, &["vm-gui"]), [1]);
    assert_ledger(&gateway);
}

#[test]
fn lines_are_cut_socket_by_socket() {
    let mut gateway = relayed(&["vm-gui", "sys-usb"]);
    let line = |to: &str| {
        response(
            "Dom0",
            to,
            "file_footprint",
            r#"{"filepath":"a","disk":"__repository__","footprint":"f"}"#,
        ) + "\n"
    };
    let (gui, usb) = (line("vm-gui"), line("sys-usb"));
    for (a, b) in gui.bytes().zip(usb.bytes()) {
        gateway.receive_on(&name("vm-gui"), &[a]);
        gateway.receive_on(&name("sys-usb"), &[b]);
    }
    gateway.receive_on(&name("sys-usb"), &usb.as_bytes()[gui.len()..]);
    let effects = gateway.take_effects();
    assert_eq!((given(&effects, "vm-gui"), given(&effects, "sys-usb")), (1, 1));
    // Half of a line is lost with its socket alone.
    gateway.receive_on(&name("vm-gui"), &gui.as_bytes()[..40]);
    gateway.connect_socket(&name("vm-gui"), false);
    gateway.connect_socket(&name("vm-gui"), true);
    gateway.receive_on(&name("vm-gui"), gui.as_bytes());
    let effects = gateway.take_effects();
    assert_eq!((given(&effects, "vm-gui"), refusals(&effects)), (1, vec![]));
    assert_ledger(&gateway);
}

#[test]
fn one_call_of_a_kind_at_a_time_for_each_requester() {
    let mut gateway = relayed(&["vm-gui", "sys-usb"]);
    let ask = |gateway: &mut Rehearsal, domain: &str| {
        let line = command(domain, "Dom0", "liste_fichiers", r#"{"nom_disque":"__repository__"}"#);
        assert!(gateway.receive(&name(domain), format!("{line}\n").as_bytes()));
        let written = |e: &Observed| matches!(e, Observed::WrittenOn(..));
        gateway.take_effects().iter().filter(|e| written(e)).count()
    };
    assert_eq!([ask(&mut gateway, "vm-gui"), ask(&mut gateway, "vm-gui")], [1, 0]);
    assert_eq!(ask(&mut gateway, "sys-usb"), 1);
    let listed = r#"{"disk":"__repository__","files":[]}"#;
    say(&mut gateway, "vm-gui", &response("Dom0", "vm-gui", "liste_fichiers", listed));
    let next = |e: &Observed| matches!(e, Observed::WrittenOn(on, _) if on.as_str() == "vm-gui");
    assert!(gateway.take_effects().iter().any(next));
    assert_ledger(&gateway);
}
