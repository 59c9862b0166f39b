//! Sessions against a real Mosquitto.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod edge_support;

use bytes::Bytes;
use edge_support::{Broker, Session, next, publish, ready};
use passerelle::config::Address;
use passerelle::engine::name::DomainName;
use passerelle::engine::publish::{Qos, Received, Token};
use passerelle::engine::refusal::Reason;
use passerelle::engine::session::{SessionEvent, Will};
use std::collections::BTreeSet;
use std::time::Duration;

/// Acknowledges the next message and returns it, past the `PUBACK`s of one's own.
async fn receive(session: &mut Session) -> Received {
    loop {
        match next(session).await {
            SessionEvent::Received(message, delivery) => {
                session.acknowledge(delivery);
                return message;
            }
            SessionEvent::Acknowledged { .. }
            | SessionEvent::Ready
            | SessionEvent::Lost { contested: false, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn everything_of_a_message_arrives() {
    let broker = Broker::start("").await;
    let mut server = broker.session("server", &["system/request/#"]).await;
    let mut client = broker.session("client", &[]).await;
    let mut sent = publish(1, "system/request/x", "payload");
    sent.response_topic = Some("system/response/client".to_owned());
    sent.correlation = Some(Bytes::from_static(&[0, 255, b'{']));
    sent.source = Some(DomainName::parse("client").unwrap());
    sent.mark = Some("dom0".into());
    sent.expiry = Some(Duration::from_secs(30));
    client.publish(sent.clone());
    let taken = SessionEvent::Acknowledged { token: Token(1), matched: true };
    assert_eq!(next(&mut client).await, taken);
    let message = receive(&mut server).await;
    assert_eq!(message.topic, sent.topic);
    assert_eq!(message.payload, sent.payload);
    assert_eq!(message.response_topic, sent.response_topic);
    assert_eq!(message.correlation, sent.correlation);
    assert_eq!(message.source.as_deref(), Some("client"));
    assert_eq!(message.mark.as_deref(), Some("dom0"));
    assert!(!message.retain);
    // QoS 0 has no PUBACK, and ends like the others.
    sent.qos = Qos::AtMostOnce;
    client.publish(sent);
    assert_eq!(next(&mut client).await, taken);
    assert_eq!(receive(&mut server).await.topic, "system/request/x");
    assert_eq!(client.outbox(), (0, 0));
}

#[tokio::test]
async fn a_publish_that_nobody_subscribes_to_says_so() {
    let broker = Broker::start("").await;
    let mut session = broker.session("alone", &["other"]).await;
    session.publish(publish(5, "nobody", "?"));
    let expected = SessionEvent::Acknowledged { token: Token(5), matched: false };
    assert_eq!(next(&mut session).await, expected);
}

#[tokio::test]
async fn no_local_keeps_own_messages_away() {
    let broker = Broker::start("").await;
    let mut settings = broker.settings("gui", &["a", "b"]);
    settings.filters[0].no_local = true;
    let mut session = Session::new(settings);
    ready(&mut session).await;
    session.publish(publish(1, "a", "hidden"));
    session.publish(publish(2, "b", "seen"));
    assert_eq!(receive(&mut session).await.topic, "b");
}

#[tokio::test]
async fn many_filters_are_all_subscribed_before_anything_is_sent() {
    let broker = Broker::start("").await;
    let names: Vec<_> = (0..500).map(|n| format!("topic/{n}/#")).collect();
    let filters: Vec<_> = names.iter().map(String::as_str).collect();
    let mut session = Session::new(broker.settings("wide", &filters));
    for n in 0..500 {
        session.publish(publish(n, &format!("topic/{}/x", 499 - n), "x"));
    }
    let mut got = BTreeSet::new();
    while got.len() < 500 {
        got.insert(receive(&mut session).await.topic);
    }
}

/// Publishes while the broker is killed and started again, and tells what arrived.
async fn survives_a_kill(config: &str) {
    let mut broker = Broker::start(config).await;
    let mut sender = broker.session("sender", &[]).await;
    let mut receiver = broker.session("receiver", &["t"]).await;
    for token in 0..300 {
        sender.publish(publish(token, "t", token.to_string()));
    }
    // Some are answered, some are on their way, most wait.
    for _ in 0..10 {
        assert!(matches!(next(&mut sender).await, SessionEvent::Acknowledged { .. }));
    }
    broker.kill();
    while !matches!(next(&mut sender).await, SessionEvent::Lost { .. }) {}
    let left = sender.outbox().0;
    assert!(left > 0 && left <= 290, "{left}");
    broker.run().await;
    while !matches!(next(&mut receiver).await, SessionEvent::Ready) {}
    let mut tokens = Vec::new();
    while sender.outbox().0 > 0 {
        match next(&mut sender).await {
            SessionEvent::Acknowledged { token: Token(token), .. } => tokens.push(token),
            SessionEvent::Lost { contested, .. } => assert!(!contested),
            _ => {}
        }
    }
    assert_eq!(tokens, (300 - left as u64..300).collect::<Vec<_>>());
    let mut got = Vec::new();
    while got.last() != Some(&299) {
        let text = receive(&mut receiver).await.payload;
        got.push(std::str::from_utf8(&text).unwrap().parse::<u64>().unwrap());
    }
    let expected: Vec<u64> = (300 - left as u64..300).collect();
    assert!(got.ends_with(&expected), "{got:?}");
}

#[tokio::test]
async fn the_outbox_is_sent_again_to_a_broker_that_forgot_everything() {
    survives_a_kill("persistence false").await;
}

#[tokio::test]
async fn the_outbox_is_sent_again_to_a_broker_that_remembers() {
    survives_a_kill("persistence true\nautosave_on_changes true\nautosave_interval 1").await;
}

#[tokio::test]
async fn two_clients_with_one_id_end_as_contested() {
    let broker = Broker::start("").await;
    let mut first = broker.session("twin", &["t"]).await;
    let mut second = broker.session("twin", &["t"]).await;
    let one = async {
        loop {
            let event = tokio::select! {
                event = next(&mut first) => event,
                event = next(&mut second) => event,
            };
            if matches!(event, SessionEvent::Lost { contested: true, .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(edge_support::PATIENCE, one).await.unwrap();
}

#[tokio::test]
async fn cancelling_next_loses_nothing() {
    // From 2.1 on Mosquitto takes 2 MB in a packet by default.
    let broker = Broker::start("max_queued_messages 0\nmax_packet_size 8000000").await;
    let mut session = broker.session("busy", &["big", "small"]).await;
    let mut other = broker.session("other", &[]).await;
    let big = Bytes::from(vec![7_u8; 5 << 20]);
    other.publish(publish(1, "big", big.clone()));
    tokio::spawn(async move {
        loop {
            other.next().await;
        }
    });
    for token in 0..1000 {
        session.publish(publish(token, "small", token.to_string()));
    }
    let (mut acknowledged, mut small, mut whole, mut spins) = (Vec::new(), Vec::new(), false, 0);
    while acknowledged.len() < 1000 || small.len() < 1000 || !whole {
        let event = tokio::select! {
            // The other branch is ready at each poll: nearly every call is cancelled.
            biased;
            event = session.next() => event,
            () = tokio::task::yield_now() => { spins += 1; continue }
        };
        match event {
            SessionEvent::Acknowledged { token: Token(token), .. } => acknowledged.push(token),
            SessionEvent::Received(message, delivery) => {
                session.acknowledge(delivery);
                match message.topic.as_str() {
                    "big" => whole = message.payload == big,
                    _ => small.push(message.payload),
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let order: Vec<_> = (0..1000).map(|n: u64| Bytes::from(n.to_string())).collect();
    assert_eq!(small, order);
    assert_eq!(acknowledged, (0..1000).collect::<Vec<_>>());
    assert!(spins > 100, "{spins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_calls_is_answered_to_the_last() {
    const CALLS: u64 = 10_000;
    let broker = Broker::start("max_inflight_messages 100\nmax_queued_messages 0").await;
    let mut client = broker.session("client", &["answer"]).await;
    let mut server = broker.session("server", &["call"]).await;
    let serving = tokio::spawn(async move {
        for token in 0.. {
            let call = receive(&mut server).await;
            server.publish(publish(token, "answer", call.payload));
        }
    });
    for token in 0..CALLS {
        client.publish(publish(token, "call", token.to_string()));
    }
    for token in 0..CALLS {
        assert_eq!(receive(&mut client).await.payload, token.to_string());
    }
    serving.abort();
}

#[tokio::test]
async fn a_broker_on_tcp_is_reached_too() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let broker = Broker::start(&format!("listener {port} 127.0.0.1")).await;
    let mut settings = broker.settings("tcp", &["t"]);
    let host = "127.0.0.1".to_owned();
    settings.address = Address::Tcp { host, port, tls: false };
    let mut session = Session::new(settings);
    ready(&mut session).await;
    for token in 0..20 {
        session.publish(publish(token, "t", "x"));
        assert_eq!(receive(&mut session).await.payload, "x");
    }
}

#[tokio::test]
async fn what_the_broker_never_takes_is_refused_and_the_rest_goes_on() {
    // The first limit is told in the CONNACK, the second one in a PUBACK of reason 0x95.
    for config in ["max_packet_size 20000", "message_size_limit 10000"] {
        let broker = Broker::start(config).await;
        let mut session = broker.session("large", &["t"]).await;
        session.publish(publish(1, "t", vec![0; 5_000]));
        session.publish(publish(2, "t", vec![0; 20_001]));
        session.publish(publish(3, "t", "small"));
        session.publish(publish(4, "t/+", "wildcard"));
        let (mut refused, mut taken) = (Vec::new(), Vec::new());
        while refused.len() + taken.len() < 4 {
            match next(&mut session).await {
                SessionEvent::Refused { token, .. } => refused.push(token.0),
                SessionEvent::Acknowledged { token, .. } => taken.push(token.0),
                SessionEvent::Received(_, delivery) => session.acknowledge(delivery),
                SessionEvent::Ready | SessionEvent::Lost { contested: false, .. } => {}
                other => panic!("{config}: {other:?}"),
            }
        }
        refused.sort_unstable();
        assert_eq!((refused, taken), (vec![2, 4], vec![1, 3]), "{config}");
        assert_eq!(session.outbox(), (0, 0));
    }
}

#[tokio::test]
async fn what_the_broker_does_not_allow_is_refused() {
    let broker = Broker::start("acl_file {data}/acl").await;
    let mut session = broker.session("guest", &["allowed", "not/#/valid"]).await;
    for token in 0..250 {
        session.publish(publish(token, "forbidden", "x"));
    }
    for token in (0..250).map(Token) {
        match next(&mut session).await {
            SessionEvent::Refused { token: refused, reason, .. } => {
                assert_eq!((refused, reason), (token, Reason::NotAllowed));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_expired_while_there_was_no_broker_is_not_sent() {
    let mut broker = Broker::start("").await;
    let settings = broker.settings("late", &["t"]);
    broker.kill();
    let mut session = Session::new(settings);
    let mut short = publish(1, "t", "short");
    short.expiry = Some(Duration::ZERO);
    session.publish(short);
    session.publish(publish(2, "t", "long"));
    session.publish(publish(3, "t", "withdrawn"));
    assert!(session.withdraw(Token(3)) && !session.withdraw(Token(3)));
    assert!(matches!(next(&mut session).await, SessionEvent::Lost { contested: false, .. }));
    broker.run().await;
    let mut received = None;
    while received.is_none() || session.outbox().0 > 1 {
        if let SessionEvent::Received(message, delivery) = next(&mut session).await {
            session.acknowledge(delivery);
            assert_eq!(received.replace(message.payload), None);
        }
    }
    assert_eq!(received.unwrap(), "long");
    assert!(session.withdraw(Token(1)));
}

#[tokio::test]
async fn a_message_without_an_acknowledgement_comes_again() {
    let broker = Broker::start("").await;
    let mut session = broker.session("keeper", &["t"]).await;
    session.publish(publish(1, "t", "again"));
    while !matches!(next(&mut session).await, SessionEvent::Received(..)) {}
    session.close().await;
    let mut session = Session::new(broker.settings("keeper", &["t"]));
    assert_eq!(receive(&mut session).await.payload, "again");
}

#[tokio::test]
async fn closing_keeps_the_session_and_sends_no_will() {
    let broker = Broker::start("").await;
    let mut other = broker.session("other", &["will"]).await;
    let mut settings = broker.settings("leaver", &["t"]);
    let payload = Bytes::from_static(b"gone");
    settings.will = Some(Will { topic: "will".to_owned(), payload, retain: false });
    let mut session = Session::new(settings);
    ready(&mut session).await;
    session.close().await;
    other.publish(publish(1, "t", "x"));
    let answer = next(&mut other).await;
    assert_eq!(answer, SessionEvent::Acknowledged { token: Token(1), matched: true });
    // A session that is cut off has its will sent.
    let mut settings = broker.settings("dropped", &[]);
    let payload = Bytes::from_static(b"gone");
    settings.will = Some(Will { topic: "will".to_owned(), payload, retain: false });
    let mut session = Session::new(settings);
    ready(&mut session).await;
    drop(session);
    assert_eq!(receive(&mut other).await.payload, "gone");
}
