//! What a proxy keeps in the store: messages for the broker, and the calls that they ask.

use super::call::OutgoingCall;
use super::{Action, Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::publish::{Publish, Qos, Token};
use crate::engine::refusal::Reason;
use crate::engine::status::StoreUse;
use crate::engine::store::{Data, Half, MessageRecord, OutgoingRecord};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The store as a proxy sees it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Store {
    room: Room,
    /// When that was said.
    now: Now,
    /// Messages that are in the store alone, or a few more: what is read back may be in memory too, if the
    /// disk had failed before, so that none is left only when that is said.
    pub apart: usize,
    /// The line that the domain had begun when the gateway ended.
    pub half: Option<Half>,
    /// Since when there has been something in it without a pause.
    since: Option<SystemTime>,
}

/// What the store has room for, in bytes, and the time by which it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// For notifications and answers.
    pub events: usize,
    /// For requests, which are refused first.
    pub requests: usize,
    /// The time since the machine was started.
    pub since_boot: Duration,
    /// Bytes that the log takes on disk.
    pub used: usize,
    /// Records in it that are still needed.
    pub records: usize,
}

impl Proxy {
    /// There is a store, with so much room.
    pub fn set_store(&mut self, room: Room, now: Now) {
        let before = self.store.as_ref().and_then(|store| store.since);
        let since = (room.records > 0).then(|| before.unwrap_or(now.wall));
        match &mut self.store {
            Some(store) => (store.room, store.now, store.since) = (room, now, since),
            None => self.store = Some(Store { room, now, apart: 0, half: None, since }),
        }
    }

    /// What is in the store.
    pub(super) fn store_use(&self) -> StoreUse {
        let of =
            |s: &Store| StoreUse { bytes: s.room.used, records: s.room.records, since: s.since };
        self.store.as_ref().map(of).unwrap_or_default()
    }

    /// The time has gone on since the room was told.
    pub fn see_time(&mut self, now: Now) {
        if let Some(store) = &mut self.store {
            let passed = now.monotonic.saturating_sub(store.now.monotonic);
            store.room.since_boot = store.room.since_boot.saturating_add(passed);
            store.now = now;
        }
    }

    /// Whether the broker, or the session, may still be waited for with this.
    #[must_use]
    pub fn has_sent(&self, token: Token) -> bool {
        self.unacked.contains(token)
    }

    /// Whether messages are in the store alone, and one of them has room in memory now.
    #[must_use]
    pub fn wants_stored(&self) -> bool {
        let room = self.unacked.has_much_room() && !self.is_over_level(0);
        self.store.as_ref().is_some_and(|s| s.apart > 0) && (self.unacked.is_empty() || room)
    }

    /// Whether the store has room for a publish of `size` bytes, should memory have none.
    pub(super) fn store_has_room(&self, size: usize, is_request: bool) -> bool {
        /// What a record says besides, at most.
        const RECORD: usize = 4096;
        let room = self.store.as_ref().map(|s| s.room);
        let room = room.map_or(0, |r| if is_request { r.requests } else { r.events });
        room >= size.saturating_add(RECORD)
    }

    /// Whether nothing is in the store alone, which what comes now would have to wait for.
    pub(super) fn has_none_apart(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.apart == 0)
    }

    /// What tells a message from all others.
    pub(super) fn id_of(&self, token: Token) -> Option<Arc<str>> {
        self.store.as_ref()?;
        Some(format!("{}-{}-{}", self.rules.nonce, self.name(), token.0).into())
    }

    /// Gives a publish its id, and what is kept of it.
    pub(super) fn set_id(&self, publish: &mut Publish, sent: &mut Sent) {
        if publish.id.is_none() {
            publish.id = self.id_of(publish.token);
        }
        if let Some((_, again)) = &mut sent.again {
            again.id.clone_from(&publish.id);
        }
    }

    /// A publish that waits for its time is kept until then.
    pub(super) fn keep_for_later(&mut self, publish: &Publish) {
        let message = self.message(publish).map(Box::new);
        self.actions.extend(message.map(|message| Action::Hold(publish.token, message)));
    }

    pub(super) fn publish_later(&mut self, publish: &Publish, sent: &Sent) {
        let Some(message) = self.record(publish, sent) else { return };
        if let Some(store) = &mut self.store {
            store.apart += 1;
            let size = message.size();
            store.room.events = store.room.events.saturating_sub(size);
            store.room.requests = store.room.requests.saturating_sub(size);
        }
        self.actions.push(Action::Store(publish.token, Box::new(message)));
    }

    /// A publish that waits in memory, as it is kept in the store.
    #[must_use]
    pub fn message(&self, publish: &Publish) -> Option<MessageRecord> {
        let sent = self.unacked.get(publish.token)?;
        self.record(publish, sent)
    }

    fn record(&self, publish: &Publish, sent: &Sent) -> Option<MessageRecord> {
        let now = self.store.as_ref()?.now;
        let call = sent.call.and_then(|id| self.calls.outgoing.iter().find(|a| a.id == id));
        let made = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(MessageRecord {
            id: publish.id.as_deref().unwrap_or_default().to_owned(),
            topic: publish.topic.clone(),
            qos: u8::from(publish.qos == Qos::AtLeastOnce),
            response_topic: publish.response_topic.clone(),
            correlation: publish.correlation.clone().map(Data),
            source: publish.source.clone(),
            mark: publish.mark.as_deref().map(str::to_owned),
            until: publish.expiry.map(|left| self.until(left)),
            made: made.as_secs(),
            counted: sent.counted,
            to: sent.to.clone(),
            from: sent.from.clone(),
            head: sent.head.clone(),
            call: call.map(|call| self.call(call)),
            payload: publish.payload.clone(),
        })
    }

    /// The last call waits until another of its row is answered.
    pub(super) fn hold(&mut self, mut publish: Publish) {
        publish.id = self.id_of(publish.token);
        let token = publish.token;
        if let Some(call) = self.calls.outgoing.last_mut() {
            call.held = Some(publish);
        }
        let kept = self
            .calls
            .outgoing
            .last()
            .and_then(|call| self.kept_call_of(call, call.held.as_ref()?));
        self.actions.extend(kept.map(|message| Action::Hold(token, Box::new(message))));
    }

    /// All calls on MQTT as they are kept, and whether the broker has their requests.
    #[must_use]
    pub fn calls(&self) -> Vec<(Token, MessageRecord, bool)> {
        let kept = self.calls.outgoing.iter().filter_map(|call| {
            let waits = self.unacked.get(call.token).map(|sent| sent.again.as_ref());
            let (publish, landed) = match (&call.held, waits) {
                (Some(publish), _) | (None, Some(Some((_, publish)))) => (publish.clone(), false),
                (None, Some(None)) => return None,
                (None, None) => (landed(call), true),
            };
            Some((call.token, self.kept_call_of(call, &publish)?, landed))
        });
        kept.collect()
    }

    fn kept_call_of(&self, call: &OutgoingCall, publish: &Publish) -> Option<MessageRecord> {
        let sent = Sent {
            row: None,
            again: None,
            call: Some(call.id),
            counted: false,
            to: call.to.clone(),
            head: call.head.clone(),
            from: call.requester.clone(),
        };
        self.record(publish, &sent)
    }

    fn call(&self, asked: &OutgoingCall) -> OutgoingRecord {
        let left = match asked.held {
            // Its time begins when it is published.
            Some(_) => asked.row.timeout,
            None => asked.deadline.saturating_sub(self.store_now()),
        };
        OutgoingRecord {
            dialect: self.rules.dialect_of(&asked.row),
            row: asked.row.name.to_string(),
            root: asked.row.root.clone(),
            requester: asked.requester.clone(),
            handler: asked.handler.clone(),
            values: asked.values.clone(),
            until: self.until(left),
            extra: asked.extra,
            held: asked.held.is_some(),
            head: asked.head.clone(),
        }
    }

    /// The time at which the store was last looked at.
    pub(super) fn store_now(&self) -> Duration {
        self.store.as_ref().map_or(Duration::ZERO, |store| store.now.monotonic)
    }

    /// The end of a time that begins now, in milliseconds since the machine was started.
    pub(super) fn until(&self, left: Duration) -> u64 {
        let now = self.store.as_ref().map_or(Duration::ZERO, |s| s.room.since_boot);
        u64::try_from(now.saturating_add(left).as_millis()).unwrap_or(u64::MAX)
    }

    /// A message that [`Action::Store`] asked for is in the store.
    pub fn stored(&mut self, message: &MessageRecord) {
        self.counters.stored += u64::from(message.counted);
    }

    /// It is not, and there is no room in memory either.
    pub fn not_stored(&mut self, token: Token, message: &MessageRecord, now: Now) {
        if let Some(store) = &mut self.store {
            store.apart = store.apart.saturating_sub(1);
        }
        let sent = Sent {
            row: self.rules.table.row_at(&message.topic),
            again: None,
            call: message.call.is_some().then_some(token.0),
            counted: message.counted,
            to: message.to.clone(),
            head: message.head.clone(),
            from: message.from.clone(),
        };
        let detail = "too much waits for the broker, and the store does not take it";
        self.request_failed(sent, Reason::StoreFull, detail, now);
    }

    /// So many messages of an earlier run are in the store, of which `counted` end when the broker has
    /// them.
    pub fn restore(&mut self, messages: usize, counted: u64) {
        if let Some(store) = &mut self.store {
            store.apart = messages;
        }
        self.counters.received += counted;
        self.counters.stored += counted;
    }

    /// A message comes back from the store, with what is left of its time: it is published as the one
    /// of the token, unless nobody wants it any more.
    pub fn take_stored(
        &mut self,
        message: &MessageRecord,
        left: Option<Duration>,
        now: Now,
    ) -> Option<Token> {
        if message.counted {
            self.counters.stored = self.counters.stored.saturating_sub(1);
        }
        let over = left == Some(Duration::ZERO);
        let call = match &message.call {
            None => None,
            // Whose call is over was told of it; whose is about to be, will be.
            Some(_) => {
                let correlation = message.correlation.as_ref().map(|data| &data.0);
                let call =
                    self.calls.outgoing.iter().find(|a| Some(&a.correlation) == correlation)?;
                (!over).then_some(())?;
                Some((call.id, call.token))
            }
        };
        let sent = Sent {
            row: self.rules.table.row_at(&message.topic),
            again: None,
            call: call.map(|(id, _)| id),
            counted: message.counted,
            to: message.to.clone(),
            head: message.head.clone(),
            from: message.from.clone(),
        };
        if over {
            let detail = "its time was over before the broker could be reached";
            self.request_failed(sent, Reason::Expired, detail, now);
            return None;
        }
        let token = call.map_or_else(|| self.calls.token(), |(_, token)| token);
        self.publish_now(message.publish(token, left), sent);
        Some(token)
    }

    /// No message is in the store alone.
    pub fn has_all_stored(&mut self) {
        if let Some(store) = &mut self.store {
            store.apart = 0;
        }
    }

    /// A call of an earlier run waits for its answer, with what is left of its time. Says under which
    /// token; `None`: it is over. `landed`: the broker has its request.
    pub fn restore_call(
        &mut self,
        message: &MessageRecord,
        landed: bool,
        left: Duration,
        now: Now,
    ) -> Option<Token> {
        let call = message.call.as_ref()?;
        self.counters.received += u64::from(!call.extra);
        let row = self.rules.row(&call.dialect, &call.row, &call.root);
        let fault = match &row {
            None => Some(format!("the mapping has no {} any more", call.row)),
            Some(_) if left.is_zero() => {
                Some(format!("{} has not answered {} in time", call.handler, call.row))
            }
            Some(_) => None,
        };
        let (Some(row), None) = (row, &fault) else {
            if !call.extra {
                let detail = fault.unwrap_or_default();
                let (reason, from) = (Reason::Expired, call.requester.clone());
                self.refuse(reason, detail.clone(), from, call.head.clone());
                self.tell_legacy(&call.requester, reason, &detail, now);
            }
            return None;
        };
        let token = self.calls.token();
        let timeout = row.timeout;
        let asked = OutgoingCall {
            id: token.0,
            requester: call.requester.clone(),
            handler: call.handler.clone(),
            values: call.values.clone(),
            correlation: message.correlation.as_ref().map(|d| d.0.clone()).unwrap_or_default(),
            token,
            held: (call.held && !landed).then(|| message.publish(token, Some(timeout))),
            deadline: now.monotonic.saturating_add(left),
            answers: 0,
            announced: false,
            extra: call.extra,
            to: message.to.clone(),
            head: call.head.clone(),
            row,
        };
        self.calls.expect_until(asked.deadline);
        self.calls.outgoing.push(asked);
        Some(token)
    }

    /// Calls of an earlier run that waited for others may go now.
    pub fn restored(&mut self, now: Now) {
        let held = self.calls.outgoing.iter().filter(|a| a.held.is_some());
        let waiting: Vec<_> = held.map(|a| (Arc::clone(&a.row), a.requester.clone())).collect();
        for (row, requester) in waiting {
            self.ask_next(&row, &requester, now);
        }
    }

    /// A call of this domain's ends, and its request need not go out any more.
    pub(super) fn withdraw_outgoing(&mut self, at: usize) -> Option<OutgoingCall> {
        let call = self.take_outgoing(at)?;
        if self.unacked.contains(call.token) {
            self.actions.push(Action::Withdraw(call.token));
        }
        Some(call)
    }

    /// A call of this domain's ends, one way or another.
    pub(super) fn take_outgoing(&mut self, at: usize) -> Option<OutgoingCall> {
        let call = self.calls.outgoing.remove(at)?;
        if self.store.is_some() {
            self.actions.push(Action::Over(call.token));
        }
        Some(call)
    }
}

/// What is left of a request that the broker has: what its answer needs.
fn landed(call: &OutgoingCall) -> Publish {
    Publish {
        response_topic: Some(call.row.response_topic(call.row.named.then_some(&call.requester))),
        correlation: Some(call.correlation.clone()),
        source: Some(call.requester.clone()),
        ..Publish::new(call.token, call.row.request_topic(), Bytes::new(), call.row.qos)
    }
}
