//! The pumps of a rehearsal, and what is at the other end of their channels.

use super::{Observed, Rehearsal, Towards};
use crate::engine::gateway::{Effect, OpenError, Pump};
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use bytes::Bytes;
use std::collections::BTreeSet;

/// What there is at the end of a domain's path.
#[derive(Debug, Clone)]
pub(super) enum Path {
    Socket,
    Unavailable(String),
}

impl Rehearsal {
    /// From now on Dom0 is the MVP's program, on sockets that it is offered, or is so no longer.
    pub fn relay(&mut self, relayed: bool) {
        let dom0 = DomainName::dom0();
        if !self.names.contains(&dom0) {
            self.names.push(dom0);
        }
        self.relayed = relayed;
        self.apply();
    }

    /// Dom0's program connects to a socket, or closes it. Says whether it is offered.
    pub fn connect_socket(&mut self, name: &DomainName, connects: bool) -> bool {
        let Some(is_open) = self.sockets.get_mut(name) else { return false };
        *is_open = connects;
        match connects {
            true => self.gateway.socket_opened(name, self.now),
            false => self.gateway.socket_closed(name, "disconnected", self.now),
        }
        self.carry_out();
        true
    }

    /// Bytes of Dom0's program, on a socket. Says whether it has connected to it.
    pub fn receive_on(&mut self, name: &DomainName, bytes: &[u8]) -> bool {
        let is_open = self.sockets.get(name) == Some(&true);
        if is_open {
            self.gateway.socket_received(name, bytes, false, self.now);
            self.carry_out();
        }
        is_open
    }

    /// A domain's channel is there.
    pub fn connect(&mut self, name: &DomainName) {
        self.appear(name, Path::Socket);
    }

    /// A domain's channel is there, and cannot be opened.
    pub fn make_unavailable(&mut self, name: &DomainName, why: &str) {
        self.gateway.closed(name, "made unavailable", self.now);
        self.appear(name, Path::Unavailable(why.to_owned()));
    }

    fn appear(&mut self, name: &DomainName, path: Path) {
        if !self.names.contains(name) {
            self.names.push(name.clone());
        }
        self.stalled.remove(name);
        self.paths.insert(name.clone(), path);
        self.gateway.appeared(&Identity::Domain(name.clone()), self.now);
        self.carry_out();
    }

    /// A domain's channel is gone.
    pub fn disconnect(&mut self, name: &DomainName) {
        if self.paths.remove(name).is_some() {
            self.gateway.closed(name, "disconnected", self.now);
            self.gateway.vanished(name, self.now);
            self.carry_out();
        }
    }

    /// A domain no longer reads.
    pub fn stall(&mut self, name: &DomainName) {
        self.stalled.insert(name.clone());
    }

    /// Bytes from a domain's channel. Says whether it is connected.
    pub fn receive(&mut self, name: &DomainName, bytes: &[u8]) -> bool {
        let connected = matches!(self.paths.get(name), Some(Path::Socket));
        if connected {
            self.gateway.received(name, bytes, false, self.now);
            self.carry_out();
        }
        connected
    }

    /// Does what the pumps of the sockets do. Says whether there was anything.
    pub(super) fn offer(&mut self) -> bool {
        let before = self.effects.len();
        let offered: BTreeSet<_> = self.gateway.sockets().cloned().collect();
        for name in self.sockets.keys().filter(|name| !offered.contains(*name)) {
            self.effects.push(Observed::Offered(name.clone(), false));
        }
        self.sockets.retain(|name, _| offered.contains(name));
        for name in offered {
            if !self.sockets.contains_key(&name) {
                self.sockets.insert(name.clone(), false);
                self.effects.push(Observed::Offered(name, true));
            }
        }
        for (name, _) in self.sockets.iter().filter(|(_, is_open)| **is_open) {
            while let Some(line) = self.gateway.to_socket(name).map(Bytes::copy_from_slice) {
                self.gateway.socket_written(name, line.len(), self.now);
                self.effects.push(Observed::WrittenOn(name.clone(), line));
            }
        }
        self.effects.len() > before
    }

    pub(super) fn do_one(&mut self, pump: &Pump, effect: Effect) {
        let domain = match pump {
            Pump::Own | Pump::Socket(_) => None,
            Pump::Domain(name) => Some(name.clone()),
        };
        match (effect, domain) {
            (Effect::Session(effect), _) => self.session(pump, effect),
            (Effect::Refused(refusal), _) => self.effects.push(Observed::Refused(refusal)),
            (Effect::Ignored(why, from), _) => self.effects.push(Observed::Ignored(why, from)),
            (Effect::Open, Some(name)) => self.open(&name),
            (Effect::Write, Some(name)) => drop(self.write_one(&name)),
            (Effect::Mode(state), Some(name)) => self.effects.push(Observed::Mode(name, state)),
            (Effect::Retry(after), Some(name)) => {
                self.effects.push(Observed::Retry(name, after));
            }
            (Effect::Dial, Some(name)) => self.dial(&name),
            (Effect::HangUp(left), Some(name)) => {
                if self.tunnels.remove(&name) && !left.is_empty() {
                    self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToBroker, left));
                }
                self.gateway.hung_up(&name, self.now);
            }
            // There is no store, no memory, and no pump that could end.
            _ => {}
        }
    }

    fn open(&mut self, name: &DomainName) {
        match self.paths.get(name) {
            Some(Path::Socket) => {
                self.gateway.opened(name, self.now);
                self.carry_out();
                while self.write_one(name) {}
                let queue = self.sessions.get_mut(&Pump::Domain(name.clone()));
                let queue = queue.filter(|known| known.connected);
                for message in
                    queue.map(|known| std::mem::take(&mut known.queue)).unwrap_or_default()
                {
                    self.deliver(&Pump::Domain(name.clone()), message);
                }
            }
            Some(Path::Unavailable(why)) => {
                let error = OpenError { absent: false, starting: false, why: why.clone() };
                self.gateway.not_opened(name, error, self.now);
            }
            None => {
                let why = "No such file or directory".to_owned();
                let error = OpenError { absent: true, starting: false, why };
                self.gateway.not_opened(name, error, self.now);
            }
        }
    }

    /// Writes one whole line to a domain that reads. Says whether there was one.
    fn write_one(&mut self, name: &DomainName) -> bool {
        if self.stalled.contains(name) || self.tunnels.contains(name) {
            return false;
        }
        let Some(line) = self.gateway.to_channel(name).map(Bytes::copy_from_slice) else {
            return false;
        };
        self.gateway.written(name, line.len(), self.now);
        if &*line == b"\n" {
            // Nobody reads anything from an empty line.
            return self.write_one(name);
        }
        self.effects.push(Observed::Written(name.clone(), line));
        true
    }

    /// Passes on what domains on MQTT and the broker say to each other. Says whether there was anything.
    pub(super) fn pass_through(&mut self) -> bool {
        let mut any = false;
        for name in self.names.clone() {
            if self.tunnels.contains(&name)
                && let Some(bytes) = self.gateway.to_broker(&name).map(Bytes::copy_from_slice)
            {
                any = true;
                self.gateway.written_to_broker(&name, bytes.len(), self.now);
                self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToBroker, bytes));
            }
            if self.gateway.is_on_mqtt(&name)
                && !self.stalled.contains(&name)
                && let Some(bytes) = self.gateway.to_channel(&name).map(Bytes::copy_from_slice)
            {
                any = true;
                self.gateway.written(&name, bytes.len(), self.now);
                self.effects.push(Observed::Tunnelled(name.clone(), Towards::ToDomain, bytes));
            }
        }
        any
    }
}
