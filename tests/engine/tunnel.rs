//! A tunnel that is full, and one that nobody subscribes in.

use super::detector::{connect, packet};
use crate::kit::{self, Play, command, request};
use passerelle::engine::name::DomainName;
use passerelle::engine::refusal::Reason;
use passerelle::engine::tunnel::detector::{Detector, STALL};
use passerelle::engine::tunnel::ids::Ids;
use passerelle::engine::tunnel::{Order, Tunnel};
use std::time::Duration;

const LIMIT: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

fn receive(tunnel: &mut Tunnel, bytes: &[u8], now: Duration) {
    tunnel.receive(bytes, &mut Ids::default(), now);
}

fn name() -> DomainName {
    DomainName::parse("vm-gui").expect("a name")
}

/// A tunnel with a packet under way, of which more waits than may; what comes next looks like a line.
fn full() -> (Tunnel, Vec<u8>) {
    let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
    let mut publish = packet(0x30, &[b'x'; 1500]);
    let rest = publish.split_off(1200);
    receive(&mut tunnel, &[connect(5, "vm-gui"), publish].concat(), SECOND);
    assert!(!tunnel.has_room(), "nothing more is to be read");
    assert_eq!(tunnel.take_orders(), [Order::Open]);
    let rest = [b"{\"", &rest[2..]].concat();
    (tunnel, rest)
}

#[test]
fn a_domain_that_is_not_read_is_not_silent() {
    let (mut tunnel, rest) = full();
    let mut said = tunnel.to_broker().expect("it waits").to_vec();
    tunnel.written_to_broker(said.len(), SECOND + STALL);
    assert!(tunnel.has_room());
    receive(&mut tunnel, &rest, SECOND + STALL);
    said.extend_from_slice(tunnel.to_broker().expect("the rest"));
    assert!(said.ends_with(&rest));
    assert_eq!((tunnel.take_orders(), tunnel.dropped()), (vec![], 0));
}

/// A payload, or what follows a program that has died: only the broker knows whether it still waits for it.
const HARM: [fn() -> Vec<u8>; 2] = [
    || b"{\"type\":\"commande\",\"commande\":\"supprime_fichier\"}\n".to_vec(),
    || [&connect(4, "harm")[..], &packet(0x30, b"\0\x01a")].concat(),
];

#[test]
fn what_a_stalled_program_goes_on_with_is_its_payload_while_the_broker_waits_for_it() {
    for level in [3, 4, 5] {
        for harm in HARM.map(|harm| harm()) {
            let mut expected = [&connect(level, "vm-gui")[..], &packet(0x30, &harm)].concat();
            let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
            let rest = expected.split_off(expected.len() - harm.len());
            receive(&mut tunnel, &expected, SECOND);
            assert_eq!(tunnel.take_orders(), [Order::Open]);
            let begun = tunnel.to_broker().map_or(0, <[u8]>::len);
            // However long it stalls, and however often.
            let (first, second) = rest.split_at(1);
            receive(&mut tunnel, first, SECOND + STALL);
            receive(&mut tunnel, second, 1000 * SECOND);
            let said = tunnel.to_broker().expect("it waits").to_vec();
            assert_eq!((&said[begun..], tunnel.take_orders()), (&rest[..], vec![]));
        }
    }
}

#[test]
fn what_follows_a_silence_begins_anew_once_the_broker_is_gone() {
    for (n, harm) in HARM.map(|harm| harm()).into_iter().enumerate() {
        let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
        let mut begun = [&connect(4, "vm-gui")[..], &packet(0x30, &[b'x'; 500])].concat();
        begun.truncate(begun.len() - 100);
        receive(&mut tunnel, &begun, SECOND);
        tunnel.broker_gone(SECOND);
        tunnel.closed();
        tunnel.take_orders();
        receive(&mut tunnel, &harm, SECOND + STALL);
        let orders = tunnel.take_orders();
        match n {
            0 => assert_eq!(orders, [Order::Legacy(harm.into())]),
            _ => assert_eq!(orders, [Order::Open]),
        }
    }
}

/// Its proxy's session may have the same client id: the broker would cut the old connection off.
#[test]
fn lines_begin_when_the_connection_before_them_is_closed() {
    let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
    let line = b"{\"type\":\"commande\"}\n";
    let said = packet(0x30, b"\0\x03a/blast");
    receive(&mut tunnel, &[&connect(4, "vm-gui")[..], &said, line].concat(), SECOND);
    let orders = tunnel.take_orders();
    let [Order::Open, Order::Close(left)] = &orders[..] else { panic!("{orders:?}") };
    assert!(left.ends_with(&said));
    assert!(!tunnel.has_room() && !tunnel.waits_for_connect());
    receive(&mut tunnel, b"", 2 * SECOND);
    assert_eq!(tunnel.take_orders(), []);
    tunnel.closed();
    receive(&mut tunnel, b"", 2 * SECOND);
    assert_eq!(tunnel.take_orders(), [Order::Legacy(line.to_vec().into())]);
}

#[test]
fn half_a_connect_of_a_program_that_falls_silent_is_counted() {
    let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
    tunnel.channel_back();
    receive(&mut tunnel, &connect(4, "vm-gui")[..5], SECOND);
    tunnel.wake(61 * SECOND, true);
    receive(&mut tunnel, b"", 61 * SECOND);
    assert_eq!(tunnel.take_orders(), [Order::Legacy(bytes::Bytes::new())]);
    assert_eq!((tunnel.dropped(), tunnel.held()), (5, 0));
}

#[test]
fn a_broker_that_takes_nothing_is_given_up() {
    let (mut tunnel, _) = full();
    // It takes a byte just in time.
    let just = Duration::from_millis(5999);
    tunnel.wake(just, true);
    tunnel.written_to_broker(1, just);
    tunnel.wake(just + 4 * SECOND, true);
    assert!(!tunnel.has_room());
    let waits = tunnel.held();
    tunnel.take_orders();
    tunnel.wake(just + 5 * SECOND, true);
    let orders = tunnel.take_orders();
    let [Order::Refused(refusal), Order::Close(left), ..] = &orders[..] else {
        panic!("{orders:?}");
    };
    assert_eq!((refusal.reason, left.len()), (Reason::StoreFull, 0));
    assert_eq!(tunnel.to_domain(), Some(&[0xE0, 1, 0x97][..]));
    assert_eq!((tunnel.dropped(), tunnel.deadline()), (waits as u64, None));
    assert!(!tunnel.has_room(), "its connection is being closed");
    tunnel.closed();
    assert!(tunnel.has_room());
}

/// CONNECTs without end, and what comes between two of them. Gives how many began a connection in ten
/// seconds, where the one before takes so long to be closed.
fn storm(company: &[u8], closes_in: Duration) -> usize {
    let hello = [3, 4, 5].map(|level| [&connect(level, "app")[..], company].concat()).concat();
    let mut tunnel = Tunnel::new(name(), Detector::mqtt(), LIMIT, 60 * SECOND);
    let (mut now, mut begun, mut closed_at) = (SECOND, 0, None);
    while now < 11 * SECOND {
        if !tunnel.has_room() {
            now = tunnel.deadline().into_iter().chain(closed_at).min().expect("an end");
        }
        tunnel.wake(now, true);
        if closed_at.is_some_and(|at| at <= now) {
            (closed_at, _) = (None, tunnel.closed());
        }
        let waits = tunnel.to_broker().map_or(0, <[u8]>::len);
        tunnel.written_to_broker(waits, now);
        let more = tunnel.has_room() && tunnel.held() == 0;
        receive(&mut tunnel, if more { &hello } else { b"" }, now);
        for order in tunnel.take_orders() {
            match order {
                Order::Open => {
                    begun += 1;
                    assert!(begun < 1000, "without a bound");
                }
                Order::Close(_) => {
                    assert_eq!(closed_at, None, "one at a time");
                    closed_at = Some(now + closes_in);
                }
                Order::Legacy(_) => {
                    tunnel = Tunnel::new(name(), tunnel.into_detector(), LIMIT, 60 * SECOND);
                    closed_at = None;
                    break;
                }
                Order::Arrived(_) | Order::Refused(_) | Order::Healing(_) => {}
            }
        }
        let held = tunnel.held();
        assert!(held <= 3 * hello.len() + LIMIT, "{held} bytes");
    }
    begun
}

#[test]
fn a_domain_begins_a_few_connections_a_second() {
    for company in [&b""[..], &[0xE0, 0], b"\0garbage", b"{\"type\":1}\n", &[0xC0, 0]] {
        let begun = storm(company, Duration::ZERO);
        assert!((8..=8 + 4 * 10).contains(&begun), "{begun}");
    }
}

#[test]
fn the_connection_before_is_closed_before_the_next_but_one_begins() {
    let begun = storm(b"", 3 * SECOND);
    assert!((3..=5).contains(&begun), "{begun}");
}

/// It was not given the one call before it came over, and the other was made since.
#[test]
fn who_has_called_a_domain_that_never_subscribes_is_told_after_ten_seconds() {
    const ROOT: &str = "system/disks/list_files";
    let mut play = Play::new(&["vm-gui", "sys-usb"]);
    for disk in ["A", "B"] {
        play.mqtt(&request(ROOT, "vm-far", disk, &format!(r#"{{"disk":"{disk}"}}"#)));
    }
    for root in [ROOT, "system/disks/list_disks"] {
        play.gateway.desert(format!("{root}/request"));
    }
    assert!(play.gateway.receive(&kit::name("sys-usb"), &connect(5, "sys-usb")));
    play.line(&command("vm-gui", "sys-usb", "liste_disques", "{}"));
    let told =
        |effects: Vec<String>| effects.concat().matches(r#""refused":"no_such_domain""#).count();
    assert_eq!(told(play.elapse(9)), 0);
    assert_eq!(told(play.elapse(2)), 2);
    assert!(!play.elapse(60).concat().contains("/request"), "published in vain");
}
