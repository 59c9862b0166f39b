//! What proxies, tunnels and sessions want done is done, or becomes an effect.

use super::Gateway;
use super::domain::{Domain, Mode};
use super::effect::{Effect, Pump};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::proxy::{Action, Forwarded};
use crate::engine::publish::Publish;
use crate::engine::refusal::Refusal;
use crate::engine::session::{self, Delivery, Filter, Session, SessionEvent};
use crate::engine::status::{Report, State};
use crate::engine::tunnel::{Healing, Order};

impl Gateway {
    /// Everything that follows from what has happened to a domain. What this does to others is followed
    /// up when it is done: a mode never changes while somebody's actions are under way.
    pub(super) fn follow_up(&mut self, name: &DomainName, now: Now) {
        self.touched.insert(name.clone());
        self.run(name, now);
        if std::mem::replace(&mut self.following_up, true) {
            return;
        }
        while let Some(name) = self.touched.pop_first() {
            self.go_on_leaving(&name, now);
            if let Some(domain) = self.domains.get_mut(&name) {
                domain.skipped.tell(&domain.name, now.monotonic);
            }
            self.leave_broker_if_away(&name);
            self.count_held(&name, now);
            self.look_whether_through(&name, now);
            self.report(&name, now);
            if name.is_dom0() {
                self.wake_sockets();
            }
            if self.domains.contains_key(&name) {
                self.effects.wake(&Pump::Domain(name));
            }
        }
        self.following_up = false;
        self.run_own(now);
    }

    /// Carries out what a domain's proxy, tunnel and session want, in their order.
    pub(super) fn run(&mut self, name: &DomainName, now: Now) {
        loop {
            let Some(domain) = self.domains.get_mut(name) else { return };
            let actions = domain.proxy_mut().map(|p| p.take_actions()).unwrap_or_default();
            let orders = match &mut domain.mode {
                Mode::Mqtt(tunnel) => {
                    tunnel.go_on(&mut self.ids, now.monotonic);
                    tunnel.take_orders()
                }
                _ => Vec::new(),
            };
            if actions.is_empty() && orders.is_empty() && !self.run_session(name, now) {
                return;
            }
            for action in actions {
                self.act(name, action, now);
            }
            for order in orders {
                self.obey(name, order, now);
            }
        }
    }

    /// Hands on a session's effects and takes its events. Says whether there were events.
    fn run_session(&mut self, name: &DomainName, now: Now) -> bool {
        let Some(domain) = self.domains.get_mut(name) else { return false };
        let Some(session) = &mut domain.session else { return false };
        let events: Vec<_> = std::iter::from_fn(|| session.next_event()).collect();
        hand_on(&mut self.effects, &Pump::Domain(name.clone()), session);
        let any = !events.is_empty();
        for event in events {
            self.event(name, event, now);
        }
        any
    }

    fn event(&mut self, name: &DomainName, event: SessionEvent, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let pump = Pump::Domain(name.clone());
        match event {
            SessionEvent::Ready => {
                domain.reporter.session_ready(now.monotonic);
                domain.session_log.ready();
            }
            SessionEvent::Lost { why, contested, times } => {
                domain.reporter.session_lost(contested);
                domain.session_log.lost(&why, contested, times);
                if let Some(proxy) = domain.proxy_mut() {
                    proxy.forget_lists();
                }
                if let Some(at) = domain.session.as_ref().and_then(Session::deadline) {
                    self.effects.push(&pump, Effect::Retry(at.saturating_sub(now.monotonic)));
                }
            }
            SessionEvent::Received(message, delivery) => match &mut domain.mode {
                Mode::Legacy(legacy) => legacy.proxy.deliver(message, delivery.number(), now),
                // It stays with the broker, for the domain itself.
                Mode::Leaving(leaving) if leaving.resumed => {}
                Mode::Leaving(leaving) => leaving.proxy.deliver(message, delivery.number(), now),
                Mode::Gone | Mode::Mqtt(_) => {}
            },
            SessionEvent::Acknowledged { token, matched } => {
                let Some(proxy) = domain.proxy_mut() else { return };
                proxy.acknowledged(token, matched, now);
                if !proxy.has_sent(token) {
                    self.effects.push(&pump, Effect::Landed(token));
                }
            }
            SessionEvent::Refused { token, reason, why } => {
                let Some(proxy) = domain.proxy_mut() else { return };
                proxy.not_published(token, reason, &why, now);
                if !proxy.has_sent(token) {
                    self.effects.push(&pump, Effect::Landed(token));
                }
            }
        }
    }

    fn act(&mut self, name: &DomainName, action: Action, now: Now) {
        let pump = Pump::Domain(name.clone());
        match action {
            Action::Publish(publish) => self.publish(name, publish, now),
            Action::Store(token, message) => {
                self.effects.push(&pump, Effect::Keep { token, message, only: true });
            }
            Action::Hold(token, message) => {
                self.effects.push(&pump, Effect::Keep { token, message, only: false });
            }
            Action::Over(token) => self.effects.push(&pump, Effect::Over(token)),
            Action::Subscribe(filters) => {
                if let Some(session) = self.session_of(name) {
                    session.set_filters(Filter::others(filters), now.monotonic);
                }
            }
            Action::Withdraw(token) => {
                let session = self.session_of(name);
                if session.is_none_or(|session| session.withdraw(token)) {
                    self.only_with(name, now, |domain| {
                        domain.proxy_mut().map(|proxy| proxy.withdrawn(token))
                    });
                    self.effects.push(&pump, Effect::Landed(token));
                }
            }
            Action::Acknowledge(delivery) => {
                if let Some(session) = self.session_of(name) {
                    session.acknowledge(Delivery::of(delivery));
                }
            }
            Action::Queued => self.queued(name, now),
            Action::Pass(to, passed) => self.pass(name, &to, passed, now),
            Action::PassAll(passed) => drop(self.pass_all(&passed, now)),
            Action::HandOver(call) => {
                self.own.hub.hand_over(call, now);
                self.run_own(now);
            }
            Action::Tell(publish) => {
                self.own.tell(*publish, now);
                self.run_own(now);
            }
            Action::Refused(refusal) => self.refused(&pump, refusal, now),
            Action::Ignored(why, from) => self.effects.push(&pump, Effect::Ignored(why, from)),
            Action::Crossed(crossing) => self.watch.crossed(*crossing),
            Action::Retire => self.retire_soon(name),
        }
    }

    fn session_of(&mut self, name: &DomainName) -> Option<&mut Session> {
        self.domains.get_mut(name)?.session.as_mut()
    }

    fn publish(&mut self, name: &DomainName, publish: Publish, now: Now) {
        let (topic, call) = (&publish.topic, publish.token.0);
        tracing::debug!(domain = %name, topic, call, "publish");
        let Some(domain) = self.domains.get_mut(name) else { return };
        let leaving = matches!(domain.mode, Mode::Leaving(_));
        if leaving && domain.session.is_none() {
            return self.publish_for(name, publish, now);
        }
        let kept = domain.proxy().and_then(|proxy| proxy.message(&publish));
        if domain.session.is_none() {
            let session = self.new_session(name, now);
            self.only_with(name, now, |domain| domain.session = session);
        }
        if let Some(message) = kept {
            let (token, message) = (publish.token, Box::new(message));
            self.effects
                .push(&Pump::Domain(name.clone()), Effect::Keep { token, message, only: false });
        }
        // It is the next effect, before those of what its message starts.
        if let Some(session) = self.domains.get_mut(name).and_then(|d| d.session.as_mut()) {
            session.publish(publish, now.monotonic);
            hand_on(&mut self.effects, &Pump::Domain(name.clone()), session);
        }
    }

    /// What a domain that leaves the broker said goes out by the gateway's own session.
    pub(super) fn publish_for(&mut self, name: &DomainName, publish: Publish, now: Now) {
        let token = publish.token;
        self.own.publish_for(publish, now);
        self.only_with(name, now, |domain| {
            domain.proxy_mut().map(|proxy| proxy.acknowledged(token, true, now))
        });
    }

    /// A line waits for a domain.
    fn queued(&mut self, name: &DomainName, now: Now) {
        let proxy = self.domains.get(name).and_then(Domain::proxy);
        match proxy.and_then(|proxy| proxy.newest_way()).cloned() {
            Some(way) => self.offer_for(way, now),
            None => self.effects.push(&Pump::Domain(name.clone()), Effect::Write),
        }
    }

    fn pass(&mut self, from: &DomainName, to: &DomainName, passed: Forwarded, now: Now) {
        tracing::debug!(domain = %from, %to, "pass on");
        if self.domains.get(to).is_some_and(Domain::is_legacy) {
            self.accept(to, passed, now);
        } else if let Forwarded::Line { line, .. } = passed {
            // It left in this moment: the next look at the roster finds the line another way.
            self.accept(from, Forwarded::Returned(line), now);
        }
    }

    /// Says whether anybody is there.
    pub(super) fn pass_all(&mut self, passed: &Forwarded, now: Now) -> bool {
        let mut any = false;
        for to in self.names() {
            // Dom0's program would pass it on to everyone once more.
            if !to.is_dom0() && self.domains.get(&to).is_some_and(Domain::is_legacy) {
                self.accept(&to, passed.clone(), now);
                any = true;
            }
        }
        any
    }

    fn accept(&mut self, name: &DomainName, passed: Forwarded, now: Now) {
        self.with(name, now, |domain| {
            if let Some(proxy) = domain.proxy_mut() {
                proxy.accept(passed, now);
            }
        });
    }

    pub(super) fn refused(&mut self, pump: &Pump, refusal: Refusal, now: Now) {
        self.watch.refused(&refusal, now);
        self.effects.push(pump, Effect::Refused(refusal.clone()));
        self.own.hub.refused(refusal, now);
        self.run_own(now);
    }

    fn obey(&mut self, name: &DomainName, order: Order, now: Now) {
        let pump = Pump::Domain(name.clone());
        match order {
            Order::Open => self.effects.push(&pump, Effect::Dial),
            Order::Close(left) => self.effects.push(&pump, Effect::HangUp(left)),
            Order::Refused(refusal) => self.refused(&pump, refusal, now),
            Order::Arrived(there) => {
                self.only_with(name, now, |domain| domain.arrived = there);
                self.new_roster();
            }
            Order::Healing(how) => tell_healing(name, how),
            Order::Legacy(bytes) => self.become_legacy_again(name, &bytes, now),
        }
    }

    /// Tells the status what a domain's channel is doing, if there is something new.
    fn report(&mut self, name: &DomainName, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        if let Some(report) = domain.report(now) {
            self.take_report(name, &report, now);
        }
    }

    pub(super) fn take_report(&mut self, name: &DomainName, report: &Report, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        domain.told = Some(report.state);
        let shown_as = domain.shown_as();
        self.show_mode(name, now);
        self.own.report(&shown_as, report, now);
    }

    /// A domain's mode comes before what follows from it.
    pub(super) fn show_mode(&mut self, name: &DomainName, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let state = domain.state(now);
        let shown = if state == State::Silent { State::Legacy } else { state };
        // One that is being opened is neither there nor absent.
        if shown != domain.shown && !domain.channel.is_opening() {
            domain.shown = shown;
            self.effects.push(&Pump::Domain(name.clone()), Effect::Mode(shown));
        }
    }

    pub(super) fn tell_retry(&mut self, name: &DomainName, now: Now) {
        let retry = self.domains.get(name).and_then(|domain| domain.channel.retry());
        if let Some(at) = retry {
            let after = at.saturating_sub(now.monotonic);
            self.effects.push(&Pump::Domain(name.clone()), Effect::Retry(after));
        }
    }
}

fn tell_healing(domain: &DomainName, how: Healing) {
    match how {
        Healing::Begins => tracing::info!(%domain, "kept while its broker is away"),
        Healing::Healed { away, repeated, subscribed } => {
            tracing::info!(%domain, ?away, repeated, subscribed, "connected again: it has noticed nothing");
        }
        Healing::Failed(why) => {
            tracing::warn!(%domain, why, "its connection is lost, and it is told: it has to connect again");
        }
    }
}

/// What a session wants done is done by its pump.
pub(super) fn hand_on(effects: &mut super::effect::Effects, pump: &Pump, session: &mut Session) {
    while let Some(effect) = session.next_effect() {
        if let session::SessionEffect::Remember { client_id, held } = &effect {
            effects.held.insert(client_id.clone(), held.clone());
        }
        effects.push(pump, Effect::Session(effect));
    }
}
