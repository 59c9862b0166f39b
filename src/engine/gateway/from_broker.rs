//! What the broker's side of a session or of a tunnel did.

use super::GatewayInput;
use super::{Gateway, Pump};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::session;
use bytes::Bytes;

impl Gateway {
    /// Something has happened to a pump's MQTT session.
    pub fn session(&mut self, pump: &Pump, input: session::SessionInput, now: Now) {
        self.note(now, |_| GatewayInput::Session { of: pump.clone(), input: input.clone() });
        match pump {
            Pump::Socket(_) => {}
            Pump::Own => {
                self.own.session.take(input, now.monotonic);
                self.run_own(now);
            }
            Pump::Domain(name) => {
                self.with(name, now, |domain| {
                    if let Some(session) = &mut domain.session {
                        session.take(input, now.monotonic);
                    }
                });
            }
        }
    }

    /// A session that waits before it tries the broker again need not wait.
    pub fn dial_now(&mut self, pump: &Pump, now: Now) {
        self.note(now, |_| GatewayInput::DialNow { of: pump.clone() });
        match pump {
            Pump::Socket(_) => {}
            Pump::Own => {
                self.own.session.dial_now(now.monotonic);
                self.run_own(now);
            }
            Pump::Domain(name) => {
                self.with(name, now, |domain| {
                    if let Some(session) = &mut domain.session {
                        session.dial_now(now.monotonic);
                    }
                });
            }
        }
    }

    /// The domain's own connection to the broker could not be made.
    pub fn not_dialled(&mut self, name: &DomainName, why: &str, now: Now) {
        self.note(now, |_| GatewayInput::NotDialled { of: name.clone(), why: why.to_owned() });
        self.with_tunnel(name, now, |tunnel, at| {
            match tunnel.is_healing() {
                true => tracing::debug!(domain = %name, error = why, help = "start the broker: the domain connects again", "the broker is out of reach"),
                false => tracing::warn!(domain = %name, error = why, help = "start the broker: the domain connects again", "the broker is out of reach"),
            }
            tunnel.closed();
            tunnel.not_opened(at);
        });
    }

    /// The domain's last connection to the broker is closed, and all that it had said is there.
    pub fn hung_up(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::HungUp { of: name.clone() });
        self.with_tunnel(name, now, |tunnel, _| tunnel.closed());
    }

    /// Bytes from the broker, for a domain's own MQTT.
    pub fn from_broker(&mut self, name: &DomainName, bytes: &[u8], now: Now) {
        self.note(now, |_| GatewayInput::FromBroker {
            of: name.clone(),
            bytes: Bytes::copy_from_slice(bytes),
        });
        self.with_tunnel(name, now, |tunnel, at| tunnel.receive_from_broker(bytes, at));
    }

    /// So many bytes of [`Gateway::to_broker`] were written.
    pub fn written_to_broker(&mut self, name: &DomainName, count: usize, now: Now) {
        self.note(now, |gateway| {
            let sum = gateway.sum_of(name, gateway.to_broker(name), count);
            GatewayInput::WrittenToBroker { of: name.clone(), count, sum }
        });
        self.with_tunnel(name, now, |tunnel, at| tunnel.written_to_broker(count, at));
    }

    /// The broker takes no more of a domain's own MQTT. What it had said before is still to be read.
    pub fn not_written_to_broker(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::NotWrittenToBroker { of: name.clone() });
        self.with_tunnel(name, now, |tunnel, _| tunnel.not_written_to_broker());
    }

    /// The broker has closed a domain's own connection, or it is lost.
    pub fn broker_gone(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::BrokerGone { of: name.clone() });
        tracing::info!(domain = %name, "the broker has closed the domain's connection");
        self.with_tunnel(name, now, |tunnel, at| tunnel.broker_gone(at));
    }
}
