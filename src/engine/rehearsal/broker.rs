//! The broker of a rehearsal: it does at once what it is asked.

use super::{Observed, Rehearsal};
use crate::engine::gateway::Pump;
use crate::engine::mapping::Topic;
use crate::engine::name::DomainName;
use crate::engine::publish::Received;
use crate::engine::refusal::{IgnoreReason, Reason, Refusal, brief, head};
use crate::engine::session::{Cause, Connack, Packet, SessionEffect, SessionInput, WINDOW};
use crate::engine::subscriptions;
use std::collections::BTreeSet;

/// The reason code of a PUBACK for a topic that nobody subscribes to (MQTT 5, 3.4.2.1).
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// What the broker knows of a session.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub client_id: String,
    pub filters: BTreeSet<String>,
    pub connected: bool,
    /// What it keeps for a session that is not connected.
    pub queue: Vec<Received>,
    pub next_id: u16,
}

impl Rehearsal {
    /// From now on nobody on MQTT subscribes to this topic: the broker says so with its PUBACK.
    pub fn desert(&mut self, topic: String) {
        self.deserted.insert(topic);
    }

    /// The broker answers the next publish on this topic with this reason code.
    pub fn answer_with(&mut self, topic: String, code: u8) {
        self.codes.insert(topic, code);
    }

    /// The connections to the broker are lost: all, or those of one client id. It does not come back before
    /// [`Rehearsal::broker_is_back`].
    pub fn lose_broker(&mut self, client_id: Option<&str>) {
        self.broker_is_there = client_id.is_some();
        for pump in self.pumps() {
            let Some(known) = self.sessions.get_mut(&pump) else { continue };
            if known.connected && client_id.is_none_or(|id| known.client_id == id) {
                known.connected = false;
                self.gateway.session(&pump, SessionInput::Lost(Cause::Closed), self.now);
            }
        }
        let lost = |name: &DomainName| client_id.is_none_or(|id| id == name.as_str());
        let tunnels: Vec<_> = self.tunnels.iter().filter(|name| lost(name)).cloned().collect();
        for name in tunnels {
            self.close_tunnel(&name);
        }
        self.carry_out();
    }

    /// The broker can be reached, and everyone, or one client id, connects at once; `kept` says whether it
    /// still has their sessions.
    pub fn broker_is_back(&mut self, kept: bool, client_id: Option<&str>) {
        (self.broker_is_there, self.keeps_sessions) = (true, kept);
        for pump in self.pumps() {
            let is_one = |known: &Known| client_id.is_none_or(|id| known.client_id == id);
            if self.sessions.get(&pump).is_some_and(|known| !known.connected && is_one(known)) {
                self.gateway.dial_now(&pump, self.now);
                self.carry_out();
            }
        }
        self.keeps_sessions = true;
    }

    /// What the broker says to a domain on MQTT.
    pub fn say_in_tunnel(&mut self, name: &DomainName, bytes: &[u8]) {
        self.gateway.from_broker(name, bytes, self.now);
        self.carry_out();
    }

    /// The broker closes the connection of a domain on MQTT.
    pub fn close_tunnel(&mut self, name: &DomainName) {
        if self.tunnels.remove(name) {
            self.gateway.broker_gone(name, self.now);
            self.carry_out();
        }
    }

    /// A message that the broker hands to whoever subscribes to its topic.
    pub fn publish(&mut self, message: &Received) {
        let mut taken = false;
        for pump in self.pumps() {
            let Some(known) = self.sessions.get_mut(&pump) else { continue };
            if !subscriptions::matches(&known.filters, &message.topic) {
                continue;
            }
            taken = true;
            if known.connected {
                self.deliver(&pump, message.clone());
            } else {
                known.queue.push(message.clone());
            }
        }
        if !taken {
            self.not_taken(message);
        }
    }

    pub(super) fn deliver(&mut self, pump: &Pump, message: Received) {
        let Some(known) = self.sessions.get_mut(pump) else { return };
        known.next_id = known.next_id.checked_add(1).unwrap_or(1);
        let input = SessionInput::Received(Box::new(message), known.next_id, 1);
        self.gateway.session(pump, input, self.now);
        self.carry_out();
    }

    /// Nobody here subscribes to it: in the running gateway it would not even come in.
    fn not_taken(&mut self, message: &Received) {
        let named = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        let from = named.unwrap_or_else(DomainName::anonymous);
        let table = &self.setting.table;
        let root_is_known = |root: &str| table.commands().iter().any(|c| c.root == root);
        let effect = match Topic::parse(&message.topic) {
            Topic::Request(root, _) if root_is_known(root) => {
                Observed::Ignored(IgnoreReason::OtherHandler, from)
            }
            Topic::Response(root, _) if root_is_known(root) => {
                Observed::Ignored(IgnoreReason::OtherRequester, from)
            }
            _ => Observed::Refused(Refusal {
                reason: Reason::NotMapped,
                from,
                detail: brief(format!("no row has the topic {:?}", message.topic)),
                head: head(&message.payload),
            }),
        };
        self.effects.push(effect);
    }

    pub(super) fn session(&mut self, pump: &Pump, effect: SessionEffect) {
        let now = self.now;
        match effect {
            SessionEffect::Dial(_) if !self.broker_is_there => {
                let cause = Cause::Unreachable("there is no broker".to_owned());
                self.gateway.session(pump, SessionInput::Lost(cause), now);
            }
            SessionEffect::Dial(connect) => {
                let kept = self.keeps_sessions && !connect.clean_start;
                let known = self.sessions.entry(pump.clone()).or_default();
                let session_present = kept && known.client_id == connect.client_id;
                if !session_present {
                    *known = Known { client_id: connect.client_id, ..Known::default() };
                }
                known.connected = true;
                let queue = std::mem::take(&mut known.queue);
                let connack =
                    Connack { session_present, receive_maximum: WINDOW, ..Connack::default() };
                self.gateway.session(pump, SessionInput::Connected(Box::new(connack)), now);
                for message in queue {
                    self.deliver(pump, message);
                }
            }
            SessionEffect::Send(packet) => self.packet(pump, packet),
            SessionEffect::HangUp => {
                if let Some(known) = self.sessions.get_mut(pump) {
                    known.connected = false;
                }
            }
            SessionEffect::Remember { .. } => {
                self.gateway.session(pump, SessionInput::Remembered, now)
            }
            SessionEffect::Warn(_) => {}
        }
    }

    fn packet(&mut self, pump: &Pump, packet: Packet) {
        let Some(known) = self.sessions.get_mut(pump) else { return };
        let client = known.client_id.clone();
        let input = match packet {
            Packet::Subscribe { id, filters } => {
                let topics: Vec<_> = filters.into_iter().map(|filter| filter.topic).collect();
                known.filters.extend(topics.iter().cloned());
                let codes = vec![1; topics.len()];
                if self.shows_sessions {
                    self.effects.push(Observed::Subscribed(client, topics));
                }
                SessionInput::Suback(id, codes)
            }
            Packet::Unsubscribe { id, topics } => {
                known.filters.retain(|filter| !topics.contains(filter));
                if self.shows_sessions {
                    self.effects.push(Observed::Unsubscribed(client, topics));
                }
                SessionInput::Unsuback(id)
            }
            Packet::Publish { id, publish, .. } => {
                let topic = publish.topic.clone();
                let deserted = self.deserted.contains(&topic);
                let code = if deserted { NO_MATCHING_SUBSCRIBERS } else { 0 };
                let code = self.codes.remove(&topic).unwrap_or(code);
                // What the status says is no message's effect.
                if !topic.starts_with("passerelle/") {
                    self.effects.push(Observed::Published(client, *publish));
                }
                if id == 0 { SessionInput::Written } else { SessionInput::Puback(id, code) }
            }
            Packet::Acknowledge { .. } => return,
            Packet::Ping => SessionInput::Pong,
            Packet::Disconnect { .. } => {
                known.connected = false;
                return;
            }
        };
        self.gateway.session(pump, input, self.now);
    }

    pub(super) fn dial(&mut self, name: &DomainName) {
        if self.broker_is_there {
            self.tunnels.insert(name.clone());
        } else {
            self.gateway.not_dialled(name, "there is no broker", self.now);
        }
    }
}
