//! Commands between legacy domains go word for word; whoever sent one is told if its handler goes before it
//! has answered.

use super::call::{CallStage, IncomingCall, Origin, Pending as _};
use super::line::Read;
use super::matching::{Match, choose, compare, keep, legacy_answer};
use super::time::{ends_by_time, went_away};
use super::{Action, Proxy};
use crate::engine::clock::Now;
use crate::engine::json::Object;
use crate::engine::legacy;
use crate::engine::mapping::shape::Side;
use crate::engine::mapping::{Command, Wire};
use crate::engine::name::DomainName;
use crate::engine::queue::{Purpose, QueuedLine};
use crate::engine::refusal::{Reason, Refusal, brief, head, of};
use bytes::Bytes;
use std::sync::Arc;

impl Proxy {
    /// A line from another legacy domain.
    pub(super) fn direct(
        &mut self,
        from: DomainName,
        line: Bytes,
        command: Option<Arc<Command>>,
        is_command: bool,
        now: Now,
    ) {
        let line = self.spelled(line);
        if let Some(row) = command.filter(|r| r.exclusive) {
            let message = legacy::parse(without_end(&line), self.rules.limits.depth);
            let arguments = message.map(|m| m.body.as_object().clone()).unwrap_or_default();
            let call =
                self.direct_call((from, &line), row, &arguments, CallStage::Held(line.clone()));
            return match self.may_call(call.requester.as_ref()) {
                Ok(()) => self.take_call(call, now),
                Err((reason, detail)) => self.give_up(&call, reason, &detail, now),
            };
        }
        let purpose = Purpose::Message { from, command: is_command };
        if let Err(entry) = self.enqueue(QueuedLine { line, purpose, delivery: None }, now) {
            self.give_up_entry(entry, Reason::DomainStuck, now);
        }
    }

    fn direct_call(
        &mut self,
        (from, line): (DomainName, &Bytes),
        row: Arc<Command>,
        arguments: &Object<'_>,
        state: CallStage,
    ) -> IncomingCall {
        IncomingCall {
            id: self.calls.number(),
            requester: Some(from),
            handler: self.name().clone(),
            origin: Origin::Direct,
            reply: String::new(),
            correlation: None,
            values: keep(&row, Side::Legacy, arguments),
            row,
            head: head(line),
            state,
            answers: 0,
        }
    }

    /// A command that nothing waits for here has been written, and so is counted. Its call is remembered until
    /// it is answered, if its row is known: the oldest of too many are forgotten.
    pub(super) fn command_written(&mut self, from: DomainName, line: &Bytes, now: Now) {
        let row = self.row_of(line).filter(|row| row.is_answered_on_legacy());
        let message = legacy::parse(without_end(line), self.rules.limits.depth);
        let (Some(row), Ok(message)) = (row, message) else { return };
        let since = now.monotonic;
        let open = CallStage::Open { since, deadline: since.saturating_add(row.timeout) };
        let call = self.direct_call((from, line), row, message.body.as_object(), open);
        if !self.is_over_level(call.size()) {
            self.calls.remember_unanswered(call, &self.rules.limits);
        }
    }

    /// The row of a command as it stands on the wire, in whichever dialect has one.
    pub(super) fn row_of(&self, line: &Bytes) -> Option<Arc<Command>> {
        let message = legacy::parse(without_end(line), self.rules.limits.depth).ok()?;
        let (table, arguments) = (&self.rules.table, message.body.as_object());
        let mut dialects =
            std::iter::once(table.default_dialect()).chain(0..table.dialects().count());
        dialects.find_map(|d| table.command_named(d, &message.name, arguments)).cloned()
    }

    /// A response from this domain to another legacy one: it may end a call. Says whose turn it is, if that
    /// was an exclusive one.
    pub(super) fn end_direct(
        &mut self,
        read: &Read<'_>,
        to: &DomainName,
        now: Now,
    ) -> Option<DomainName> {
        let data = read.message.body.as_object();
        let wire = Wire::Response(read.message.name.clone());
        let fitting = |(at, g): (usize, &IncomingCall)| {
            let open =
                matches!(g.origin, Origin::Direct) && matches!(g.state, CallStage::Open { .. });
            if !open || g.requester.as_ref() != Some(to) {
                return None;
            }
            let answer = legacy_answer(&g.row, &wire, data, Some(&g.values))?;
            let matched = compare(&answer.shape.repeats.legacy, data, &g.values);
            Some(((at, answer.ends), matched))
        };
        let Some((at, ends)) = choose(self.calls.incoming.iter().enumerate().filter_map(fitting))
        else {
            self.end_unanswered(&wire, data, |call, _| call.requester.as_ref() == Some(to));
            return None;
        };
        if let Some(call) = self.calls.incoming.get_mut(at) {
            call.answers += 1;
        }
        ends.then(|| self.end_incoming(at, now)).flatten()
    }

    /// The first call that nothing waits for, that a message answers and that `fits`, is over if that is its
    /// last answer, or if nobody can tell which is.
    pub(super) fn end_unanswered(
        &mut self,
        wire: &Wire,
        data: &Object<'_>,
        fits: impl Fn(&IncomingCall, Match) -> bool,
    ) {
        let fitting = |(at, call): (usize, &IncomingCall)| {
            let answer = legacy_answer(&call.row, wire, data, Some(&call.values))?;
            let matched = compare(&answer.shape.repeats.legacy, data, &call.values);
            let over = answer.ends || ends_by_time(&call.row);
            fits(call, matched).then_some(((at, over), matched))
        };
        if let Some((at, true)) =
            choose(self.calls.unanswered().iter().enumerate().filter_map(fitting))
        {
            self.calls.forget_unanswered(at);
        }
    }

    /// The domain has gone: who is still a legacy domain is told of its unanswered commands. They have been
    /// counted as written.
    pub(super) fn tell_unanswered(&mut self, now: Now) {
        for call in self.calls.take_unanswered() {
            let from = call.name();
            if from == *self.name() || !self.rules.is_legacy(&from) {
                continue;
            }
            let (reason, detail) = (Reason::Expired, went_away(&call));
            let detail = of(&call.row.name, &detail).into_owned();
            let told = of(&call.row.legacy, &detail).into_owned();
            let refusal =
                Refusal { reason, from: from.clone(), detail: brief(detail), head: call.head };
            self.actions.push(Action::Refused(refusal));
            self.tell_legacy(&from, reason, &told, now);
        }
    }
}

fn without_end(line: &Bytes) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
