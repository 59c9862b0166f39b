//! A migrated `sys-usb`: serves real directories over MQTT, in one of the four dialects.

use super::dialects::Reply;
use super::json::encode;
use super::mqtt_peer::{Message, MqttPeer, Publisher};
use super::mqtt_peer_311::{MqttPeer311, Publisher311};
use super::{Dialect, Disks, Inbox, Missing, secret_of};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// A server on MQTT.
pub struct MqttServer {
    /// What it was asked; every request is here, answered or not.
    pub inbox: Inbox<Message>,
    /// What it serves.
    pub disks: Disks,
    // Its connection: dropping it ends the server.
    session: Session,
    filters: Vec<String>,
}

enum Session {
    Five(MqttPeer),
    Old(MqttPeer311),
}

#[derive(Clone)]
enum Out {
    Five(Publisher),
    Old(Publisher311),
}

impl MqttServer {
    /// Starts one as the domain `name`; returns once it is subscribed to its requests.
    pub async fn start(
        socket: &Path,
        name: &str,
        dialect: Dialect,
        disks: Disks,
    ) -> Result<Self, Missing> {
        let roots = dialect.roots();
        Self::start_as(socket, (name, &secret_of(name)), (dialect, &roots), disks).await
    }

    /// The same, with a secret of its own, for some of the dialect's requests.
    pub async fn start_as(
        socket: &Path,
        (name, secret): (&str, &str),
        (dialect, roots): (Dialect, &[&str]),
        disks: Disks,
    ) -> Result<Self, Missing> {
        let bare: Vec<_> = roots.iter().map(|root| format!("{root}/request")).collect();
        let suffixed: Vec<_> = roots.iter().map(|root| format!("{root}/request/+")).collect();
        let mut filters: Vec<&str> = bare.iter().map(|filter| &**filter).collect();
        let (mut asked, out, session) = if dialect == Dialect::Psec {
            filters.extend(suffixed.iter().map(|filter| &**filter));
            let mut peer = MqttPeer::connect_with(socket, (name, secret), &filters).await?;
            let asked =
                std::mem::replace(&mut peer.inbox, Inbox::new(name, mpsc::unbounded_channel().1));
            (asked, Out::Five(peer.publisher()), Session::Five(peer))
        } else {
            let mut peer =
                MqttPeer311::connect_as(socket, name, &format!("{name}-app-7f3a"), &filters)
                    .await?;
            let asked =
                std::mem::replace(&mut peer.inbox, Inbox::new(name, mpsc::unbounded_channel().1));
            (asked, Out::Old(peer.publisher()), Session::Old(peer))
        };
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let (seen, inbox) = mpsc::unbounded_channel();
        let server = Answering { name: name.to_owned(), dialect, disks: disks.clone(), out };
        tokio::spawn(async move {
            let mut known = HashSet::new();
            // Waits for as long as it takes: the end of the session ends it.
            while let Ok(request) = asked.expect_within(FOREVER, "a request", |_| true).await {
                // At least once is for programs that know what they have done.
                if let Some(correlation) = request.correlation.clone()
                    && !known.insert(correlation)
                    && request.dup
                {
                    continue;
                }
                let answered = server.answer(&request).await;
                let _ = seen.send(request);
                if answered.is_err() {
                    break;
                }
            }
        });
        Ok(Self { inbox: Inbox::new(name, inbox), disks, session, filters })
    }

    /// Ends as a program should: it takes no more requests, answers those that it has, and says
    /// good-bye.
    pub async fn finish(self) -> Result<(), Missing> {
        let Session::Five(mut peer) = self.session else {
            return Err(Missing::new("the libraries do not end so"));
        };
        let filters: Vec<&str> = self.filters.iter().map(|filter| &**filter).collect();
        peer.unsubscribe(&filters).await?;
        peer.gone().await
    }

    /// Waits for a request under `root`.
    pub async fn asked(&mut self, root: &str) -> Result<Message, Missing> {
        let topic = format!("{root}/request");
        self.inbox.expect(&format!("a request on {topic}"), |m| m.topic == topic).await
    }
}

const FOREVER: Duration = Duration::from_secs(365 * 86_400);

struct Answering {
    name: String,
    dialect: Dialect,
    disks: Disks,
    out: Out,
}

impl Answering {
    async fn answer(&self, request: &Message) -> Result<(), Missing> {
        if request.is_the_end()
            && let Out::Five(publisher) = &self.out
        {
            return publisher.disconnect().await;
        }
        let Some((root, suffix)) = request.topic.split_once("/request") else {
            return Ok(());
        };
        let payload = request.json();
        let requester = suffix.strip_prefix('/').or_else(|| payload["source"].as_str());
        let bare = format!("{root}/response");
        let topic = match (&request.response_topic, requester) {
            (Some(topic), _) => topic.clone(),
            (None, Some(requester)) => format!("{bare}/{requester}"),
            (None, None) => bare,
        };
        for reply in self.dialect.replies(&self.name, &self.disks, root, &payload) {
            let message = match reply {
                Reply::Answer(payload) => Message {
                    correlation: request.correlation.clone(),
                    ..Message::new(&topic, encode(&payload))
                },
                Reply::Tell(topic, payload) => Message::new(topic, encode(&payload)),
                Reply::Dies => return Err(Missing::new("it is dead")),
            };
            match &self.out {
                Out::Five(publisher) => publisher.publish(message.from(&self.name)).await?,
                Out::Old(publisher) => publisher.publish(message).await?,
            }
        }
        Ok(())
    }
}
