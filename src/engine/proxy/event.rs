//! Notifications: what a legacy domain announces, and what it is told of others'.

use super::call::{CallStage, IncomingCall, Origin};
use super::line::{Read, Route};
use super::matching::{Match, choose, compare, known_of, legacy_answer};
use super::outgoing::reason_of;
use super::tell::Reply;
use super::{Action, Forwarded, Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::json::{self, Object, Value};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::shape::{Context, Side, Values};
use crate::engine::mapping::table::EventRows;
use crate::engine::mapping::{Announced, Answer, Command, Event, Table, Wire};
use crate::engine::name::DomainName;
use crate::engine::publish::Publish;
use crate::engine::queue::{Purpose, QueuedLine};
use crate::engine::refusal::{IgnoreReason, Reason, head};
use bytes::Bytes;
use std::sync::Arc;

/// The event by which a domain says that it is ready.
pub(in crate::engine) const STATE: &str = "etat_domu";

/// The translations of one notification: row and payload.
type Publishes = Vec<(Arc<Event>, Vec<u8>)>;

/// The call that a notification answers, by its row and what is kept of its request.
pub(in crate::engine) type Answered = (Arc<Command>, Values);

impl Proxy {
    /// A notification from the channel, by a sender that may speak under its name.
    pub(super) fn notification(&mut self, read: &Read<'_>, route: &Route, now: Now) {
        if *route == Route::Mqtt(None) {
            let detail = format!("{:?} is no domain's name", read.message.destination);
            let bad_name = (Reason::BadName, detail);
            let (reason, detail) = self.fault_of_event(read, route, now).unwrap_or(bad_name);
            return self.refuse_read(read, reason, &detail);
        }
        let to_router = match route {
            Route::Mqtt(to) => to.is_some(),
            Route::Direct(to) => to.is_dom0(),
            Route::Everyone => false,
        };
        if read.message.name == STATE && to_router {
            return self.state(read, route, now);
        }
        if read.message.name == STATE && self.rules.is_behind() {
            let unmapped = self.events(read, None, now).is_err_and(|e| e.0 == Reason::NotMapped);
            if unmapped {
                return self.ignore(IgnoreReason::OtherHandler, &Some(read.message.source.clone()));
            }
        }
        let ended = self.end_by_notification(read, now);
        if let Some(detail) = self.rules.forbids_event(read, route) {
            let fault = self.fault_of_event(read, route, now);
            let (reason, detail) = fault.unwrap_or((Reason::NotAllowed, detail));
            return self.refuse_read(read, reason, &detail);
        }
        self.pass_notification(read, route);
        match route {
            Route::Direct(_) => {}
            Route::Everyone | Route::Mqtt(_) => {
                self.publish_event(read, route, ended.as_ref(), now);
            }
        }
    }

    fn publish_event(&mut self, read: &Read<'_>, route: &Route, call: Option<&Answered>, now: Now) {
        let ended = call.is_some();
        let legacy = *route == Route::Everyone && !self.rules.is_behind();
        let from = read.from(&self.rules);
        match self.events(read, call, now) {
            // One that ends a call from before the table may be nothing to the table.
            Err((Reason::NotMapped, _)) if legacy || ended => self.counters.delivered += 1,
            Err((reason, detail)) => self.refuse_read(read, reason, &detail),
            Ok(publishes) if publishes.is_empty() => {
                if legacy || ended {
                    self.counters.delivered += 1;
                } else {
                    self.refuse_read(read, Reason::NoPendingCall, "it ends no pending call");
                }
            }
            Ok(publishes) => {
                let size: usize = publishes.iter().map(|p| p.1.len()).sum();
                if !self.has_room_beside(0, size) && !self.store_has_room(size, false) {
                    let detail = "too much waits for the broker";
                    return self.refuse_read(read, Reason::StoreFull, detail);
                }
                self.publish_all(publishes, &from, head(read.line));
            }
        }
    }

    /// Publishes a legacy domain's notification. It is marked, for those legacy domains that it is for
    /// have it already: the gateway's own session must not give it to them again.
    fn publish_all(&mut self, publishes: Publishes, from: &DomainName, head: String) {
        for (i, (event, payload)) in publishes.into_iter().enumerate() {
            let Some(topic) = event.topic.clone() else { continue };
            let publish = Publish {
                source: Some(from.clone()),
                mark: Some(Arc::clone(&self.rules.instance)),
                ..Publish::new(self.calls.token(), topic, payload, event.qos)
            };
            let sent = Sent {
                row: Some(Arc::clone(&event.name)),
                call: None,
                counted: i == 0,
                to: None,
                head: head.clone(),
                from: from.clone(),
                again: None,
            };
            self.publish(publish, sent);
        }
    }

    /// The notification in every dialect that is loaded. Empty: it is mapped, but not published.
    fn events(
        &self,
        read: &Read<'_>,
        call: Option<&Answered>,
        now: Now,
    ) -> Result<Publishes, (Reason, String)> {
        let message = &read.message;
        let context = self.rules.context(now, &message.source, None);
        events(&self.rules.table, &message.name, &message.body, call, &context)
    }

    /// What is wrong with a notification apart from its sender, if it goes to MQTT: that counts first.
    pub(super) fn fault_of_event(
        &self,
        read: &Read<'_>,
        route: &Route,
        now: Now,
    ) -> Option<(Reason, String)> {
        let to_mqtt = matches!(route, Route::Mqtt(_));
        if read.message.name == STATE || matches!(route, Route::Direct(_)) {
            return None;
        }
        self.events(read, None, now)
            .err()
            .filter(|(reason, _)| to_mqtt || *reason != Reason::NotMapped)
    }

    /// `etat_domu`, as the MVP's router is told it: what changed is told to everyone. A program that goes on as Dom0
    /// has a copy of what it was told.
    fn state(&mut self, read: &Read<'_>, route: &Route, now: Now) {
        let from = read.from(&self.rules);
        if self.rules.is_behind() {
            return self.ignore(IgnoreReason::OtherHandler, &Some(from.as_str().to_owned()));
        }
        let data = read.message.body.as_object();
        let fault = match data.get("pret") {
            Some("0" | "1") => None,
            Some(other) => {
                let shown = crate::engine::mapping::value::head(other);
                Some((Reason::BadValue, format!("\"pret\": {shown} is neither 0 nor 1")))
            }
            None => Some((Reason::MissingArgument, "\"pret\" is missing".into())),
        };
        let forbidden =
            || Some((Reason::NotAllowed, self.rules.forbids_event(read, &Route::Everyone)?));
        if let Some((reason, detail)) = fault.or_else(forbidden) {
            return self.refuse_read(read, reason, &detail);
        }
        if let Route::Direct(dom0) = route {
            self.actions.push(Action::Pass(dom0.clone(), Forwarded::Copy(read.with_end())));
        }
        let ready = data.get("pret").unwrap_or_default().to_owned();
        if self.presence.ready.as_ref() == Some(&ready) {
            return self.ignore(IgnoreReason::Repeat, &Some(from.as_str().to_owned()));
        }
        let body = format!("{{\"pret\":{ready},\"domu\":{}}}", json::string(from.as_str()));
        self.presence.ready = Some(ready);
        let (dom0, everyone) = (DomainName::dom0(), DomainName::everyone());
        let line = legacy::write(
            Kind::Notification,
            dom0.as_str(),
            everyone.as_str(),
            STATE,
            body.as_bytes(),
        );
        self.actions.push(Action::PassAll(Forwarded::Copy(line)));
        let context = self.rules.context(now, from.as_str(), None);
        let publishes = events(&self.rules.table, STATE, &Value::parse(&body), None, &context);
        match publishes {
            Ok(publishes) if !publishes.is_empty() && self.has_any_room() => {
                self.publish_all(publishes, &from, head(read.line));
            }
            _ => self.counters.delivered += 1,
        }
    }

    /// A notification may answer a call. Says which.
    fn end_by_notification(&mut self, read: &Read<'_>, now: Now) -> Option<Answered> {
        let data = read.message.body.as_object();
        let wire = Wire::Event(read.message.name.clone());
        let fitting = |(at, g): (usize, &IncomingCall)| {
            if !matches!(g.state, CallStage::Open { .. }) {
                return None;
            }
            let answer = legacy_answer(&g.row, &wire, data, Some(&g.values))?;
            let matched = compare(&answer.shape.repeats.legacy, data, &g.values);
            (matched == Match::Same).then_some((at, matched))
        };
        let Some(at) = choose(self.calls.incoming.iter().enumerate().filter_map(fitting)) else {
            self.end_unanswered(&wire, data, |_, matched| matched == Match::Same);
            return None;
        };
        let call = self.calls.incoming.get(at)?;
        let (row, values) = (Arc::clone(&call.row), call.values.clone());
        let answer = legacy_answer(&row, &wire, data, Some(&values))?;
        if matches!(call.origin, Origin::Mqtt(_)) {
            self.answer_by_notification(at, &row, answer, read, now);
        }
        if !answer.ends {
            self.calls.incoming.change(at, |call| call.answers += 1);
        } else if let Some(handler) = self.end_incoming(at, now) {
            self.give_next(&handler, now);
        }
        Some((row, values))
    }

    fn answer_by_notification(
        &mut self,
        at: usize,
        row: &Command,
        answer: &Answer,
        read: &Read<'_>,
        now: Now,
    ) {
        let Some(call) = self.calls.incoming.get(at) else { return };
        // The notification is published for itself: of it, the answer has only what the row names.
        let body = answer.shape.only_named(Side::Legacy, read.message.body.as_object());
        let context = self.rules.context(now, &read.message.source, Some(&call.values));
        let mut payload = Vec::with_capacity(body.len() + 64);
        let made =
            answer.shape.translate(Side::Legacy, &Value::parse(&body), &context, &mut payload);
        for row in self.rules.table.kin(row) {
            let data = read.message.body.as_object();
            let Some(more) = legacy_answer(row, &answer.wire, data, Some(&call.values)) else {
                continue;
            };
            let (body, mut other) = (more.shape.only_named(Side::Legacy, data), Vec::new());
            let body = Value::parse(&body);
            if more.shape.translate(Side::Legacy, &body, &context, &mut other).is_ok() {
                json::merge(&mut payload, &other);
            }
        }
        let (topic, correlation) = (call.reply.clone(), call.correlation.clone());
        let values = call.values.clone();
        let reply =
            Reply { topic: &topic, correlation: correlation.as_ref(), values: Some(&values) };
        match made {
            Ok(()) => self.reply_to_mqtt(row, &reply, payload),
            // The notification itself is counted, and refused if need be, as what it is.
            Err(_) if answer.ends => self.tell_mqtt(row, &reply, now),
            Err(_) => {}
        }
    }

    /// The line of a notification from MQTT, or none if it is not for this domain. Behind a serial line there is
    /// nobody else whom it goes to: it is counted here.
    fn give_event(&mut self, line: Option<Bytes>, source: DomainName, now: Now) {
        match line {
            Some(line) if self.rules.is_behind() => {
                let purpose = Purpose::Message { from: source, command: false };
                if let Err(entry) = self.enqueue(QueuedLine { line, purpose, delivery: None }, now)
                {
                    self.give_up_entry(entry, Reason::DomainStuck, now);
                }
            }
            Some(line) => self.copy(line, now),
            None if self.rules.is_behind() => {
                self.ignore(IgnoreReason::OtherRequester, &Some(source.as_str().to_owned()));
            }
            None => {}
        }
    }

    /// A notification from MQTT: the line of those whose own call it answers says so, and the others are given
    /// `line`, if there is one.
    pub(super) fn announce(
        &mut self,
        line: Option<Bytes>,
        event: &Event,
        (payload, source): (&Bytes, &DomainName),
        now: Now,
    ) {
        self.lists.told(event.topic.as_ref());
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let body = Value::parse(text);
        let Some((announced, values, open)) = self.announced_call(event, body.as_object()) else {
            return self.give_event(line, source.clone(), now);
        };
        let mut data = Vec::with_capacity(text.len() + 64);
        let mut context = self.rules.context(now, source.as_str(), Some(&values));
        context.instead = &announced.legacy;
        let own = event.shape.translate(Side::Mqtt, &body, &context, &mut data);
        let line = match own {
            Ok(()) => Some(legacy::write(
                Kind::Notification,
                source.as_str(),
                DomainName::everyone().as_str(),
                &event.legacy,
                &data,
            )),
            Err(_) => line,
        };
        self.give_event(line, source.clone(), now);
        if let (true, Some(at)) = (announced.ends, open) {
            self.end_outgoing(at, now);
        }
    }

    /// The call that a notification belongs to: open ones before those that have just ended, and what
    /// says more before what says less. Each call is announced once.
    fn announced_call(
        &mut self,
        event: &Event,
        payload: &Object<'_>,
    ) -> Option<(Announced, Values, Option<usize>)> {
        let open = self
            .calls
            .outgoing
            .iter()
            .enumerate()
            .filter(|(_, c)| c.held.is_none() && !c.announced);
        let open = open.map(|(at, c)| (&c.row, &c.values, true, at));
        let ended = self.calls.recent().iter().enumerate();
        let ended = ended.filter(|(_, c)| c.asked_by == Side::Legacy && !c.announced);
        let ended = ended.map(|(at, c)| (&c.row, &c.values, false, at));
        let mut best: Option<(&Announced, &Values, bool, usize)> = None;
        for (row, values, open, at) in open.chain(ended) {
            let mut topic = row.announced.iter().filter(|a| event.topic.as_ref() == Some(&a.topic));
            let Some(new) = topic.find(|a| is_about(a, payload, values)) else { continue };
            if best.is_none_or(|(old, ..)| new.repeats.len() > old.repeats.len()) {
                best = Some((new, values, open, at));
            }
        }
        let (announced, values, open, at) = best?;
        let (announced, values) = (announced.clone(), values.clone());
        if open {
            self.calls.outgoing.get_mut(at)?.announced = true;
        } else {
            self.calls.announced(at);
        }
        Some((announced, values, open.then_some(at)))
    }
}

fn is_about(announced: &Announced, payload: &Object<'_>, values: &Values) -> bool {
    announced.repeats.iter().all(|repeat| {
        let asked = values.iter().find(|(n, _)| *n == repeat.request).map(|(_, v)| v);
        match (payload.get(&repeat.member), asked) {
            (Some(said), Some(asked)) => repeat.is_same(said, asked),
            _ => false,
        }
    })
}

/// Translates a notification by each of its rows, to one message for each topic. What it does not say, the
/// call that it answers may know.
pub(in crate::engine) fn events(
    table: &Table,
    name: &str,
    body: &Value<'_>,
    call: Option<&Answered>,
    context: &Context<'_>,
) -> Result<Publishes, (Reason, String)> {
    let rows = match table.events_named(name, body.as_object()) {
        EventRows::NotMapped => {
            return Err((Reason::NotMapped, format!("no row maps the event {name:?}")));
        }
        _ if body.object.is_err() => {
            return Err((Reason::BadValue, "the data is not an object".into()));
        }
        EventRows::NoneFits => {
            let shown = crate::engine::mapping::value::head(body.text);
            return Err((Reason::BadValue, format!("no row of {name:?} is for {shown}")));
        }
        EventRows::Rows(rows) => rows,
    };
    let mut publishes = Publishes::new();
    let mut fault = None;
    for row in rows {
        if row.topic.is_none() {
            continue;
        }
        let mut payload = Vec::with_capacity(body.text.len() + 64);
        let known = call.map(|(call, values)| known_of(table, &row, (call, values)));
        let context = &Context { known: &known.unwrap_or_default(), ..*context };
        match row.shape.translate(Side::Legacy, body, context, &mut payload) {
            Ok(()) => match publishes.iter_mut().find(|(known, _)| known.topic == row.topic) {
                Some((_, one)) => json::merge(one, &payload),
                None => publishes.push((row, payload)),
            },
            Err(error) => fault = fault.or(Some(reason_of(error))),
        }
    }
    match fault {
        Some(fault) if publishes.is_empty() => Err(fault),
        _ => Ok(publishes),
    }
}
