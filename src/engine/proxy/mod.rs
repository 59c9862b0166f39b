//! One legacy channel's state machine: bytes, publishes and time in, [`Action`]s and lines out.
//!
//! To everyone on MQTT the domain is simply there; to the domain everyone else speaks the MVP.

mod action;
mod asker;
mod call;
mod calls;
mod direct;
mod event;
mod incoming;
mod incoming_answer;
mod input;
mod line;
mod lists;
mod matching;
mod outgoing;
mod outgoing_answer;
mod outgoing_retry;
mod own;
mod policy;
mod relay;
mod reload;
mod room;
mod rules;
mod status;
mod store;
mod suspend;
mod tap;
mod tell;
mod time;
mod unacked;

pub use action::{Action, Forwarded, HandedOver, OwnCall};
pub(in crate::engine) use event::{STATE, events};
pub use input::Pace;
pub(super) use line::row_of;
pub(in crate::engine) use outgoing::reason_of;
pub use store::Room;

use super::clock::Now;
use super::identity::Identity;
use super::limits::Limits;
use super::mapping::Table;
use super::name::DomainName;
use super::policy::Policy;
use super::publish::{Received, Token};
use super::queue::{DeliveryId, Purpose, Queue, QueuedLine};
use super::refusal::{Counters, IgnoreReason, Reason};
use super::roster::{Roster, nobody_takes};
use bytes::Bytes;
use calls::CallBook;
use input::LineInput;
use rules::Rules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use unacked::{Sent, Unacked};

/// The state machine of one channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proxy {
    rules: Rules,
    input: LineInput,
    calls: CallBook,
    unacked: Unacked,
    queue: Queue,
    /// What comes over the sockets of Dom0's program, which has several.
    relay: Option<relay::Sockets>,
    presence: Presence,
    lists: lists::Lists,
    store: Option<store::Store>,
    /// Filters of answers that only calls from before the table wait for.
    surplus: BTreeSet<String>,
    /// The most bytes that this proxy may hold for now, while all of them together hold too many.
    level: Option<usize>,
    /// Whether anybody watches what crosses.
    watched: bool,
    #[serde(skip)]
    actions: Vec<Action>,
    counters: Counters,
}

/// Whether the domain is there, and what it says of that.
#[derive(Debug, Serialize, Deserialize)]
struct Presence {
    away_since: Option<Duration>,
    /// What `etat_domu` last said.
    ready: Option<String>,
}

/// What all proxies of a gateway share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    /// The mapping.
    #[serde(with = "crate::engine::snapshot::shared")]
    pub table: Arc<Table>,
    /// Who may say what to whom.
    #[serde(with = "crate::engine::snapshot::shared")]
    pub policy: Arc<Policy>,
    /// The limits.
    pub limits: Limits,
    /// The gateway's name.
    pub instance: Arc<str>,
    /// Tells this run's correlation data from another's.
    pub nonce: Arc<str>,
}

impl Proxy {
    /// A proxy for a channel that is not connected yet.
    #[must_use]
    pub fn new(identity: Identity, setting: &Setting, now: Duration) -> Self {
        let relay = identity.is_relayed().then(relay::Sockets::default);
        Self {
            input: LineInput::new(&setting.limits, now),
            calls: CallBook::new(relay.is_some()),
            unacked: Unacked::new(setting.limits.outbox),
            queue: Queue::new(setting.limits.queue),
            relay,
            presence: Presence { away_since: Some(now), ready: None },
            lists: lists::Lists::default(),
            store: None,
            surplus: BTreeSet::new(),
            level: None,
            watched: false,
            actions: Vec::new(),
            counters: Counters::default(),
            rules: Rules::new(identity, setting),
        }
    }

    /// The name that stands for the channel in logs.
    #[must_use]
    pub fn name(&self) -> &DomainName {
        self.rules.name()
    }

    /// What is to be done, in order. Empty it after each call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.subscribe_to_less();
        std::mem::take(&mut self.actions)
    }

    /// How messages have ended so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A call has been answered that waited for an answer since then.
    fn answered(&mut self, since: Option<Duration>, now: Now) {
        self.calls.answered_since = since;
        self.counters.answered += 1;
        if let Some(since) = since {
            self.counters.took.add_one(now.monotonic.saturating_sub(since));
        }
    }

    /// How many messages are under way: in calls, in the queue, or waiting for a PUBACK.
    #[must_use]
    pub fn under_way(&self) -> usize {
        let messages = |e: &&QueuedLine| matches!(e.purpose, Purpose::Message { .. });
        let lines = self.queue.iter().filter(messages).count();
        self.calls.counted() + lines + self.unacked.counted()
    }

    /// How many lines and messages would be lost if the proxy ended now: those under way, and copies.
    #[must_use]
    pub fn left(&self) -> usize {
        let copies = self.queue.iter().filter(|e| e.purpose == Purpose::Notice).count();
        self.under_way() + copies
    }

    /// Who is a legacy domain here has changed.
    pub fn set_roster(&mut self, roster: Arc<Roster>) {
        self.rules.roster = roster;
    }

    /// The channel is there.
    pub fn connected(&mut self, now: Now) {
        self.presence.away_since = None;
        self.input.connected();
        self.go_on_with_line();
        self.queue.rewind(now.monotonic);
        if !self.queue.is_empty() {
            self.actions.push(Action::Queued);
        }
    }

    /// The channel is gone. Says how many bytes of a line that had begun are lost with it.
    pub fn disconnected(&mut self, now: Now) -> usize {
        self.presence.away_since = Some(now.monotonic);
        self.queue.rewind(now.monotonic);
        self.presence.ready = None;
        self.input.reset()
    }

    /// Bytes from the channel, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Now) {
        if bytes.is_empty() {
            return;
        }
        if let Some(last) = self.input.push(bytes, now.monotonic) {
            self.calls.still_answering(last, now.monotonic);
        }
        self.take_lines(now);
    }

    /// Another program had changed the settings of the port: what was written meanwhile may have been torn, and
    /// so a line of which the other side has a part is written again. What came may have gone round.
    pub fn was_put_right(&mut self, now: Now) {
        self.queue.rewind(now.monotonic);
        self.input.expect_echoes(now.monotonic);
    }

    /// The line that has begun is none. Says how many bytes of it there were.
    pub fn forget_line(&mut self) -> usize {
        self.input.reset()
    }

    /// What it is limited to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// The session is lost, and with it what would have told that a list has changed.
    pub fn forget_lists(&mut self) {
        self.lists = lists::Lists::default();
    }

    /// A message from the domain's session. It is acknowledged by an action, at once or later.
    pub fn deliver(&mut self, message: Received, delivery: DeliveryId, now: Now) {
        self.counters.received += 1;
        let own = message.mark.as_deref() == Some(&*self.rules.instance);
        if own || message.clears() {
            self.ignore(
                if own { IgnoreReason::Own } else { IgnoreReason::Cleared },
                &message.source,
            );
            return self.actions.push(Action::Acknowledge(delivery));
        }
        self.from_mqtt(message, delivery, now);
    }

    /// Something from another domain, or from the gateway's own session.
    pub fn accept(&mut self, passed: Forwarded, now: Now) {
        match passed {
            Forwarded::Line { from, line, command, is_command } => {
                self.direct(from, line, command, is_command, now);
            }
            Forwarded::Copy(line) | Forwarded::Notice(line) => self.copy(line, now),
            Forwarded::Event { line, row, payload, source, late } => {
                let line = (!late).then_some(line);
                self.announce(line, &row, (&payload, &source), now);
            }
            Forwarded::Returned(line) => {
                let line = line.strip_suffix(b"\n").map(Bytes::copy_from_slice).unwrap_or(line);
                self.line(line, now);
            }
            Forwarded::Own(call) => self.goes_direct(call, now),
        }
    }

    /// The bytes to be written to the channel next.
    #[must_use]
    pub fn chunk(&self) -> Option<&[u8]> {
        self.queue.chunk()
    }

    /// So many bytes of [`Proxy::chunk`] have been written.
    pub fn written(&mut self, count: usize, now: Now) {
        let Some(entry) = self.queue.written(count, now.monotonic) else { return };
        match entry.purpose {
            Purpose::Call(id) => self.call_written(id, now),
            Purpose::Message { from, command } => {
                self.counters.delivered += 1;
                if command {
                    self.command_written(from, &entry.line, now);
                }
            }
            Purpose::Notice => {}
        }
        if let Some(delivery) = entry.delivery {
            self.actions.push(Action::Acknowledge(delivery));
        }
    }

    /// The broker has acknowledged a publish; `matched` says whether anybody subscribes to its topic.
    pub fn acknowledged(&mut self, token: Token, matched: bool, now: Now) {
        if !matched && self.is_to_try_again(token, now) {
            return;
        }
        let Some(sent) = self.unacked.remove(token) else { return };
        if let (false, Some(to)) = (matched, &sent.to) {
            let detail = nobody_takes(to);
            self.request_failed(sent, Reason::NoSuchDomain, &detail, now);
        } else if sent.counted {
            self.counters.delivered += 1;
        }
    }

    /// The broker will never take a publish.
    pub fn not_published(&mut self, token: Token, reason: Reason, why: &str, now: Now) {
        if let Some(sent) = self.unacked.remove(token) {
            self.request_failed(sent, reason, why, now);
        }
    }

    /// A publish was forgotten before it was sent, as [`Action::Withdraw`] asked.
    pub fn withdrawn(&mut self, token: Token) {
        self.unacked.remove(token);
    }
}
