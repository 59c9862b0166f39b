//! A connection is lost, or could not be made.

use super::code::{self, NO_QOS, NO_RETAIN, TAKEN_OVER};
use super::{Cause, Phase, Session, SessionEffect, SessionEvent, Settings};
use crate::engine::backoff::{End, How, has_lasted};
use crate::engine::publish::Qos;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A reason, and how often it has come in a row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Repeated {
    why: String,
    times: u64,
}

impl Repeated {
    fn count(&mut self, why: &str) -> u64 {
        if self.why != why {
            (self.why, self.times) = (why.to_owned(), 0);
        }
        self.times = self.times.saturating_add(1);
        self.times
    }
}

impl Session {
    /// The connection is lost, or could not be made. Nothing of it comes any more.
    pub fn lost(&mut self, cause: &Cause, now: Duration) {
        match cause {
            Cause::Refused(NO_RETAIN) => self.will.retain = false,
            Cause::Refused(NO_QOS) => self.will.qos = Qos::AtMostOnce,
            _ => {}
        }
        let end = match &self.phase {
            Phase::Dialling { .. } => {
                let to_mend = match cause {
                    Cause::Refused(code) => code::to_mend(*code).is_some(),
                    Cause::Old(_) => true,
                    _ => false,
                };
                End::Failed { to_mend }
            }
            Phase::Connected(connected) => {
                let lasted = now.saturating_sub(connected.since);
                if has_lasted(lasted) {
                    self.reason = Repeated::default();
                }
                let how = match cause {
                    Cause::Disconnected(TAKEN_OVER) => How::TakenOver,
                    Cause::Closed => How::Closed,
                    _ => How::Otherwise,
                };
                End::Lost { lasted, how }
            }
            Phase::Offline { .. } | Phase::Left => return,
        };
        let (wait, contested) = self.backoff.after(end);
        let unwanted = self.outbox.disconnected();
        self.expired(unwanted);
        self.phase = Phase::Offline { until: now.saturating_add(wait) };
        let why = explain(&self.settings, cause, contested);
        let times = self.reason.count(&why);
        self.events.push_back(SessionEvent::Lost { why, contested, times });
    }

    /// The connection is of no use: it is dropped.
    pub(super) fn give_up(&mut self, cause: Cause, now: Duration) {
        self.effects.push_back(SessionEffect::HangUp);
        self.lost(&cause, now);
    }
}

/// What was tried, what came of it, and what to do.
fn explain(settings: &Settings, cause: &Cause, contested: bool) -> String {
    let Settings { broker, client_id, credentials, .. } = settings;
    let user = credentials.as_ref().map(|c| format!(" as user `{}`", c.user));
    let user = user.unwrap_or_default();
    let advice = match cause {
        _ if contested => Some("another client uses this client id: give each its own"),
        Cause::Unreachable(_) => Some("does it run, and may this user use it?"),
        Cause::Refused(code) => code::to_mend(*code),
        Cause::Old(_) => Some("the gateway needs MQTT 5: use a broker that speaks it"),
        Cause::Closed | Cause::Disconnected(_) => Some("its log may say why"),
        Cause::Broken(_) => None,
    };
    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{broker}, client id `{client_id}`{user}: {cause}{advice}")
}
