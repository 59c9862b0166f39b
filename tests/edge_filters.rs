//! Subscriptions that change, and what the broker keeps, against a real Mosquitto.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod edge_support;

use edge_support::{Broker, Session, next, publish, ready};
use passerelle::engine::publish::Token;
use passerelle::engine::session::{Filter, Replay, SessionEvent};
use std::collections::BTreeSet;
use std::time::Duration;

/// Other subscriptions for a session.
fn filters(names: &[&str]) -> Vec<Filter> {
    names
        .iter()
        .map(|name| Filter {
            topic: (*name).to_owned(),
            no_local: false,
            retained: Replay::WhenNew,
        })
        .collect()
}

/// Whether anyone subscribes to a topic.
async fn is_heard(by: &mut Session, topic: &str) -> bool {
    by.publish(publish(u64::MAX, topic, "?"));
    loop {
        if let SessionEvent::Acknowledged { token: Token(u64::MAX), matched } = next(by).await {
            return matched;
        }
    }
}

#[tokio::test]
async fn subscriptions_change_on_a_live_connection_and_publishes_wait_for_them() {
    let broker = Broker::start("").await;
    let mut other = broker.session("other", &[]).await;
    let mut session = broker.session("session", &["kept", "old/1", "old/2"]).await;
    // More than may be under way at once, before the change and after it.
    for token in 0..300 {
        session.publish(publish(token, "kept", token.to_string()));
    }
    session.set_filters(filters(&["kept", "new/1", "new/2"]));
    for token in 300..600 {
        session.publish(publish(token, "new/2", token.to_string()));
    }
    let (mut got, mut acknowledged, mut readies) = (BTreeSet::new(), 0, 0);
    while got.len() < 600 || acknowledged < 600 {
        match next(&mut session).await {
            SessionEvent::Received(message, delivery) => {
                session.acknowledge(delivery);
                assert!(got.insert(message.payload), "twice");
            }
            SessionEvent::Acknowledged { matched, .. } => {
                assert!(matched, "it was published before the subscription");
                acknowledged += 1;
            }
            SessionEvent::Ready => readies += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(readies, 1);
    for (topic, heard) in [("kept", true), ("new/1", true), ("old/1", false), ("old/2", false)] {
        assert_eq!(is_heard(&mut other, topic).await, heard, "{topic}");
    }
}

#[tokio::test]
async fn subscriptions_change_twice_before_the_broker_has_answered() {
    let broker = Broker::start("").await;
    let mut other = broker.session("other", &[]).await;
    let mut session = broker.session("session", &["a"]).await;
    session.set_filters(filters(&["b"]));
    session.set_filters(filters(&["a", "c"]));
    session.set_filters(filters(&["c", "d"]));
    session.set_filters(filters(&["a", "d"]));
    ready(&mut session).await;
    for (topic, heard) in [("a", true), ("b", false), ("c", false), ("d", true)] {
        assert_eq!(is_heard(&mut other, topic).await, heard, "{topic}");
    }
}

#[tokio::test]
async fn what_the_broker_kept_of_earlier_subscriptions_is_unsubscribed() {
    let broker = Broker::start("").await;
    let mut other = broker.session("other", &[]).await;
    broker.session("session", &["old", "kept"]).await.close().await;
    assert!(is_heard(&mut other, "old").await);
    let mut settings = broker.settings("session", &["old", "kept"]);
    settings.set_filters(filters(&["kept", "new"]));
    let mut session = Session::new(settings);
    ready(&mut session).await;
    for (topic, heard) in [("old", false), ("kept", true), ("new", true)] {
        assert_eq!(is_heard(&mut other, topic).await, heard, "{topic}");
    }
}

#[tokio::test]
async fn the_broker_is_told_of_another_expiry_when_the_session_leaves() {
    let broker = Broker::start("").await;
    let mut other = broker.session("other", &[]).await;
    let mut session = broker.session("session", &["t"]).await;
    session.set_expiry(Duration::ZERO);
    session.leave().await;
    assert!(!is_heard(&mut other, "t").await, "it was to be forgotten at once");
    let session = broker.session("session", &["t"]).await;
    session.leave().await;
    assert!(is_heard(&mut other, "t").await);
}
