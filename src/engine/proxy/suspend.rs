//! The gateway ends and will be back: what a proxy has becomes records, and is made of them again.

use super::call::{CallStage, IncomingCall, Origin};
use super::{Action, Proxy};
use crate::engine::clock::Now;
use crate::engine::mapping::Command;
use crate::engine::queue::{Purpose, QueuedLine};
use crate::engine::refusal::Reason;
use crate::engine::store::{self, Data, Half, Line, Record, left};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

impl Proxy {
    /// What is kept only now: calls to the domain, lines that wait for it, and the line that it has begun.
    /// Of a line that it has in part, the rest: for the domain nothing has happened. A serial port begins with a
    /// line of its own whenever it is opened, and so does a socket of the gateway's own: there it is the whole line.
    #[must_use]
    pub fn suspend(&mut self) -> Vec<Record> {
        if self.rules.is_behind() || self.relay.is_some() {
            self.queue.rewind(Duration::ZERO);
        }
        let given =
            self.calls.incoming.iter().map(|call| Record::Given(Box::new(self.kept_call(call))));
        let lines = self.queue.unwritten();
        let lines = lines.map(|(entry, rest)| Record::Line(self.kept_line(entry, rest)));
        let half = self.presence.away_since.is_none().then(|| self.input.begun()).flatten();
        let half = half.map(|(bytes, skipped)| {
            Record::Half(Half { skipped, bytes: Bytes::copy_from_slice(bytes) })
        });
        let unanswered = self.calls.unanswered().iter().map(|call| {
            // It has no time after which it is over.
            let (state, until) = (store::IncomingState::Unanswered, self.until(Duration::MAX));
            Record::Given(Box::new(store::IncomingRecord { state, until, ..self.kept_call(call) }))
        });
        given.chain(lines).chain(unanswered).chain(half).collect()
    }

    fn kept_call(&self, call: &IncomingCall) -> store::IncomingRecord {
        let now = self.store_now();
        let waiting = |line: Bytes, state| (state, call.row.timeout, line);
        let is_this = |(entry, _): &(&QueuedLine, Bytes)| entry.purpose == Purpose::Call(call.id);
        let (state, left, line) = match &call.state {
            CallStage::Held(line) => waiting(line.clone(), store::IncomingState::Held),
            CallStage::Queued => {
                let line = self.queue.unwritten().find(is_this).map(|(_, rest)| rest);
                waiting(line.unwrap_or_default(), store::IncomingState::Queued)
            }
            CallStage::Open { deadline, .. } => {
                (store::IncomingState::Open, deadline.saturating_sub(now), Bytes::new())
            }
        };
        store::IncomingRecord {
            dialect: self.rules.dialect_of(&call.row),
            row: call.row.name.to_string(),
            root: call.row.root.clone(),
            requester: call.requester.clone(),
            handler: call.handler.clone(),
            direct: matches!(call.origin, Origin::Direct),
            reply: call.reply.clone(),
            correlation: call.correlation.clone().map(Data),
            values: call.values.clone(),
            state,
            until: self.until(left),
            answers: call.answers,
            head: call.head.clone(),
            line,
        }
    }

    /// A command that nobody else counts is worth as much as a domain that is away.
    fn kept_line(&self, entry: &QueuedLine, rest: Bytes) -> Line {
        let (purpose, until, line) = match &entry.purpose {
            Purpose::Call(id) => {
                let at = self.calls.incoming.iter().position(|g| g.id == *id);
                (store::LinePurpose::Call(at.unwrap_or(usize::MAX)), None, Bytes::new())
            }
            Purpose::Message { from, command } => {
                let until = command.then(|| self.until(self.rules.limits.away));
                let (from, command) = (from.clone(), *command);
                (store::LinePurpose::Message { from, command }, until, rest)
            }
            Purpose::Notice => (store::LinePurpose::Notice, None, rest),
        };
        Line { purpose, until, line }
    }

    /// All of it, and what was there before, is in the store.
    pub fn suspended(&mut self) {
        let messages = u64::try_from(self.under_way()).unwrap_or(u64::MAX);
        self.counters.stored += messages;
        self.calls.clear();
        self.unacked.clear();
        self.input.reset();
        self.queue.rewind(Duration::ZERO);
        let deliveries = self.queue.give_up().into_iter().filter_map(|entry| entry.delivery);
        self.actions.extend(deliveries.map(Action::Acknowledge));
    }

    /// What is in the store is sent from there, by whoever comes after this proxy.
    pub fn left_in_store(&mut self, is_there: impl Fn(crate::engine::publish::Token) -> bool) {
        let there: Vec<_> = self.unacked.tokens().filter(|token| is_there(*token)).collect();
        for token in there {
            if self.unacked.remove(token).is_some_and(|sent| sent.counted) {
                self.counters.stored += 1;
            }
        }
    }

    /// Takes up what a proxy of an earlier run was about. `since_boot` is as in
    /// [`Message::left`](store::Message::left), for each.
    pub fn resume(&mut self, records: Vec<(Record, Option<Duration>)>, now: Now) {
        let mut calls = Vec::new();
        for (record, since_boot) in records {
            match record {
                Record::Given(call) if call.state == store::IncomingState::Unanswered => {
                    self.resume_unanswered(&call, left(call.until, since_boot), now);
                }
                Record::Given(call) => {
                    let id = self.resume_call(&call, left(call.until, since_boot), now);
                    calls.push((id, call.line));
                }
                Record::Line(line) => self.resume_line(line, &calls, since_boot, now),
                Record::Half(half) => self.resume_half(half, now),
                Record::Message(_) | Record::Landed | Record::Over => {}
            }
        }
        if !self.queue.is_empty() {
            self.actions.push(Action::Queued);
        }
        let handlers: Vec<_> = self.calls.incoming.iter().map(|g| g.handler.clone()).collect();
        for handler in handlers {
            self.give_next(&handler, now);
        }
    }

    fn resume_call(
        &mut self,
        call: &store::IncomingRecord,
        left: Duration,
        now: Now,
    ) -> Option<u64> {
        self.counters.received += 1;
        let Some(row) = self.rules.row(&call.dialect, &call.row, &call.root) else {
            let detail = format!("the mapping has no {} any more", call.row);
            let from = call.requester.clone();
            let from = from.unwrap_or_else(crate::engine::name::DomainName::anonymous);
            self.refuse(Reason::Expired, detail, from, call.head.clone());
            return None;
        };
        let deadline = now.monotonic.saturating_add(left);
        let given = self.taken_up(
            call,
            row,
            match call.state {
                store::IncomingState::Held => CallStage::Held(call.line.clone()),
                store::IncomingState::Queued => CallStage::Queued,
                store::IncomingState::Open | store::IncomingState::Unanswered => {
                    CallStage::Open { since: now.monotonic, deadline }
                }
            },
        );
        if left.is_zero() {
            let detail = format!("{} has not answered {} in time", call.handler, call.row);
            self.give_up(&given, Reason::Expired, &detail, now);
            return None;
        }
        let id = given.id;
        self.calls.expect_until(deadline);
        self.calls.incoming.push(given);
        Some(id)
    }

    /// A domain that had a command before the machine was started anew is another, and so is whoever sent it.
    fn resume_unanswered(&mut self, call: &store::IncomingRecord, left: Duration, now: Now) {
        let row = self.rules.row(&call.dialect, &call.row, &call.root).filter(|_| !left.is_zero());
        let Some(row) = row else { return };
        let (since, deadline) = (now.monotonic, now.monotonic.saturating_add(row.timeout));
        let call = self.taken_up(call, row, CallStage::Open { since, deadline });
        self.calls.remember_unanswered(call, &self.rules.limits);
    }

    fn taken_up(
        &mut self,
        call: &store::IncomingRecord,
        row: Arc<Command>,
        state: CallStage,
    ) -> IncomingCall {
        IncomingCall {
            id: self.calls.number(),
            row,
            requester: call.requester.clone(),
            handler: call.handler.clone(),
            origin: if call.direct { Origin::Direct } else { Origin::Mqtt(None) },
            reply: call.reply.clone(),
            correlation: call.correlation.as_ref().map(|data| data.0.clone()),
            values: call.values.clone(),
            state,
            answers: call.answers,
            head: call.head.clone(),
        }
    }

    fn resume_line(
        &mut self,
        line: Line,
        calls: &[(Option<u64>, Bytes)],
        since_boot: Option<Duration>,
        now: Now,
    ) {
        let Line { purpose, until, line } = line;
        let (purpose, line) = match purpose {
            store::LinePurpose::Call(at) => match calls.get(at) {
                Some((Some(id), line)) => (Purpose::Call(*id), line.clone()),
                // Its call is over.
                _ => return,
            },
            store::LinePurpose::Message { from, command } => {
                self.counters.received += 1;
                (Purpose::Message { from, command }, line)
            }
            store::LinePurpose::Notice => (Purpose::Notice, line),
        };
        let entry = QueuedLine { line, purpose, delivery: None };
        match until.map(|until| left(until, since_boot)) {
            Some(Duration::ZERO) => self.give_up_entry(entry, Reason::Expired, now),
            _ => {
                let way = self.way_of(&entry, now);
                self.queue.push(entry, way, now.monotonic);
            }
        }
    }

    /// Whole lines may have come before the one that was begun.
    fn resume_half(&mut self, mut half: Half, now: Now) {
        if let Some(end) = memchr::memrchr(b'\n', &half.bytes) {
            let lines = half.bytes.split_to(end + 1);
            if std::mem::take(&mut half.skipped) {
                self.input.skip_line();
            }
            self.receive(&lines, now);
        }
        // What goes on with a line over a serial port may have been dropped when the port was opened.
        half.skipped &= !self.rules.is_behind();
        if let Some(store) = self.store.as_mut().filter(|_| half.skipped || !half.bytes.is_empty())
        {
            store.half = Some(half);
        }
    }

    /// Whether the domain had begun a line that goes on on the next connection.
    #[must_use]
    pub fn goes_on_within_a_line(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.half.is_some())
    }

    /// The line that was begun before the gateway ended goes on.
    pub(super) fn go_on_with_line(&mut self) {
        let Some(half) = self.store.as_mut().and_then(|store| store.half.take()) else { return };
        if half.skipped {
            self.input.skip_line();
        }
        self.input.go_on_with(&half.bytes);
    }

    /// The last bytes from the channel, to be kept by [`Proxy::suspend`]: the next run takes them in.
    pub fn receive_later(&mut self, bytes: &[u8]) {
        self.input.push_begun(bytes);
    }
}
