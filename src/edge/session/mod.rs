//! One MQTT 5 session, with an outbox until the PUBACK.
//!
//! The session connects by itself and again whenever the connection is lost, makes its
//! subscriptions anew each time, and sends nothing before all of them are acknowledged. Each
//! publish stays in the outbox until the broker has answered it; a new connection begins with all
//! that were not answered, in their first order. So a publish arrives at least once, whatever the
//! broker remembers.

mod backoff;
mod connection;
mod error;
mod event;
mod input;
mod link;
mod outbox;
mod output;
mod retained;
mod settings;
mod wire;

pub use event::{Delivery, Event};
pub use input::ReadRoom;
pub use retained::Retained;
pub use settings::{Credentials, Filter, Replay, Settings, WINDOW, Will};

use crate::translate::publish::{Publish, Token};
use crate::translate::refusal::Reason;
use backoff::{Backoff, End};
use error::Error;
use link::Link;
use outbox::Outbox;
use rumqttc::Outgoing;
use rumqttc::v5::Event as LibraryEvent;
use rumqttc::v5::mqttbytes::{QoS, v5::Packet, v5::PubAck, v5::PubAckReason};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a good-bye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// One session. Dropping it without [`Session::close`] cuts the connection, and the will is sent.
pub struct Session {
    settings: Settings,
    outbox: Outbox,
    state: State,
    backoff: Backoff,
    connections: u64,
    events: VecDeque<Event>,
}

enum State {
    Waiting(Instant),
    Linked(Box<Link>),
}

impl Session {
    /// A session that connects when [`Session::next`] is first polled. A filter that breaks MQTT's
    /// rules is logged and left out.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        let filters = std::mem::take(&mut settings.filters);
        settings.set_filters(filters);
        let seed = RandomState::new().hash_one(&settings.client_id);
        Self {
            settings,
            outbox: Outbox::default(),
            state: State::Waiting(Instant::now()),
            backoff: Backoff::new(seed),
            connections: 0,
            events: VecDeque::new(),
        }
    }

    /// Puts a publish into the outbox, and sends it when that is possible. Its token must differ
    /// from those in the outbox. It ends with exactly one of [`Event::Acknowledged`],
    /// [`Event::Refused`] and a [`Session::withdraw`] that says `true`.
    ///
    /// One whose expiry runs out before it is sent is never sent, and stays until it is withdrawn:
    /// who made it knows the deadline as well and decides what that means.
    pub fn publish(&mut self, publish: Publish) {
        self.outbox.push(publish, Instant::now());
        self.flow();
    }

    /// Takes back a publish that was not yet handed to the present connection. `false`: it is on
    /// its way, or unknown.
    pub fn withdraw(&mut self, token: Token) -> bool {
        self.outbox.withdraw(token)
    }

    /// Subscribes to what is new and unsubscribes what is gone, on this connection and on those after it.
    /// Publishes wait until the broker has acknowledged that; [`Event::Ready`] tells of it. It may still
    /// send what it had taken in under a filter that is gone.
    pub fn set_filters(&mut self, filters: Vec<Filter>) {
        self.settings.set_filters(filters);
        self.subscribe();
    }

    /// From the next connection on, it logs in with these.
    pub fn set_credentials(&mut self, credentials: Option<Credentials>) {
        self.settings.credentials = credentials;
    }

    /// The broker keeps the session for so long after its end, from the next connection on. Only
    /// [`Session::leave`] makes one for that.
    pub fn set_expiry(&mut self, expiry: Duration) {
        self.settings.session_expiry = expiry;
    }

    /// Acknowledges a message. Nothing happens if its connection is gone or it had QoS 0.
    pub fn acknowledge(&mut self, delivery: Delivery) {
        if let State::Linked(link) = &mut self.state
            && link.number == delivery.connection
        {
            // QoS 2 never comes, with subscriptions of QoS 1. If it does, PUBREC is the answer, and
            // the library's state machine goes on from there.
            match delivery.qos {
                0 => {}
                1 => link.acknowledge(delivery.pkid, QoS::AtLeastOnce),
                _ => link.acknowledge(delivery.pkid, QoS::ExactlyOnce),
            }
        }
    }

    /// What is not yet acknowledged: how many messages, and about how many bytes.
    #[must_use]
    pub fn outbox(&self) -> (usize, usize) {
        self.outbox.size()
    }

    /// The publishes that the broker has not acknowledged, in their order.
    pub fn publishes(&self) -> impl Iterator<Item = &Publish> {
        self.outbox.publishes()
    }

    /// The publishes that the broker has not acknowledged, in their order, for another session to
    /// send. Requests are not among them: nobody waits for their answers here any more.
    #[must_use]
    pub fn unacknowledged(&self) -> Vec<Publish> {
        self.outbox.publishes().filter(|p| p.response_topic.is_none()).cloned().collect()
    }

    /// The next event. It must be polled for the session to live, and may be cancelled at any
    /// time: nothing is lost.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.connections += 1;
                    let link = Link::open(&self.settings, self.connections);
                    self.state = State::Linked(Box::new(link));
                }
                State::Linked(link) => match link.event().await {
                    Some(Ok(LibraryEvent::Incoming(packet))) => self.incoming(packet),
                    Some(Ok(LibraryEvent::Outgoing(packet))) => self.outgoing(&packet),
                    Some(Err(error)) => self.lost(&error),
                    None => self.lost(&Error::Closed),
                },
            }
        }
    }

    /// Leaves the broker, within about a second. What was not yet sent is not sent any more. The broker
    /// keeps the session, its subscriptions and its queue for the expiry of the settings.
    pub async fn close(self) {
        if let State::Linked(link) = self.state {
            link.disconnect(GOODBYE).await;
        }
    }

    /// Leaves the broker as [`Session::close`] does, for a while. If the expiry has changed on the way,
    /// the broker is told with a connection of its own: the client library cannot say it at the end.
    pub async fn leave(self) {
        let State::Linked(link) = self.state else { return };
        let knows = link.expiry == self.settings.session_expiry;
        link.disconnect(GOODBYE).await;
        if !knows {
            let mut link = Link::open(&self.settings, self.connections + 1);
            if link.connected(GOODBYE).await {
                link.disconnect(GOODBYE).await;
            }
        }
    }

    /// Whether the broker has accepted the connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(&self.state, State::Linked(link) if link.accepted.is_some())
    }

    /// Whether it is connected, its subscriptions are as they should be and its outbox flows.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&self.state, State::Linked(link) if link.ready)
    }

    fn incoming(&mut self, packet: Packet) {
        let State::Linked(link) = &mut self.state else {
            return;
        };
        match packet {
            Packet::ConnAck(connack) => {
                tracing::debug!(kept = connack.session_present, "connected to the broker");
                link.accept(&connack);
                self.subscribe();
            }
            Packet::SubAck(suback) => {
                for (filter, reason) in link.subscribed(&suback) {
                    tracing::error!(filter, ?reason, "the broker refused a subscription");
                }
                self.subscribe();
            }
            Packet::UnsubAck(unsuback) => {
                if let Some(topic) = link.unsubscribed() {
                    tracing::debug!(filter = topic, reasons = ?unsuback.reasons, "unsubscribed");
                    self.settings.gone.remove(&topic);
                }
                self.subscribe();
            }
            Packet::Publish(publish) => {
                let (connection, pkid, qos) = (link.number, publish.pkid, publish.qos as u8);
                let delivery = Delivery { connection, pkid, qos };
                let message = wire::received(publish);
                self.events.push_back(Event::Received(message, delivery));
            }
            Packet::PubAck(puback) => {
                let place = link.landed(puback.pkid);
                self.answered(place, &puback);
            }
            // Answers to pings and the like are the library's.
            other => tracing::trace!(?other, "received"),
        }
    }

    fn outgoing(&mut self, packet: &Outgoing) {
        let State::Linked(link) = &mut self.state else {
            return;
        };
        match packet {
            Outgoing::Publish(pkid) => {
                let unanswered = link.written(*pkid);
                if let Some(Publish { token, .. }) = unanswered.and_then(|p| self.outbox.remove(p))
                {
                    let matched = true;
                    self.events.push_back(Event::Acknowledged { token, matched });
                    self.go_on();
                }
            }
            other => tracing::trace!(?other, "sent"),
        }
    }

    /// Makes the next subscriptions; after the last, the outbox flows.
    fn subscribe(&mut self) {
        if let State::Linked(link) = &mut self.state {
            let was_ready = link.ready;
            link.subscribe(&self.settings);
            if link.ready && !was_ready {
                self.events.push_back(Event::Ready);
            }
            self.flow();
        }
    }

    fn answered(&mut self, place: Option<u64>, puback: &PubAck) {
        if let Some(Publish { token, .. }) = place.and_then(|place| self.outbox.remove(place)) {
            self.events.push_back(match puback.reason {
                PubAckReason::Success => Event::Acknowledged { token, matched: true },
                PubAckReason::NoMatchingSubscribers => {
                    Event::Acknowledged { token, matched: false }
                }
                PubAckReason::NotAuthorized => {
                    let why = "the broker does not let it be published".to_owned();
                    Event::Refused { token, reason: Reason::NotAllowed, why }
                }
                reason => {
                    let why = format!("the broker says {reason:?}");
                    Event::Refused { token, reason: Reason::LineTooLong, why }
                }
            });
        }
        self.go_on();
    }

    /// A publish has left the connection: there is room for another, or for a subscription.
    fn go_on(&mut self) {
        match &self.state {
            State::Linked(link) if !link.ready => self.subscribe(),
            _ => self.flow(),
        }
    }

    /// Hands the outbox to the connection, as far as it takes it.
    fn flow(&mut self) {
        let State::Linked(link) = &mut self.state else {
            return;
        };
        let now = Instant::now();
        while link.has_room() {
            let Some((place, publish, left)) = self.outbox.next(now) else {
                return;
            };
            let token = publish.token;
            if let Err(why) = link.send(place, publish, left) {
                self.outbox.remove(place);
                let reason = Reason::LineTooLong;
                self.events.push_back(Event::Refused { token, reason, why });
            }
        }
    }

    fn lost(&mut self, error: &Error) {
        let mut end = End::Failed;
        if let State::Linked(link) = &self.state {
            if let Some(accepted) = link.accepted {
                let closed = matches!(error, Error::Closed);
                end = End::Lost { lasted: accepted.elapsed(), closed };
            }
            // The broker answers in order, so a PUBACK that ended the connection was the oldest's.
            let culprit = link.oldest().filter(|_| matches!(error, Error::UnknownReason(_)));
            if let Some(Publish { token, .. }) = culprit.and_then(|p| self.outbox.remove(p)) {
                let why = error.to_string();
                let reason = Reason::LineTooLong;
                self.events.push_back(Event::Refused { token, reason, why });
            }
        }
        let (wait, contested) = self.backoff.after(end);
        let why = error.to_string();
        tracing::debug!(?wait, contested, why, "no connection to the broker");
        self.outbox.rewind();
        self.state = State::Waiting(Instant::now() + wait);
        self.events.push_back(Event::Lost { why, contested });
    }
}
