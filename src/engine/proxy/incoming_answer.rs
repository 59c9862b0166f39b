//! Answers from a legacy server, to requesters on MQTT.

use super::call::{CallStage, IncomingCall, Origin, RecentCall};
use super::line::Read;
use super::matching::{Match, choose, compare, legacy_answer};
use super::outgoing::reason_of;
use super::{Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::json::{self, Object};
use crate::engine::mapping::shape::{Side, Values};
use crate::engine::mapping::{Answer, Command, Wire};
use crate::engine::name::DomainName;
use crate::engine::publish::Publish;
use crate::engine::refusal::{Reason, head, of};
use bytes::Bytes;
use std::sync::Arc;

/// What one answer becomes, and why it may not.
pub(super) type Translated<T> = Result<T, (Reason, String)>;

impl Proxy {
    /// A response to a domain that is not legacy here: whose call does it answer?
    pub(super) fn answer(&mut self, read: &Read<'_>, to: Option<&DomainName>, now: Now) {
        let name = read.message.name.clone();
        let calls = self.answered_calls(&name, to, read.message.body.as_object());
        // A call that began before the table may be answered as the table does not know.
        if calls.is_empty() && !self.rules.table.is_a_response(&name) {
            let detail = format!("no row maps the response {name:?}");
            let from = read.from(&self.rules);
            return self.refuse(Reason::NotMapped, detail, from, head(read.line));
        }
        // Whatever one says that speaks under another's name, it ends nobody's call.
        if calls.is_empty() || read.source.is_none() {
            self.answer_without_call(read, to, &name, now);
            // The requester of a direct call may have left, or have come over to MQTT.
            let direct = to.filter(|_| read.source.is_some());
            if let Some(handler) = direct.and_then(|to| self.end_direct(read, to, now)) {
                self.give_next(&handler, now);
            }
            return;
        }
        let mut handlers = Vec::new();
        let mut counted = false;
        for id in &calls {
            handlers.extend(self.answer_call(read, *id, &mut counted, now));
        }
        for handler in handlers {
            self.give_next(&handler, now);
        }
    }

    /// The open calls that a response answers: one, or all where each of several domains answers.
    fn answered_calls(&self, name: &str, to: Option<&DomainName>, data: &Object<'_>) -> Vec<u64> {
        let behind = self.rules.is_behind();
        let open = |g: &&IncomingCall| {
            matches!(g.origin, Origin::Mqtt(_))
                && matches!(g.state, CallStage::Open { .. })
                && to.is_some_and(|to| behind || g.is_from(to))
        };
        let wire = Wire::Response(name.to_owned());
        let fitting = |g: &IncomingCall| {
            let answer = legacy_answer(&g.row, &wire, data, Some(&g.values))?;
            let matched = compare(&answer.shape.repeats.legacy, data, &g.values);
            Some((g.id, matched, answer.one_for_each.is_some()))
        };
        let fits: Vec<_> = self.calls.incoming.iter().filter(open).filter_map(fitting).collect();
        if fits.iter().any(|f| f.2) {
            return fits.iter().filter(|f| f.1 != Match::Different).map(|f| f.0).collect();
        }
        choose(fits.iter().map(|f| (f.0, f.1))).into_iter().collect()
    }

    /// Publishes a response to one call's requester; says whose turn it is if the call has ended. The
    /// response is counted once, however many calls it answers.
    fn answer_call(
        &mut self,
        read: &Read<'_>,
        id: u64,
        counted: &mut bool,
        now: Now,
    ) -> Option<DomainName> {
        let at = self.calls.incoming_at(id)?;
        let call = self.calls.incoming.get(at)?;
        let row = &Arc::clone(&call.row);
        let wire = Wire::Response(read.message.name.clone());
        let answer = legacy_answer(row, &wire, read.message.body.as_object(), Some(&call.values))?;
        let payload = self.to_mqtt((row, answer), read, Some(&call.values), now);
        let reply = (call.reply.clone(), call.correlation.clone());
        let publish = payload.and_then(|payload| {
            let publish = self.response_publish(row, reply, payload, read);
            let full = || (Reason::StoreFull, "too much waits for the broker".into());
            self.has_room_for(&publish).then_some(publish).ok_or_else(full)
        });
        let publish = match publish {
            Ok(publish) => publish,
            Err((reason, detail)) => {
                if !std::mem::replace(counted, true) {
                    let detail = of(&row.name, &detail);
                    self.refuse(reason, &*detail, read.from(&self.rules), head(read.line));
                }
                if !answer.ends {
                    return None;
                }
                let call = self.calls.incoming.remove(at)?;
                self.give_up(&call, reason, &detail, now);
                return Some(call.handler);
            }
        };
        self.publish_answer(row, publish, !std::mem::replace(counted, true), read);
        if let Some(call) = self.calls.incoming.get_mut(at) {
            call.answers += 1;
        }
        answer.ends.then(|| self.end_incoming(at, now)).flatten()
    }

    fn publish_answer(&mut self, row: &Command, publish: Publish, counted: bool, read: &Read<'_>) {
        let (head, from) = (head(read.line), read.from(&self.rules));
        let row = Some(Arc::clone(&row.name));
        let sent = Sent { row, call: None, counted, to: None, head, from, again: None };
        self.publish(publish, sent);
    }

    fn response_publish(
        &mut self,
        row: &Command,
        (topic, correlation): (String, Option<Bytes>),
        payload: Vec<u8>,
        read: &Read<'_>,
    ) -> Publish {
        Publish {
            correlation,
            source: read.source.clone(),
            ..Publish::new(self.calls.token(), topic, payload, row.qos)
        }
    }

    /// Ends an answered call to this domain; says which handler is free.
    pub(super) fn end_incoming(&mut self, at: usize, now: Now) -> Option<DomainName> {
        let call = self.calls.incoming.remove(at)?;
        self.answered(call.since(), now);
        let handler = call.handler.clone();
        let limits = &self.rules.limits;
        let until = now.monotonic.saturating_add(limits.remember);
        self.calls.remember(RecentCall::of_incoming(call, until), limits);
        Some(handler)
    }

    /// What a response is on MQTT: what its row makes of it, with what older dialects' rows of its topic do,
    /// for nothing says whose requester waits.
    fn to_mqtt(
        &self,
        (row, answer): (&Command, &Answer),
        read: &Read<'_>,
        request: Option<&Values>,
        now: Now,
    ) -> Translated<Vec<u8>> {
        let body = &read.message.body;
        let context = self.rules.context(now, &read.message.source, request);
        let mut payload = Vec::with_capacity(body.text.len() + 64);
        let done = answer.shape.translate(Side::Legacy, body, &context, &mut payload);
        done.map_err(reason_of)?;
        for row in self.rules.table.kin(row) {
            let data = body.as_object();
            let Some(more) = legacy_answer(row, &answer.wire, data, request) else { continue };
            let mut other = Vec::new();
            let made = more.shape.translate(Side::Legacy, body, &context, &mut other).is_ok();
            if made && more.one_for_each == answer.one_for_each {
                json::merge(&mut payload, &other);
            }
        }
        let Some(list) = &answer.one_for_each else { return Ok(payload) };
        let mut whole = vec![b'{'];
        json::push_string(&mut whole, list);
        whole.extend_from_slice(b":[");
        whole.append(&mut payload);
        whole.extend_from_slice(b"]}");
        Ok(whole)
    }

    /// No call waits for it: it is delivered all the same if it needs nothing from one.
    fn answer_without_call(
        &mut self,
        read: &Read<'_>,
        to: Option<&DomainName>,
        name: &str,
        now: Now,
    ) {
        let refuse = |this: &mut Self, reason, detail: String| {
            this.refuse_read(read, reason, &detail);
        };
        let data = read.message.body.as_object();
        let table = Arc::clone(&self.rules.table);
        let wire = Wire::Response(name.to_owned());
        let dialect = to.map_or(table.default_dialect(), |to| table.dialect_of(to));
        let rows = table.answered_by(dialect, name);
        let found =
            rows.iter().find_map(|&row| Some((row, legacy_answer(row, &wire, data, None)?)));
        let made = match found {
            Some((row, answer)) => {
                self.to_mqtt((row, answer), read, None, now).map(|payload| (row, payload))
            }
            None if rows.is_empty() => {
                Err((Reason::NoPendingCall, format!("no call is answered by {name:?}")))
            }
            None => {
                let shown = crate::engine::mapping::value::head(read.message.body.text);
                Err((Reason::BadValue, format!("no answer {name:?} is like {shown}")))
            }
        };
        // The first fault that applies counts: what is wrong with the message itself, then with who it
        // is from and for, then that nobody waits for it.
        match made {
            Err((reason, detail)) if reason.is_of_the_message() => {
                return refuse(self, reason, detail);
            }
            _ if read.source.is_none() => return self.refuse_spoofed(read, now),
            _ => {}
        }
        let Some(to) = to else {
            let detail = format!("{:?} is no domain's name", read.message.destination);
            return refuse(self, Reason::BadName, detail);
        };
        let (row, payload) = match made {
            Ok(made) => made,
            Err((reason, detail)) => return refuse(self, reason, detail),
        };
        let again = |e: &RecentCall| {
            e.asked_by == Side::Mqtt
                && e.requester == *to
                && legacy_answer(&e.row, &wire, data, Some(&e.values)).is_some_and(|a| {
                    compare(&a.shape.repeats.legacy, data, &e.values) != Match::Different
                })
        };
        // Without a call it carries nothing that says which one it answers: to a requester that waits for
        // another answer of the kind it would be a wrong one.
        let waits = |g: &IncomingCall| {
            matches!(g.origin, Origin::Mqtt(_)) && g.is_from(to) && g.row.root == row.root
        };
        if row.can_mix_up() && self.calls.incoming.iter().any(waits) {
            return refuse(
                self,
                Reason::NoPendingCall,
                "its call is over, and another waits".into(),
            );
        }
        if self.calls.recent().iter().any(again) {
            return refuse(self, Reason::NoPendingCall, "its call has been answered".into());
        }
        if let Some(detail) = self.rules.forbids_answer(&read.from(&self.rules), row, to) {
            return refuse(self, Reason::NotAllowed, detail);
        }
        let named = (*to != DomainName::anonymous()).then_some(to);
        let publish = self.response_publish(row, (row.response_topic(named), None), payload, read);
        if !self.has_room_for(&publish) {
            return refuse(self, Reason::StoreFull, "too much waits for the broker".into());
        }
        self.publish_answer(row, publish, true, read);
    }

    /// An answer between legacy domains is published too, for observers.
    pub(super) fn mirror(&mut self, read: &Read<'_>, to: &DomainName, now: Now) {
        if !self.rules.limits.mirror || read.line.len() > self.rules.limits.mirror_size {
            return;
        }
        let table = Arc::clone(&self.rules.table);
        let data = read.message.body.as_object();
        let wire = Wire::Response(read.message.name.clone());
        // Observers are the seed's: they find an answer by its requester's name.
        let dialects = 0..table.dialects().count();
        let rows = dialects.flat_map(|d| table.answered_by(d, &read.message.name));
        for row in rows.filter(|r| r.named) {
            let Some(answer) = legacy_answer(row, &wire, data, None) else { continue };
            let Ok(payload) = self.to_mqtt((row, answer), read, None, now) else { continue };
            let reply = (row.response_topic(Some(to)), None);
            let mut publish = self.response_publish(row, reply, payload, read);
            publish.mark = Some(Arc::clone(&self.rules.instance));
            publish.expiry = Some(row.timeout);
            if self.has_room_for(&publish) {
                self.publish_answer(row, publish, false, read);
            }
            return;
        }
    }
}
