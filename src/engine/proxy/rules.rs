//! What a proxy decides by: who it speaks for, the mapping, the policy and the limits.

use super::Setting;
use super::asker::Asker;
use super::line::{Route, row_of};
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::json::{self, Object, Value};
use crate::engine::legacy::Message;
use crate::engine::limits::Limits;
use crate::engine::mapping::scalar::all_hold;
use crate::engine::mapping::shape::{Context, Values};
use crate::engine::mapping::{Command, Table};
use crate::engine::name::DomainName;
use crate::engine::policy::{Names, Policy};
use crate::engine::publish::Received;
use crate::engine::refusal::{Reason, of};
use crate::engine::roster::Roster;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// No message changes anything in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rules {
    pub identity: Identity,
    #[serde(with = "crate::engine::snapshot::shared")]
    pub table: Arc<Table>,
    #[serde(with = "crate::engine::snapshot::shared")]
    pub policy: Arc<Policy>,
    pub limits: Limits,
    pub instance: Arc<str>,
    pub nonce: Arc<str>,
    #[serde(with = "crate::engine::snapshot::shared")]
    pub roster: Arc<Roster>,
}

impl Rules {
    /// Those of a gateway, for one domain. Nobody else is there yet.
    pub fn new(identity: Identity, setting: &Setting) -> Self {
        Self {
            identity,
            table: Arc::clone(&setting.table),
            policy: Arc::clone(&setting.policy),
            limits: setting.limits.clone(),
            instance: Arc::clone(&setting.instance),
            nonce: Arc::clone(&setting.nonce),
            roster: Arc::default(),
        }
    }

    /// From now on the mapping, the policy and the limits of `setting` hold.
    pub fn reload(&mut self, setting: &Setting) {
        self.table = Arc::clone(&setting.table);
        self.policy = Arc::clone(&setting.policy);
        self.limits = setting.limits.clone();
    }

    /// The name that stands for the channel in logs.
    pub fn name(&self) -> &DomainName {
        self.identity.name()
    }

    /// Whether the channel is a serial line, with all of another machine's domains behind it.
    pub fn is_behind(&self) -> bool {
        matches!(self.identity, Identity::Behind { .. })
    }

    /// Whether a name is a legacy domain's here.
    pub fn is_legacy(&self, name: &DomainName) -> bool {
        match &self.identity {
            Identity::Domain(_) => self.roster.legacy.contains(name),
            Identity::Behind { local, .. } => {
                !local.contains(name) && *name != DomainName::anonymous()
            }
        }
    }

    /// Whether what a name says has come back over a serial line that it was written to.
    pub fn is_echo_of(&self, name: &DomainName) -> bool {
        matches!(&self.identity, Identity::Behind { local, .. } if local.contains(name))
    }

    /// Whether a line of the channel may bear this name.
    pub fn may_speak_as(&self, name: &DomainName) -> bool {
        match &self.identity {
            Identity::Domain(own) => own == name,
            Identity::Behind { .. } => name.is_dom0() || name.meaning().is_none(),
        }
    }

    /// Why it may not.
    pub fn spoofs(&self, source: &str) -> String {
        match &self.identity {
            Identity::Domain(own) => format!("{own} may not speak as {source:?}"),
            Identity::Behind { .. } => format!("{source:?} is no domain's name"),
        }
    }

    pub fn context<'a>(
        &self,
        now: Now,
        source: &'a str,
        request: Option<&'a Values>,
    ) -> Context<'a> {
        let known = const { &Values::new() };
        Context { now, source, request, instead: &[], known, limit: self.limits.line }
    }

    pub fn route(&self, destination: &str) -> Route {
        let Ok(name) = DomainName::parse(destination) else { return Route::Mqtt(None) };
        match &self.identity {
            _ if name.is_everyone() => Route::Everyone,
            Identity::Domain(_) if self.roster.legacy.contains(&name) => Route::Direct(name),
            _ => Route::Mqtt(Some(name)),
        }
    }

    /// A payload from MQTT, if it is JSON and may become a line.
    pub fn readable<'p>(&self, payload: &'p [u8]) -> Result<Value<'p>, (Reason, String)> {
        self.limits.may_be_a_line(payload)?;
        json::read(payload, self.limits.depth).map_err(|e| (Reason::NotJson, e.to_string()))
    }

    /// A line that is not over the limit.
    pub fn fits(&self, line: Bytes) -> Result<Bytes, (Reason, String)> {
        if line.len() > self.limits.line {
            let detail = format!("it makes a line of more than {} bytes", self.limits.line);
            return Err((Reason::LineTooLong, detail));
        }
        Ok(line)
    }

    /// Whether a requester calls itself by a name that is not to be had on MQTT.
    pub fn is_spoofed(&self, asker: &Asker) -> bool {
        let taken = |n: &DomainName| {
            (n.meaning().is_some() && *n != DomainName::anonymous()) || self.is_elsewhere(n)
        };
        asker.name.as_ref().is_some_and(taken)
    }

    /// Whether a name belongs to a domain that cannot ask on MQTT: a legacy one here, or, behind a
    /// serial line, one that requests are sent to.
    fn is_elsewhere(&self, name: &DomainName) -> bool {
        let mut handlers = self.table.commands().iter().flat_map(|c| &c.handlers);
        match &self.identity {
            Identity::Domain(_) => self.is_legacy(name),
            Identity::Behind { .. } => handlers.any(|h| h.domain.as_ref() == Some(name)),
        }
    }

    /// The domain that carries it out, if that is behind this channel.
    pub fn handles(&self, row: &Command, payload: &Object<'_>) -> Option<DomainName> {
        let rule = row.handlers.iter().find(|h| all_hold(&h.when, |m| payload.get(m)))?;
        match (&self.identity, &rule.domain) {
            (own, None) if own.is_relayed() => None,
            (Identity::Domain(own), None) => Some(own.clone()),
            (Identity::Domain(own), Some(domain)) => (own == domain).then(|| own.clone()),
            (Identity::Behind { .. }, None) => Some(DomainName::everyone()),
            (Identity::Behind { .. }, Some(domain)) => Some(domain.clone()),
        }
    }

    /// The gateway's name on this channel.
    pub fn wire_source(&self) -> DomainName {
        match &self.identity {
            Identity::Domain(_) => DomainName::dom0(),
            Identity::Behind { own, .. } => own.clone(),
        }
    }

    /// Who asks on the legacy wire, when somebody on MQTT does.
    pub fn asks_as(&self, asker: &Asker) -> DomainName {
        match &self.identity {
            Identity::Domain(_) => asker.known(),
            Identity::Behind { own, .. } => own.clone(),
        }
    }

    /// Whom the status shows for this channel.
    pub fn shown_as(&self) -> DomainName {
        match &self.identity {
            Identity::Domain(name) => name.clone(),
            Identity::Behind { .. } => DomainName::dom0(),
        }
    }

    pub fn dialect_of(&self, row: &Command) -> String {
        self.table.dialects().nth(row.dialect).unwrap_or_default().to_owned()
    }

    /// What is said of a legacy message, with the name of its row if it has one.
    pub fn named(&self, message: &Message<'_>, detail: &str) -> String {
        let to = DomainName::parse(&message.destination).ok();
        match row_of(&self.table, message, to.as_ref()) {
            Some(row) => of(&row, detail).into_owned(),
            None => detail.to_owned(),
        }
    }

    /// The same for whoever sent it, who knows it by its own name.
    pub fn told(&self, message: &Message<'_>, detail: &str) -> String {
        let named = self.named(message, detail);
        let is_same = |row: &str| row.eq_ignore_ascii_case(&message.name);
        let same = named.strip_suffix(detail).and_then(|row| row.strip_suffix(": "));
        of(&message.name, if same.is_some_and(is_same) { detail } else { &named }).into_owned()
    }

    /// The row of a call from before, if the mapping still has it.
    pub fn row(&self, dialect: &str, name: &str, root: &str) -> Option<Arc<Command>> {
        let dialect = self.table.dialects().position(|d| d == dialect)?;
        let is =
            |row: &&Arc<Command>| row.dialect == dialect && *row.name == *name && row.root == root;
        self.table.commands().iter().find(is).cloned()
    }

    /// Who answers, on the legacy wire: the user property, or else the row's handler. Neither may be a
    /// legacy domain's name, for what such a domain says comes over its channel: then it is Dom0's. Where names
    /// are proved, the broker lets nobody but its handlers answer a row, and of those that are every domain's
    /// nothing proves who has.
    pub fn responder(&self, message: &Received, row: &Command, handler: &DomainName) -> DomainName {
        if let Identity::Behind { own, .. } = &self.identity {
            return own.clone();
        }
        let everyones = row.handlers.iter().any(|h| h.domain.is_none());
        let believed = everyones || self.policy.names == Names::Said;
        let said = message.source.as_deref().filter(|_| believed);
        let named = said.and_then(|name| DomainName::parse(name).ok());
        let may_be = |n: &DomainName| !n.is_everyone() && !self.is_legacy(n);
        let handler = || Some(handler.clone()).filter(may_be);
        named.filter(may_be).or_else(handler).unwrap_or_else(DomainName::dom0)
    }

    /// Whether a request on MQTT is one of this gateway's own, by its correlation data.
    pub fn is_own_request(&self, correlation: Option<&Bytes>) -> bool {
        let text = correlation.and_then(|c| std::str::from_utf8(c).ok());
        text.and_then(|t| t.strip_prefix(&*self.nonce)).is_some_and(|rest| rest.starts_with('-'))
    }
}
