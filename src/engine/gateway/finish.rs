//! The end: nothing more is taken in, and everything is let out that can be.

use super::Gateway;
use super::GatewayInput;
use super::act::hand_on;
use super::domain::{Domain, Mode};
use super::effect::Pump;
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::status::State;
use bytes::Bytes;
use std::time::Duration;

impl Gateway {
    /// The gateway ends. What it has is let out, until `limit` at most.
    pub fn finish(&mut self, limit: Duration, now: Now) {
        self.note(now, |_| GatewayInput::Finish { limit });
        self.finishing = Some(limit);
        for name in self.names() {
            self.follow_up(&name, now);
        }
        self.wake_sockets();
        self.run_own(now);
    }

    /// Whether everything of a domain is out that can be, or its time is over: its pump is to end, with
    /// [`Gateway::suspend`] and [`Gateway::ended`].
    #[must_use]
    pub fn is_through(&self, name: &DomainName) -> bool {
        self.domains.get(name).is_none_or(|domain| domain.through)
    }

    pub(super) fn look_whether_through(&mut self, name: &DomainName, now: Now) {
        let Some(limit) = self.finishing else { return };
        let Some(domain) = self.domains.get_mut(name) else { return };
        if domain.through {
            return;
        }
        if let Mode::Mqtt(tunnel) = &mut domain.mode
            && !tunnel.waits_for_connect()
            && !tunnel.is_suspended()
            && (tunnel.is_healing() || tunnel.to_broker().is_none())
        {
            if !(self.has_store && tunnel.suspend(now.monotonic)) {
                // The domain is told, if it can be.
                tunnel.gateway_ends();
            }
            self.run(name, now);
        }
        if let Some(domain) = self.domains.get_mut(name) {
            domain.through = is_through(domain) || limit <= now.monotonic;
        }
    }

    /// The last bytes from a domain's channel: the next run takes them in.
    pub fn received_last(&mut self, name: &DomainName, bytes: &[u8], now: Now) {
        self.note(now, |_| GatewayInput::ReceivedLast {
            of: name.clone(),
            bytes: Bytes::copy_from_slice(bytes),
        });
        use crate::engine::tunnel::detector::Piece;
        if let Some(Mode::Mqtt(tunnel)) = self.domains.get_mut(name).map(|domain| &mut domain.mode)
        {
            return tunnel.receive(bytes, &mut self.ids, now.monotonic);
        }
        self.only_with(name, now, |domain| {
            if let Mode::Legacy(legacy) = &mut domain.mode {
                legacy.detector.push(bytes, now.monotonic);
                while let Some(Piece::Legacy(bytes)) = legacy.detector.next() {
                    legacy.proxy.receive_later(&bytes);
                }
            }
        });
    }

    /// A domain's session leaves the broker, which keeps it for the next run.
    pub fn leave_broker(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::LeaveBroker { of: name.clone() });
        let Some(domain) = self.domains.get_mut(name) else { return };
        if let Some(mut session) = domain.session.take() {
            session.close();
            hand_on(&mut self.effects, &Pump::Domain(name.clone()), &mut session);
        }
    }

    /// The gateway's own session leaves the broker.
    pub fn leave_broker_at_last(&mut self, now: Now) {
        self.note(now, |_| GatewayInput::LeaveBrokerAtLast);
        self.own.session.close();
        hand_on(&mut self.effects, &Pump::Own, &mut self.own.session);
    }

    /// How many messages were left behind.
    #[must_use]
    pub fn left_behind(&self) -> usize {
        self.left_behind
    }

    /// A domain's pump has ended.
    pub fn ended(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::Ended { of: name.clone() });
        let Some(mut domain) = self.domains.remove(name) else { return };
        domain.told = Some(State::Absent);
        let (report, shown) = (domain.last_report(), domain.shown_as());
        self.own.report(&shown, &report, now);
        let left = domain.proxy().map_or(0, |proxy| proxy.left());
        if left > 0 {
            tracing::warn!(domain = %name, messages = left, help = "raise `grace`, or have a `[store]`", "the gateway ends, and this of the domain's is neither with the broker nor in a store: it is lost");
        }
        if let Some(proxy) = domain.proxy() {
            self.gone.add(proxy.counters());
        }
        self.held -= domain.held;
        if let Mode::Mqtt(mut tunnel) = domain.mode
            && self.has_store
            && tunnel.suspend(now.monotonic)
        {
            tracing::info!(domain = %name, "its connection to the broker is kept for the next run");
            self.suspended.insert(name.clone(), *tunnel);
        }
        self.effects.forget(&Pump::Domain(name.clone()));
        self.new_roster();
        self.left_behind += left;
        self.wake_sockets();
        self.run_own(now);
    }

    /// Every domain has ended: the gateway's own session says so, and then there is nothing more to do.
    pub fn finish_own_session(&mut self, now: Now) {
        self.note(now, |_| GatewayInput::FinishOwnSession);
        self.own.ending = true;
        self.run_own(now);
    }

    /// Whether the gateway's own session has nothing more to say, or its time is over.
    #[must_use]
    pub fn is_own_through(&self, now: Now) -> bool {
        let late = self.finishing.is_some_and(|limit| limit <= now.monotonic);
        let said = self.own.farewell || !self.own.board.is_connected();
        self.own.ending && (late || (self.own.waiting() == 0 && said))
    }

    /// How many publishes of the gateway's own session the broker has not taken; a good-bye would be a lie
    /// then: without one the broker sends the will, which says what could not be said.
    #[must_use]
    pub fn own_left(&self) -> usize {
        self.own.waiting()
    }

    /// Whether the broker still believes that the gateway is there.
    #[must_use]
    pub fn owes_farewell(&self) -> bool {
        self.own.board.is_connected() && !self.own.farewell
    }

    /// What is to be remembered when the gateway has ended, if that is written to disk.
    pub fn last_record(&mut self, now: Now) -> Option<crate::engine::status::SeenRecord> {
        self.note(now, |_| GatewayInput::LastRecord);
        self.own.remembers.then(|| self.own.memory.take(now))
    }

    pub(super) fn finish_own(&mut self, now: Now) {
        let own = &mut self.own;
        if own.ending && !own.farewell && own.waiting() == 0 && own.board.is_connected() {
            own.farewell = true;
            own.board.ended(now);
            self.run_own(now);
        }
    }
}

fn is_through(domain: &Domain) -> bool {
    let open = domain.channel.is_open();
    match &domain.mode {
        Mode::Gone => true,
        Mode::Leaving(_) => false,
        Mode::Legacy(legacy) => {
            domain.unacknowledged().0 == 0 && (!open || legacy.proxy.chunk().is_none())
        }
        Mode::Mqtt(tunnel) => {
            let rests = tunnel.waits_for_connect() || tunnel.is_suspended();
            rests && (!open || tunnel.to_domain().is_none())
        }
    }
}
