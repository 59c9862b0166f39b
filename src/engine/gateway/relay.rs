//! The sockets that the gateway offers the MVP's program on Dom0, one for each requester: its program makes them,
//! and Dom0 is a legacy domain whose channel they are together.

use super::Gateway;
use super::GatewayInput;
use super::domain::{Domain, Mode};
use super::effect::{Effect, Pump};
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many requesters have a socket of whom nothing is known but the name under which they ask. None of them is
/// withdrawn while the program runs, which does not come back to a socket that it has lost.
pub const STRANGERS: usize = 64;

/// What is offered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Relay {
    sockets: BTreeMap<DomainName, Socket>,
    /// Whether they were read, and were to end, when their pumps were last told.
    told: (bool, bool),
}

#[derive(Debug, Serialize, Deserialize)]
struct Socket {
    /// The program has connected to it.
    is_open: bool,
    is_strangers: bool,
}

impl Relay {
    fn is_open(&self) -> bool {
        self.sockets.values().any(|socket| socket.is_open)
    }

    fn names(&self) -> Vec<DomainName> {
        self.sockets.keys().cloned().collect()
    }
}

impl Gateway {
    // -- What the sockets' pumps ask -----------------------------------------------------------------

    /// The names of the sockets that are to be there, for each of which there is to be a pump.
    pub fn sockets(&self) -> impl Iterator<Item = &DomainName> {
        self.relay.iter().flat_map(|relay| relay.sockets.keys())
    }

    /// Whether a socket of this name is to be there.
    #[must_use]
    pub fn has_socket(&self, name: &DomainName) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.sockets.contains_key(name))
    }

    /// What is to be written next on a socket.
    #[must_use]
    pub fn to_socket(&self, name: &DomainName) -> Option<&[u8]> {
        self.domains.get(&DomainName::dom0())?.proxy()?.chunk_on(name)
    }

    /// How many bytes may be read from the sockets now, if any.
    #[must_use]
    pub fn may_read_sockets(&self) -> Option<usize> {
        let dom0 = DomainName::dom0();
        let is_legacy = self.domains.get(&dom0).is_some_and(Domain::is_legacy);
        self.may_read(&dom0).filter(|_| is_legacy)
    }

    /// Whether the gateway ends, and everything is out that can be: the sockets' pumps are to end.
    #[must_use]
    pub fn are_sockets_through(&self) -> bool {
        self.finishing.is_some() && self.is_through(&DomainName::dom0())
    }

    // -- What they tell ------------------------------------------------------------------------------

    /// The program has connected to a socket.
    pub fn socket_opened(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::SocketOpened { of: name.clone() });
        let Some(socket) = self.relay.as_mut().and_then(|relay| relay.sockets.get_mut(name)) else {
            return;
        };
        socket.is_open = true;
        tracing::debug!(socket = %name, "the program on Dom0 has connected");
        let dom0 = DomainName::dom0();
        self.appear(&Identity::Domain(dom0.clone()), now);
        let is_open = self.only_with(&dom0, now, |domain| {
            if let Some(proxy) = domain.proxy_mut() {
                proxy.way_opened(name, now);
            }
            domain.channel.is_open()
        });
        match is_open {
            Some(false) => self.channel_opened(&dom0, now),
            _ => self.follow_up(&dom0, now),
        }
    }

    /// It has closed one.
    pub fn socket_closed(&mut self, name: &DomainName, why: &str, now: Now) {
        self.note(now, |_| GatewayInput::SocketClosed { of: name.clone(), why: why.to_owned() });
        let Some(relay) = &mut self.relay else { return };
        let Some(socket) = relay.sockets.get_mut(name) else { return };
        socket.is_open = false;
        let is_open = relay.is_open();
        let dom0 = DomainName::dom0();
        let lost = self.only_with(&dom0, now, |domain| {
            domain.proxy_mut().map_or(0, |proxy| proxy.way_closed(name, now))
        });
        tracing::debug!(socket = %name, why, bytes_of_a_torn_line = lost, "the program on Dom0 has gone");
        if is_open {
            return self.follow_up(&dom0, now);
        }
        self.channel_closed(&dom0, why, now);
        self.forget_strangers();
        self.follow_up(&dom0, now);
    }

    /// Bytes that came on a socket, cut anywhere. `more`: there may be as many again.
    pub fn socket_received(&mut self, name: &DomainName, bytes: &[u8], more: bool, now: Now) {
        self.note(now, |_| GatewayInput::SocketReceived {
            of: name.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            more,
        });
        let dom0 = DomainName::dom0();
        self.only_with(&dom0, now, |domain| {
            if let Mode::Legacy(legacy) = &mut domain.mode {
                legacy.proxy.receive_on(name, bytes, now);
            }
        });
        self.pace(&dom0, more, now);
        self.follow_up(&dom0, now);
    }

    /// So many bytes of [`Gateway::to_socket`] were written.
    pub fn socket_written(&mut self, name: &DomainName, count: usize, now: Now) {
        self.note(now, |gateway| {
            let sum = gateway.sum_of(name, gateway.to_socket(name), count);
            GatewayInput::SocketWritten { of: name.clone(), count, sum }
        });
        let is_next = self.to_socket(name).is_some();
        self.channel_written(&DomainName::dom0(), if is_next { count } else { 0 }, now);
    }

    // -- Within --------------------------------------------------------------------------------------

    /// The program of the MVP is Dom0 from now on, or is not.
    pub(super) fn set_relayed(&mut self, relayed: bool, now: Now) {
        let dom0 = DomainName::dom0();
        match (relayed, self.relay.take()) {
            (true, None) => {
                self.relay = Some(Relay::default());
                // One is there from the beginning, so that Dom0 is there as soon as its program is.
                for name in self.names().into_iter().chain([DomainName::anonymous()]) {
                    self.offer(&name, false);
                }
                self.appear(&Identity::Domain(dom0), now);
            }
            (false, Some(relay)) => {
                for name in relay.names() {
                    self.effects.push(&Pump::Socket(name), Effect::End);
                }
                if relay.is_open() {
                    self.closed(&dom0, "it is relayed no more", now);
                }
                self.vanished(&dom0, now);
                self.leave_for_good(&dom0, now);
            }
            (_, relay) => self.relay = relay,
        }
    }

    /// Offers a socket, if there is none of that name.
    pub(super) fn offer(&mut self, name: &DomainName, is_strangers: bool) {
        let Some(relay) = self.relay.as_mut().filter(|_| !name.is_dom0()) else { return };
        if !relay.sockets.contains_key(name) {
            relay.sockets.insert(name.clone(), Socket { is_open: false, is_strangers });
            self.effects.wake(&Pump::Socket(name.clone()));
        }
    }

    /// A line waits for Dom0: it has a socket, or may have one now.
    pub(super) fn offer_for(&mut self, name: DomainName, now: Now) {
        if self.has_socket(&name) {
            return;
        }
        let strangers = self.relay.iter().flat_map(|relay| relay.sockets.values());
        let strangers = strangers.filter(|socket| socket.is_strangers).count();
        let is_known = self.ids.knows(&name) || name == DomainName::anonymous();
        if is_known || strangers < STRANGERS {
            return self.offer(&name, !is_known);
        }
        let why = format!(
            "{STRANGERS} requesters that no configuration names have a socket for Dom0 already"
        );
        self.only_with(&DomainName::dom0(), now, |domain| {
            domain.proxy_mut().map(|proxy| proxy.way_refused(&name, &why, now))
        });
    }

    /// The ways that are open when a proxy for Dom0 begins.
    pub(super) fn open_ways(&mut self, now: Now) {
        let open = self.relay.iter().flat_map(|relay| &relay.sockets);
        let open: Vec<_> = open.filter(|(_, s)| s.is_open).map(|(name, _)| name.clone()).collect();
        self.only_with(&DomainName::dom0(), now, |domain| {
            let Some(proxy) = domain.proxy_mut() else { return };
            open.iter().for_each(|name| proxy.way_opened(name, now));
        });
    }

    /// The program has ended: those who have no more to ask need no socket.
    fn forget_strangers(&mut self) {
        let wanted = self.domains.get(&DomainName::dom0()).and_then(Domain::proxy);
        let wanted = wanted.map(|proxy| proxy.wanted_ways()).unwrap_or_default();
        let Some(relay) = &mut self.relay else { return };
        relay.sockets.retain(|name, socket| {
            let stays = !socket.is_strangers || wanted.contains(name);
            if !stays {
                self.effects.push(&Pump::Socket(name.clone()), Effect::End);
            }
            stays
        });
    }

    /// Wakes the sockets' pumps that have something to do.
    pub(super) fn wake_sockets(&mut self) {
        let Some(relay) = &self.relay else { return };
        let told = (self.may_read_sockets().is_some(), self.are_sockets_through());
        if told != relay.told {
            for name in relay.names() {
                self.effects.wake(&Pump::Socket(name));
            }
        }
        let dom0 = self.domains.get(&DomainName::dom0()).and_then(Domain::proxy);
        if let Some(name) = dom0.and_then(|proxy| proxy.way()) {
            self.effects.wake(&Pump::Socket(name.clone()));
        }
        if let Some(relay) = &mut self.relay {
            relay.told = told;
        }
    }
}
