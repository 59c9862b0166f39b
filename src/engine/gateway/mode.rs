//! How a domain changes from one mode to another, and what becomes of what is pending.

use super::GatewayInput;
use super::act::hand_on;
use super::domain::{Domain, Leaving, LeavingStep, Legacy, Log, Mode};
use super::effect::{Effect, Pump};
use super::{Gateway, held_by};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::proxy::Proxy;
use crate::engine::publish::Token;
use crate::engine::session::{Filter, Session};
use crate::engine::subscriptions;
use crate::engine::tunnel::connect::Connect;
use crate::engine::tunnel::detector::{Detector, Piece};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the broker may take to acknowledge the last that a proxy said.
const SETTLE: Duration = Duration::from_secs(1);

impl Gateway {
    /// A domain of which nothing is known is a legacy one.
    pub(super) fn become_legacy_if_gone(&mut self, name: &DomainName, now: Now) {
        if self.domains.get(name).is_some_and(|domain| matches!(domain.mode, Mode::Gone)) {
            let proxy = Box::new(Proxy::new(
                match self.domains.get(name) {
                    Some(domain) => domain.identity.clone(),
                    None => return,
                },
                &self.setting,
                now.monotonic,
            ));
            self.only_with(name, now, |domain| {
                let (detector, first) = (domain.detector(), Bytes::new());
                domain.mode = Mode::Legacy(Legacy { proxy, detector, first });
                domain.retiring = false;
            });
            if name.is_dom0() {
                self.open_ways(now);
            }
            self.share_memory_with(name, now);
            self.new_roster();
        }
    }

    /// Lines begin on a channel that is open: at once, or when what an earlier run has left was read.
    pub(super) fn begin_lines(&mut self, name: &DomainName, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        if !domain.is_legacy() || !domain.channel.is_open() {
            return;
        }
        match domain.log {
            Log::None if self.has_store => {
                domain.log = Log::Opening;
                self.effects.push(&Pump::Domain(name.clone()), Effect::OpenLog);
            }
            Log::Opening => {}
            Log::None | Log::Open => self.lines_begin(name, now),
        }
    }

    /// What an earlier run has left is known.
    pub(super) fn lines_begin(&mut self, name: &DomainName, now: Now) {
        let missing = self.domains.get(name).is_some_and(|domain| domain.session.is_none());
        let session = missing.then(|| self.new_session(name, now)).flatten();
        self.with(name, now, |domain| {
            if domain.session.is_none() {
                domain.session = session;
            }
            if let (Mode::Legacy(legacy), true) = (&mut domain.mode, domain.channel.is_open()) {
                legacy.proxy.connected(now);
                let first = std::mem::take(&mut legacy.first);
                legacy.proxy.receive(&first, now);
            }
        });
        self.take_pieces(name, now);
        self.follow_up(name, now);
    }

    /// A session under the domain's own name: so everyone on MQTT finds it there.
    pub(super) fn new_session(&self, name: &DomainName, now: Now) -> Option<Session> {
        let domain = self.domains.get(name)?;
        let (identity, table) = (&domain.identity, &self.setting.table);
        let mut settings = self.session.clone();
        settings.client_id = subscriptions::client_id(identity, &self.setting.instance);
        settings.held = held_by(&settings.client_id, &self.effects.held, self.knows_sessions);
        settings.credentials = self.logins.of_session(name);
        settings.session_expiry = self.session_expiry.min(self.setting.limits.away);
        settings.filters = Filter::others(subscriptions::of_channel(table, identity));
        Some(Session::new(settings, now.monotonic))
    }

    /// Sorts out what a legacy domain's channel carries.
    pub(super) fn take_pieces(&mut self, name: &DomainName, now: Now) {
        let mut came = None;
        self.only_with(name, now, |domain| {
            while let Mode::Legacy(Legacy { proxy, detector, .. }) = &mut domain.mode
                && came.is_none()
                && let Some(piece) = detector.next()
            {
                match piece {
                    Piece::Legacy(bytes) => proxy.receive(&bytes, now),
                    Piece::Torn(more) => domain.skipped.add(proxy.forget_line() + more),
                    Piece::Skipped(bytes) => domain.skipped.add(bytes),
                    // There is none before its CONNECT.
                    Piece::Mqtt(_) => {}
                    Piece::Connect(connect) => came = Some(connect),
                }
            }
        });
        if let Some(connect) = came {
            tracing::info!(domain = %name, client_id = connect.client_id, "speaks MQTT");
            self.run(name, now);
            self.leave(name, Some(connect), now);
        }
    }

    /// A domain has been away for too long. Its channel is looked at once more.
    pub(super) fn retire_soon(&mut self, name: &DomainName) {
        let Some(domain) = self.domains.get_mut(name).filter(|domain| !domain.retiring) else {
            return;
        };
        domain.retiring = true;
        if domain.channel.look() {
            self.effects.push(&Pump::Domain(name.clone()), Effect::Open);
        }
    }

    /// Nobody is there any more.
    pub(super) fn leave_for_good(&mut self, name: &DomainName, now: Now) {
        if self.domains.get(name).is_some_and(Domain::is_legacy) {
            self.leave(name, None, now);
        }
        self.follow_up(name, now);
    }

    /// The domain is no longer a legacy domain here: its proxy leaves the broker. Nobody passes anything to
    /// it from here on. The session of one that is away the broker forgets by itself: to make it forget would
    /// take a connection under the domain's name, which may be the domain's own by now. That of one that comes
    /// over to MQTT is the domain's, if it resumes it; or else nothing more must come to it, for nobody would
    /// be there.
    fn leave(&mut self, name: &DomainName, connect: Option<Connect>, now: Now) {
        self.only_with(name, now, |domain| {
            let Mode::Legacy(Legacy { proxy, detector, .. }) =
                std::mem::replace(&mut domain.mode, Mode::Gone)
            else {
                return;
            };
            let own_id = domain.session.as_ref().map(|session| session.client_id().to_owned());
            let resumes = |c: &Connect| !c.clean_start && own_id.as_deref() == Some(&*c.client_id);
            let resumed = connect.as_ref().is_some_and(resumes);
            if let Some(session) = domain.session.as_mut().filter(|_| connect.is_some() && !resumed)
            {
                session.set_filters(Vec::new(), now.monotonic);
            }
            (domain.retiring, domain.arrived) = (false, false);
            domain.mode = Mode::Leaving(Leaving {
                proxy,
                detector,
                connect,
                resumed,
                until: now.monotonic.saturating_add(SETTLE),
                step: LeavingStep::Settling,
                unacknowledged: Vec::new(),
            });
        });
        self.show_mode(name, now);
        self.new_roster();
    }

    /// Takes the next step of leaving, if its time has come.
    pub(super) fn go_on_leaving(&mut self, name: &DomainName, now: Now) {
        while let Some(domain) = self.domains.get_mut(name)
            && let Mode::Leaving(leaving) = &mut domain.mode
        {
            let ends = leaving.connect.is_some()
                && !leaving.resumed
                && leaving.step == LeavingStep::Settling;
            let settled = domain
                .session
                .as_ref()
                .filter(|session| session.is_connected())
                .is_none_or(|session| session.outbox().0 == 0 && (session.is_ready() || !ends));
            if !settled && leaving.until > now.monotonic {
                return;
            }
            match leaving.step {
                LeavingStep::Settling => {
                    leaving.step = LeavingStep::Retired;
                    let resumed = leaving.resumed;
                    leaving.proxy.see_time(now);
                    leaving.proxy.retire(resumed, now);
                    self.run(name, now);
                }
                LeavingStep::Retired => {
                    leaving.step = LeavingStep::LeavingLog;
                    if let Some(mut session) = domain.session.take() {
                        // Nobody waits here any more for answers to requests.
                        let said = session.publishes().filter(|p| p.response_topic.is_none());
                        leaving.unacknowledged = said.cloned().collect();
                        session.close();
                        hand_on(&mut self.effects, &Pump::Domain(name.clone()), &mut session);
                    }
                    if domain.log == Log::None {
                        self.log_left(name, |_| false, now);
                    } else {
                        self.effects.push(&Pump::Domain(name.clone()), Effect::LeaveLog);
                        return;
                    }
                }
                LeavingStep::LeavingLog => return,
            }
        }
    }

    /// The domain's log is left, and the gateway's own session sends what `is_there`: the rest is sent by it
    /// now. With that the proxy has left the broker.
    pub fn log_left(&mut self, name: &DomainName, is_there: impl Fn(Token) -> bool, now: Now) {
        let there = RefCell::new(BTreeSet::new());
        let asked = |token| {
            let is = is_there(token);
            if is {
                there.borrow_mut().insert(token);
            }
            is
        };
        self.leave_log(name, asked, now);
        self.note(now, |_| GatewayInput::LogLeft { of: name.clone(), there: there.take() });
    }

    fn leave_log(&mut self, name: &DomainName, is_there: impl Fn(Token) -> bool, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let Mode::Leaving(leaving) = &mut domain.mode else { return };
        leaving.proxy.left_in_store(&is_there);
        let rest = std::mem::take(&mut leaving.unacknowledged);
        for publish in rest.into_iter().filter(|publish| !is_there(publish.token)) {
            self.publish_for(name, publish, now);
        }
        self.run(name, now);
        self.left(name, now);
    }

    fn left(&mut self, name: &DomainName, now: Now) {
        tracing::info!(domain = %name, "no longer a legacy domain here");
        let Some(domain) = self.domains.get_mut(name) else { return };
        let report = domain.last_report();
        let shown = domain.shown_as();
        self.own.report(&shown, &report, now);
        let Mode::Leaving(leaving) = std::mem::replace(&mut domain.mode, Mode::Gone) else {
            return;
        };
        self.gone.add(leaving.proxy.counters());
        domain.log = Log::None;
        domain.reporter.session_left();
        domain.session_log.left();
        let (detector, open) = (leaving.detector, domain.channel.is_open());
        match leaving.connect {
            Some(connect) => {
                // Who has gone since then says anew what it speaks.
                let detector = if open { detector } else { detector.then(Detector::mqtt()) };
                let mut tunnel = self.tunnel(name, detector);
                if open {
                    tunnel.channel_back();
                    tunnel.connect(connect, &mut self.ids, now.monotonic);
                }
                self.only_with(name, now, |domain| domain.mode = Mode::Mqtt(Box::new(tunnel)));
            }
            None if open => {
                self.become_legacy_if_gone(name, now);
                self.begin_lines(name, now);
            }
            None => {}
        }
        self.new_roster();
        self.follow_up(name, now);
        self.remove_if_gone(name);
    }

    /// A channel that has carried MQTT carries lines again, of which these are the first bytes.
    pub(super) fn become_legacy_again(&mut self, name: &DomainName, bytes: &[u8], now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let report = domain.last_report();
        let shown = domain.shown_as();
        self.own.report(&shown, &report, now);
        let Mode::Mqtt(tunnel) = std::mem::replace(&mut domain.mode, Mode::Gone) else { return };
        let is_silent = bytes.is_empty();
        tracing::info!(domain = %name, is_silent, "no longer on MQTT: a legacy domain again");
        let detector = tunnel.into_detector();
        self.ids.release(name);
        self.become_legacy_if_gone(name, now);
        self.only_with(name, now, |domain| {
            domain.arrived = false;
            if let Mode::Legacy(legacy) = &mut domain.mode {
                legacy.detector = detector;
                legacy.first = Bytes::copy_from_slice(bytes);
            }
        });
        self.show_mode(name, now);
        self.begin_lines(name, now);
    }

    /// The proxy of a domain that is away leaves the broker, once the broker has all from it. The broker
    /// keeps what comes for it.
    pub(super) fn leave_broker_if_away(&mut self, name: &DomainName) {
        let finishing = self.finishing.is_some();
        let Some(domain) = self.domains.get_mut(name) else { return };
        let empty = domain.unacknowledged().0 == 0 && !domain.wants_stored();
        let leaves = domain.is_legacy() && !domain.channel.is_open() && empty && !finishing;
        if let Some(mut session) = domain.session.take_if(|_| leaves) {
            session.leave();
            domain.reporter.session_left();
            domain.session_log.left();
            hand_on(&mut self.effects, &Pump::Domain(name.clone()), &mut session);
            tracing::debug!(domain = %name, "the session is left to the broker");
        }
    }

    /// A domain that is nobody's, and whose channel is not there, is forgotten: its pump ends.
    pub(super) fn remove_if_gone(&mut self, name: &DomainName) {
        let gone =
            |domain: &Domain| matches!(domain.mode, Mode::Gone) && !domain.channel.is_there();
        if self.domains.get(name).is_some_and(gone) {
            if let Some(domain) = self.domains.remove(name) {
                self.held -= domain.held;
            }
            self.effects.push(&Pump::Domain(name.clone()), Effect::End);
            self.new_roster();
        }
    }
}
