//! One MQTT 5 session as a state machine: no connection, no clock.
//!
//! ```text
//! offline -> dialling -> connected (limits and session present known) -> ready -> offline
//! ```
//!
//! The session says when to dial, makes its subscriptions what is wanted on each connection, and sends
//! nothing before all of that is acknowledged. Each publish stays in the outbox until the broker has
//! answered it; a new connection begins with all that were not answered, in their first order. So a
//! publish arrives at least once, whatever the broker remembers.
//!
//! Whoever owns a session calls its methods with the monotonic time of the call, carries out what
//! [`Session::next_effect`] gives, in its order, and calls [`Session::wake`] at [`Session::deadline`].

mod check;
mod code;
mod connected;
mod effect;
mod held;
mod log;
mod lost;
mod outbox;
mod settings;

pub use check::packet_size;
pub use code::{named, takes_nobody};
pub use effect::{
    Cause, Connack, ConnectPacket, Delivery, Packet, SessionEffect, SessionEvent, SessionInput,
};
pub use log::SessionLog;
pub use settings::{Filter, Replay, Settings, WINDOW, Will, whole_seconds};

use super::backoff::Backoff;
use super::password::Credentials;
use super::publish::{Publish, Qos, Received, Token};
use connected::Connected;
use held::Held;
use outbox::Outbox;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How long an attempt to connect may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A wake-up that comes later than this says that the program did not run meanwhile: the broker is not to
/// blame.
const LATE: Duration = Duration::from_secs(1);

/// One session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    settings: Settings,
    held: Held,
    phase: Phase,
    outbox: Outbox,
    backoff: Backoff,
    /// The number of the last connection.
    connections: u64,
    /// What the broker takes of the will, as far as an earlier connection has shown.
    will: Takes,
    reason: lost::Repeated,
    effects: VecDeque<SessionEffect>,
    events: VecDeque<SessionEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Phase {
    Offline { until: Duration },
    Dialling { since: Duration },
    Connected(Box<Connected>),
    Left,
}

/// What a broker takes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Takes {
    qos: Qos,
    retain: bool,
}

impl Session {
    /// A session that dials when it is first woken. A filter that breaks MQTT's rules is left out, with a
    /// warning.
    #[must_use]
    pub fn new(mut settings: Settings, now: Duration) -> Self {
        let wanted = std::mem::take(&mut settings.filters);
        let mut session = Self {
            held: Held::new(settings.held.clone().unwrap_or_default()),
            phase: Phase::Offline { until: now },
            outbox: Outbox::default(),
            backoff: Backoff::new(settings.seed),
            connections: 0,
            will: Takes { qos: Qos::AtLeastOnce, retain: true },
            reason: lost::Repeated::default(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            settings,
        };
        session.want(wanted);
        session
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<SessionEffect> {
        self.effects.pop_front()
    }

    /// What the owner is told next.
    pub fn next_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Something has happened to its connection.
    pub fn take(&mut self, input: SessionInput, now: Duration) {
        match input {
            SessionInput::Connected(connack) => self.connected(&connack, now),
            SessionInput::Lost(cause) => self.lost(&cause, now),
            SessionInput::Suback(id, codes) => self.suback(id, &codes, now),
            SessionInput::Unsuback(id) => self.unsuback(id, now),
            SessionInput::Puback(id, code) => self.puback(id, code, now),
            SessionInput::Received(message, id, qos) => self.received(*message, id, qos),
            SessionInput::Written => self.written(now),
            SessionInput::Pong => self.pong(),
            SessionInput::Remembered => self.remembered(now),
        }
    }

    /// The broker can be reached again: it dials at once.
    pub fn dial_now(&mut self, now: Duration) {
        if let Phase::Offline { until } = &mut self.phase {
            *until = now;
            self.wake(now);
        }
    }

    /// Under which client id the broker knows it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// When [`Session::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Offline { until } => Some(*until).filter(|_| !self.held.is_being_written()),
            Phase::Dialling { since } => Some(since.saturating_add(DIAL_TIMEOUT)),
            Phase::Connected(connected) => {
                let stuck = self.outbox.stuck_at(self.settings.stuck);
                let pause = self.outbox.pause().filter(|_| connected.ready);
                let answer = connected.asked_until;
                stuck.into_iter().chain(pause).chain(answer).chain([connected.ping_at]).min()
            }
            Phase::Left => None,
        }
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Offline { until } if *until <= now => {
                if self.is_remembered() {
                    self.dial(now);
                }
            }
            Phase::Dialling { since } if since.saturating_add(DIAL_TIMEOUT) <= now => {
                let detail = format!("the broker does not answer within {DIAL_TIMEOUT:?}");
                self.give_up(Cause::Unreachable(detail), now);
            }
            Phase::Connected(connected) => {
                if connected.ping_at <= now {
                    let late = now.saturating_sub(connected.ping_at) > LATE;
                    if connected.awaits_pong && !late {
                        let detail = "the broker does not answer a PINGREQ".to_owned();
                        return self.give_up(Cause::Broken(detail), now);
                    }
                    connected.awaits_pong = true;
                    connected.ping_at = now.saturating_add(connected.keep_alive);
                    self.effects.push_back(SessionEffect::Send(Packet::Ping));
                }
                let after = self.settings.stuck;
                let asked = connected.asked_until.filter(|at| *at <= now);
                let stuck = self.outbox.stuck_at(after).filter(|at| *at <= now);
                if let Some(at) = asked.into_iter().chain(stuck).max() {
                    if now.saturating_sub(at) <= LATE {
                        let detail =
                            format!("the broker has not acknowledged anything for {after:?}");
                        return self.give_up(Cause::Broken(detail), now);
                    }
                    connected.asked_until = asked.map(|_| now.saturating_add(after));
                    self.outbox.wait_anew(now);
                }
                self.outbox.resume(now);
                self.flow(now);
            }
            Phase::Offline { .. } | Phase::Dialling { .. } | Phase::Left => {}
        }
    }

    /// Puts a publish into the outbox, and sends it when that is possible. Its token must differ
    /// from those in the outbox. It ends with exactly one of [`SessionEvent::Acknowledged`],
    /// [`SessionEvent::Refused`] and a [`Session::withdraw`] that says `true`.
    ///
    /// One whose expiry runs out before it is sent is never sent, and stays until it is withdrawn:
    /// who made it knows the deadline as well and decides what that means.
    pub fn publish(&mut self, publish: Publish, now: Duration) {
        self.outbox.push(publish, now);
        self.flow(now);
    }

    /// Takes back a publish that is not in flight. `false`: it is in flight, and is refused as expired if
    /// it comes back; or it is unknown.
    pub fn withdraw(&mut self, token: Token) -> bool {
        self.outbox.withdraw(token)
    }

    /// Subscribes to what is new and unsubscribes what is gone, on this connection and on those after it.
    /// Publishes wait until the broker has acknowledged that; [`SessionEvent::Ready`] tells of it. It may still
    /// send what it had taken in under a filter that is gone.
    pub fn set_filters(&mut self, filters: Vec<Filter>, now: Duration) {
        self.want(filters);
        self.subscribe(now);
    }

    /// From the next connection on, it logs in with these. If they are new, that is tried at once.
    pub fn set_credentials(&mut self, credentials: Option<Credentials>, now: Duration) {
        let new = self.settings.credentials != credentials;
        self.settings.credentials = credentials;
        if let Phase::Offline { until } = &mut self.phase
            && new
        {
            *until = now.min(*until);
        }
    }

    /// The broker keeps the session for so long after its end, from the next connection on, or from
    /// [`Session::leave`] on.
    pub fn set_expiry(&mut self, expiry: Duration) {
        self.settings.session_expiry = expiry;
    }

    /// Acknowledges a message. Nothing happens if its connection is gone or it had QoS 0.
    pub fn acknowledge(&mut self, delivery: Delivery) {
        let current = delivery.connection == self.connections;
        if delivery.qos > 0 && current && self.is_connected() {
            let (id, qos) = (delivery.id, delivery.qos);
            self.effects.push_back(SessionEffect::Send(Packet::Acknowledge { id, qos }));
        }
    }

    /// A message has come.
    pub fn received(&mut self, message: Received, id: u16, qos: u8) {
        let delivery = Delivery { connection: self.connections, id, qos };
        self.events.push_back(SessionEvent::Received(message, delivery));
    }

    /// Leaves the broker. What was not yet sent is not sent any more. The broker keeps the session, its
    /// subscriptions and its queue for the expiry that it knows.
    pub fn close(&mut self) {
        self.disconnect(None);
    }

    /// Leaves the broker as [`Session::close`] does, and has it keep the session for the expiry of
    /// [`Session::set_expiry`].
    pub fn leave(&mut self) {
        let Phase::Connected(connected) = &self.phase else { return self.disconnect(None) };
        let expiry = whole_seconds(self.settings.session_expiry);
        // A session that was to end with its connection cannot be kept after all (MQTT 5, 3.14.2.2.2).
        let changes = connected.session_expiry != expiry && connected.session_expiry != 0;
        self.disconnect(changes.then_some(expiry));
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

    /// Whether the broker has accepted the connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    /// Whether it is connected, its subscriptions are as they should be and its outbox flows.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Connected(connected) if connected.ready)
    }

    fn want(&mut self, filters: Vec<Filter>) {
        let (valid, bad): (Vec<_>, Vec<_>) = filters.into_iter().partition(Filter::is_valid);
        for Filter { topic, .. } in bad {
            let warning = format!("not subscribed: {topic:?} is no topic filter");
            self.effects.push_back(SessionEffect::Warn(warning));
        }
        self.settings.filters = valid;
    }

    fn dial(&mut self, now: Duration) {
        self.connections += 1;
        self.phase = Phase::Dialling { since: now };
        let settings = &self.settings;
        let will = settings.will.clone().map(|will| {
            let retain = will.retain && self.will.retain;
            (Will { retain, ..will }, self.will.qos)
        });
        self.effects.push_back(SessionEffect::Dial(Box::new(ConnectPacket {
            client_id: settings.client_id.clone(),
            clean_start: settings.held.is_none(),
            keep_alive: keep_alive(settings),
            session_expiry: whole_seconds(settings.session_expiry),
            max_packet: settings.max_packet,
            credentials: settings.credentials.clone(),
            will,
        })));
    }

    fn disconnect(&mut self, session_expiry: Option<u32>) {
        self.effects.push_back(match std::mem::replace(&mut self.phase, Phase::Left) {
            Phase::Connected(_) => SessionEffect::Send(Packet::Disconnect { session_expiry }),
            Phase::Offline { .. } | Phase::Dialling { .. } | Phase::Left => SessionEffect::HangUp,
        });
    }
}

/// After how many seconds of silence a PINGREQ is sent, if the broker does not want it sooner.
fn keep_alive(settings: &Settings) -> u16 {
    match settings.keep_alive.as_secs() {
        0 => 0,
        seconds => u16::try_from(seconds).unwrap_or(u16::MAX).max(5),
    }
}
