//! One session, with a broker made of its answers.

use passerelle::engine::publish::{Publish, Qos, Received, Token};
use passerelle::engine::refusal::Reason;
use passerelle::engine::session::{
    Cause, Connack, ConnectPacket, Filter, Packet, Session, SessionEffect, SessionEvent, Settings,
    Will,
};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn filters(topics: &[&str]) -> Vec<Filter> {
    Filter::others(set(topics))
}

fn set(topics: &[&str]) -> BTreeSet<String> {
    topics.iter().map(|topic| (*topic).to_owned()).collect()
}

fn remember(topics: &[&str]) -> SessionEffect {
    SessionEffect::Remember { client_id: "vm-gui".into(), held: set(topics) }
}

fn settings(wanted: &[&str], held: Option<&[&str]>) -> Settings {
    Settings {
        client_id: "vm-gui".into(),
        broker: "unix:/run/broker".into(),
        credentials: None,
        keep_alive: 10 * SECOND,
        session_expiry: 300 * SECOND,
        max_packet: 1 << 20,
        filters: filters(wanted),
        held: held.map(set),
        will: Some(Will { topic: "w".into(), payload: "gone".into(), retain: true }),
        stuck: 30 * SECOND,
        seed: 7,
    }
}

fn publish(token: u64) -> Publish {
    Publish::new(Token(token), "t".into(), "x", Qos::AtLeastOnce)
}

/// A session and the time.
struct Driven {
    session: Session,
    now: Duration,
    events: Vec<SessionEvent>,
    on_disk: BTreeSet<String>,
}

impl Driven {
    fn new(settings: Settings) -> Self {
        let on_disk = settings.held.clone().unwrap_or_default();
        let session = Session::new(settings, Duration::ZERO);
        Self { session, now: Duration::ZERO, events: Vec::new(), on_disk }
    }

    /// What it is to be done, but for what it has written at once.
    fn effects(&mut self) -> Vec<SessionEffect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            match effect {
                SessionEffect::Remember { held, .. } => {
                    self.on_disk = held;
                    self.session.remembered(self.now);
                }
                effect => effects.push(effect),
            }
        }
        self.events.extend(std::iter::from_fn(|| self.session.next_event()));
        effects
    }

    fn packets(&mut self) -> Vec<Packet> {
        let packet = |effect| match effect {
            SessionEffect::Send(packet) => packet,
            other => panic!("{other:?}"),
        };
        self.effects().into_iter().map(packet).collect()
    }

    /// Packet id, token and whether it is a repeat, of what is published now.
    fn published(&mut self) -> Vec<(u16, u64, bool)> {
        let publish = |packet| match packet {
            Packet::Publish { id, dup, publish } => (id, publish.token.0, dup),
            other => panic!("{other:?}"),
        };
        self.packets().into_iter().map(publish).collect()
    }

    /// Waits until it dials.
    fn dials(&mut self) -> ConnectPacket {
        let mut effects = self.effects();
        if !matches!(effects.last(), Some(SessionEffect::Dial(_))) {
            self.now = self.now.max(self.session.deadline().unwrap());
            self.session.wake(self.now);
            effects = self.effects();
        }
        match effects.pop() {
            Some(SessionEffect::Dial(connect)) => *connect,
            other => panic!("{other:?}"),
        }
    }

    fn connects(&mut self, connack: Connack) -> ConnectPacket {
        let connect = self.dials();
        self.session.connected(&connack, self.now);
        connect
    }

    /// Answers all that it asks about subscriptions. Says what that was.
    fn subscribes(&mut self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut new, mut gone) = (BTreeSet::new(), BTreeSet::new());
        while !self.session.is_ready() {
            for packet in self.packets() {
                match packet {
                    Packet::Subscribe { id, filters } => {
                        self.session.suback(id, &vec![1; filters.len()], self.now);
                        new.extend(filters.into_iter().map(|filter| filter.topic));
                    }
                    Packet::Unsubscribe { id, topics } => {
                        self.session.unsuback(id, self.now);
                        gone.extend(topics);
                    }
                    other => panic!("before it is ready: {other:?}"),
                }
            }
        }
        (new, gone)
    }

    fn is_lost(&mut self, cause: Cause) -> (String, bool, u64) {
        self.session.lost(&cause, self.now);
        match std::iter::from_fn(|| self.session.next_event()).last() {
            Some(SessionEvent::Lost { why, contested, times }) => (why, contested, times),
            other => panic!("{other:?}"),
        }
    }

    fn ready(settings: Settings) -> Self {
        let mut driven = Self::new(settings);
        driven.connects(Connack::default());
        driven.subscribes();
        driven.effects();
        driven.events.clear();
        driven
    }
}

fn kept() -> Connack {
    Connack { session_present: true, ..Connack::default() }
}

#[test]
fn a_kept_session_is_subscribed_to_what_is_wanted_alone() {
    let mut driven = Driven::new(settings(&["a", "b"], Some(&["b", "old"])));
    assert!(!driven.connects(kept()).clean_start);
    assert_eq!(driven.on_disk, set(&["a", "b", "old"]));
    driven.session.publish(publish(1), driven.now);
    assert_eq!(driven.subscribes(), (set(&["a", "b"]), set(&["old"])));
    assert_eq!(driven.published().len(), 1, "it waited for the subscriptions");
    assert_eq!(driven.on_disk, set(&["a", "b"]));
}

#[test]
fn nothing_is_subscribed_that_is_not_on_disk() {
    let mut driven = Driven::new(settings(&["a"], Some(&[])));
    let now = driven.now;
    driven.session.wake(now);
    assert_eq!(driven.session.next_effect(), Some(remember(&["a"])));
    assert_eq!((driven.session.next_effect(), driven.session.deadline()), (None, None));
    driven.session.remembered(now);
    driven.connects(Connack::default());
    driven.subscribes();
    driven.session.set_filters(filters(&["b"]), now);
    assert_eq!(driven.session.next_effect(), Some(remember(&["a", "b"])));
    driven.session.set_filters(filters(&["c"]), now);
    assert_eq!(driven.session.next_effect(), None, "one at a time");
    driven.session.remembered(now);
    assert_eq!(driven.session.next_effect(), Some(remember(&["a", "c"])));
    driven.session.remembered(now);
    assert_eq!(driven.subscribes(), (set(&["c"]), set(&["a"])));
    driven.effects();
    assert_eq!(driven.on_disk, set(&["c"]));
}

#[test]
fn a_change_that_was_not_acknowledged_is_made_up_for_on_the_next_connection() {
    let mut driven = Driven::ready(settings(&["a", "b"], Some(&[])));
    driven.session.set_filters(filters(&["b", "c"]), driven.now);
    assert!(matches!(driven.packets()[..], [Packet::Subscribe { .. }]));
    driven.is_lost(Cause::Closed);
    driven.session.set_filters(filters(&["d"]), driven.now);
    driven.connects(kept());
    assert_eq!(driven.subscribes(), (set(&["d"]), set(&["a", "b", "c"])));
}

#[test]
fn a_session_that_is_new_has_nothing_to_unsubscribe() {
    let mut driven = Driven::new(settings(&["a"], Some(&["old"])));
    driven.connects(Connack::default());
    assert_eq!(driven.subscribes(), (set(&["a"]), set(&[])));
}

#[test]
fn a_session_of_which_nothing_is_known_begins_clean_once() {
    let mut driven = Driven::new(settings(&["a"], None));
    assert!(driven.dials().clean_start);
    driven.is_lost(Cause::Unreachable("no such file".into()));
    assert!(driven.connects(Connack::default()).clean_start);
    driven.subscribes();
    driven.is_lost(Cause::Closed);
    assert!(!driven.connects(kept()).clean_start);
}

#[test]
fn no_way_to_lose_a_connection_is_without_a_pause() {
    for cause in [
        Cause::Disconnected(0x97),
        Cause::Disconnected(0x8B),
        Cause::Disconnected(0xEE),
        Cause::Closed,
        Cause::Broken("no MQTT".into()),
    ] {
        let mut driven = Driven::ready(settings(&["a"], Some(&[])));
        for _ in 0..20 {
            driven.is_lost(cause.clone());
            driven.connects(kept());
        }
        assert!(driven.now >= 30 * SECOND, "{cause:?}: {:?}", driven.now);
    }
}

#[test]
fn after_a_connection_that_lasted_the_next_attempt_comes_at_once() {
    let mut driven = Driven::ready(settings(&[], Some(&[])));
    for _ in 0..10 {
        driven.now += 30 * SECOND;
        let before = driven.now;
        driven.is_lost(Cause::Closed);
        driven.connects(kept());
        assert_eq!(driven.now, before);
    }
}

#[test]
fn only_who_is_thrown_out_is_contested() {
    let contested = |cause: Cause| {
        let mut driven = Driven::ready(settings(&[], Some(&[])));
        let mut rounds = 0;
        while rounds < 50 {
            rounds += 1;
            let (why, contested, _) = driven.is_lost(cause.clone());
            if contested {
                assert!(why.contains("another client"), "{why}");
                return Some(rounds);
            }
            driven.connects(kept());
        }
        None
    };
    assert_eq!(contested(Cause::Disconnected(0x8E)), Some(6));
    assert_eq!(contested(Cause::Closed), Some(6));
    assert_eq!(contested(Cause::Disconnected(0x9B)), None);
    assert_eq!(contested(Cause::Disconnected(0x97)), None);
}

#[test]
fn a_reason_is_counted_while_it_is_the_same() {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    let mut times = Vec::new();
    for code in [0x86, 0x86, 0x86, 0x87, 0x87, 0x86] {
        driven.dials();
        let (why, _, again) = driven.is_lost(Cause::Refused(code));
        assert!(why.contains("unix:/run/broker") && why.contains("`vm-gui`"), "{why}");
        times.push(again);
    }
    assert_eq!(times, [1, 2, 3, 1, 2, 1]);
    driven.connects(kept());
    assert_eq!(driven.is_lost(Cause::Disconnected(0x97)).2, 1);
    driven.connects(kept());
    assert_eq!(driven.is_lost(Cause::Disconnected(0x97)).2, 2, "it was connected meanwhile");
    driven.connects(kept());
    driven.now += 30 * SECOND;
    assert_eq!(driven.is_lost(Cause::Disconnected(0x97)).2, 1, "it had lasted");
}

#[test]
fn reasons_have_names_and_say_what_to_do() {
    for (cause, said) in [
        (Cause::Refused(0x86), "bad user name or password"),
        (Cause::Refused(0x86), "broker.passwords"),
        (Cause::Refused(0x84), "use one that does"),
        (Cause::Refused(0x9F), "connection rate exceeded"),
        (Cause::Refused(0xC1), "0xc1"),
        (Cause::Old(1), "does not speak MQTT 5"),
        (Cause::Disconnected(0x8B), "server shutting down"),
        (Cause::Unreachable("No such file".into()), "does it run"),
    ] {
        let mut driven = Driven::new(settings(&[], Some(&[])));
        driven.dials();
        let (why, ..) = driven.is_lost(cause);
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn what_a_broker_cannot_do_with_the_will_is_left_out() {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    let will = |connect: ConnectPacket| connect.will.map(|(will, qos)| (will.retain, qos));
    assert_eq!(will(driven.dials()), Some((true, Qos::AtLeastOnce)));
    driven.is_lost(Cause::Refused(0x9A));
    assert_eq!(will(driven.dials()), Some((false, Qos::AtLeastOnce)));
    driven.is_lost(Cause::Refused(0x9B));
    assert_eq!(will(driven.dials()), Some((false, Qos::AtMostOnce)));
    driven.session.connected(&Connack::default(), driven.now);
    driven.is_lost(Cause::Closed);
    assert_eq!(will(driven.dials()), Some((true, Qos::AtLeastOnce)), "it can again");
}

#[test]
fn limits_of_a_broker_are_kept() {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    driven.connects(Connack {
        receive_maximum: 2,
        maximum_packet: 100,
        retain_available: false,
        ..Connack::default()
    });
    assert!(matches!(driven.effects()[..], [SessionEffect::Warn(_)]));
    for token in 1..=4 {
        driven.session.publish(Publish { retain: true, ..publish(token) }, driven.now);
    }
    let large = Publish { payload: vec![0; 100].into(), ..publish(5) };
    driven.session.publish(large, driven.now);
    let sent = driven.packets();
    assert_eq!(sent.len(), 2);
    for packet in sent {
        assert!(matches!(packet, Packet::Publish { publish, .. } if !publish.retain));
    }
    driven.session.puback(1, 0, driven.now);
    assert_eq!(driven.published(), [(3, 3, false)]);
    driven.session.puback(3, 0, driven.now);
    driven.session.puback(2, 0, driven.now);
    assert_eq!(driven.published(), [(4, 4, false)]);
    assert!(driven.events.iter().any(|event| matches!(
        event,
        SessionEvent::Refused { token: Token(5), reason: Reason::LineTooLong, .. }
    )));
}

#[test]
fn a_broker_of_qos_0_is_given_that() {
    let mut driven = Driven::new(settings(&["a"], Some(&[])));
    driven.connects(Connack { maximum_qos: 0, ..Connack::default() });
    assert!(matches!(driven.session.next_effect(), Some(SessionEffect::Warn(_))));
    driven.subscribes();
    driven.session.publish(publish(1), driven.now);
    let sent = driven.packets();
    assert!(matches!(&sent[..], [Packet::Publish { id: 0, publish, .. }]
        if publish.qos == Qos::AtMostOnce));
    driven.session.written(driven.now);
    driven.effects();
    let taken = SessionEvent::Acknowledged { token: Token(1), matched: true };
    assert_eq!(driven.events.last(), Some(&taken));
}

#[test]
fn a_client_id_of_the_brokers_own_is_not_accepted() {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    let other = Some("other".to_owned());
    driven.connects(Connack { assigned_client_id: other, ..Connack::default() });
    assert_eq!(driven.effects(), [SessionEffect::HangUp]);
    assert!(matches!(driven.events[..], [SessionEvent::Lost { times: 1, .. }]));
}

/// When a silent connection is pinged first.
fn pings_after(server_keep_alive: Option<u16>) -> Duration {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    driven.connects(Connack { server_keep_alive, ..Connack::default() });
    driven.session.deadline().unwrap()
}

#[test]
fn a_server_keep_alive_only_lowers_ones_own() {
    for (server, seconds) in [(None, 10), (Some(0), 10), (Some(600), 10), (Some(3), 3)] {
        assert_eq!(pings_after(server), seconds * SECOND, "{server:?}");
    }
}

#[test]
fn a_ping_without_an_answer_ends_the_connection() {
    let mut driven = Driven::ready(settings(&[], Some(&[])));
    for _ in 0..3 {
        driven.now = driven.session.deadline().unwrap();
        driven.session.wake(driven.now);
        assert_eq!(driven.packets(), [Packet::Ping]);
        driven.session.pong();
    }
    driven.now += 60 * SECOND;
    driven.session.wake(driven.now);
    assert_eq!(driven.packets(), [Packet::Ping], "it was the program that did not run");
    driven.now = driven.session.deadline().unwrap();
    driven.session.wake(driven.now);
    assert_eq!(driven.effects(), [SessionEffect::HangUp]);
    assert!(!driven.session.is_connected());
}

#[test]
fn what_is_refused_for_now_is_tried_again() {
    let mut driven = Driven::ready(settings(&[], Some(&[])));
    driven.session.publish(publish(1), driven.now);
    assert_eq!(driven.published(), [(1, 1, false)]);
    for id in 1..6 {
        driven.session.puback(id, 0x97, driven.now);
        assert_eq!(driven.effects(), []);
        driven.now = driven.session.deadline().unwrap();
        driven.session.wake(driven.now);
        let sent = driven.packets();
        let ping = usize::from(sent.first() == Some(&Packet::Ping));
        assert!(matches!(sent[ping..], [Packet::Publish { dup: false, .. }]), "{sent:?}");
        driven.session.pong();
    }
    driven.session.puback(6, 0, driven.now);
    driven.effects();
    assert_eq!(driven.events, [SessionEvent::Acknowledged { token: Token(1), matched: true }]);
}

#[test]
fn what_is_refused_for_good_says_why() {
    for (code, reason, name) in [
        (0x80, Reason::BrokerRefused, "unspecified error"),
        (0x83, Reason::BrokerRefused, "implementation specific error"),
        (0x87, Reason::NotAllowed, "does not let it"),
        (0x90, Reason::BrokerRefused, "topic name invalid"),
        (0x91, Reason::BrokerRefused, "packet identifier in use"),
        (0x95, Reason::LineTooLong, "packet too large"),
        (0x99, Reason::BrokerRefused, "payload format invalid"),
        (0xE1, Reason::BrokerRefused, "0xe1"),
    ] {
        let mut driven = Driven::ready(settings(&[], Some(&[])));
        driven.session.publish(publish(1), driven.now);
        driven.session.puback(1, code, driven.now);
        driven.effects();
        match &driven.events[..] {
            [SessionEvent::Refused { token: Token(1), reason: found, why }] => {
                assert_eq!(*found, reason);
                assert!(why.contains(name), "{why}");
            }
            other => panic!("{code:#x}: {other:?}"),
        }
        assert_eq!(driven.session.outbox(), (0, 0));
    }
}

#[test]
fn a_broker_that_acknowledges_nothing_is_left_and_the_message_kept() {
    let mut driven = Driven::ready(settings(&[], Some(&[])));
    driven.session.publish(publish(1), driven.now);
    driven.effects();
    let begin = driven.now;
    while driven.session.is_connected() {
        driven.now = driven.session.deadline().unwrap();
        driven.session.wake(driven.now);
        driven.session.pong();
    }
    assert_eq!(driven.now - begin, 30 * SECOND);
    assert_eq!(driven.session.outbox().0, 1);
    driven.effects();
    driven.connects(kept());
    assert_eq!(driven.published(), [(1, 1, true)]);
}

#[test]
fn a_broker_that_answers_no_subscribe_is_left() {
    let mut driven = Driven::new(settings(&["a"], Some(&[])));
    driven.connects(Connack::default());
    while driven.session.is_connected() {
        driven.now = driven.session.deadline().unwrap();
        driven.session.wake(driven.now);
        driven.session.pong();
    }
    assert!(matches!(driven.effects().last(), Some(SessionEffect::HangUp)));
}

#[test]
fn an_acknowledgement_goes_to_the_connection_of_its_message() {
    let mut driven = Driven::ready(settings(&[], Some(&[])));
    driven.session.received(Received::default(), 9, 1);
    driven.session.received(Received::default(), 0, 0);
    driven.effects();
    let deliveries: Vec<_> = driven.events.drain(..).collect();
    let [SessionEvent::Received(_, first), SessionEvent::Received(_, second)] = deliveries[..]
    else {
        panic!("{deliveries:?}");
    };
    driven.session.acknowledge(first);
    driven.session.acknowledge(second);
    assert_eq!(driven.packets(), [Packet::Acknowledge { id: 9, qos: 1 }]);
    driven.is_lost(Cause::Closed);
    driven.connects(kept());
    driven.effects();
    driven.session.acknowledge(first);
    assert_eq!(driven.effects(), []);
}

#[test]
fn leaving_says_an_expiry_that_has_changed() {
    for (expiry, said) in [(300, None), (20, Some(20)), (0, Some(0))] {
        let mut driven = Driven::ready(settings(&[], Some(&[])));
        driven.session.set_expiry(expiry * SECOND);
        driven.session.leave();
        assert_eq!(driven.packets(), [Packet::Disconnect { session_expiry: said }]);
        assert_eq!(driven.session.deadline(), None);
    }
}

#[test]
fn new_credentials_are_tried_at_once() {
    let mut driven = Driven::new(settings(&[], Some(&[])));
    for _ in 0..12 {
        driven.dials();
        driven.is_lost(Cause::Refused(0x86));
    }
    let wait = driven.session.deadline().unwrap() - driven.now;
    assert!(wait > 5 * SECOND && wait <= 30 * SECOND, "{wait:?}");
    driven.session.set_credentials(None, driven.now);
    assert_eq!(driven.session.deadline().unwrap() - driven.now, wait);
    let user = "gui".to_owned();
    let other = passerelle::engine::password::Credentials { user, password: None };
    driven.session.set_credentials(Some(other), driven.now);
    assert_eq!(driven.session.deadline(), Some(driven.now));
    assert!(driven.dials().credentials.is_some());
}
