//! Commands between legacy domains that their handler had and has not answered when it goes.

use crate::kit::{Play, command, gateway, name, response, seed, setting, with_limits};
use passerelle::engine::clock::Now;
use passerelle::engine::identity::Identity;
use passerelle::engine::limits::Limits;
use passerelle::engine::proxy::{Action, Forwarded, Proxy, Room};
use passerelle::engine::roster::Roster;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn footprint(of: &str) -> String {
    let arguments = format!(r#"{{"disk":"D","filepath":"{of}"}}"#);
    command("vm-gui", "sys-usb", "get_file_footprint", &arguments)
}

/// How many commands the requester is told are lost when the handler is away for good.
fn lost(play: &mut Play) -> usize {
    play.disconnect("sys-usb");
    let effects = play.elapse(60).concat();
    let told =
        effects.matches(r#""message":"expired: GET_FILE_FOOTPRINT: sys-usb went away"#).count();
    assert_eq!(effects.matches(r#""refused":"expired""#).count(), told);
    told
}

#[test]
fn as_many_are_remembered_as_may_be_pending() {
    let limits = Limits { calls: 3, ..Limits::default() };
    let mut play = Play::with(with_limits(seed(), &["vm-gui", "sys-usb"], limits));
    for of in ["a", "b", "c", "d", "e"] {
        assert!(play.line(&footprint(of)).concat().contains(r#""write":"sys-usb""#));
    }
    // The oldest are forgotten: an answer to one ends nobody else's call.
    for of in ["a", "d"] {
        let data = format!(r#"{{"disk":"D","filepath":"{of}","footprint":""}}"#);
        play.line(&response("sys-usb", "vm-gui", "file_footprint", &data));
    }
    assert_eq!(lost(&mut play), 2);
}

#[test]
fn they_hold_no_more_than_a_queue_and_say_how_much() {
    let limits = Limits { queue: 1000, ..Limits::default() };
    let mut play = Play::with(with_limits(seed(), &["vm-gui", "sys-usb"], limits));
    for _ in 0..9 {
        play.line(&footprint(&"x".repeat(300)));
        assert!(play.gateway.held() <= 1000, "{}", play.gateway.held());
    }
    assert!(play.gateway.held() > 600, "{}", play.gateway.held());
    assert_eq!(lost(&mut play), 3);
}

#[test]
fn what_is_answered_is_not_lost_and_holds_nothing() {
    let mut play = Play::with(gateway(&["vm-gui", "sys-usb"]));
    play.line(&footprint("a"));
    play.line(&response("sys-usb", "vm-gui", "file_footprint", r#"{"footprint":""}"#));
    assert_eq!(lost(&mut play), 0);
    assert_eq!(play.gateway.held(), 0);
}

#[test]
fn a_restart_of_the_gateway_forgets_none_and_one_of_the_machine_all() {
    let setting = setting(seed(), Limits::default());
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let made = |records| {
        let mut proxy = Proxy::new(Identity::Domain(name("sys-usb")), &setting, Duration::ZERO);
        let (events, requests, since_boot) = (1 << 20, 1 << 20, Duration::from_secs(100));
        proxy.set_store(Room { events, requests, since_boot, ..Room::default() }, now);
        let legacy = [name("vm-gui"), name("sys-usb")].into();
        proxy.set_roster(Arc::new(Roster { legacy, ..Roster::default() }));
        proxy.resume(records, now);
        proxy
    };
    let mut proxy = made(Vec::new());
    proxy.connected(now);
    for of in ["a", "b"] {
        let (from, line) = (name("vm-gui"), format!("{}\n", footprint(of)).into());
        proxy.accept(Forwarded::Line { from, line, command: None, is_command: true }, now);
        let size = proxy.chunk().map_or(0, <[u8]>::len);
        proxy.written(size, now);
    }
    let answer = response("sys-usb", "vm-gui", "file_footprint", r#"{"filepath":"b"}"#);
    for (since_boot, told) in [(Some(Duration::from_secs(100_000)), 1), (None, 0)] {
        let records = proxy.suspend().into_iter().map(|record| (record, since_boot)).collect();
        let mut next = made(records);
        assert_eq!((next.counters().received, next.under_way()), (0, 0));
        next.connected(now);
        next.receive(format!("{answer}\n").as_bytes(), now);
        next.retire(false, now);
        let notice = |a: &Action| matches!(a, Action::Pass(to, Forwarded::Notice(_)) if *to == name("vm-gui"));
        assert_eq!(next.take_actions().iter().filter(|a| notice(a)).count(), told);
    }
    proxy.suspended();
    proxy.take_actions();
    proxy.retire(false, now);
    assert!(proxy.take_actions().is_empty(), "the next run tells of them");
}
