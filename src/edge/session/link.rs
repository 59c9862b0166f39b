//! One connection to the broker, or the attempt to make one: what is under way on it.
//!
//! What the library keeps for a reconnect is lost when the broker has no session. So each attempt begins
//! with nothing, and what must arrive is in the outbox. Dropping the [`Link`] ends the connection.

use super::Error;
use super::connection::Connection;
use super::settings::{Filter, Settings, WINDOW, filter};
use super::wire::{Limits, properties, qos, refusal};
use crate::translate::publish::Publish;
use rumqttc::v5::mqttbytes::{QoS, v5 as wire, v5::Packet};
use rumqttc::v5::{Event, Request};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How many filters one SUBSCRIBE carries: it must fit the broker's largest packet.
const FILTERS: usize = 32;

/// A connection, or the attempt to make one.
pub(super) struct Link {
    /// Which connection of the session this is.
    pub number: u64,
    /// For how long the broker was told to keep the session.
    pub expiry: Duration,
    /// When the broker accepted it.
    pub accepted: Option<Instant>,
    /// Whether everything about subscriptions has been acknowledged.
    pub ready: bool,
    /// What the broker takes; known once it is accepted.
    limits: Option<Limits>,
    /// What the broker has been asked for on this connection.
    subscribed: Vec<Filter>,
    /// What it has not yet answered.
    asked: Asked,
    /// Places of the outbox that were handed over and have no packet id yet.
    handed: VecDeque<u64>,
    /// Places of the outbox by packet id.
    flying: HashMap<u16, u64>,
    connection: Connection,
}

/// A packet about subscriptions that has no answer yet: there is one at a time.
enum Asked {
    Nothing,
    Subscribe(Vec<Filter>),
    Unsubscribe(String),
}

impl Link {
    /// Starts to connect.
    pub fn open(settings: &Settings, number: u64) -> Self {
        Self {
            number,
            expiry: settings.session_expiry,
            accepted: None,
            ready: false,
            limits: None,
            subscribed: Vec::new(),
            asked: Asked::Nothing,
            handed: VecDeque::new(),
            flying: HashMap::new(),
            connection: Connection::open(settings, false),
        }
    }

    /// The next event; `None` once the connection has ended and its error was given. Cancel-safe.
    pub async fn event(&mut self) -> Option<Result<Event, Error>> {
        self.connection.event().await
    }

    /// The broker has accepted the connection.
    pub fn accept(&mut self, connack: &wire::ConnAck) {
        self.accepted = Some(Instant::now());
        self.limits = Some(Limits::of(connack, WINDOW));
    }

    /// Asks for the next few filters, or unsubscribes the next that is gone, or is ready when there are
    /// no more.
    ///
    /// On a connection that was ready it first lets everything that is under way land: the library takes
    /// packet ids in turn, a SUBSCRIBE's too, and would come round to one that is in use.
    pub fn subscribe(&mut self, settings: &Settings) {
        let is_new = |filter: &&Filter| !self.subscribed.contains(filter);
        let new: Vec<_> = settings.filters.iter().filter(is_new).take(FILTERS).cloned().collect();
        let nothing_asked = matches!(self.asked, Asked::Nothing);
        self.ready =
            new.is_empty() && settings.gone.is_empty() && nothing_asked && self.accepted.is_some();
        let under_way = self.handed.len() + self.flying.len();
        if self.ready || !nothing_asked || under_way > 0 || self.accepted.is_none() {
            return;
        }
        if new.is_empty() {
            let Some(topic) = settings.gone.first().cloned() else { return };
            let unsubscribe = wire::Unsubscribe::new(topic.as_str(), None);
            self.connection.request(Request::Unsubscribe(unsubscribe));
            self.subscribed.retain(|filter| filter.topic != topic);
            self.asked = Asked::Unsubscribe(topic);
        } else {
            let subscribe = wire::Subscribe::new_many(new.iter().map(filter), None);
            self.connection.request(Request::Subscribe(subscribe));
            self.subscribed.extend(new.iter().cloned());
            self.asked = Asked::Subscribe(new);
        }
    }

    /// A SUBACK has come. Names the filters that the broker refused.
    pub fn subscribed(
        &mut self,
        suback: &wire::SubAck,
    ) -> Vec<(String, wire::SubscribeReasonCode)> {
        let Asked::Subscribe(asked) = std::mem::replace(&mut self.asked, Asked::Nothing) else {
            return Vec::new();
        };
        let failed = |code| !matches!(code, wire::SubscribeReasonCode::Success(_));
        let answers = asked.into_iter().zip(&suback.return_codes);
        let refused = answers.filter(|(_, code)| failed(**code));
        refused.map(|(filter, code)| (filter.topic, *code)).collect()
    }

    /// An UNSUBACK has come: the filter that it is for.
    pub fn unsubscribed(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Unsubscribe(topic) => Some(topic),
            Asked::Subscribe(_) | Asked::Nothing => None,
        }
    }

    /// Whether a publish can be sent now.
    pub fn has_room(&self) -> bool {
        let under_way = self.handed.len() + self.flying.len();
        self.ready && self.limits.is_some_and(|limits| under_way < limits.window)
    }

    /// Sends a publish.
    ///
    /// # Errors
    /// Why the broker would never take it.
    pub fn send(
        &mut self,
        place: u64,
        publish: &Publish,
        left: Option<Duration>,
    ) -> Result<(), String> {
        let properties = properties(publish, left);
        if let Some(why) = self.limits.and_then(|limits| refusal(publish, &properties, &limits)) {
            return Err(why);
        }
        let (topic, qos) = (publish.topic.as_str(), qos(publish.qos));
        let payload = publish.payload.clone();
        let mut packet = wire::Publish::new(topic, qos, payload, Some(properties));
        packet.retain = publish.retain;
        self.connection.request(Request::Publish(packet));
        self.handed.push_back(place);
        Ok(())
    }

    /// A publish has become a packet; gives its place if there will be no PUBACK (QoS 0). They do so in
    /// the order in which they were handed over.
    pub fn written(&mut self, pkid: u16) -> Option<u64> {
        let place = self.handed.pop_front()?;
        if pkid == 0 {
            return Some(place);
        }
        self.flying.insert(pkid, place);
        None
    }

    /// A PUBACK has come: the place that it is for.
    pub fn landed(&mut self, pkid: u16) -> Option<u64> {
        self.flying.remove(&pkid)
    }

    /// The place of the oldest publish that has no PUBACK.
    pub fn oldest(&self) -> Option<u64> {
        self.flying.values().min().copied()
    }

    /// Sends an acknowledgement.
    pub fn acknowledge(&mut self, pkid: u16, qos: QoS) {
        self.connection.request(match qos {
            QoS::ExactlyOnce => Request::PubRec(wire::PubRec::new(pkid, None)),
            _ => Request::PubAck(wire::PubAck::new(pkid, None)),
        });
    }

    /// Waits until the broker has accepted the connection. Says whether it has.
    pub async fn connected(&mut self, limit: Duration) -> bool {
        let accepted = async {
            loop {
                match self.event().await {
                    Some(Ok(Event::Incoming(Packet::ConnAck(_)))) => return true,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return false,
                }
            }
        };
        timeout(limit, accepted).await.unwrap_or(false)
    }

    /// Says good-bye, after all that was handed over and acknowledged, and waits until the broker
    /// has closed: then it has read it, and sends no will.
    pub async fn disconnect(mut self, limit: Duration) {
        self.connection.request(Request::Disconnect);
        let closed = async { while let Some(Ok(_)) = self.event().await {} };
        if timeout(limit, closed).await.is_err() {
            tracing::debug!("the broker has not closed the connection in time");
        }
    }
}
