//! A program on MQTT 5.

use super::json::decode;
use super::{DEADLINE, Inbox, Missing, secret_of};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// The largest packet that a peer takes.
pub const LARGEST: u32 = 64 << 20;

/// A message that came, or one to publish.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// Whether it came with the retain flag, or asks for it.
    pub retain: bool,
    /// Its response topic.
    pub response_topic: Option<String>,
    /// Its correlation data.
    pub correlation: Option<Bytes>,
    /// Its user properties.
    pub properties: Vec<(String, String)>,
    /// Its message expiry, in seconds.
    pub expiry: Option<u32>,
    /// Whether the broker says that it may have come before.
    pub dup: bool,
}

impl Message {
    /// A message with no properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// The same, answered under `<root>/response/<name>` with this correlation data.
    pub fn answered_to(mut self, root: &str, name: &str, correlation: impl Into<Bytes>) -> Self {
        self.response_topic = Some(format!("{root}/response/{name}"));
        self.correlation = Some(correlation.into());
        self
    }

    /// The same, said to come from `name`.
    pub fn from(mut self, name: &str) -> Self {
        self.properties.push(("source".to_owned(), name.to_owned()));
        self
    }

    /// Whether it is no message, but says that no more come.
    pub fn is_the_end(&self) -> bool {
        self.topic.is_empty()
    }

    /// The payload as JSON, null if it is none.
    pub fn json(&self) -> Value {
        decode(&self.payload).unwrap_or_default()
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.payload).unwrap_or("(not UTF-8)")
    }

    /// The user property `source`.
    pub fn source(&self) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == "source").map(|(_, value)| &**value)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.topic, self.text())
    }
}

/// The writing side, which a server has a copy of.
#[derive(Clone)]
pub struct Publisher(AsyncClient);

impl Publisher {
    /// Hands a message over at QoS 1, without waiting for its acknowledgement.
    pub async fn publish(&self, message: Message) -> Result<(), Missing> {
        let properties = PublishProperties {
            response_topic: message.response_topic,
            correlation_data: message.correlation,
            user_properties: message.properties,
            message_expiry_interval: message.expiry,
            ..PublishProperties::default()
        };
        let Message { topic, payload, retain, .. } = message;
        let sent =
            self.0.publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties);
        sent.await.map_err(|e| Missing::new(format!("not published: {e}")))
    }

    /// Says good-bye after all that was handed over.
    pub async fn disconnect(&self) -> Result<(), Missing> {
        self.0.disconnect().await.map_err(|e| Missing::new(format!("not disconnected: {e}")))
    }
}

/// An MQTT 5 client with a session of its own. It comes back by itself when the broker does, and
/// subscribes anew if the broker has forgotten it.
pub struct MqttPeer {
    /// Its client id.
    pub name: String,
    /// What it received.
    pub inbox: Inbox<Message>,
    publisher: Publisher,
    acks: Inbox<Acked>,
    subscribed: watch::Receiver<bool>,
    calls: u64,
    proves: bool,
    driver: JoinHandle<()>,
}

/// What the broker said to one of the peer's messages.
#[derive(Debug)]
struct Acked(PubAckReason);

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl MqttPeer {
    /// Connects and subscribes; returns once the subscriptions are acknowledged.
    pub async fn connect(socket: &Path, name: &str, filters: &[&str]) -> Result<Self, Missing> {
        Self::connect_with(socket, (name, &secret_of(name)), filters).await
    }

    /// The same, with a secret of its own.
    pub async fn connect_with(
        socket: &Path,
        (name, secret): (&str, &str),
        filters: &[&str],
    ) -> Result<Self, Missing> {
        let mut options = MqttOptions::new(name, socket.to_string_lossy(), 0);
        options.set_transport(Transport::unix());
        options.set_credentials(name, secret);
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(3600));
        options.set_max_packet_size(Some(LARGEST));
        let (client, events) = AsyncClient::new(options, 1024);
        let (arrived, inbox) = mpsc::unbounded_channel();
        let (acked, acks) = mpsc::unbounded_channel();
        let (ready, subscribed) = watch::channel(false);
        let filters = filters.iter().map(|path| Filter::new(*path, QoS::AtLeastOnce)).collect();
        let driver = Driver { client: client.clone(), filters, arrived, acked, ready, left: 0 };
        let peer = Self {
            name: name.to_owned(),
            inbox: Inbox::new(name, inbox),
            publisher: Publisher(client),
            acks: Inbox::new(format!("{name}'s acknowledgements"), acks),
            subscribed,
            calls: 0,
            proves: false,
            driver: tokio::spawn(driver.run(events)),
        };
        peer.connected(true).await?;
        Ok(peer)
    }

    /// The same, which asks on its own topics if it is to prove who it is.
    #[must_use]
    pub fn proving(mut self, proves: bool) -> Self {
        self.proves = proves;
        self
    }

    /// Waits until it is connected and subscribed, or until it is not.
    pub async fn connected(&self, wanted: bool) -> Result<(), Missing> {
        let mut state = self.subscribed.clone();
        match tokio::time::timeout(DEADLINE, state.wait_for(|now| *now == wanted)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                Err(Missing::new(format!("{}: waited for its connection: not {wanted}", self.name)))
            }
        }
    }

    /// Whether it is connected and subscribed, from now on.
    pub fn state(&self) -> watch::Receiver<bool> {
        self.subscribed.clone()
    }

    /// Its writing side, for one that answers on its own.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Ends its subscriptions: the last message that comes is [`the end`](Message::is_the_end).
    pub async fn unsubscribe(&self, filters: &[&str]) -> Result<(), Missing> {
        for filter in filters {
            let asked = self.publisher.0.unsubscribe(*filter).await;
            asked.map_err(|e| Missing::new(format!("{}: not unsubscribed: {e}", self.name)))?;
        }
        Ok(())
    }

    /// Waits until it has said good-bye.
    pub async fn gone(&mut self) -> Result<(), Missing> {
        match tokio::time::timeout(DEADLINE, &mut self.driver).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Missing::new(format!("{}: does not leave", self.name))),
        }
    }

    /// Publishes at QoS 1; whether anybody was subscribed to it.
    pub async fn publish(&mut self, message: Message) -> Result<bool, Missing> {
        self.publisher.publish(message).await?;
        let Acked(reason) = self.acks.next("a PUBACK").await?;
        match reason {
            PubAckReason::Success => Ok(true),
            PubAckReason::NoMatchingSubscribers => Ok(false),
            refused => Err(Missing::new(format!("{}: not accepted: {refused:?}", self.name))),
        }
    }

    /// Waits for a message; see [`Inbox::expect`].
    pub async fn expect(
        &mut self,
        what: &str,
        wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Message, Missing> {
        self.inbox.expect(what, wanted).await
    }

    /// Publishes a request, answered to this peer's name; returns its correlation data.
    pub async fn ask(&mut self, root: &str, payload: &Value) -> Result<Bytes, Missing> {
        self.calls += 1;
        let correlation = Bytes::from(format!("call {}", self.calls));
        let topic = match self.proves {
            true => format!("{root}/request/{}", self.name),
            false => format!("{root}/request"),
        };
        let request = Message::new(topic, payload.to_string())
            .answered_to(root, &self.name, correlation.clone())
            .from(&self.name);
        if self.publish(request).await? {
            Ok(correlation)
        } else {
            Err(Missing::new(format!("{}: nobody is subscribed to {root}/request", self.name)))
        }
    }

    /// Asks, and waits for the answer: its topic and its correlation data must be the request's.
    pub async fn call(&mut self, root: &str, payload: &Value) -> Result<Message, Missing> {
        let correlation = self.ask(root, payload).await?;
        let topic = format!("{root}/response/{}", self.name);
        let answers =
            |m: &Message| m.topic == topic && m.correlation.as_ref() == Some(&correlation);
        self.inbox.expect(&format!("the answer to {root}"), answers).await
    }
}

impl Drop for MqttPeer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Driver {
    client: AsyncClient,
    filters: Vec<Filter>,
    arrived: mpsc::UnboundedSender<Message>,
    acked: mpsc::UnboundedSender<Acked>,
    ready: watch::Sender<bool>,
    /// How many subscriptions have ended.
    left: usize,
}

impl Driver {
    async fn run(mut self, mut events: EventLoop) {
        // Paces the attempts to reach a broker that is away.
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(packet)) => self.take(packet),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(Event::Outgoing(_)) => {}
                Err(_) => {
                    self.ready.send_replace(false);
                    pace.tick().await;
                }
            }
        }
    }

    fn take(&mut self, packet: Packet) {
        // A channel is closed only when the peer is gone, and this task with it.
        match packet {
            Packet::ConnAck(ack) if ack.session_present || self.filters.is_empty() => {
                self.ready.send_replace(true);
            }
            Packet::ConnAck(_) => {
                let _ = self.client.try_subscribe_many(self.filters.clone());
            }
            Packet::SubAck(ack) => {
                let granted = |code| matches!(code, &SubscribeReasonCode::Success(_));
                self.ready.send_replace(ack.return_codes.iter().all(granted));
            }
            Packet::PubAck(ack) => {
                let _ = self.acked.send(Acked(ack.reason));
            }
            Packet::UnsubAck(_) => {
                self.left += 1;
                if self.left == self.filters.len() {
                    let _ = self.arrived.send(Message::default());
                }
            }
            Packet::Publish(publish) => {
                let _ = self.arrived.send(received(publish));
            }
            _ => {}
        }
    }
}

fn received(publish: Publish) -> Message {
    let properties = publish.properties.unwrap_or_default();
    Message {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload,
        retain: publish.retain,
        response_topic: properties.response_topic,
        correlation: properties.correlation_data,
        properties: properties.user_properties,
        expiry: properties.message_expiry_interval,
        dup: publish.dup,
    }
}
