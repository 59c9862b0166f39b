//! A legacy domain is asked: a request from MQTT, or from another legacy domain, is written to it.

use super::ask::reason_of;
use super::asker::{Asker, named_by};
use super::calls::{Given, Origin, Pending as _, State, keep};
use super::tell::Reply;
use super::{Action, HandedOver, Proxy};
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::json::{self, Object, Value};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::scalar::all_hold;
use crate::engine::mapping::shape::Side;
use crate::engine::mapping::{Command, Topic};
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Qos, Received, Token};
use crate::engine::queue::{Delivery, Entry, Purpose};
use crate::engine::refusal::{Reason, Why, head};
use bytes::Bytes;
use std::sync::Arc;

impl Proxy {
    /// A message from the session: a request or a response, by its topic.
    #[allow(clippy::wrong_self_convention, reason = "where it comes from, not what it becomes")]
    pub(super) fn from_mqtt(&mut self, message: Received, delivery: Delivery, now: Now) {
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
                self.ignore(Why::NotSubscribed, &message.source);
                self.actions.push(Action::Acknowledge(delivery));
            }
        }
    }

    fn request(&mut self, message: Received, root: &str, suffix: Option<&str>, now: Now) {
        let bytes = message.payload.clone();
        let body = self.readable(&bytes);
        let payload = body.as_ref().map_or(const { &Object::empty() }, Value::as_object);
        let table = Arc::clone(&self.table);
        let (names, topic) = (self.policy.names, (root, suffix));
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
        let Some(handler) = self.handles(row, payload) else {
            return self.ignore(Why::OtherHandler, &message.source);
        };
        if self.is_own_request(message.correlation.as_ref()) {
            return self.own_request(row, &message, now);
        }
        if message.dup && self.knows_request(row, &message) {
            return self.ignore(Why::Repeat, &message.source);
        }
        let asker = named_by(&message, topic, payload, table.requester_member(row), names);
        let head_of = head(&message.payload);
        if self.is_pending(row, &message, &asker.reply, &head_of) {
            return self.ignore(Why::Repeat, &message.source);
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
        let allow = |()| match self.forbids_request(&asker.known(), row, &handler) {
            Some(detail) => Err((Reason::NotAllowed, detail)),
            None => Ok(()),
        };
        let admitted = line.and_then(|l| self.admit(&asker, &message).and_then(allow).map(|()| l));
        let line = match admitted {
            Ok(line) => line,
            Err((reason, detail)) => {
                self.refuse(reason, detail, asker.known(), head_of);
                let reply = Reply { values: Some(&values), ..reply };
                // An answer to a name that is not the requester's would be taken for another call's.
                if asker.fault.is_none() && !self.is_spoofed(&asker) {
                    self.tell_mqtt(row, &reply, now);
                }
                return;
            }
        };
        let call = Given {
            id: self.number(),
            row: Arc::clone(row),
            requester: asker.name,
            handler,
            reply: asker.reply,
            correlation: message.correlation.clone(),
            origin: Origin::Mqtt(Some(Box::new(message))),
            values,
            state: State::Held(line),
            answers: 0,
            head: head_of,
        };
        self.take_call(call, now);
    }

    /// Whether a request that the broker sends again has been taken in already.
    fn knows_request(&self, row: &Command, message: &Received) -> bool {
        let same = |c: &Option<Bytes>| c.is_some() && *c == message.correlation;
        self.given.iter().any(|g| g.row.is(row) && same(&g.correlation))
            || self.ended.iter().any(|e| e.row.is(row) && same(&e.correlation))
    }

    /// Whether the same request, by its correlation data and all that it says first, is pending: a session
    /// that the domain's own program had before may have subscriptions that overlap with the proxy's, and
    /// then the broker sends it once for each.
    fn is_pending(&self, row: &Command, message: &Received, reply: &str, head: &str) -> bool {
        let same = |c: &Option<Bytes>| c.is_some() && *c == message.correlation;
        let twin = |g: &Given| same(&g.correlation) && g.reply == reply && g.head == head;
        self.given.iter().any(|g| twin(g) && g.row.is(row))
    }

    /// The domain that carries it out, if that is behind this channel.
    fn handles(&self, row: &Command, payload: &Object<'_>) -> Option<DomainName> {
        let rule = row.handlers.iter().find(|h| all_hold(&h.when, |m| payload.get(m)))?;
        match (&self.identity, &rule.domain) {
            (Identity::Domain(own), None) => Some(own.clone()),
            (Identity::Domain(own), Some(domain)) => (own == domain).then(|| own.clone()),
            (Identity::Behind { .. }, None) => Some(DomainName::everyone()),
            (Identity::Behind { .. }, Some(domain)) => Some(domain.clone()),
        }
    }

    fn request_line(
        &self,
        row: &Command,
        body: &Value<'_>,
        asker: &Asker,
        handler: &DomainName,
        now: Now,
    ) -> Result<Bytes, (Reason, String)> {
        let source = match &self.identity {
            Identity::Domain(_) => asker.known(),
            Identity::Behind { own, .. } => own.clone(),
        };
        let (from, to) = (source.as_str(), handler.as_str());
        let mut line = legacy::begin(Kind::Command, from, to, &row.legacy, body.text.len());
        let context = self.context(now, from, None);
        let done = row.request.translate(Side::Mqtt, body, &context, &mut line);
        done.map_err(reason_of)?;
        self.fits(legacy::end(line))
    }

    /// A payload from MQTT, if it is JSON and may become a line.
    pub(super) fn readable<'p>(&self, payload: &'p [u8]) -> Result<Value<'p>, (Reason, String)> {
        self.limits.may_be_a_line(payload)?;
        json::read(payload, self.limits.depth).map_err(|e| (Reason::NotJson, e.to_string()))
    }

    /// A line that is not over the limit.
    pub(super) fn fits(&self, line: Bytes) -> Result<Bytes, (Reason, String)> {
        if line.len() > self.limits.line {
            let detail = format!("it makes a line of more than {} bytes", self.limits.line);
            return Err((Reason::LineTooLong, detail));
        }
        Ok(line)
    }

    /// Whether a requester calls itself by a name that is not to be had on MQTT.
    fn is_spoofed(&self, asker: &Asker) -> bool {
        let taken = |n: &DomainName| {
            (n.meaning().is_some() && *n != DomainName::anonymous()) || self.is_elsewhere(n)
        };
        asker.name.as_ref().is_some_and(taken)
    }

    /// Whether a well-made request may be given to the domain.
    fn admit(&self, asker: &Asker, message: &Received) -> Result<(), (Reason, String)> {
        if self.is_spoofed(asker) {
            let detail = format!("a requester on MQTT may not call itself {}", asker.known());
            return Err((Reason::SpoofedSource, detail));
        }
        if let Some(fault) = &asker.fault {
            return Err(fault.clone());
        }
        if self.given.len() >= self.limits.calls {
            return Err((Reason::DomainStuck, format!("{} calls are pending", self.given.len())));
        }
        if message.retain {
            return Err((Reason::RetainedRequest, "a request is never retained".into()));
        }
        Ok(())
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

    /// Takes a call in: it is written at once, or waits until its handler is free.
    pub(super) fn take_call(&mut self, call: Given, now: Now) {
        let handler = call.handler.clone();
        let busy = self.has_to_wait(&call, self.given.len());
        if !self.may_take(&call) || (busy && !self.may_hold(&call)) {
            let detail = format!("too much waits for {handler}");
            return self.give_up(&call, Reason::DomainStuck, &detail, now);
        }
        self.given.push(call);
        if !busy {
            self.write_call(self.given.len() - 1, now);
        }
    }

    /// Whether one more call may be pending. A request is kept as it came until it is written, and may
    /// be longer than its line by a third.
    fn may_take(&self, call: &Given) -> bool {
        let taken = self.given.size();
        let limit = self.limits.queue.saturating_mul(2);
        let fits = taken == 0 || taken.saturating_add(call.size()) <= limit;
        fits && !self.is_over_level(call.size())
    }

    /// Whether one more line may wait for its handler: what waits has the limit of a queue.
    fn may_hold(&self, call: &Given) -> bool {
        let size = |g: &Given| match &g.state {
            State::Held(line) => line.len(),
            _ => 0,
        };
        let held: usize = self.given.iter().map(size).sum();
        held == 0 || held + size(call) <= self.limits.queue
    }

    /// Whether a call waits for those before it, of which there are `before`: for its handler, or for an
    /// answer to the same requester, if nothing would tell the two answers apart.
    fn has_to_wait(&self, call: &Given, before: usize) -> bool {
        let mixed_up = call.row.one_at_a_time
            && call.correlation.is_none()
            && matches!(call.origin, Origin::Mqtt(_));
        let same = |g: &Given| g.row.is(&call.row) && g.requester == call.requester;
        (call.row.exclusive && self.is_busy(&call.handler))
            || (mixed_up && self.given.iter().take(before).any(same))
    }

    fn is_busy(&self, handler: &DomainName) -> bool {
        let taken = |g: &Given| g.handler == *handler && !matches!(g.state, State::Held(_));
        self.given.iter().any(|g| taken(g) && g.row.exclusive)
    }

    fn write_call(&mut self, at: usize, now: Now) {
        let change = |call: &mut Given| {
            (Purpose::Call(call.id), std::mem::replace(&mut call.state, State::Queued))
        };
        let Some((purpose, State::Held(line))) = self.given.change(at, change) else { return };
        if self.enqueue(Entry { line, purpose, delivery: None }, now).is_err() {
            let Some(call) = self.given.remove(at) else { return };
            let handler = call.handler.clone();
            let detail = format!("{handler} does not read what is written to it");
            self.give_up(&call, Reason::DomainStuck, &detail, now);
            self.give_next(&handler, now);
        }
    }

    /// A handler has answered, or never will: those that waited for that are written.
    pub(super) fn give_next(&mut self, handler: &DomainName, now: Now) {
        let may_go = |this: &Self, at: usize, g: &Given| {
            matches!(g.state, State::Held(_)) && g.handler == *handler && !this.has_to_wait(g, at)
        };
        while let Some(at) = self.given.iter().enumerate().position(|(at, g)| may_go(self, at, g)) {
            self.write_call(at, now);
        }
    }

    /// A call's line has been written: from now on the handler's silence counts.
    pub(super) fn call_written(&mut self, id: u64, now: Now) {
        let since = now.monotonic;
        let Some(at) = self.given.iter().position(|g| g.id == id) else { return };
        let Some(call) = self.given.get(at) else { return };
        if !call.row.is_answered_on_legacy() {
            let Some(call) = self.given.remove(at) else { return };
            self.counters.delivered += 1;
            return self.give_next(&call.handler, now);
        }
        let deadline = since.saturating_add(call.row.timeout);
        self.given.change(at, |call| {
            call.state = State::Open { since, deadline };
            if let Origin::Mqtt(message) = &mut call.origin {
                *message = None;
            }
        });
        self.expect_until(deadline);
    }

    /// Gives a call that was never written to whoever handles it on MQTT now, as it came.
    pub(super) fn hand_over(&mut self, mut call: Given, now: Now) -> Option<Given> {
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
        let (from, to) = (call.name(), call.handler);
        let call = HandedOver { request, failure, from, to };
        self.actions.push(Action::HandOver(Box::new(call)));
        None
    }
}
