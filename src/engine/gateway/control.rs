//! What a person asks of the gateway.

use super::Gateway;
use super::GatewayInput;
use super::domain::Mode;
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::status::SeenRecord;
use serde_json::Value;

/// Why a domain is not taken for a legacy one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLegacy {
    /// There is none of that name.
    #[error("no domain of this name has been here since the gateway started")]
    Unknown,
    /// Its own MQTT goes through.
    #[error("its own connection to the broker stands: stop its new program first")]
    Connected,
    /// Its channel is not there.
    #[error("its channel is not there: start its old program first")]
    Absent,
}

impl Gateway {
    /// How the gateway and its domains are doing now, as `passerelle status --json` shows it.
    pub fn status(&mut self, now: Now) -> Value {
        self.note(now, |_| GatewayInput::Status);
        self.report_all(now);
        self.own.board.whole()
    }

    /// Who has spoken legacy until now.
    pub fn record(&mut self, now: Now) -> SeenRecord {
        self.note(now, |_| GatewayInput::Status);
        self.report_all(now);
        self.own.memory.record(now)
    }

    fn report_all(&mut self, now: Now) {
        for name in self.names() {
            let report = self.domains.get_mut(&name).map(|domain| domain.report_now(now));
            if let Some(report) = report {
                self.take_report(&name, &report, now);
            }
        }
        self.run_own(now);
    }

    /// A domain that spoke MQTT last is a legacy one again: its old program speaks only when it is asked. Says
    /// whether that is news.
    ///
    /// # Errors
    /// It cannot be one, or nobody can tell.
    pub fn take_for_legacy(&mut self, name: &DomainName, now: Now) -> Result<bool, NotLegacy> {
        self.note(now, |_| GatewayInput::TakeForLegacy { of: name.clone() });
        let taken = self.with(name, now, |domain| {
            let is_there = domain.channel.is_open();
            match &mut domain.mode {
                Mode::Legacy(_) => Ok(false),
                Mode::Leaving(_) => Err(NotLegacy::Connected),
                Mode::Mqtt(_) if !is_there => Err(NotLegacy::Absent),
                Mode::Mqtt(tunnel) => {
                    tunnel.take_for_legacy().then_some(true).ok_or(NotLegacy::Connected)
                }
                Mode::Gone => Err(NotLegacy::Absent),
            }
        });
        taken.unwrap_or(Err(NotLegacy::Unknown))
    }
}
