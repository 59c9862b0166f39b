//! Requests that a legacy domain of this gateway made on MQTT, and that come to one of its proxies.

use super::outgoing::reason_of;
use super::{Action, Forwarded, OwnCall, Proxy};
use crate::engine::clock::Now;
use crate::engine::json;
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::Command;
use crate::engine::mapping::shape::Side;
use crate::engine::name::DomainName;
use crate::engine::publish::Received;
use crate::engine::refusal::{IgnoreReason, Reason, head, of};
use bytes::Bytes;
use std::sync::Arc;

/// What tells this gateway's own requests: the run, the requester, a number, and the domain that it is
/// addressed to, which the topic does not say.
pub(super) fn correlation(
    nonce: &str,
    requester: &DomainName,
    number: u64,
    to: Option<&DomainName>,
) -> Bytes {
    match to {
        Some(to) => format!("{nonce}-{requester}-{number}/{to}").into(),
        None => format!("{nonce}-{requester}-{number}").into(),
    }
}

impl Proxy {
    /// One of the gateway's own requests has come to a proxy: it is for whoever is on MQTT, unless it was
    /// addressed to this very domain. Then the domain was on MQTT when it was made, or about to leave, and
    /// is legacy now: the requester's proxy, if it knows of such a call, goes on with it as one between
    /// legacy domains. Anybody on MQTT can write what looks like it.
    pub(super) fn own_request(&mut self, row: &Arc<Command>, message: &Received, now: Now) {
        let correlation = message.correlation.clone().unwrap_or_default();
        let addressee = correlation.rsplit(|b| *b == b'/').next();
        let mine = addressee == Some(self.name().as_str().as_bytes());
        let from = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        if let Some(from) = from.filter(|_| mine) {
            match self.own_request_line(row, message, &from, now) {
                Ok(line) => {
                    let (to, row) = (self.name().clone(), Arc::clone(row));
                    let call = OwnCall { correlation, to, line, row };
                    self.actions.push(Action::Pass(from, Forwarded::Own(call)));
                }
                Err((reason, detail)) => {
                    let detail = of(&row.name, &detail);
                    return self.refuse(reason, detail, from, head(&message.payload));
                }
            }
        }
        self.ignore(IgnoreReason::Own, &message.source);
    }

    fn own_request_line(
        &self,
        row: &Command,
        message: &Received,
        from: &DomainName,
        now: Now,
    ) -> Result<Bytes, (Reason, String)> {
        let body = json::read(&message.payload, self.rules.limits.depth)
            .map_err(|e| (Reason::NotJson, e.to_string()))?;
        let (source, to) = (from.as_str(), self.name().as_str());
        let mut line = legacy::begin(Kind::Command, source, to, &row.legacy, body.text.len());
        let context = self.rules.context(now, source, None);
        row.request.translate(Side::Mqtt, &body, &context, &mut line).map_err(reason_of)?;
        self.rules.fits(legacy::end(line))
    }

    /// A call that this domain makes on MQTT goes to its handler as one between legacy domains.
    pub(super) fn goes_direct(&mut self, call: OwnCall, now: Now) {
        let OwnCall { correlation, to, line, row } = call;
        let Some(at) = self.calls.outgoing.iter().position(|a| a.correlation == correlation) else {
            return;
        };
        let Some(asked) = self.withdraw_outgoing(at) else { return };
        let (from, command) = (asked.requester.clone(), Some(row));
        let line = Forwarded::Line { from, line, command, is_command: true };
        self.actions.push(Action::Pass(to, line));
        self.ask_next(&asked.row, &asked.requester, now);
    }
}
