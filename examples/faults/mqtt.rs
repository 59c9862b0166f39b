//! The domains on MQTT: one that hears events, one that serves calls, one that calls, one that tells.

use super::ledger::{Kind, Ledger};
use super::peers::mqtt_peer::Message;
use super::peers::{Hello, Missing, MqttPeer, RawMqtt};
use super::wire;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const CALLER: &str = "vm-scan";
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Who receives on MQTT.
pub struct Receivers {
    states: Vec<watch::Receiver<bool>>,
    _tasks: JoinSet<()>,
}

impl Receivers {
    /// All of them, subscribed.
    pub async fn start(socket: &Path, ledger: &Ledger) -> Result<Self, Missing> {
        let events = "faults/event/notification";
        let hears = MqttPeer::connect(socket, "observer", &[events]).await?;
        let serves = MqttPeer::connect(socket, "vm-new", &["faults/call/request"]).await?;
        let response = format!("faults/ask/response/{CALLER}");
        let calls = MqttPeer::connect(socket, CALLER, &[&response]).await?;
        let states = [&hears, &serves, &calls].map(MqttPeer::state).into();
        let mut tasks = JoinSet::new();
        tasks.spawn(hear(hears, ledger.clone()));
        tasks.spawn(serve(serves));
        tasks.spawn(hear(calls, ledger.clone()));
        Ok(Self { states, _tasks: tasks })
    }

    /// Waits until the broker has all their subscriptions.
    pub async fn subscribed(&self) -> Result<(), Missing> {
        for state in &self.states {
            let mut state = state.clone();
            let there =
                tokio::time::timeout(super::peers::DEADLINE, state.wait_for(|there| *there));
            if there.await.is_err() {
                return Err(Missing::new("a receiver does not come back to the broker"));
            }
        }
        Ok(())
    }

    /// Waits until each has seen that the broker is gone.
    pub async fn cut_off(&self) -> Result<(), Missing> {
        for state in &self.states {
            let mut state = state.clone();
            let gone = tokio::time::timeout(super::peers::DEADLINE, state.wait_for(|there| !there));
            if gone.await.is_err() {
                return Err(Missing::new("a receiver does not see that the broker is gone"));
            }
        }
        Ok(())
    }
}

/// Notes what comes: events, and the answers to calls.
async fn hear(mut peer: MqttPeer, ledger: Ledger) {
    let mut ids = HashSet::new();
    while let Ok(message) = peer.inbox.expect_within(FOREVER, "a message", |_| true).await {
        let Some(number) = wire::number_of(&message.payload) else { continue };
        if message.json()["status"] == "error" {
            ledger.failed(number);
            continue;
        }
        let id = message.properties.iter().find(|(key, _)| key == "passerelle-id");
        // The mark: the same id as before, the call's correlation data, or the broker's own.
        let known = id.is_some_and(|(_, id)| !ids.insert(id.clone()));
        ledger.came(number, known || message.dup || message.correlation.is_some());
    }
}

/// Answers every call.
async fn serve(mut peer: MqttPeer) {
    let publisher = peer.publisher();
    while let Ok(request) = peer.inbox.expect_within(FOREVER, "a request", |_| true).await {
        if let (Some(number), Some(topic)) = (wire::asked(&request.payload), request.response_topic)
        {
            let answer = Message {
                correlation: request.correlation,
                ..Message::new(topic, json!({ "a": number }).to_string())
            };
            if publisher.publish(answer.from("vm-new")).await.is_err() {
                return;
            }
        }
    }
}

/// Tells and calls, one after the other, until told to stop; what the broker has not acknowledged is said
/// again, as a program does to whom it matters.
pub async fn talk(socket: PathBuf, ledger: Ledger, pace: Duration, stop: watch::Receiver<bool>) {
    let mut pace = tokio::time::interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = None;
    while !*stop.borrow() {
        pace.tick().await;
        if let Ok(mut broker) = RawMqtt::open(&socket).await {
            let hello = Hello { level: 5, id: "teller", keep_alive: 0, ..Hello::default() };
            if broker.hello(&hello).await.is_ok() {
                // A broker that goes is looked for again.
                let _ = say(&mut broker, &ledger, &mut pace, &stop, &mut next).await;
            }
        }
    }
}

async fn say(
    broker: &mut RawMqtt,
    ledger: &Ledger,
    pace: &mut tokio::time::Interval,
    stop: &watch::Receiver<bool>,
    next: &mut Option<(Kind, u64)>,
) -> Result<(), Missing> {
    let mut turn = Kind::News;
    while !*stop.borrow() {
        pace.tick().await;
        let (kind, number) = *next.get_or_insert_with(|| (turn, ledger.number(turn)));
        let packet = match kind {
            Kind::News => wire::news(1, number),
            _ => wire::ask(1, CALLER, number),
        };
        ledger.begun(number);
        broker.write(&packet).await?;
        // What nobody is subscribed to, the broker says, is not sent yet.
        const NOBODY: u8 = 0x10;
        if broker.expect(0x40).await?.get(2) == Some(&NOBODY) {
            continue;
        }
        ledger.sent(number);
        *next = None;
        turn = if kind == Kind::News { Kind::Ask } else { Kind::News };
    }
    Ok(())
}
