//! How what went wrong is told: one place decides what each side sees.

use super::call::{IncomingCall, Origin, OutgoingCall};
use super::line::Read;
use super::matching::mqtt_answer;
use super::{Action, Forwarded, Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::json::{self, Value};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::Command;
use crate::engine::mapping::shape::{Shape, Side, Supplied as Source, Values};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Qos};
use crate::engine::queue::{Purpose, QueuedLine};
use crate::engine::refusal::{IgnoreReason, Reason, Refusal, brief, head, of};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// The `niveau` of an error.
const ERROR: u32 = 40;

/// How an answer gets to a requester on MQTT.
pub(super) struct Reply<'r> {
    pub topic: &'r str,
    pub correlation: Option<&'r Bytes>,
    pub values: Option<&'r Values>,
}

impl<'r> Reply<'r> {
    /// To the requester of a call.
    fn to(call: &'r IncomingCall) -> Self {
        Self {
            topic: &call.reply,
            correlation: call.correlation.as_ref(),
            values: Some(&call.values),
        }
    }
}

impl Proxy {
    /// Ends a message: it is refused.
    pub(super) fn refuse(
        &mut self,
        reason: Reason,
        detail: impl Into<String>,
        from: DomainName,
        head: String,
    ) {
        *self.counters.refused.entry(reason).or_default() += 1;
        let detail = brief(detail.into());
        self.actions.push(Action::Refused(Refusal { reason, from, detail, head }));
    }

    /// Ends a message of the channel: it is refused, and its row is named if it has one.
    pub(super) fn refuse_read(&mut self, read: &Read<'_>, reason: Reason, detail: &str) {
        let detail = self.rules.named(&read.message, detail);
        self.refuse(reason, detail, read.from(&self.rules), head(read.line));
    }

    /// Ends a message: nothing is to be done.
    pub(super) fn ignore(&mut self, why: IgnoreReason, source: &Option<String>) {
        *self.counters.ignored.entry(why).or_default() += 1;
        let from = source.as_deref().and_then(|s| DomainName::parse(s).ok());
        self.actions.push(Action::Ignored(why, from.unwrap_or_else(DomainName::anonymous)));
    }

    /// Tells a legacy requester, by an error notification, that its request came to nothing.
    pub(super) fn tell_legacy(
        &mut self,
        requester: &DomainName,
        reason: Reason,
        detail: &str,
        now: Now,
    ) {
        let message = json::string(&brief(format!("{reason}: {detail}")));
        let data =
            format!("{{\"niveau\":{ERROR},\"module\":\"passerelle\",\"message\":{message}}}");
        let source = self.rules.wire_source();
        let line = legacy::write(
            Kind::Notification,
            source.as_str(),
            requester.as_str(),
            "erreur",
            data.as_bytes(),
        );
        if self.rules.is_behind() || requester == self.name() {
            self.copy(line, now);
        } else {
            self.actions.push(Action::Pass(requester.clone(), Forwarded::Notice(line)));
        }
    }

    /// A line that nobody counts, since its message is counted elsewhere: without room it is told of, no
    /// more.
    pub(super) fn copy(&mut self, line: Bytes, now: Now) {
        if !self.is_given(&line) {
            return;
        }
        let entry = QueuedLine { line, purpose: Purpose::Notice, delivery: None };
        if let Err(entry) = self.enqueue(entry, now) {
            self.not_written(&entry.line, Reason::DomainStuck);
        }
    }

    /// A copy was not written: told of, but not counted.
    pub(super) fn not_written(&mut self, line: &[u8], reason: Reason) {
        let from = self.name().clone();
        let detail = format!("{from} has not been given what is for everyone, or for it alone");
        let head = head(line);
        self.actions.push(Action::Refused(Refusal { reason, from, detail, head }));
    }

    /// Tells a requester on MQTT that its request came to nothing, if the row has a way to say so.
    pub(super) fn tell_mqtt(&mut self, row: &Command, reply: &Reply<'_>, now: Now) {
        if let Some(payload) = self.failure(row, reply, now) {
            self.reply_to_mqtt(row, reply, payload);
        }
    }

    /// What says that a request came to nothing, in every dialect in which it may have been made.
    fn failure(&self, row: &Command, reply: &Reply<'_>, now: Now) -> Option<Vec<u8>> {
        let kin = self.rules.table.kin(row).map(|kin| &**kin);
        let mut rows = std::iter::once(row).chain(kin);
        let mut payload = rows.find_map(|row| self.failure_by(row, reply, now))?;
        for more in rows.filter_map(|row| self.failure_by(row, reply, now)) {
            json::merge(&mut payload, &more);
        }
        Some(payload)
    }

    fn failure_by(&self, row: &Command, reply: &Reply<'_>, now: Now) -> Option<Vec<u8>> {
        let failure = row.failure.as_ref()?;
        let mut shape = Shape::default();
        shape.add.mqtt.clone_from(failure);
        let mut payload = Vec::new();
        let known = reply.values.cloned().unwrap_or_default();
        shape.add.mqtt.retain(|(_, g)| match g {
            Source::Request(name) => known.iter().any(|(n, _)| n == name),
            _ => true,
        });
        let name = self.name().clone();
        let context = self.rules.context(now, name.as_str(), Some(&known));
        let made = shape.translate(Side::Legacy, &Value::parse("{}"), &context, &mut payload);
        made.ok().map(|()| payload)
    }

    /// The answer to a call, as it is published.
    pub(super) fn reply(&mut self, row: &Command, reply: &Reply<'_>, payload: Vec<u8>) -> Publish {
        Publish {
            correlation: reply.correlation.cloned(),
            source: Some(self.name().clone()),
            ..Publish::new(self.calls.token(), reply.topic.to_owned(), payload, row.qos)
        }
    }

    /// What a requester on MQTT is told if nobody takes its call.
    pub(super) fn failure_of(
        &mut self,
        call: &IncomingCall,
        row: &Command,
        now: Now,
    ) -> Option<Publish> {
        let reply = Reply::to(call);
        let payload = self.failure(row, &reply, now)?;
        Some(self.reply(row, &reply, payload))
    }

    /// Publishes an answer that nobody counts: its call is counted where it ends.
    pub(super) fn reply_to_mqtt(&mut self, row: &Command, reply: &Reply<'_>, payload: Vec<u8>) {
        let publish = self.reply(row, reply, payload);
        if !self.has_room_to_refuse(publish.size()) {
            let publish = Publish { qos: Qos::AtMostOnce, ..publish };
            return self.actions.push(Action::Tell(Box::new(publish)));
        }
        let (head, from) = (String::new(), self.name().clone());
        let row = Some(Arc::clone(&row.name));
        let sent = Sent { row, call: None, counted: false, to: None, head, from, again: None };
        self.publish(publish, sent);
    }

    /// Ends a call to this domain that came to nothing, and tells its requester.
    pub(super) fn give_up(&mut self, call: &IncomingCall, reason: Reason, detail: &str, now: Now) {
        let detail = of(&call.row.name, detail);
        self.refuse(reason, &*detail, call.name(), call.head.clone());
        match call.origin {
            Origin::Direct => {
                self.tell_legacy(&call.name(), reason, &of(&call.row.legacy, &detail), now);
            }
            Origin::Mqtt(_) => {
                self.tell_mqtt(&call.row, &Reply::to(call), now);
            }
        }
    }

    /// Ends a call of this domain's on MQTT that came to nothing, and tells its requester. A copy for
    /// another dialect is neither counted nor told of.
    pub(super) fn fail_outgoing(&mut self, at: usize, reason: Reason, detail: &str, now: Now) {
        let Some(call) = self.withdraw_outgoing(at) else { return };
        if !call.extra {
            let detail = of(&call.row.name, detail);
            self.refuse(reason, &*detail, call.requester.clone(), call.head.clone());
            self.tell_legacy(&call.requester, reason, &of(&call.row.legacy, &detail), now);
            self.answer_failure(&call, now);
        }
        self.ask_next(&call.row, &call.requester, now);
    }

    /// Gives a legacy requester what says on MQTT that its call has failed, as its answer, if the row says so.
    pub(super) fn answer_failure(&mut self, call: &OutgoingCall, now: Now) {
        if !call.row.failure_as_answer {
            return;
        }
        let reply = Reply { topic: "", correlation: None, values: Some(&call.values) };
        let Some(payload) = self.failure_by(&call.row, &reply, now) else { return };
        let body = Value::parse(std::str::from_utf8(&payload).unwrap_or_default());
        let answer = mqtt_answer(&call.row, body.as_object(), Some(&call.values));
        let behind = self.rules.is_behind();
        let source = if behind { self.rules.wire_source() } else { call.handler.clone() };
        let lines = answer.map(|answer| {
            self.lines(answer, &body, &call.requester, &source, Some(&call.values), now)
        });
        for line in lines.and_then(Result::ok).into_iter().flatten() {
            self.copy(line, now);
        }
    }

    /// A publish that came to nothing: if it was a legacy domain's request, the domain is told.
    pub(super) fn request_failed(&mut self, sent: Sent, reason: Reason, detail: &str, now: Now) {
        if let Some(id) = sent.call {
            let Some(at) = self.calls.outgoing_at(id) else { return };
            self.fail_outgoing(at, reason, detail, now);
        } else if sent.counted {
            let detail = sent.row.as_ref().map_or(Cow::Borrowed(detail), |row| of(row, detail));
            self.refuse(reason, &*detail, sent.from.clone(), sent.head.clone());
            if sent.to.is_some() {
                self.tell_legacy(&sent.from, reason, &detail, now);
            }
        }
    }
}
