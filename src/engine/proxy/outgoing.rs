//! A legacy domain asks: its command is published, and waits for its answer.

use super::call::{OutgoingCall, RecentCall};
use super::line::{Read, Route};
use super::matching::keep;
use super::{Proxy, Sent, own};
use crate::engine::clock::Now;
use crate::engine::json::{self, Object};
use crate::engine::limits::weight;
use crate::engine::mapping::Command;
use crate::engine::mapping::scalar::all_hold;
use crate::engine::mapping::shape::{Fault, Side};
use crate::engine::name::DomainName;
use crate::engine::publish::Publish;
use crate::engine::refusal::{Reason, head};
use std::sync::Arc;

/// What a fault in a body is called.
pub(in crate::engine) fn reason_of(fault: Fault) -> (Reason, String) {
    match fault {
        Fault::Missing(what) => (Reason::MissingArgument, what),
        Fault::Bad(why) => (Reason::BadValue, why),
        Fault::NeedsCall => (Reason::NoPendingCall, "it answers no pending call".into()),
    }
}

/// A request, ready to go.
struct Request {
    row: Arc<Command>,
    payload: Vec<u8>,
}

impl Proxy {
    /// A command that goes to MQTT: the first fault that applies counts.
    pub(super) fn ask(&mut self, read: &Read<'_>, route: &Route, now: Now) {
        let requests = match self.requests(read, route, now) {
            Ok(requests) => requests,
            Err((reason, detail)) if *route == Route::Everyone && reason == Reason::NotMapped => {
                let nobody = self.rules.is_behind();
                if nobody {
                    self.refuse_request(read, reason, &detail, now);
                } else {
                    self.counters.delivered += 1;
                }
                return;
            }
            Err((reason, detail)) => return self.refuse_request(read, reason, &detail, now),
        };
        let Some(requester) = read.source.clone() else { return self.refuse_spoofed(read, now) };
        let to = match route {
            Route::Mqtt(None) => {
                let detail = format!("{:?} is no domain's name", read.message.destination);
                return self.refuse_request(read, Reason::BadName, &detail, now);
            }
            Route::Mqtt(Some(to)) if self.rules.is_behind() && self.rules.is_legacy(to) => {
                let detail = format!("{to} is not here");
                return self.refuse_request(read, Reason::NoSuchDomain, &detail, now);
            }
            Route::Mqtt(Some(to)) | Route::Direct(to) => Some(to),
            Route::Everyone => None,
        };
        let arguments = read.message.body.as_object();
        if let Some(detail) = requests.iter().find_map(|r| self.lists.fault(&r.row, arguments)) {
            return self.refuse_request(read, Reason::BadValue, &detail, now);
        }
        if self.calls.outgoing.len() >= self.rules.limits.calls {
            let detail = format!("{} calls are pending", self.calls.outgoing.len());
            return self.refuse_request(read, Reason::DomainStuck, &detail, now);
        }
        if self.calls.outgoing.size() > self.rules.limits.outbox {
            let detail = "the calls that are pending have too much to remember";
            return self.refuse_request(read, Reason::DomainStuck, detail, now);
        }
        if let Some(detail) = self.forbids_requests(&requests, &requester, to) {
            return self.refuse_request(read, Reason::NotAllowed, &detail, now);
        }
        let size: usize = requests.iter().map(|r| r.payload.len()).sum();
        let held = self
            .calls
            .outgoing
            .iter()
            .filter_map(|a| a.held.as_ref())
            .map(|p| weight(p.size(), self.rules.limits.outbox));
        let waiting = held.fold(0, usize::saturating_add);
        if !self.has_room_beside(waiting, size) && !self.store_has_room(size, true) {
            let detail = "too much waits for the broker";
            return self.refuse_request(read, Reason::StoreFull, detail, now);
        }
        for (i, request) in requests.into_iter().enumerate() {
            self.send_request(read, request, &requester, to, i > 0, now);
        }
    }

    /// What is wrong with a command by the mapping.
    pub(super) fn request_fault(
        &self,
        read: &Read<'_>,
        route: &Route,
        now: Now,
    ) -> Option<(Reason, String)> {
        self.requests(read, route, now).err()
    }

    /// Why requests may not be published. Who carries them out is the row's handler, whomever they are
    /// addressed to: both have to be allowed.
    fn forbids_requests(
        &self,
        requests: &[Request],
        from: &DomainName,
        to: Option<&DomainName>,
    ) -> Option<String> {
        let everyone = DomainName::everyone();
        let to = to.unwrap_or(&everyone);
        requests.iter().find_map(|Request { row, payload }| {
            let handler = || handler(row, payload).filter(|handler| handler != to);
            let by_handler = || self.rules.forbids(from, row, &handler()?);
            self.rules.forbids(from, row, to).or_else(by_handler)
        })
    }

    pub(super) fn refuse_request(
        &mut self,
        read: &Read<'_>,
        reason: Reason,
        detail: &str,
        now: Now,
    ) {
        let told = self.rules.told(&read.message, detail);
        self.refuse_read(read, reason, detail);
        self.tell_legacy(&read.from(&self.rules), reason, &told, now);
    }

    /// The command in each dialect in which it has to be said: the one of the domain that it is
    /// addressed to, or everyone's. Those that share a topic make one request.
    fn requests(
        &self,
        read: &Read<'_>,
        route: &Route,
        now: Now,
    ) -> Result<Vec<Request>, (Reason, String)> {
        let dialects = match route {
            Route::Mqtt(Some(to)) | Route::Direct(to) => vec![self.rules.table.dialect_of(to)],
            Route::Mqtt(None) => vec![self.rules.table.default_dialect()],
            Route::Everyone => self.rules.table.dialects_in_use(),
        };
        let message = &read.message;
        let mut requests: Vec<Request> = Vec::new();
        for dialect in dialects {
            let Some(row) =
                self.rules.table.command_named(dialect, &message.name, message.body.as_object())
            else {
                continue;
            };
            if let Err(error) = &message.body.object {
                return Err((Reason::BadValue, format!("the arguments are {error}")));
            }
            let source = read.source.clone().unwrap_or_else(DomainName::anonymous);
            let context = self.rules.context(now, source.as_str(), None);
            let mut payload = Vec::with_capacity(message.body.text.len() + 64);
            let done = row.request.translate(Side::Legacy, &message.body, &context, &mut payload);
            done.map_err(reason_of)?;
            match requests.iter_mut().find(|r| r.row.root == row.root) {
                Some(one) => json::merge(&mut one.payload, &payload),
                None => requests.push(Request { row: Arc::clone(row), payload }),
            }
        }
        if requests.is_empty() {
            let name = &message.name;
            return Err((Reason::NotMapped, format!("no row maps the command {name:?}")));
        }
        Ok(requests)
    }

    fn send_request(
        &mut self,
        read: &Read<'_>,
        request: Request,
        requester: &DomainName,
        to: Option<&DomainName>,
        extra: bool,
        now: Now,
    ) {
        let row = request.row;
        let token = self.calls.token();
        let correlation = own::correlation(&self.rules.nonce, self.name(), token.0, to);
        let handler = handler(&row, &request.payload).or_else(|| to.cloned());
        let publish = Publish {
            response_topic: Some(row.response_topic(row.named.then_some(requester))),
            correlation: Some(correlation.clone()),
            source: Some(requester.clone()),
            mark: (to.is_none() && !self.rules.is_behind())
                .then(|| Arc::clone(&self.rules.instance)),
            expiry: Some(row.timeout),
            ..Publish::new(token, row.request_topic(), request.payload, row.qos)
        };
        if !row.is_answered_on_mqtt() {
            return self.send_unanswered((&row, publish), read, requester, to, extra, now);
        }
        let values = keep(&row, Side::Legacy, read.message.body.as_object());
        let before = self.calls.outgoing.len();
        let waits = self.calls.waits_for_another((&row, requester), &values, before);
        let call = OutgoingCall {
            id: token.0,
            requester: requester.clone(),
            handler: handler.unwrap_or_else(DomainName::dom0),
            values,
            correlation,
            token,
            held: None,
            deadline: now.monotonic.saturating_add(row.timeout),
            answers: 0,
            announced: false,
            extra,
            to: to.cloned(),
            head: head(read.line),
            row,
        };
        self.calls.expect_until(call.deadline);
        self.calls.outgoing.push(call);
        if waits {
            self.hold(publish);
        } else {
            self.publish_call(publish, token.0, to.cloned(), now);
        }
    }

    fn publish_call(&mut self, publish: Publish, id: u64, to: Option<DomainName>, now: Now) {
        let again = self.kept(&publish, to.as_ref(), now);
        let sent = Sent {
            // The call has it.
            row: None,
            again,
            call: Some(id),
            counted: false,
            to,
            head: String::new(),
            from: self.name().clone(),
        };
        self.publish_request(publish, sent, now);
    }

    /// A request of a row that nobody answers ends when the broker has it.
    fn send_unanswered(
        &mut self,
        (row, publish): (&Command, Publish),
        read: &Read<'_>,
        requester: &DomainName,
        to: Option<&DomainName>,
        extra: bool,
        now: Now,
    ) {
        let again = self.kept(&publish, to, now);
        let sent = Sent {
            row: Some(Arc::clone(&row.name)),
            again,
            call: None,
            counted: !extra,
            to: to.cloned(),
            head: head(read.line),
            from: requester.clone(),
        };
        self.publish_request(publish, sent, now);
    }

    /// The next calls of a row whose calls go out one at a time.
    pub(super) fn ask_next(&mut self, row: &Command, requester: &DomainName, now: Now) {
        while let Some(at) = self.calls.next_of(row, requester) {
            let Some(call) = self.calls.outgoing.get_mut(at) else { return };
            let Some(publish) = call.held.take() else { return };
            let deadline = now.monotonic.saturating_add(call.row.timeout);
            call.deadline = deadline;
            let (id, to) = (call.id, call.to.clone());
            self.calls.expect_until(deadline);
            self.publish_call(publish, id, to, now);
        }
    }

    /// An answered call is remembered, so that one more answer is known for what it is.
    pub(super) fn end_outgoing(&mut self, at: usize, now: Now) {
        let Some(call) = self.withdraw_outgoing(at) else { return };
        let since = Some(call.deadline.saturating_sub(call.row.timeout));
        match call.extra {
            true => self.calls.answered_since = since,
            false => self.answered(since, now),
        }
        self.remember_outgoing(call, true, now);
    }

    /// One that has ended goes on to be known. The next of its row goes out.
    pub(super) fn remember_outgoing(&mut self, call: OutgoingCall, is_answered: bool, now: Now) {
        let limits = &self.rules.limits;
        let until = now.monotonic.saturating_add(limits.remember);
        let (row, requester) = (Arc::clone(&call.row), call.requester.clone());
        if is_answered || row.can_mix_up() {
            self.calls.remember(RecentCall::of_outgoing(call, is_answered, until), limits);
        }
        self.ask_next(&row, &requester, now);
    }
}

/// The domain that carries out a request, by the row.
pub(super) fn handler(row: &Command, payload: &[u8]) -> Option<DomainName> {
    let text = std::str::from_utf8(payload).ok()?;
    let conditional = row.handlers.iter().any(|h| !h.when.is_empty());
    let object =
        if conditional { Object::parse(text).unwrap_or_default() } else { Object::default() };
    row.handlers
        .iter()
        .find(|h| all_hold(&h.when, |m| object.get(m)))
        .and_then(|h| h.domain.clone())
}
