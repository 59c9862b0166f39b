//! What the policy says of a line or a message.

use super::line::{Read, Route};
use super::rules::Rules;
use crate::engine::mapping::table::EventRows;
use crate::engine::mapping::{Command, Event};
use crate::engine::name::DomainName;
use crate::engine::policy::{Policy, Said};
use std::sync::Arc;

/// What somebody is told whose message the policy forbids. The rules themselves are nobody's business.
fn forbidden(
    policy: &Policy,
    from: &DomainName,
    said: &Said<'_>,
    to: &DomainName,
) -> Option<String> {
    if policy.allows(from, said, to) {
        return None;
    }
    let whom = if to.is_everyone() { "everyone" } else { to.as_str() };
    Some(format!("the policy does not let {from} say {said} to {whom}"))
}

impl Rules {
    /// Why somebody may not have a row carried out, if it may not.
    pub fn forbids(&self, from: &DomainName, row: &Command, to: &DomainName) -> Option<String> {
        forbidden(&self.policy, from, &Said::command(row), to)
    }

    /// Why somebody on MQTT may not have a row carried out by a domain. What is for every domain is
    /// allowed, too, where everyone may be asked.
    pub fn forbids_request(
        &self,
        from: &DomainName,
        row: &Command,
        handler: &DomainName,
    ) -> Option<String> {
        let everyone = row.handlers.iter().any(|h| h.domain.is_none());
        let asks_all = || self.forbids(from, row, &DomainName::everyone()).is_none();
        self.forbids(from, row, handler).filter(|_| !(everyone && asks_all()))
    }

    /// Why a command may not go as it is. Its receiver reads its name, so that it has to be allowed as
    /// what it says, and as what the mapping takes it for.
    pub fn forbids_line(
        &self,
        read: &Read<'_>,
        row: Option<&Command>,
        to: &DomainName,
    ) -> Option<String> {
        if self.policy.is_open() {
            return None;
        }
        let (from, name) = (read.from(self), &*read.message.name);
        if let Some(detail) = row.and_then(|row| self.forbids(&from, row, to)) {
            return Some(detail);
        }
        if row.is_some_and(|row| row.legacy == name) {
            return None;
        }
        let dialect = self.table.default_dialect();
        let said = |c: &&Arc<Command>| c.dialect == dialect && c.legacy == name;
        let rows: Vec<_> = self.table.commands().iter().filter(said).collect();
        if rows.is_empty() && row.is_none() {
            return forbidden(&self.policy, &from, &Said::unmapped_command(name), to);
        }
        rows.iter().find_map(|row| self.forbids(&from, row, to))
    }

    /// The row of a command to other legacy domains.
    pub fn row_of_line(&self, read: &Read<'_>) -> Option<&Arc<Command>> {
        let (dialect, message) = (self.table.default_dialect(), &read.message);
        self.table.command_named(dialect, &message.name, message.body.as_object())
    }

    /// Why an answer may not go to another legacy domain: such a call may not come from there.
    pub fn forbids_response(&self, read: &Read<'_>, to: &DomainName) -> Option<String> {
        if self.policy.is_open() {
            return None;
        }
        let (from, name) = (read.from(self), &read.message.name);
        let dialects = 0..self.table.dialects().count();
        let mut rows = dialects.flat_map(|d| self.table.answered_by(d, name)).peekable();
        let allowed = match rows.peek() {
            Some(_) => rows.any(|r| self.policy.allows_answer(&from, &Said::command(r), to)),
            None => self.policy.allows_answer(&from, &Said::unmapped_command(name), to),
        };
        (!allowed).then(|| format!("the policy does not let {to} ask {from} for {name:?}"))
    }

    /// Why an answer of a row may not go, with no call that it answers.
    pub fn forbids_answer(
        &self,
        from: &DomainName,
        row: &Command,
        to: &DomainName,
    ) -> Option<String> {
        let allowed = self.policy.allows_answer(from, &Said::command(row), to);
        (!allowed).then(|| format!("the policy does not let {to} ask {from} for {}", row.name))
    }

    /// Why a notification may not go. What is published, or is for everyone, everyone hears.
    pub fn forbids_event(&self, read: &Read<'_>, route: &Route) -> Option<String> {
        if self.policy.is_open() {
            return None;
        }
        let everyone = DomainName::everyone();
        let to = match route {
            Route::Direct(to) => to,
            Route::Everyone | Route::Mqtt(_) => &everyone,
        };
        let from = read.from(self);
        let events = self.table.events_named(&read.message.name, read.message.body.as_object());
        let rows: Vec<Arc<Event>> = match events {
            EventRows::Rows(rows) => rows,
            EventRows::NotMapped | EventRows::NoneFits => Vec::new(),
        };
        let forbids = |said: Said<'_>| forbidden(&self.policy, &from, &said, to);
        if rows.is_empty() {
            return forbids(Said::unmapped_event(&read.message.name));
        }
        rows.iter().find_map(|row| forbids(Said::event(row)))
    }
}
