//! Sessions against brokers with limits, and against a peer that misbehaves as no Mosquitto does.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod edge_support;

use bytes::Bytes;
use edge_support::{Broker, PATIENCE, Session, next, publish, ready};
use passerelle::config::Address;
use passerelle::engine::publish::Token;
use passerelle::engine::refusal::Reason;
use passerelle::engine::session::{SessionEvent, Will};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Accepts with a new session, and with one that it has kept.
const NEW: &[u8] = &[0x20, 3, 0, 0, 0];
const KEPT: &[u8] = &[0x20, 3, 1, 0, 0];

/// A broker of the test's own making.
struct Fake {
    _folder: TempDir,
    listener: UnixListener,
    address: Address,
}

/// One connection to it.
struct Peer(UnixStream);

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fake.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { _folder: folder, listener, address: Address::Unix(path) }
    }

    /// A session without subscriptions that is to connect here.
    async fn session(&self) -> Session {
        // Its settings are the same; the other broker goes.
        let mut settings = Broker::start("").await.settings("vm-gui", &[]);
        settings.address = self.address.clone();
        Session::new(settings)
    }

    /// Takes the next connection, and answers its CONNECT.
    async fn accept(&self, connack: &[u8]) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        let mut peer = Peer(stream);
        assert_eq!(peer.packet().await[0], 0x10);
        peer.say(connack).await;
        peer
    }
}

impl Peer {
    /// The next packet. None of these is longer than 127 bytes.
    async fn packet(&mut self) -> Vec<u8> {
        let read = async {
            let mut packet = vec![0; 2];
            self.0.read_exact(&mut packet).await.unwrap();
            packet.resize(2 + usize::from(packet[1]), 0);
            self.0.read_exact(&mut packet[2..]).await.unwrap();
            packet
        };
        timeout(PATIENCE, read).await.unwrap()
    }

    /// The next PUBLISH, on a topic of one letter: its first byte and its packet id.
    async fn publish(&mut self) -> (u8, u16) {
        let packet = self.packet().await;
        assert_eq!(packet[0] >> 4, 3, "{packet:x?}");
        (packet[0], u16::from_be_bytes([packet[5], packet[6]]))
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn puback(&mut self, id: u16, code: u8) {
        let [high, low] = id.to_be_bytes();
        self.say(&[0x40, 3, high, low, code]).await;
    }
}

/// Polls a session while the broker does something.
async fn with<T>(session: &mut Session, broker: impl Future<Output = T>) -> (T, Vec<SessionEvent>) {
    let mut events = Vec::new();
    let poll = async {
        loop {
            events.push(session.next().await);
        }
    };
    let done = tokio::select! {
        biased;
        done = broker => done,
        () = poll => unreachable!(),
    };
    (done, events)
}

/// Why the session is lost next.
async fn lost(session: &mut Session) -> String {
    loop {
        match next(session).await {
            SessionEvent::Lost { why, contested, .. } => {
                assert!(!contested, "{why}");
                return why;
            }
            SessionEvent::Ready => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_ends_every_connection_at_once_is_tried_less_and_less() {
    let fake = Fake::new();
    let mut session = fake.session().await;
    let begin = Instant::now();
    for _ in 0..8 {
        let end = async { fake.accept(NEW).await.say(&[0xE0, 2, 0x97, 0]).await };
        let ((), events) = with(&mut session, end).await;
        let unheard = !events.iter().any(|event| matches!(event, SessionEvent::Lost { .. }));
        if unheard {
            let why = lost(&mut session).await;
            assert!(why.contains("quota exceeded"), "{why}");
        }
    }
    // The least that the pauses before the last seven are together.
    let least: u64 = [50, 100, 200, 400, 800, 1600].iter().sum();
    assert!(begin.elapsed() >= Duration::from_millis(least), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn each_answer_to_a_publish_has_its_meaning_and_the_connection_goes_on() {
    let fake = Fake::new();
    let mut session = fake.session().await;
    let (mut peer, _) = with(&mut session, fake.accept(NEW)).await;
    for (token, code) in [(1, 0x80), (2, 0x95), (3, 0x87), (4, 0xE1), (5, 0x97), (6, 0x10)] {
        session.publish(publish(token, "t", "x"));
        let answer = async {
            let (_, id) = peer.publish().await;
            peer.puback(id, code).await;
            if code == 0x97 {
                let (first, again) = peer.publish().await;
                assert_eq!((first & 0x08, again == id), (0, false), "it is a new publish");
                peer.puback(again, 0).await;
            }
        };
        let ((), mut events) = with(&mut session, answer).await;
        events.retain(|event| *event != SessionEvent::Ready);
        let event = match events.pop() {
            Some(event) => event,
            None => match next(&mut session).await {
                SessionEvent::Ready => next(&mut session).await,
                event => event,
            },
        };
        let token = Token(token);
        let refused = |reason: Reason| match &event {
            SessionEvent::Refused { token: of, reason: found, .. } => {
                (*of, *found) == (token, reason)
            }
            _ => false,
        };
        assert!(
            match code {
                0x80 | 0xE1 => refused(Reason::BrokerRefused),
                0x95 => refused(Reason::LineTooLong),
                0x87 => refused(Reason::NotAllowed),
                code => event == SessionEvent::Acknowledged { token, matched: code != 0x10 },
            },
            "{code:#x}: {event:?}"
        );
    }
    assert!(session.is_connected());
}

#[tokio::test]
async fn what_a_kept_session_has_not_acknowledged_comes_again_as_a_repeat() {
    let fake = Fake::new();
    let mut session = fake.session().await;
    session.publish(publish(1, "t", "x"));
    let first = async { fake.accept(NEW).await.publish().await };
    let (first, _) = with(&mut session, first).await;
    let kept = async { fake.accept(KEPT).await.publish().await };
    let (kept, _) = with(&mut session, kept).await;
    assert_eq!(kept, (first.0 | 0x08, first.1));
    let forgotten = async { fake.accept(NEW).await.publish().await };
    let (forgotten, _) = with(&mut session, forgotten).await;
    assert_eq!(forgotten.0 & 0x08, 0);
}

#[tokio::test]
async fn why_there_is_no_connection_is_said_in_words() {
    for (answer, said) in [
        (&[0x20, 2, 0, 1][..], "does not speak MQTT 5"),
        (&[0x20, 3, 0, 0x86, 0], "bad user name or password"),
        (&[0x20, 3, 0, 0x9F, 0], "connection rate exceeded"),
        (&[0x20, 3, 0, 0xC1, 0], "0xc1"),
        (&[0x20, 3, 0, 0x84, 0], "does not speak MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sends no MQTT"),
        (&[0x20, 3, 0, 0, 0, 0xE0, 0], "0x00 (success)"),
        (&[0x20, 3, 0, 0, 0, 0xE0, 2, 0x8B, 0], "server shutting down"),
    ] {
        let fake = Fake::new();
        let mut session = fake.session().await;
        let (_peer, events) = with(&mut session, fake.accept(answer)).await;
        let why = match events.into_iter().find_map(|event| match event {
            SessionEvent::Lost { why, .. } => Some(why),
            _ => None,
        }) {
            Some(why) => why,
            None => lost(&mut session).await,
        };
        assert!(why.contains(said) && why.contains("fake.sock"), "{why}");
    }
}

#[tokio::test]
async fn a_broker_that_keeps_no_messages_has_the_will_and_the_others_all_the_same() {
    let broker = Broker::start("retain_available false").await;
    let mut other = broker.session("other", &["will", "t"]).await;
    let mut settings = broker.settings("own", &[]);
    let payload = Bytes::from_static(b"gone");
    settings.will = Some(Will { topic: "will".to_owned(), payload, retain: true });
    let mut session = Session::new(settings);
    ready(&mut session).await;
    let mut retained = publish(1, "t", "x");
    retained.retain = true;
    session.publish(retained);
    let taken = SessionEvent::Acknowledged { token: Token(1), matched: true };
    assert_eq!(next(&mut session).await, taken);
    drop(session);
    for expected in ["x", "gone"] {
        match next(&mut other).await {
            SessionEvent::Received(message, delivery) => {
                assert_eq!(message.payload, expected);
                other.acknowledge(delivery);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_of_qos_0_is_no_contest() {
    let broker = Broker::start("max_qos 0").await;
    let mut settings = broker.settings("own", &["t"]);
    let payload = Bytes::from_static(b"gone");
    settings.will = Some(Will { topic: "will".to_owned(), payload, retain: false });
    let mut session = Session::new(settings);
    ready(&mut session).await;
    for token in 0..200 {
        session.publish(publish(token, "t", "x"));
    }
    let (mut taken, mut received) = (0, 0);
    while taken < 200 || received < 200 {
        match next(&mut session).await {
            SessionEvent::Acknowledged { .. } => taken += 1,
            SessionEvent::Received(..) => received += 1,
            other => panic!("{other:?}"),
        }
    }
}
