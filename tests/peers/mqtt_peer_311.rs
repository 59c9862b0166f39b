//! A program built on one of the system's own MQTT libraries: MQTT 3.1.1, QoS 0, clean session.

use super::mqtt_peer::{LARGEST, Message};
use super::{DEADLINE, Inbox, Missing, secret_of};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter, Transport,
};
use serde_json::Value;
use std::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The writing side, which a server has a copy of.
#[derive(Clone)]
pub struct Publisher311(AsyncClient);

impl Publisher311 {
    /// Hands a message over at QoS 0.
    pub async fn publish(&self, message: Message) -> Result<(), Missing> {
        let sent = self.0.publish_bytes(message.topic, QoS::AtMostOnce, false, message.payload);
        sent.await.map_err(|e| Missing::new(format!("not published: {e}")))
    }
}

/// An MQTT 3.1.1 client.
pub struct MqttPeer311 {
    /// What it received.
    pub inbox: Inbox<Message>,
    publisher: Publisher311,
    driver: JoinHandle<()>,
}

impl MqttPeer311 {
    /// Connects under a client id that is no domain's name, as the libraries do, and subscribes;
    /// returns once the subscriptions are acknowledged.
    pub async fn connect(
        socket: &Path,
        client_id: &str,
        filters: &[&str],
    ) -> Result<Self, Missing> {
        Self::connect_as(socket, client_id, client_id, filters).await
    }

    /// The same, as a user who is called otherwise.
    pub async fn connect_as(
        socket: &Path,
        user: &str,
        client_id: &str,
        filters: &[&str],
    ) -> Result<Self, Missing> {
        let mut options = MqttOptions::new(client_id, socket.to_string_lossy(), 0);
        options.set_credentials(user, secret_of(user));
        options.set_transport(Transport::unix());
        options.set_clean_session(true);
        options.set_max_packet_size(LARGEST as usize, LARGEST as usize);
        let (client, events) = AsyncClient::new(options, 1024);
        let filters =
            filters.iter().map(|path| SubscribeFilter::new((*path).to_owned(), QoS::AtMostOnce));
        client
            .try_subscribe_many(filters)
            .map_err(|e| Missing::new(format!("{client_id}: not subscribed: {e}")))?;
        let (arrived, inbox) = mpsc::unbounded_channel();
        let (ready, mut subscribed) = watch::channel(false);
        let peer = Self {
            inbox: Inbox::new(client_id, inbox),
            publisher: Publisher311(client),
            driver: tokio::spawn(drive(events, arrived, ready)),
        };
        match tokio::time::timeout(DEADLINE, subscribed.wait_for(|now| *now)).await {
            Ok(Ok(_)) => Ok(peer),
            _ => Err(Missing::new(format!("{client_id}: waited for its SUBACK"))),
        }
    }

    /// Its writing side, for one that answers on its own.
    pub fn publisher(&self) -> Publisher311 {
        self.publisher.clone()
    }

    /// Publishes at QoS 0.
    pub async fn publish(&self, topic: &str, payload: &Value) -> Result<(), Missing> {
        self.publisher.publish(Message::new(topic, payload.to_string())).await
    }

    /// Waits for a message; see [`Inbox::expect`].
    pub async fn expect(
        &mut self,
        what: &str,
        wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Message, Missing> {
        self.inbox.expect(what, wanted).await
    }

    /// Asks as the libraries do, and waits for the bare answer.
    pub async fn call(&mut self, root: &str, payload: &Value) -> Result<Value, Missing> {
        self.publish(&format!("{root}/request"), payload).await?;
        let topic = format!("{root}/response");
        let answer = self.expect(&format!("an answer on {topic}"), |m| m.topic == topic).await?;
        Ok(answer.json())
    }
}

impl Drop for MqttPeer311 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(
    mut events: EventLoop,
    arrived: mpsc::UnboundedSender<Message>,
    ready: watch::Sender<bool>,
) {
    // Without a session there is nothing to come back to: the first error ends it.
    while let Ok(event) = events.poll().await {
        match event {
            Event::Incoming(Packet::SubAck(_)) => {
                ready.send_replace(true);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let message = Message {
                    retain: publish.retain,
                    ..Message::new(publish.topic, publish.payload)
                };
                // Nobody may be waiting any more.
                let _ = arrived.send(message);
            }
            _ => {}
        }
    }
}
