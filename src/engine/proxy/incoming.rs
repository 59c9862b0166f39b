//! A legacy domain is asked: a request from MQTT, or from another legacy domain, is written to it.

use super::asker::{Asker, named_by};
use super::call::{CallStage, IncomingCall, Origin, Pending as _};
use super::matching::keep;
use super::outgoing::reason_of;
use super::tell::Reply;
use super::{Action, HandedOver, Proxy};
use crate::engine::clock::Now;
use crate::engine::json::{Object, Value};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::shape::Side;
use crate::engine::mapping::{Command, Topic};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Qos, Received, Token};
use crate::engine::queue::{DeliveryId, Purpose, QueuedLine};
use crate::engine::refusal::{IgnoreReason, Reason, head, of};
use bytes::Bytes;
use std::sync::Arc;

impl Proxy {
    /// A message from the session: a request or a response, by its topic.
    pub(super) fn take_message(&mut self, message: Received, delivery: DeliveryId, now: Now) {
        match Topic::parse(&message.topic) {
            Topic::Request(root, suffix) => {
                let (root, suffix) = (root.to_owned(), suffix.map(str::to_owned));
                self.request(message, &root, suffix.as_deref(), now);
                self.actions.push(Action::Acknowledge(delivery));
            }
            Topic::Response(root, suffix) => {
                let (root, suffix) = (root.to_owned(), suffix.map(str::to_owned));
                self.response(&message, &root, suffix.as_deref(), delivery, now);
            }
            Topic::Other => {
                self.ignore(IgnoreReason::NotSubscribed, &message.source);
                self.actions.push(Action::Acknowledge(delivery));
            }
        }
    }

    fn request(&mut self, message: Received, root: &str, suffix: Option<&str>, now: Now) {
        let bytes = message.payload.clone();
        let body = self.rules.readable(&bytes);
        let payload = body.as_ref().map_or(const { &Object::empty() }, Value::as_object);
        let table = Arc::clone(&self.rules.table);
        let (names, topic) = (self.rules.policy.names, (root, suffix));
        let guess = named_by(&message, topic, payload, None, names);
        let Some(row) = table.command_at(root, guess.name.as_ref(), payload) else {
            let (reason, detail) = match &body {
                Err(fault) => fault.clone(),
                Ok(_) if table.has_command_at(root) => {
                    (Reason::BadValue, format!("no row of {root} fits the request"))
                }
                Ok(_) => (Reason::NotMapped, format!("no row has the topic {:?}", message.topic)),
            };
            return self.refuse(reason, detail, guess.known(), head(&message.payload));
        };
        let Some(handler) = self.rules.handles(row, payload) else {
            return self.ignore(IgnoreReason::OtherHandler, &message.source);
        };
        if self.rules.is_own_request(message.correlation.as_ref()) {
            return self.own_request(row, &message, now);
        }
        if message.dup && self.calls.knows_request(row, &message) {
            return self.ignore(IgnoreReason::Repeat, &message.source);
        }
        let asker = named_by(&message, topic, payload, table.requester_member(row), names);
        let head_of = head(&message.payload);
        if self.calls.is_pending(row, &message, &asker.reply, &head_of) {
            return self.ignore(IgnoreReason::Repeat, &message.source);
        }
        let reply =
            Reply { topic: &asker.reply, correlation: message.correlation.as_ref(), values: None };
        let values = keep(row, Side::Mqtt, payload);
        let line = match &body {
            Err(fault) => Err(fault.clone()),
            Ok(Value { object: Err(error), .. }) => {
                Err((Reason::BadValue, format!("the payload is {error}")))
            }
            Ok(body) => self.request_line(row, body, &asker, &handler, now),
        };
        let allow = |()| match self.rules.forbids_request(&asker.known(), row, &handler) {
            Some(detail) => Err((Reason::NotAllowed, detail)),
            None => Ok(()),
        };
        let admitted = line.and_then(|l| self.admit(&asker, &message).and_then(allow).map(|()| l));
        let line = match admitted {
            Ok(line) => line,
            Err((reason, detail)) => {
                self.refuse(reason, of(&row.name, &detail), asker.known(), head_of);
                let reply = Reply { values: Some(&values), ..reply };
                // An answer to a name that is not the requester's would be taken for another call's.
                if asker.fault.is_none() && !self.rules.is_spoofed(&asker) {
                    self.tell_mqtt(row, &reply, now);
                }
                return;
            }
        };
        let call = IncomingCall {
            id: self.calls.number(),
            row: Arc::clone(row),
            requester: asker.name,
            handler,
            reply: asker.reply,
            correlation: message.correlation.clone(),
            origin: Origin::Mqtt(Some(Box::new(message))),
            values,
            state: CallStage::Held(line),
            answers: 0,
            head: head_of,
        };
        self.take_call(call, now);
    }

    fn request_line(
        &self,
        row: &Command,
        body: &Value<'_>,
        asker: &Asker,
        handler: &DomainName,
        now: Now,
    ) -> Result<Bytes, (Reason, String)> {
        let source = self.rules.asks_as(asker);
        let (from, to) = (source.as_str(), handler.as_str());
        let mut line = legacy::begin(Kind::Command, from, to, &row.legacy, body.text.len());
        let context = self.rules.context(now, from, None);
        let done = row.request.translate(Side::Mqtt, body, &context, &mut line);
        done.map_err(reason_of)?;
        self.rules.fits(legacy::end(line))
    }

    /// Whether a well-made request may be given to the domain.
    fn admit(&self, asker: &Asker, message: &Received) -> Result<(), (Reason, String)> {
        if self.rules.is_spoofed(asker) {
            let detail = format!("a requester on MQTT may not call itself {}", asker.known());
            return Err((Reason::SpoofedSource, detail));
        }
        if let Some(fault) = &asker.fault {
            return Err(fault.clone());
        }
        self.may_call(asker.name.as_ref())?;
        if message.retain {
            return Err((Reason::RetainedRequest, "a request is never retained".into()));
        }
        Ok(())
    }

    /// Takes a call in: it is written at once, or waits until its handler is free.
    pub(super) fn take_call(&mut self, call: IncomingCall, now: Now) {
        let handler = call.handler.clone();
        let busy = self.calls.has_to_wait(&call, self.calls.incoming.len());
        if !self.may_take(&call) || (busy && !self.may_hold(&call)) {
            let detail = format!("too much waits for {handler}");
            return self.give_up(&call, Reason::DomainStuck, &detail, now);
        }
        self.calls.incoming.push(call);
        if !busy {
            self.write_call(self.calls.incoming.len() - 1, now);
        }
    }

    /// Whether a requester may have one more call pending: it has no more of them than there is room left for
    /// others, so that whoever comes finds some.
    pub(super) fn may_call(&self, requester: Option<&DomainName>) -> Result<(), (Reason, String)> {
        let pending = self.calls.incoming.len();
        let is_own = |call: &&IncomingCall| call.requester.as_ref() == requester;
        let own = || self.calls.incoming.iter().filter(is_own).count();
        match leaves_room(self.rules.limits.calls, (pending, 1), own) {
            true => Ok(()),
            false => Err((Reason::DomainStuck, format!("{pending} calls are pending"))),
        }
    }

    /// Whether one more call may be remembered, by the same rule. A request is kept as it came until it is
    /// written, and may be longer than its line by a third.
    fn may_take(&self, call: &IncomingCall) -> bool {
        let (taken, limit) =
            (self.calls.incoming.size(), self.rules.limits.queue.saturating_mul(2));
        let own = || self.of_requester(call).map(IncomingCall::size).sum();
        let fits = taken == 0 || leaves_room(limit, (taken, call.size()), own);
        fits && !self.is_over_level(call.size())
    }

    /// Whether one more line may wait for its handler, by the same rule: what waits has the limit of a queue.
    fn may_hold(&self, call: &IncomingCall) -> bool {
        let waiting = self.calls.waiting();
        let own = || self.of_requester(call).map(IncomingCall::waiting).sum();
        waiting == 0 || leaves_room(self.rules.limits.queue, (waiting, call.waiting()), own)
    }

    /// The pending calls of a call's requester.
    fn of_requester<'c>(
        &'c self,
        call: &'c IncomingCall,
    ) -> impl Iterator<Item = &'c IncomingCall> {
        self.calls.incoming.iter().filter(|other| other.requester == call.requester)
    }

    fn write_call(&mut self, at: usize, now: Now) {
        let change = |call: &mut IncomingCall| {
            (Purpose::Call(call.id), std::mem::replace(&mut call.state, CallStage::Queued))
        };
        let Some((purpose, CallStage::Held(line))) = self.calls.incoming.change(at, change) else {
            return;
        };
        if self.enqueue(QueuedLine { line, purpose, delivery: None }, now).is_err() {
            let Some(call) = self.calls.incoming.remove(at) else { return };
            let handler = call.handler.clone();
            let detail = format!("{handler} does not read what is written to it");
            self.give_up(&call, Reason::DomainStuck, &detail, now);
            self.give_next(&handler, now);
        }
    }

    /// A handler has answered, or never will: those that waited for that are written.
    pub(super) fn give_next(&mut self, handler: &DomainName, now: Now) {
        while let Some(at) = self.calls.next_for(handler) {
            self.write_call(at, now);
        }
    }

    /// A call's line has been written: from now on the handler's silence counts.
    pub(super) fn call_written(&mut self, id: u64, now: Now) {
        let since = now.monotonic;
        let Some(at) = self.calls.incoming_at(id) else { return };
        let Some(call) = self.calls.incoming.get(at) else { return };
        if !call.row.is_answered_on_legacy() {
            let Some(call) = self.calls.incoming.remove(at) else { return };
            self.counters.delivered += 1;
            return self.give_next(&call.handler, now);
        }
        let deadline = since.saturating_add(call.row.timeout);
        self.calls.incoming.change(at, |call| {
            call.state = CallStage::Open { since, deadline };
            if let Origin::Mqtt(message) = &mut call.origin {
                *message = None;
            }
        });
        self.calls.expect_until(deadline);
    }

    /// Gives a call that was never written to whoever handles it on MQTT now, as it came.
    pub(super) fn hand_over(&mut self, mut call: IncomingCall, now: Now) -> Option<IncomingCall> {
        // What is every domain's the others have had already, and would carry out once more.
        if call.row.handlers.iter().any(|h| h.domain.is_none()) {
            return Some(call);
        }
        let row = Arc::clone(&call.row);
        let Origin::Mqtt(message) = &mut call.origin else { return Some(call) };
        let Some(message) = message.take() else { return Some(call) };
        let failure = self.failure_of(&call, &row, now);
        let request = Publish {
            response_topic: message.response_topic,
            correlation: message.correlation,
            source: message.source.and_then(|s| DomainName::parse(&s).ok()),
            expiry: Some(row.timeout),
            ..Publish::new(Token(0), message.topic, message.payload, Qos::AtLeastOnce)
        };
        let (from, to, row) = (call.name(), call.handler, Arc::clone(&row.name));
        let call = HandedOver { row, request, failure, from, to };
        self.actions.push(Action::HandOver(Box::new(call)));
        None
    }
}

/// Whether `more` finds room beside what is taken, and who has `own` of that has no more than what is left. It
/// need not be asked while less than half is taken: the sum takes longer than the rest of a request.
fn leaves_room(limit: usize, (taken, more): (usize, usize), own: impl Fn() -> usize) -> bool {
    let left = limit.saturating_sub(taken);
    more <= left && (taken <= left || own() <= left)
}
