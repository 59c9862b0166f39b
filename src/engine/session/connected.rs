//! What happens on a connection that the broker has accepted.

use super::check::refusal;
use super::code::{self, Outcome};
use super::{
    Cause, Connack, Filter, Packet, Phase, Session, SessionEffect, SessionEvent, Takes, WINDOW,
};
use super::{keep_alive, whole_seconds};
use crate::engine::publish::{Publish, Qos};
use crate::engine::refusal::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many filters one packet carries: it must fit the broker's largest.
const FILTERS: usize = 32;

/// A connection that the broker has accepted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Connected {
    pub since: Duration,
    /// Whether everything about subscriptions has been acknowledged.
    pub ready: bool,
    /// For how many seconds the broker was told to keep the session.
    pub session_expiry: u32,
    pub keep_alive: Duration,
    pub ping_at: Duration,
    pub awaits_pong: bool,
    takes: Takes,
    /// How many publishes may be in flight.
    window: usize,
    /// The broker's largest packet, in bytes.
    largest: u32,
    /// What it has been asked for on this connection.
    subscribed: Vec<Filter>,
    asked: Asked,
    /// When that is given up.
    pub asked_until: Option<Duration>,
}

/// A packet about subscriptions that has no answer yet: there is one at a time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Nothing,
    Subscribe(u16, Vec<String>),
    Unsubscribe(u16, Vec<String>),
}

impl Session {
    /// The broker has accepted the connection.
    pub fn connected(&mut self, connack: &Connack, now: Duration) {
        let Phase::Dialling { .. } = self.phase else { return };
        if let Some(id) = &connack.assigned_client_id {
            let detail = format!("the broker wants the client id to be {id:?}");
            return self.give_up(Cause::Broken(detail), now);
        }
        let qos = if connack.maximum_qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let takes = Takes { qos, retain: connack.retain_available };
        if takes != self.will {
            self.warn_of(takes);
        }
        self.will = takes;
        let own = keep_alive(&self.settings);
        let wanted = [own, connack.server_keep_alive.unwrap_or(0)].into_iter().filter(|s| *s > 0);
        let keep_alive = wanted.min().map_or(Duration::MAX, |s| Duration::from_secs(s.into()));
        if !connack.session_present {
            self.held.by_broker.clear();
        }
        // From here on it is known what the broker's session has.
        self.settings.held.get_or_insert_default();
        self.outbox.connected(connack.session_present);
        self.phase = Phase::Connected(Box::new(Connected {
            since: now,
            ready: false,
            session_expiry: whole_seconds(self.settings.session_expiry),
            keep_alive,
            ping_at: now.saturating_add(keep_alive),
            awaits_pong: false,
            takes,
            window: usize::from(connack.receive_maximum.clamp(1, WINDOW)),
            largest: connack.maximum_packet,
            subscribed: Vec::new(),
            asked: Asked::Nothing,
            asked_until: None,
        }));
        self.subscribe(now);
    }

    /// A PINGRESP has come.
    pub fn pong(&mut self) {
        if let Phase::Connected(connected) = &mut self.phase {
            connected.awaits_pong = false;
        }
    }

    /// A SUBACK has come, with a reason code for each filter.
    pub fn suback(&mut self, id: u16, codes: &[u8], now: Duration) {
        let Some(Asked::Subscribe(_, topics)) = self.answered(id) else { return };
        for (topic, code) in topics.into_iter().zip(codes).filter(|(_, code)| **code >= 0x80) {
            let warning = format!(
                "the broker refuses the subscription to {topic}: {}; have it allow that",
                code::named(*code)
            );
            self.effects.push_back(SessionEffect::Warn(warning));
        }
        self.subscribe(now);
    }

    /// An UNSUBACK has come. Whatever it says of a filter, the broker's session does not have it.
    pub fn unsuback(&mut self, id: u16, now: Duration) {
        let Some(Asked::Unsubscribe(_, topics)) = self.answered(id) else { return };
        for topic in topics {
            self.held.by_broker.remove(&topic);
        }
        self.subscribe(now);
    }

    /// A PUBACK has come, with this reason code.
    pub fn puback(&mut self, id: u16, code: u8, now: Duration) {
        match code::answer(code) {
            Outcome::Taken { matched } => {
                if let Some(Publish { token, .. }) = self.outbox.take(id, now) {
                    self.events.push_back(SessionEvent::Acknowledged { token, matched });
                }
            }
            Outcome::Later => {
                let unwanted = self.outbox.postpone(id, now);
                self.expired(unwanted);
            }
            Outcome::Refused(reason) => {
                if let Some(Publish { token, .. }) = self.outbox.take(id, now) {
                    let why = match reason {
                        Reason::NotAllowed => "the broker does not let it be published".to_owned(),
                        _ => format!("the broker refuses it: {}", code::named(code)),
                    };
                    self.events.push_back(SessionEvent::Refused { token, reason, why });
                }
            }
        }
        self.flow(now);
    }

    /// The oldest publish of QoS 0 in flight is being written.
    pub fn written(&mut self, now: Duration) {
        if let Some(Publish { token, .. }) = self.outbox.take_written(now) {
            self.events.push_back(SessionEvent::Acknowledged { token, matched: true });
        }
        self.flow(now);
    }

    /// Those that were withdrawn while they were in flight, and came back.
    pub(super) fn expired(&mut self, unwanted: impl IntoIterator<Item = Publish>) {
        for Publish { token, .. } in unwanted {
            let why = "the broker did not take it in time".to_owned();
            self.events.push_back(SessionEvent::Refused { token, reason: Reason::Expired, why });
        }
    }

    /// Asks for the next few filters, or unsubscribes the next that nobody wants, or is ready when there
    /// are no more.
    pub(super) fn subscribe(&mut self, now: Duration) {
        let remembered = self.is_remembered();
        let Phase::Connected(connected) = &mut self.phase else { return };
        let was_ready = std::mem::take(&mut connected.ready);
        if connected.asked != Asked::Nothing || !remembered {
            return;
        }
        let wanted = &self.settings.filters;
        let new = wanted.iter().filter(|filter| !connected.subscribed.contains(filter));
        let new: Vec<_> = new.take(FILTERS).cloned().collect();
        let gone =
            self.held.by_broker.iter().filter(|held| wanted.iter().all(|w| w.topic != **held));
        let gone: Vec<_> = gone.take(FILTERS).cloned().collect();
        if !new.is_empty() {
            let id = self.outbox.take_id();
            let topics: Vec<_> = new.iter().map(|filter| filter.topic.clone()).collect();
            connected.subscribed.retain(|filter| !topics.contains(&filter.topic));
            connected.subscribed.extend(new.iter().cloned());
            self.held.by_broker.extend(topics.iter().cloned());
            connected.asked = Asked::Subscribe(id, topics);
            connected.asked_until = Some(now.saturating_add(self.settings.stuck));
            self.effects.push_back(SessionEffect::Send(Packet::Subscribe { id, filters: new }));
        } else if !gone.is_empty() {
            let id = self.outbox.take_id();
            connected.subscribed.retain(|filter| !gone.contains(&filter.topic));
            connected.asked = Asked::Unsubscribe(id, gone.clone());
            connected.asked_until = Some(now.saturating_add(self.settings.stuck));
            self.effects.push_back(SessionEffect::Send(Packet::Unsubscribe { id, topics: gone }));
        } else {
            connected.ready = true;
            if !was_ready {
                self.events.push_back(SessionEvent::Ready);
            }
            self.remember();
            self.flow(now);
        }
    }

    /// Sends what is in the outbox, as far as the broker takes it.
    pub(super) fn flow(&mut self, now: Duration) {
        let Phase::Connected(connected) = &mut self.phase else { return };
        let Takes { qos, retain } = connected.takes;
        while connected.ready && self.outbox.in_flight() < connected.window {
            let Some(due) = self.outbox.next(now, qos) else { return };
            let (place, id, dup) = (due.place, due.id, due.dup);
            let publish = Publish {
                expiry: due.left,
                qos: if id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
                retain: due.publish.retain && retain,
                ..due.publish.clone()
            };
            if let Some(why) = refusal(&publish, connected.largest) {
                self.outbox.remove(place);
                let (token, reason) = (publish.token, Reason::LineTooLong);
                self.events.push_back(SessionEvent::Refused { token, reason, why });
                continue;
            }
            let publish = Box::new(publish);
            self.effects.push_back(SessionEffect::Send(Packet::Publish { id, dup, publish }));
        }
    }

    /// What has been asked with this packet id, if that is what waits for an answer.
    fn answered(&mut self, id: u16) -> Option<Asked> {
        let Phase::Connected(connected) = &mut self.phase else { return None };
        match connected.asked {
            Asked::Subscribe(asked, _) | Asked::Unsubscribe(asked, _) if asked == id => {
                connected.asked_until = None;
                Some(std::mem::replace(&mut connected.asked, Asked::Nothing))
            }
            _ => None,
        }
    }

    fn warn_of(&mut self, takes: Takes) {
        if !takes.retain {
            let warning = "the broker keeps no retained messages: whoever subscribes later does not see \
                           the status and what is to be retained; have it keep them";
            self.effects.push_back(SessionEffect::Warn(warning.to_owned()));
        }
        if takes.qos == Qos::AtMostOnce {
            let warning = "the broker takes QoS 0 alone: what is published is not acknowledged, and may be \
                           lost; have it take QoS 1";
            self.effects.push_back(SessionEffect::Warn(warning.to_owned()));
        }
    }
}
