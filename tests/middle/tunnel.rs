//! A tunnel that is full.

use super::carrier::{connect, packet};
use passerelle::translate::name::DomainName;
use passerelle::translate::refusal::Reason;
use passerelle::translate::tunnel::carrier::{Carrier, STALL};
use passerelle::translate::tunnel::{Order, Taken, Tunnel};
use std::collections::BTreeSet;
use std::time::Duration;

const LIMIT: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

fn receive(tunnel: &mut Tunnel, bytes: &[u8], now: Duration) {
    tunnel.receive(bytes, &Taken { domains: &BTreeSet::new(), own: "passerelle-dom0" }, now);
}

/// A tunnel with a packet under way, of which more waits than may; what comes next looks like a line.
fn full() -> (Tunnel, Vec<u8>) {
    let name = DomainName::parse("vm-gui").expect("a name");
    let mut tunnel = Tunnel::new(name, Carrier::mqtt(), LIMIT, 60 * SECOND);
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

#[test]
fn a_silence_counts_when_nobody_was_kept_waiting() {
    let (mut tunnel, rest) = full();
    let said = tunnel.to_broker().map_or(0, <[u8]>::len);
    tunnel.written_to_broker(said, SECOND);
    receive(&mut tunnel, b"x", SECOND);
    receive(&mut tunnel, &rest, SECOND + STALL);
    assert!(tunnel.take_orders().iter().any(|order| matches!(order, Order::Legacy(_))));
}

#[test]
fn a_broker_that_takes_nothing_is_given_up() {
    let (mut tunnel, _) = full();
    // It takes a byte just in time.
    let just = Duration::from_millis(5999);
    tunnel.wake(just);
    tunnel.written_to_broker(1, just);
    tunnel.wake(just + 4 * SECOND);
    assert!(!tunnel.has_room());
    let waits = tunnel.held();
    tunnel.take_orders();
    tunnel.wake(just + 5 * SECOND);
    let orders = tunnel.take_orders();
    let [Order::Refused(refusal), Order::Close(left), ..] = &orders[..] else {
        panic!("{orders:?}");
    };
    assert_eq!((refusal.reason, left.len()), (Reason::StoreFull, 0));
    assert_eq!(tunnel.to_domain(), Some(&[0xE0, 1, 0x97][..]));
    assert_eq!((tunnel.dropped(), tunnel.deadline()), (waits as u64, None));
    assert!(tunnel.has_room());
}
