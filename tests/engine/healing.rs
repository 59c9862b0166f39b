//! A tunnel whose broker goes and comes back: the domain notices nothing, or is told.

use super::detector::packet;
use passerelle::engine::name::DomainName;
use passerelle::engine::tunnel::connect::{Found, find};
use passerelle::engine::tunnel::detector::Detector;
use passerelle::engine::tunnel::ids::Ids;
use passerelle::engine::tunnel::packets::Packets;
use passerelle::engine::tunnel::{Healing, Order, Tunnel};
use std::time::Duration;

const LIMIT: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);
const HEAL: Duration = Duration::from_secs(300);
const NONE: [u8; 0] = [];
const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];

/// A session of MQTT 3.1, 3.1.1 or 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    level: u8,
    clean: bool,
}

/// What becomes of it at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    Keeps,
    Forgets,
}

const KINDS: [Kind; 6] = [
    Kind { level: 3, clean: true },
    Kind { level: 3, clean: false },
    Kind { level: 4, clean: true },
    Kind { level: 4, clean: false },
    Kind { level: 5, clean: true },
    Kind { level: 5, clean: false },
];

/// Every session and what may become of it. MQTT 3.1 does not say, so that the same must do for both.
fn all() -> impl Iterator<Item = (Kind, Broker)> {
    let both = |kind: Kind| [(kind, Broker::Forgets), (kind, Broker::Keeps)];
    KINDS
        .into_iter()
        .flat_map(both)
        .filter(|(kind, broker)| !kind.clean || *broker == Broker::Forgets)
}

impl Kind {
    fn none(self) -> &'static [u8] {
        if self.level == 5 { &[0] } else { &[] }
    }

    fn connect(self) -> Vec<u8> {
        let name: &[u8] = if self.level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
        let flags = if self.clean { 2 } else { 0 };
        let body = [name, &[self.level, flags, 0, 60], self.none(), b"\0\x06vm-gui"].concat();
        [&[0x10, body.len() as u8][..], &body].concat()
    }

    fn connack(self, broker: Broker) -> Vec<u8> {
        let present = u8::from(self.level > 3 && broker == Broker::Keeps);
        let body = [&[present, 0], self.none()].concat();
        [&[0x20, body.len() as u8][..], &body].concat()
    }

    fn publish(self, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes();
        let id: &[u8] = if qos > 0 { &id } else { &[] };
        packet(0x30 | qos << 1, &[b"\0\x01t", id, self.none(), payload].concat())
    }

    fn subscribe(self, id: u16, filter: &str, qos: u8) -> Vec<u8> {
        let filter = [&[0, filter.len() as u8], filter.as_bytes(), &[qos]].concat();
        let body = [&id.to_be_bytes(), self.none(), &filter].concat();
        [&[0x82, body.len() as u8][..], &body].concat()
    }

    fn suback(self, id: u16, qos: u8) -> Vec<u8> {
        let body = [&id.to_be_bytes(), self.none(), &[qos]].concat();
        [&[0x90, body.len() as u8][..], &body].concat()
    }
}

fn ack(kind: u8, id: u16) -> Vec<u8> {
    [&[if kind == 0x60 { 0x62 } else { kind }, 2][..], &id.to_be_bytes()].concat()
}

fn again(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 8;
    publish
}

/// The packets of a stream, which ends with one.
fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut place = Packets::default();
        let (one, rest) = bytes.split_at(place.advance(bytes).expect("MQTT"));
        assert!(place.is_at_boundary(), "{bytes:x?} ends within a packet");
        (bytes, _) = (rest, all.push(one.to_vec()));
    }
    all
}

struct Play {
    kind: Kind,
    tunnel: Tunnel,
    ids: Ids,
    now: Duration,
    told: Vec<Healing>,
    opens: usize,
}

impl Play {
    /// The broker has let the domain in.
    fn new(kind: Kind) -> Self {
        let mut play = Self::begun(kind);
        play.broker(&kind.connack(Broker::Forgets));
        assert_eq!(play.at_domain(), kind.connack(Broker::Forgets));
        play
    }

    /// The domain has said hello.
    fn begun(kind: Kind) -> Self {
        let name = DomainName::parse("vm-gui").expect("a name");
        let mut tunnel = Tunnel::new(name, Detector::mqtt(), LIMIT, MINUTE);
        tunnel.set_heal(HEAL);
        tunnel.channel_back();
        let (ids, now) = (Ids::default(), MINUTE);
        let mut play = Self { kind, tunnel, ids, now, told: Vec::new(), opens: 0 };
        play.domain(&kind.connect());
        assert_eq!(find(&play.at_broker()), Found::Whole(play.hello().len()));
        play
    }

    /// The domain's CONNECT as the broker is given it.
    fn hello(&self) -> Vec<u8> {
        let mut packet = self.kind.connect();
        let flags = if self.kind.level == 3 { 11 } else { 9 };
        packet[flags] |= 0x80;
        packet[1] += 8;
        [&packet[..], b"\0\x06vm-gui"].concat()
    }

    fn obey(&mut self) {
        for order in self.tunnel.take_orders() {
            match order {
                Order::Open => self.opens += 1,
                Order::Healing(how) => self.told.push(how),
                Order::Close(_) => self.tunnel.closed(),
                Order::Arrived(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn domain(&mut self, bytes: &[u8]) {
        self.tunnel.receive(bytes, &mut self.ids, self.now);
        self.obey();
    }

    fn broker(&mut self, bytes: &[u8]) {
        self.tunnel.receive_from_broker(bytes, self.now);
        self.obey();
    }

    /// So many bytes at most are written to the broker.
    fn write(&mut self, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(next) = self.tunnel.to_broker().filter(|_| all.len() < most) {
            let count = next.len().min(most - all.len());
            all.extend_from_slice(&next[..count]);
            self.tunnel.written_to_broker(count, self.now);
            self.obey();
        }
        all
    }

    /// What the broker is given from here on.
    fn at_broker(&mut self) -> Vec<u8> {
        self.write(usize::MAX)
    }

    /// What the domain is.
    fn at_domain(&mut self) -> Vec<u8> {
        let all = self.tunnel.to_domain().unwrap_or_default().to_vec();
        self.tunnel.written_to_domain(all.len());
        all
    }

    fn wait(&mut self) {
        if let Some(next) = self.tunnel.deadline() {
            self.now = self.now.max(next);
            self.tunnel.wake(self.now, true);
            self.tunnel.go_on(&mut self.ids, self.now);
            self.obey();
        }
    }

    fn lose(&mut self) {
        self.opens = 0;
        self.tunnel.broker_gone(self.now);
        self.obey();
    }

    /// The gateway connects again, and the broker lets it in.
    fn let_in(&mut self, broker: Broker) {
        while self.opens == 0 {
            self.wait();
        }
        let hello = self.hello();
        assert_eq!(self.write(hello.len()), hello);
        self.broker(&self.kind.connack(broker));
    }

    fn lose_and_find(&mut self, broker: Broker) {
        self.lose();
        self.let_in(broker);
    }

    fn is_healed(&self, times: usize) {
        let healed = self.told.iter().filter(|how| matches!(how, Healing::Healed { .. })).count();
        assert_eq!((healed, self.told.len()), (times, 2 * times), "{:?}", self.told);
        assert!(!self.tunnel.waits_for_connect() && !self.tunnel.is_healing());
    }

    fn fails(&mut self) -> &'static str {
        let Some(Healing::Failed(why)) = self.told.last() else { panic!("{:?}", self.told) };
        assert!(self.tunnel.waits_for_connect());
        let told: &[u8] = if self.kind.level == 5 { &[0xE0, 1, 0x8B] } else { &[] };
        assert!(self.tunnel.to_domain().unwrap_or_default().ends_with(told));
        why
    }
}

#[test]
fn what_was_unacknowledged_is_said_again_and_what_waited_once() {
    for (kind, broker) in all() {
        let mut play = Play::new(kind);
        let [zero, one, two] = [0, 1, 2].map(|qos| kind.publish(qos, 7 + u16::from(qos), b"first"));
        play.domain(&[&zero[..], &one, &two].concat());
        assert_eq!(play.at_broker(), [&zero[..], &one, &two].concat());
        for round in 1..4_u16 {
            play.lose();
            let later =
                [0, 1, 2].map(|qos| kind.publish(qos, 10 * round + u16::from(qos), b"later"));
            play.domain(&later.concat());
            play.let_in(broker);
            let mut said = packets(&play.at_broker());
            let waited = said.split_off(said.len() - 3);
            assert_eq!(waited, later, "what waited is said as it was");
            assert_eq!(said[..2], [again(one.clone()), again(two.clone())], "{kind:?} {broker:?}");
            assert!(
                said.iter().all(|packet| packet[0] & 8 != 0 && packet[0] & 6 != 0),
                "{said:x?}"
            );
            assert_eq!(said.len(), 2 * usize::from(round));
        }
        // The broker has none of it before now.
        assert_eq!(play.at_domain(), NONE);
        for acknowledged in [ack(0x40, 8), ack(0x50, 9)] {
            play.broker(&acknowledged);
            assert_eq!(play.at_domain(), acknowledged);
        }
        play.is_healed(3);
    }
}

#[test]
fn subscriptions_are_made_again() {
    for (kind, broker) in all() {
        let mut play = Play::new(kind);
        play.domain(&[kind.subscribe(1, "a/#", 1), kind.subscribe(2, "b", 2)].concat());
        play.at_broker();
        play.broker(&[kind.suback(1, 1), kind.suback(2, 0)].concat());
        play.at_domain();
        // One that the broker has not answered, with the identifier that the gateway would take.
        play.domain(&kind.subscribe(u16::MAX, "c", 0));
        play.at_broker();
        for _ in 0..2 {
            play.lose_and_find(broker);
            play.domain(&kind.publish(0, 0, b"waits"));
            let mut expected = Vec::new();
            // Where it has them, what is retained need not come again.
            let new = if kind.level == 5 && broker == Broker::Keeps { 0x10 } else { 0 };
            let again =
                [kind.subscribe(0xFFFE, "a/#", 1 | new), kind.subscribe(0xFFFD, "b", 2 | new)];
            assert_eq!(play.at_broker(), again.concat(), "{kind:?} {broker:?}");
            play.broker(&kind.suback(0xFFFD, 0));
            assert_eq!(play.at_broker(), NONE, "before all are granted");
            play.broker(&kind.suback(0xFFFE, 1));
            expected.extend(kind.subscribe(u16::MAX, "c", 0));
            expected.extend(kind.publish(0, 0, b"waits"));
            assert_eq!(play.at_broker(), expected, "{kind:?} {broker:?}");
            assert_eq!(play.at_domain(), NONE, "no CONNACK, no SUBACK of the gateway's");
        }
        play.broker(&kind.suback(u16::MAX, 0));
        assert_eq!(play.at_domain(), kind.suback(u16::MAX, 0));
        play.is_healed(2);
    }
}

#[test]
fn a_subscription_that_is_given_up_is_not_made_again() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        play.domain(&kind.subscribe(1, "a", 1));
        play.at_broker();
        play.broker(&kind.suback(1, 1));
        let body = [&[0, 2], kind.none(), b"\0\x01a"].concat();
        play.domain(&[&[0xA2, body.len() as u8][..], &body].concat());
        play.at_broker();
        let codes: &[u8] = if kind.level == 5 { &[0xB0, 4, 0, 2, 0, 0] } else { &[0xB0, 2, 0, 2] };
        play.broker(codes);
        play.lose_and_find(Broker::Forgets);
        assert_eq!(play.at_broker(), NONE);
        play.is_healed(1);
    }
}

#[test]
fn pings_are_answered_while_the_broker_is_away() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        play.domain(&PING);
        assert_eq!(play.at_broker(), PING);
        play.domain(&PING);
        play.lose();
        assert_eq!(play.at_domain(), [PONG, PONG].concat(), "the broker owes them");
        for byte in [PING, PING].concat() {
            play.domain(&[byte]);
        }
        assert_eq!(play.at_domain(), [PONG, PONG].concat());
        play.let_in(Broker::Forgets);
        assert_eq!(play.at_broker(), NONE);
        play.domain(&PING);
        assert_eq!((play.at_broker(), play.at_domain()), (PING.to_vec(), vec![]));
        play.is_healed(1);
    }
}

#[test]
fn it_goes_on_between_two_packets_wherever_it_was_cut() {
    for (kind, broker) in all() {
        let said =
            [kind.publish(0, 0, b"zero"), kind.publish(1, 1, b"one"), kind.publish(2, 2, b"two")];
        let stream = said.concat();
        for cut in 0..=stream.len() {
            for heard in [cut, stream.len()] {
                let mut play = Play::new(kind);
                play.domain(&stream[..heard]);
                let written = play.write(cut).len();
                assert_eq!(written, cut);
                // What the broker says may end anywhere too.
                play.broker(&stream[..cut]);
                play.lose_and_find(broker);
                play.domain(&stream[heard..]);
                let mut end = 0;
                let mut expected = Vec::new();
                for packet in &said {
                    end += packet.len();
                    match end <= cut {
                        true if packet[0] & 6 == 0 => {}
                        true => expected.push(again(packet.clone())),
                        false => expected.push(packet.clone()),
                    }
                }
                assert_eq!(
                    packets(&play.at_broker()),
                    expected,
                    "{kind:?} {broker:?} {cut} {heard}"
                );
                packets(&play.at_domain());
                play.is_healed(1);
            }
        }
    }
}

#[test]
fn a_message_of_the_domains_goes_through_at_every_step_of_qos_2() {
    for (kind, broker) in all() {
        for steps in 0..4 {
            let two = kind.publish(2, 5, b"two");
            let mut play = Play::new(kind);
            play.domain(&two);
            play.at_broker();
            let forgotten = broker == Broker::Forgets || kind.level == 3;
            if steps > 0 {
                play.broker(&ack(0x50, 5));
                assert_eq!(play.at_domain(), ack(0x50, 5));
            }
            if steps > 1 {
                play.domain(&ack(0x60, 5));
            }
            if steps > 2 {
                assert_eq!(play.at_broker(), ack(0x60, 5));
            }
            play.lose_and_find(broker);
            if steps == 0 || forgotten {
                assert_eq!(play.at_broker(), again(two), "{kind:?} {broker:?} {steps}");
                if steps == 1 {
                    // It need not wait for the broker, which has the message only now.
                    play.domain(&ack(0x60, 5));
                    assert_eq!(play.at_broker(), NONE);
                }
                play.broker(&ack(0x50, 5));
            }
            if steps == 0 {
                assert_eq!(play.at_domain(), ack(0x50, 5));
            }
            if steps == 0 || (steps == 1 && !forgotten) {
                play.domain(&ack(0x60, 5));
            }
            assert_eq!(play.at_broker(), ack(0x60, 5), "{kind:?} {broker:?} {steps}");
            assert_eq!(play.at_domain(), NONE);
            play.broker(&ack(0x70, 5));
            assert_eq!(play.at_domain(), ack(0x70, 5));
            play.is_healed(1);
        }
    }
}

#[test]
fn a_message_for_the_domain_comes_once_at_every_step_of_qos_2() {
    // What the domain has said, and what of it the broker has got.
    for (kind, broker) in all().filter(|(_, broker)| *broker == Broker::Keeps) {
        for (received, heard) in [(false, false), (true, false), (true, true)] {
            let two = kind.publish(2, 5, b"two");
            let mut play = Play::new(kind);
            play.broker(&two);
            assert_eq!(play.at_domain(), two);
            if received {
                play.domain(&ack(0x50, 5));
            }
            if heard {
                assert_eq!(play.at_broker(), ack(0x50, 5));
            }
            play.lose_and_find(broker);
            // MQTT 3.1 does not tell whether it need be said: then it is.
            let besides = if kind.level == 3 && received { ack(0x50, 5) } else { vec![] };
            assert_eq!(play.at_broker(), besides);
            play.broker(&again(two.clone()));
            let expected = if received { ack(0x50, 5) } else { vec![] };
            assert_eq!((play.at_broker(), play.at_domain()), (expected, vec![]), "{kind:?}");
            if !received {
                play.domain(&ack(0x50, 5));
                assert_eq!(play.at_broker(), ack(0x50, 5));
            }
            play.broker(&ack(0x60, 5));
            assert_eq!(play.at_domain(), ack(0x60, 5));
            play.domain(&ack(0x70, 5));
            play.lose_and_find(broker);
            play.broker(&ack(0x60, 5));
            assert_eq!((play.at_broker(), play.at_domain()), (ack(0x70, 5), vec![]), "{kind:?}");
            play.is_healed(2);
        }
    }
}

#[test]
fn what_a_broker_has_forgotten_is_finished_with_the_domain_alone() {
    for kind in KINDS.into_iter().filter(|kind| kind.level > 3 || kind.clean) {
        let mut play = Play::new(kind);
        let [one, two, three] =
            [(1, 1), (2, 2), (2, 3)].map(|(qos, id)| kind.publish(qos, id, b"old"));
        play.broker(&[&one[..], &two, &three].concat());
        play.at_domain();
        play.domain(&ack(0x50, 3));
        play.lose_and_find(Broker::Forgets);
        // The domain has the third and may have it.
        assert_eq!((play.at_broker(), play.at_domain()), (vec![], ack(0x60, 3)), "{kind:?}");
        // The broker begins its identifiers anew.
        play.broker(&kind.publish(2, 2, b"new"));
        let mut new = kind.publish(2, u16::MAX, b"new");
        assert_eq!(play.at_domain(), new);
        play.domain(&[ack(0x40, 1), ack(0x50, 2), ack(0x70, 3)].concat());
        assert_eq!((play.at_broker(), play.at_domain()), (vec![], ack(0x60, 2)));
        play.domain(&[ack(0x70, 2), ack(0x50, u16::MAX)].concat());
        assert_eq!(play.at_broker(), ack(0x50, 2), "the new one, by the broker's identifier");
        play.broker(&ack(0x60, 2));
        play.domain(&ack(0x70, u16::MAX));
        assert_eq!((play.at_domain(), play.at_broker()), (ack(0x60, u16::MAX), ack(0x70, 2)));
        // It is free again.
        new = kind.publish(1, 2, b"next");
        play.broker(&new);
        assert_eq!(play.at_domain(), new);
        play.is_healed(1);
    }
}

#[test]
fn the_broker_is_tried_again_and_again_for_as_long_as_the_limit_says() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        let begin = play.now;
        play.lose();
        let mut tries = 0;
        while play.told.len() == 1 {
            play.domain(&PING);
            play.at_domain();
            if std::mem::take(&mut play.opens) > 0 {
                tries += 1;
                play.tunnel.not_opened(play.now);
                play.obey();
            }
            play.wait();
        }
        assert_eq!(play.now - begin, HEAL);
        assert!((60..200).contains(&tries), "{tries}");
        assert!(play.fails().contains("limits.heal"));
        // Its next CONNECT begins anew.
        play.domain(&kind.connect());
        assert!(!play.tunnel.waits_for_connect());
    }
}

#[test]
fn a_domain_that_is_silent_is_given_up_as_a_broker_does() {
    for kind in KINDS {
        // The broker has given it up, or is away and would have.
        for away in [false, true] {
            let mut play = Play::new(kind);
            if away {
                play.lose();
                while !play.tunnel.waits_for_connect() {
                    assert!(play.now < MINUTE + Duration::from_secs(90));
                    play.opens = 0;
                    play.wait();
                }
            } else {
                play.now += Duration::from_secs(90);
                play.lose();
            }
            assert_eq!(play.now, MINUTE + Duration::from_secs(90));
            assert!(play.fails().contains("keep-alive"));
        }
    }
}

#[test]
fn a_broker_that_does_not_answer_is_tried_again() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        play.lose();
        while play.opens < 2 {
            play.write(10);
            play.wait();
        }
        play.opens = 1;
        play.let_in(Broker::Forgets);
        play.is_healed(1);
    }
}

/// All but the end of a packet that is longer than what may be kept.
fn long(first: u8, head: &[u8]) -> Vec<u8> {
    // A length of 2 MiB less one.
    [&[first, 0xFF, 0xFF, 0x7F], head, &vec![b'x'; LIMIT + 1000]].concat()
}

#[test]
fn one_that_subscribes_although_its_session_is_kept_says_all_that_it_wants() {
    for kind in KINDS.into_iter().filter(|kind| !kind.clean) {
        let mut play = Play::begun(kind);
        play.broker(&kind.connack(Broker::Keeps));
        play.domain(&kind.subscribe(1, "a", 1));
        play.at_broker();
        // The broker goes before it has answered.
        play.lose_and_find(Broker::Forgets);
        assert_eq!(play.at_broker(), kind.subscribe(1, "a", 1));
        play.is_healed(1);
    }
}

type Spoils = fn(&mut Play);

#[test]
fn what_cannot_go_on_truthfully_is_told() {
    const FIVE: Kind = Kind { level: 5, clean: true };
    const FOUR: Kind = Kind { level: 4, clean: true };
    const KEPT: Kind = Kind { level: 4, clean: false };
    let forgets: Spoils = |play| play.lose_and_find(Broker::Forgets);
    let cases: [(&str, Kind, Spoils, Spoils); 9] = [
        ("chosen its client id", FIVE, |p| p.broker(b"\x20\x07\0\0\x04\x12\0\x01x"), Play::lose),
        ("other limits", FIVE, |p| p.broker(b"\x20\x06\0\0\x03\x21\0\x14"), forgets),
        (
            "topic aliases",
            FIVE,
            |p| p.broker(&FIVE.connack(Broker::Forgets)),
            |play| {
                play.domain(&packet(0x30, b"\0\x01t\x03\x23\0\x01x"));
                play.at_broker();
                play.lose();
            },
        ),
        (
            "topic aliases",
            FIVE,
            |p| p.broker(&FIVE.connack(Broker::Forgets)),
            |play| {
                play.broker(&packet(0x30, b"\0\x01t\x03\x23\0\x01x"));
                play.lose();
            },
        ),
        (
            "refuses its login",
            FOUR,
            |p| p.broker(&FOUR.connack(Broker::Forgets)),
            |play| {
                play.lose();
                play.at_broker();
                play.broker(&[0x20, 2, 0, 5]);
            },
        ),
        (
            "grants its subscriptions otherwise",
            FOUR,
            |p| p.broker(&FOUR.connack(Broker::Forgets)),
            |play| {
                play.domain(&FOUR.subscribe(1, "a", 1));
                play.at_broker();
                play.broker(&FOUR.suback(1, 1));
                play.lose_and_find(Broker::Forgets);
                play.at_broker();
                play.broker(&FOUR.suback(u16::MAX, 0x80));
            },
        ),
        ("forgotten subscriptions", KEPT, |p| p.broker(&KEPT.connack(Broker::Keeps)), forgets),
        (
            "too long",
            FOUR,
            |p| p.broker(&FOUR.connack(Broker::Forgets)),
            |play| {
                play.domain(&long(0x32, b"\0\x01t\0\x01"));
                play.at_broker();
                play.lose();
            },
        ),
        (
            "too long",
            FOUR,
            |p| p.broker(&FOUR.connack(Broker::Forgets)),
            |play| {
                play.broker(&long(0x30, b"\0\x01t"));
                play.lose();
            },
        ),
    ];
    for (why, kind, greets, spoils) in cases {
        let mut play = Play::begun(kind);
        greets(&mut play);
        spoils(&mut play);
        let Some(Healing::Failed(told)) = play.told.last() else {
            panic!("{why}: {:?}", play.told)
        };
        assert!(told.contains(why), "{told:?} is not about {why:?}");
        assert!(play.tunnel.waits_for_connect());
        assert_eq!(play.tunnel.losses().told, 1);
    }
}

#[test]
fn a_broker_that_ends_one_connection_says_so_to_the_domain() {
    const FIVE: Kind = Kind { level: 5, clean: true };
    for (code, heals) in [(0x8B, true), (0x89, true), (0x8E, false), (0x82, false), (0x98, false)] {
        let mut play = Play::new(FIVE);
        play.broker(&[0xE0, 1, code]);
        play.lose();
        assert_eq!(play.tunnel.is_healing(), heals, "{code:#x}");
        let told = if heals { vec![] } else { vec![0xE0, 1, code] };
        assert_eq!(play.at_domain(), told);
    }
}

#[test]
fn one_whose_client_id_is_taken_over_each_time_is_told() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        for _ in 0..10 {
            play.lose();
            if play.tunnel.waits_for_connect() {
                break;
            }
            play.let_in(Broker::Forgets);
        }
        assert!(play.fails().contains("each time"));
    }
}

#[test]
fn what_is_kept_for_a_domain_is_bounded() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        for number in 1..4000_u16 {
            // No acknowledgement comes.
            play.domain(&kind.publish(1, number, &[b'x'; 200]));
            play.domain(&kind.subscribe(number, &format!("a/long/filter/{number}"), 0));
            play.at_broker();
            play.broker(&[kind.suback(number, 0), kind.publish(2, number, b"x")].concat());
            play.at_domain();
            // What is followed costs a little beside the packets.
            assert!(play.tunnel.held() <= LIMIT + (2 * 1024 + 100) * 64 + 64 * 1024);
        }
        play.lose();
        play.fails();
        assert!(play.tunnel.held() < 65 * 1024, "{}", play.tunnel.held());
        // One that pings and does not read is not read either, in the end.
        let mut play = Play::new(kind);
        play.lose();
        while play.tunnel.has_room() {
            play.domain(&PING.repeat(100));
        }
        assert!(play.tunnel.held() <= LIMIT + 2000);
        // While the broker is away, what the domain says waits, and then nothing more is read.
        let mut play = Play::new(kind);
        play.lose();
        while play.tunnel.has_room() {
            play.domain(&kind.publish(0, 0, &[b'x'; 1000]));
        }
        assert!(play.tunnel.held() <= LIMIT + 2000);
        // Longer than a broker that is there may take nothing.
        play.now += Duration::from_secs(10);
        play.tunnel.wake(play.now, true);
        play.let_in(Broker::Forgets);
        assert!(play.at_broker().len() > LIMIT - 2000 && play.tunnel.has_room());
        play.is_healed(1);
    }
}

#[test]
fn what_a_domain_says_last_goes_out_when_the_broker_is_back() {
    for kind in KINDS {
        let mut play = Play::new(kind);
        play.lose();
        let last = [kind.publish(0, 0, b"last"), vec![0xE0, 0]].concat();
        play.domain(&last);
        play.let_in(Broker::Forgets);
        assert_eq!(play.at_broker(), last);
        play.is_healed(1);
        play.lose();
        assert!(play.tunnel.waits_for_connect() && play.at_domain().is_empty());
    }
}

#[test]
fn a_limit_of_nothing_switches_it_off() {
    for kind in KINDS {
        let mut play = Play::begun(kind);
        play.tunnel.set_heal(Duration::ZERO);
        play.domain(&kind.connect());
        play.at_broker();
        play.broker(&kind.connack(Broker::Forgets));
        play.lose();
        assert!(play.told.is_empty() && play.tunnel.waits_for_connect());
    }
}
