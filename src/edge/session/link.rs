//! One connection to the broker: a fresh client for each attempt.
//!
//! The library's event loop must not be cancelled in the middle of a write, and what it keeps for
//! a reconnect is lost when the broker has no session. So each attempt has its own, and becomes a
//! stream of events: it lives in the [`Link`], keeps its place whenever nobody waits for it, and is
//! driven by the task of whoever does. Dropping the [`Link`] ends the connection.

use super::Error;
use super::settings::{Filter, REQUESTS, Settings, WINDOW, filter, options};
use super::wire::{Limits, properties, qos, refusal};
use crate::translate::publish::Publish;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::{QoS, v5 as wire, v5::Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
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
    /// Places of the outbox that were handed to the library and have no packet id yet.
    handed: VecDeque<u64>,
    /// Places of the outbox by packet id.
    flying: HashMap<u16, u64>,
    /// Acknowledgements that the library has no room for, packet id and QoS, in their order.
    unsent: VecDeque<(u16, QoS)>,
    /// How many acknowledgements were handed to the library and are not yet written.
    acknowledging: usize,
    client: AsyncClient,
    events: Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>,
}

/// A packet about subscriptions that has no answer yet: there is one at a time.
enum Asked {
    Nothing,
    Subscribe(Vec<Filter>),
    Unsubscribe(String),
}

/// What became of a publish that was to be sent.
pub(super) enum Sent {
    /// The library has it.
    Handed,
    /// The broker would never take it.
    Refused(String),
    /// The library takes nothing now.
    Full,
}

impl Link {
    /// Starts to connect.
    pub fn open(settings: &Settings, number: u64) -> Self {
        let (client, event_loop) = AsyncClient::new(options(settings), REQUESTS);
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
            unsent: VecDeque::new(),
            acknowledging: 0,
            client,
            events: Box::pin(events(event_loop)),
        }
    }

    /// The next event; `None` once the connection has ended and its error was given. Cancel-safe.
    pub async fn event(&mut self) -> Option<Result<Event, Error>> {
        self.events.next().await
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
        // The filters are valid, so an error means that the connection has ended; its event follows.
        if new.is_empty() {
            let Some(topic) = settings.gone.first().cloned() else { return };
            let _ = self.client.try_unsubscribe(topic.as_str());
            self.subscribed.retain(|filter| filter.topic != topic);
            self.asked = Asked::Unsubscribe(topic);
        } else {
            let _ = self.client.try_subscribe_many(new.iter().map(filter));
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

    /// Hands a publish to the library.
    pub fn send(&mut self, place: u64, publish: &Publish, left: Option<Duration>) -> Sent {
        let properties = properties(publish, left);
        let Some(limits) = &self.limits else {
            return Sent::Full;
        };
        if let Some(why) = refusal(publish, &properties, limits) {
            return Sent::Refused(why);
        }
        let payload = publish.payload.clone();
        let (topic, qos, retain) = (publish.topic.as_str(), qos(publish.qos), publish.retain);
        let sent = self.client.try_publish_with_properties(topic, qos, retain, payload, properties);
        if sent.is_err() {
            return Sent::Full;
        }
        self.handed.push_back(place);
        Sent::Handed
    }

    /// The library has written a publish; gives its place if there will be no PUBACK (QoS 0).
    /// The library writes them in the order in which it was handed them.
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

    /// Sends an acknowledgement, as soon as there is room. Mosquitto 2.0.11 keeps to the receive
    /// maximum only until the first: with 10, it sent 10, then 100, then 1000. Without a count of our
    /// own their acknowledgements would overflow the library's channel, and each one lost there makes the
    /// broker's window smaller for good.
    pub fn acknowledge(&mut self, pkid: u16, qos: QoS) {
        self.unsent.push_back((pkid, qos));
        self.send_acknowledgements();
    }

    /// The library has written an acknowledgement.
    pub fn acknowledged(&mut self) {
        self.acknowledging = self.acknowledging.saturating_sub(1);
        self.send_acknowledgements();
    }

    fn send_acknowledgements(&mut self) {
        while self.acknowledging < usize::from(WINDOW)
            && let Some((pkid, qos)) = self.unsent.pop_front()
        {
            let message = wire::Publish { pkid, qos, ..Default::default() };
            if self.client.try_ack(&message).is_err() {
                tracing::debug!(pkid, "the connection has ended before the PUBACK");
                return;
            }
            self.acknowledging += 1;
        }
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
        let closed = async {
            while !self.unsent.is_empty() {
                match self.event().await {
                    Some(Ok(Event::Outgoing(Outgoing::PubAck(_)))) => self.acknowledged(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
            if self.client.try_disconnect().is_ok() {
                while let Some(Ok(_)) = self.event().await {}
            }
        };
        if timeout(limit, closed).await.is_err() {
            tracing::debug!("the broker has not closed the connection in time");
        }
    }
}

/// How far an event loop has come.
enum Stage {
    /// It lives.
    Polled(Box<EventLoop>),
    /// It has ended; what it read together with its end, PUBACKs say, is still there.
    Ended(VecDeque<Event>, Option<Error>),
}

/// The event loop's events, and then its error. Whoever stops waiting for one cancels nothing.
fn events(event_loop: EventLoop) -> impl Stream<Item = Result<Event, Error>> + Send {
    unfold(Stage::Polled(Box::new(event_loop)), async |stage| {
        let (mut rest, mut error) = match stage {
            Stage::Polled(mut event_loop) => match event_loop.poll().await {
                Ok(event) => return Some((Ok(event), Stage::Polled(event_loop))),
                Err(error) => (event_loop.state.events, Some(Error::from(error))),
            },
            Stage::Ended(rest, error) => (rest, error),
        };
        let next = match rest.pop_front() {
            Some(event) => Ok(event),
            None => Err(error.take()?),
        };
        Some((next, Stage::Ended(rest, error)))
    })
}
