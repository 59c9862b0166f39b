//! Responses from MQTT, to legacy requesters.

use super::asker::sender;
use super::call::{OutgoingCall, RecentCall};
use super::incoming_answer::Translated;
use super::matching::{Match, choose, compare, mqtt_answer};
use super::outgoing::{handler, reason_of};
use super::{Action, Proxy};
use crate::engine::clock::Now;
use crate::engine::json::{self, Object, Value};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::shape::{Fault, Side, Values};
use crate::engine::mapping::{Answer, Command, Wire};
use crate::engine::name::DomainName;
use crate::engine::publish::Received;
use crate::engine::queue::{DeliveryId, Purpose, QueuedLine};
use crate::engine::refusal::{IgnoreReason, Reason, head, of};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

impl Proxy {
    /// A response on MQTT: which of this channel's calls does it answer?
    pub(super) fn response(
        &mut self,
        message: &Received,
        root: &str,
        suffix: Option<&str>,
        delivery: DeliveryId,
        now: Now,
    ) {
        let done = Action::Acknowledge(delivery);
        let body = match self.rules.readable(&message.payload) {
            Ok(body) => body,
            Err(fault) => {
                self.bad_response(message, root, suffix, &fault, now);
                return self.actions.push(done);
            }
        };
        let payload = body.as_object();
        self.lists.answered(&self.rules.table, root, payload);
        let to = suffix.and_then(|s| DomainName::parse(s).ok());
        let Some(at) = self.answered_call(message, root, to.as_ref(), payload) else {
            self.response_without_call(message, root, to.as_ref(), &body, delivery, now);
            return;
        };
        let Some(call) = self.calls.outgoing.get(at) else { return };
        let row = Arc::clone(&call.row);
        let source = self.rules.responder(message, &row, &call.handler);
        let by = |row: &Command| {
            let answer = mqtt_answer(row, payload, Some(&call.values));
            let ends = answer.map_or_else(|| !row.has_more_answers(), |answer| answer.ends);
            let lines = match answer {
                Some(answer) => {
                    self.lines(answer, &body, &call.requester, &source, Some(&call.values), now)
                }
                None => Err((Reason::BadValue, unknown_answer(row, body.text))),
            };
            (lines, ends)
        };
        let (mut lines, mut ends) = by(&row);
        // What everyone was asked is answered in every dialect that has the topic.
        if let (Err(_), None) = (&lines, &call.to) {
            let others = self.rules.table.commands_at(root).filter(|o| o.legacy == row.legacy);
            let read = others.map(|other| by(other)).find(|(lines, _)| lines.is_ok());
            (lines, ends) = read.unwrap_or((lines, ends));
        }
        match lines {
            Ok(lines) => {
                if let Some(call) = self.calls.outgoing.get_mut(at) {
                    call.answers += 1;
                }
                self.write_answer(lines, &source, delivery, now);
                if ends {
                    self.end_outgoing(at, now);
                }
            }
            Err((reason, detail)) => {
                self.refuse(reason, of(&row.name, &detail), source, head(&message.payload));
                if ends {
                    self.fail_outgoing(at, reason, &detail, now);
                }
                self.actions.push(done);
            }
        }
    }

    /// A response that cannot even be read ends the call that its correlation data names, unless that has
    /// several answers: it may have been one before the last.
    fn bad_response(
        &mut self,
        message: &Received,
        root: &str,
        suffix: Option<&str>,
        (reason, detail): &(Reason, String),
        now: Now,
    ) {
        let row = self.rules.table.commands_at(root).next();
        let told = row.map_or(Cow::Borrowed(&**detail), |row| of(&row.name, detail));
        self.refuse(*reason, told, sender(message), head(&message.payload));
        let to = suffix.and_then(|s| DomainName::parse(s).ok());
        let named = to.is_some() || message.correlation.is_some();
        let at = self.answered_call(message, root, to.as_ref(), &Object::default());
        let is_last =
            |at: &usize| self.calls.outgoing.get(*at).is_some_and(|a| !a.row.has_more_answers());
        if let Some(at) = at.filter(|_| named).filter(is_last) {
            self.fail_outgoing(at, *reason, detail, now);
        }
    }

    /// The call that a response answers: by correlation data, else by the members that it repeats,
    /// else the oldest.
    fn answered_call(
        &self,
        message: &Received,
        root: &str,
        to: Option<&DomainName>,
        payload: &Object<'_>,
    ) -> Option<usize> {
        if let Some(correlation) = &message.correlation {
            // The last are the most likely to be answered next.
            let at = self.calls.outgoing.iter().rposition(|a| a.correlation == *correlation);
            return at.filter(|&at| self.is_root(at, root));
        }
        let open = |(at, a): (usize, &OutgoingCall)| {
            let waits =
                a.row.root == root && a.held.is_none() && to.is_none_or(|to| a.requester == *to);
            let answer = mqtt_answer(&a.row, payload, Some(&a.values));
            let repeats = answer.map_or(&[][..], |a| &a.shape.repeats.mqtt);
            waits.then(|| (at, compare(repeats, payload, &a.values)))
        };
        choose(self.calls.outgoing.iter().enumerate().filter_map(open))
    }

    fn is_root(&self, at: usize, root: &str) -> bool {
        self.calls.outgoing.get(at).is_some_and(|a| a.row.root == root)
    }

    fn response_without_call(
        &mut self,
        message: &Received,
        root: &str,
        to: Option<&DomainName>,
        body: &Value<'_>,
        delivery: DeliveryId,
        now: Now,
    ) {
        let table = Arc::clone(&self.rules.table);
        let payload = body.as_object();
        let done = Action::Acknowledge(delivery);
        let is_its = |e: &RecentCall| {
            let same = match (&message.correlation, &e.correlation) {
                (Some(a), Some(b)) => a == b,
                (Some(_), None) => false,
                (None, _) => to.is_none_or(|to| e.requester == *to),
            };
            let answer = mqtt_answer(&e.row, payload, Some(&e.values));
            e.asked_by == Side::Legacy
                && e.row.root == root
                && same
                && answer.is_some_and(|a| {
                    compare(&a.shape.repeats.mqtt, payload, &e.values) != Match::Different
                })
        };
        if let Some(ended) = self.calls.recent().iter().rev().find(|e| is_its(e)) {
            // The first that owes an answer has given it with this.
            let owing = self.calls.recent().iter().position(|e| e.owes && is_its(e));
            let next = (Arc::clone(&ended.row), ended.requester.clone());
            let twice = message.dup || to.is_none() || ended.row.answered_twice;
            if twice {
                self.ignore(IgnoreReason::Repeat, &message.source);
            } else {
                let detail = of(&next.0.name, "its call is over");
                self.refuse(Reason::NoPendingCall, detail, sender(message), head(&message.payload));
            }
            self.actions.push(done);
            if let Some(at) = owing {
                self.calls.owes_no_more(at);
                self.ask_next(&next.0, &next.1, now);
            }
            return;
        }
        let behind = self.rules.is_behind();
        let mine = to.filter(|to| !behind && *to == self.name());
        let Some(to) = mine.cloned() else {
            if let (None, Some((lines, source))) = (to, self.unasked(message, root, body, now)) {
                return self.write_answer(lines, &source, delivery, now);
            }
            self.ignore(IgnoreReason::OtherRequester, &message.source);
            return self.actions.push(done);
        };
        let row = table
            .commands()
            .iter()
            .find(|r| r.root == root && r.direction.goes_from(Side::Legacy) && r.named);
        let found = row.and_then(|row| Some((row, mqtt_answer(row, payload, None)?)));
        let lines = match found {
            Some((row, answer)) => {
                let handler = handler(row, body.text.as_bytes()).unwrap_or_else(DomainName::dom0);
                let source = self.rules.responder(message, row, &handler);
                let lines = self.lines(answer, body, &to, &source, None, now);
                lines.and_then(|lines| match self.rules.forbids_answer(&source, row, &to) {
                    Some(detail) if !lines.is_empty() => Err((Reason::NotAllowed, detail)),
                    _ => Ok((lines, source)),
                })
            }
            None => Err((Reason::NoPendingCall, "it answers no pending call".into())),
        };
        let (reason, detail) = match lines {
            Ok((lines, source)) if !lines.is_empty() => {
                return self.write_answer(lines, &source, delivery, now);
            }
            Ok(_) => (Reason::NoPendingCall, "it answers no pending call".into()),
            Err(fault) => fault,
        };
        let detail = row.map_or(Cow::Borrowed(&*detail), |row| of(&row.name, &detail));
        self.refuse(reason, detail, sender(message), head(&message.payload));
        self.actions.push(done);
    }

    /// What everyone is told on MQTT without having asked, as lines for this domain, if a row says so. What a
    /// legacy domain here has answered to somebody is not that.
    fn unasked(
        &self,
        message: &Received,
        root: &str,
        body: &Value<'_>,
        now: Now,
    ) -> Option<(Vec<Bytes>, DomainName)> {
        let source = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        let answers = source.is_some_and(|s| self.rules.is_legacy(&s));
        if self.rules.is_behind() || message.correlation.is_some() || answers {
            return None;
        }
        self.rules.table.commands_at(root).find_map(|row| {
            let answer = mqtt_answer(row, body.as_object(), None).filter(|a| a.unasked)?;
            let source = self.rules.responder(message, row, &DomainName::dom0());
            let lines = self.lines(answer, body, self.name(), &source, None, now).ok()?;
            Some((lines, source))
        })
    }

    /// What an answer is on the legacy wire: no line, one, or one for each element of a list.
    pub(super) fn lines(
        &self,
        answer: &Answer,
        body: &Value<'_>,
        requester: &DomainName,
        source: &DomainName,
        request: Option<&Values>,
        now: Now,
    ) -> Translated<Vec<Bytes>> {
        if !answer.request.is_empty() && request.is_none() {
            return Err(reason_of(Fault::NeedsCall));
        }
        let (kind, name) = match &answer.wire {
            Wire::Response(name) => (Kind::Response, name),
            Wire::Event(name) => (Kind::Notification, name),
            Wire::Silent => return Ok(Vec::new()),
        };
        let mut lines = Vec::new();
        let mut line = |body: &Value<'_>| {
            let (from, to) = (source.as_str(), requester.as_str());
            let mut line = legacy::begin(kind, from, to, name, body.text.len());
            let context = self.rules.context(now, from, request);
            let done = answer.shape.translate(Side::Mqtt, body, &context, &mut line);
            done.map_err(reason_of)?;
            lines.push(self.rules.fits(legacy::end(line))?);
            Ok(())
        };
        match &answer.one_for_each {
            None => line(body)?,
            Some(list) => {
                let object = body.object.as_ref().map_err(|e| (Reason::BadValue, e.to_string()))?;
                let Some(items) = object.get(list) else {
                    return Err((Reason::MissingArgument, format!("{list:?} is missing")));
                };
                if let Some(extra) = object.members().find(|m| *m.key != *list.as_bytes()) {
                    let why = format!("there is no place for the member {}", extra.raw_key);
                    return Err((Reason::BadValue, why));
                }
                if !json::for_each(items, &mut |item| line(&Value::parse(item)))? {
                    return Err((Reason::BadValue, format!("{list:?} is not an array")));
                }
            }
        }
        Ok(lines)
    }

    /// Writes an answer to the channel; the broker is told when the last line is out.
    fn write_answer(
        &mut self,
        lines: Vec<Bytes>,
        from: &DomainName,
        delivery: DeliveryId,
        now: Now,
    ) {
        let last = lines.len();
        if last == 0 {
            self.counters.delivered += 1;
            return self.actions.push(Action::Acknowledge(delivery));
        }
        for (i, line) in lines.into_iter().enumerate() {
            let is_last = i + 1 == last;
            let message = Purpose::Message { from: from.clone(), command: false };
            let purpose = if is_last { message } else { Purpose::Notice };
            let delivery = is_last.then_some(delivery);
            if let Err(entry) = self.enqueue(QueuedLine { line, purpose, delivery }, now) {
                self.give_up_entry(entry, Reason::DomainStuck, now);
            }
        }
    }
}

fn unknown_answer(row: &Command, text: &str) -> String {
    let conditions = row.answers.iter().flat_map(|a| &a.when.mqtt).map(|c| c.member.as_str());
    let members: std::collections::BTreeSet<&str> = conditions.collect();
    let members: Vec<&str> = members.into_iter().collect();
    let shown = crate::engine::mapping::value::head(text);
    format!("no answer of {} fits {shown} (by {})", row.name, members.join(", "))
}
