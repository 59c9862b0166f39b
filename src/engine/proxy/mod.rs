//! One legacy channel's state machine: bytes, publishes and time in, [`Action`]s and lines out.
//!
//! To everyone on MQTT the domain is simply there; to the domain everyone else speaks the MVP.

mod action;
mod allowed;
mod answer;
mod ask;
mod asker;
mod calls;
mod direct;
mod event;
mod give;
mod line;
mod own;
mod pace;
mod reload;
mod response;
mod room;
mod status;
mod store;
mod suspend;
mod tell;
mod time;
mod unheard;

pub use action::{Action, HandedOver, OwnCall, Passed};
pub(in crate::engine) use ask::reason_of;
pub(in crate::engine) use event::{STATE, events};
pub use pace::Pace;
use pace::buckets;
pub use store::Room;

use super::bucket::Bucket;
use super::clock::Now;
use super::frame::Decoder;
use super::identity::Identity;
use super::limits::{Limits, weight};
use super::mapping::Table;
use super::mapping::shape::{Context, Values};
use super::name::DomainName;
use super::policy::Policy;
use super::publish::{Publish, Received, Token};
use super::queue::{Delivery, Entry, Purpose, Queue};
use super::refusal::{Counters, Reason, Why};
use super::roster::Roster;
use super::status::Heard;
use bytes::Bytes;
use calls::{Asked, Calls, Ended, Given};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A publish that the broker has not acknowledged.
#[derive(Debug)]
struct Sent {
    /// The call that it asks, if it is a request with an answer.
    call: Option<u64>,
    /// Whether a message ends when it is acknowledged.
    counted: bool,
    /// Where it was addressed, if it is a request to one domain.
    to: Option<DomainName>,
    head: String,
    from: DomainName,
    /// The request itself and when it was made, if its handler may only be about to subscribe.
    again: Option<(Duration, Publish)>,
}

/// The state machine of one channel.
#[derive(Debug)]
pub struct Proxy {
    identity: Identity,
    table: Arc<Table>,
    policy: Arc<Policy>,
    limits: Limits,
    instance: Arc<str>,
    nonce: Arc<str>,
    roster: Arc<Roster>,
    decoder: Decoder,
    /// How much more the domain may say.
    share: Bucket,
    /// How much more it is heard with while others speak.
    pace: Bucket,
    heard: Heard,
    queue: Queue,
    asked: Calls<Asked>,
    given: Calls<Given>,
    /// Commands of other legacy domains that were written and have no answer yet. Nothing waits for them.
    unanswered: Calls<Given>,
    ended: VecDeque<Ended>,
    /// What the broker has not acknowledged, with its size.
    sent: HashMap<Token, (usize, Sent)>,
    /// Requests that nobody was there for, and when to publish them again.
    unheard: VecDeque<(Duration, Token)>,
    /// What that weighs against the limit of the outbox, and how many bytes it is.
    outbox: usize,
    outbox_bytes: usize,
    /// Filters of answers that only calls from before the table wait for.
    surplus: BTreeSet<String>,
    /// The most bytes that this proxy may hold for now, while all of them together hold too many.
    level: Option<usize>,
    store: Option<store::Store>,
    /// What `etat_domu` last said.
    ready: Option<String>,
    away_since: Option<Duration>,
    stuck: bool,
    last_arrival: Duration,
    /// No call is over before this.
    earliest: Option<Duration>,
    next: u64,
    actions: Vec<Action>,
    counters: Counters,
}

/// What all proxies of a gateway share.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The mapping.
    pub table: Arc<Table>,
    /// Who may say what to whom.
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
        let (share, pace) = buckets(&setting.limits);
        Self {
            identity,
            table: Arc::clone(&setting.table),
            policy: Arc::clone(&setting.policy),
            decoder: Decoder::new(setting.limits.line),
            share,
            pace,
            limits: setting.limits.clone(),
            instance: Arc::clone(&setting.instance),
            nonce: Arc::clone(&setting.nonce),
            roster: Arc::default(),
            heard: Heard::default(),
            queue: Queue::new(setting.limits.queue),
            asked: Calls::default(),
            given: Calls::default(),
            unanswered: Calls::default(),
            ended: VecDeque::new(),
            sent: HashMap::new(),
            unheard: VecDeque::new(),
            outbox: 0,
            outbox_bytes: 0,
            surplus: BTreeSet::new(),
            level: None,
            store: None,
            ready: None,
            away_since: Some(now),
            stuck: false,
            last_arrival: now,
            earliest: None,
            next: 0,
            actions: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The name that stands for the channel in logs.
    #[must_use]
    pub fn name(&self) -> &DomainName {
        self.identity.name()
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

    /// How many messages are under way: in calls, in the queue, or waiting for a PUBACK.
    #[must_use]
    pub fn under_way(&self) -> usize {
        let messages = |e: &&Entry| matches!(e.purpose, Purpose::Message { .. });
        self.asked.counted()
            + self.given.len()
            + self.queue.iter().filter(messages).count()
            + self.sent.values().filter(|(_, s)| s.counted).count()
    }

    /// How many lines and messages would be lost if the proxy ended now: those under way, and copies.
    #[must_use]
    pub fn left(&self) -> usize {
        let copies = self.queue.iter().filter(|e| e.purpose == Purpose::Notice).count();
        self.under_way() + copies
    }

    /// Who is a legacy domain here has changed.
    pub fn set_roster(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
    }

    /// Whether a name is a legacy domain's here.
    fn is_legacy(&self, name: &DomainName) -> bool {
        match &self.identity {
            Identity::Domain(_) => self.roster.legacy.contains(name),
            Identity::Behind { local, .. } => {
                !local.contains(name) && *name != DomainName::anonymous()
            }
        }
    }

    /// The channel is there.
    pub fn connected(&mut self, now: Now) {
        self.away_since = None;
        self.stuck = false;
        self.decoder.reset();
        self.go_on_with_line();
        self.heard.connected();
        self.queue.rewind(now.monotonic);
        if !self.queue.is_empty() {
            self.actions.push(Action::Queued);
        }
    }

    /// The channel is gone. Says how many bytes of a line that had begun are lost with it.
    pub fn disconnected(&mut self, now: Now) -> usize {
        self.away_since = Some(now.monotonic);
        self.stuck = false;
        self.queue.rewind(now.monotonic);
        self.ready = None;
        self.decoder.reset()
    }

    /// Bytes from the channel, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Now) {
        if bytes.is_empty() {
            return;
        }
        if self.decoder.is_inside_a_line() {
            self.still_answering(now);
        }
        self.last_arrival = now.monotonic;
        self.decoder.push(bytes);
        self.take_lines(now);
    }

    /// The line that has begun is none. Says how many bytes of it there were.
    pub fn forget_line(&mut self) -> usize {
        self.decoder.reset()
    }

    /// What it is limited to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A message from the domain's session. It is acknowledged by an action, at once or later.
    pub fn deliver(&mut self, message: Received, delivery: Delivery, now: Now) {
        self.counters.received += 1;
        let own = message.mark.as_deref() == Some(&*self.instance);
        if own || message.clears() {
            self.ignore(if own { Why::Own } else { Why::Cleared }, &message.source);
            return self.actions.push(Action::Acknowledge(delivery));
        }
        self.from_mqtt(message, delivery, now);
    }

    /// Something from another domain, or from the gateway's own session.
    pub fn accept(&mut self, passed: Passed, now: Now) {
        match passed {
            Passed::Line { from, line, command, is_command } => {
                self.direct(from, line, command, is_command, now);
            }
            Passed::Copy(line) | Passed::Notice(line) => self.copy(line, now),
            Passed::Event { line, row, payload, source, late } => {
                let line = (!late).then_some(line);
                self.announce(line, &row, (&payload, &source), now);
            }
            Passed::Returned(line) => {
                let line = line.strip_suffix(b"\n").map(Bytes::copy_from_slice).unwrap_or(line);
                self.line(line, now);
            }
            Passed::Own(call) => self.goes_direct(call, now),
        }
    }

    /// The bytes to be written to the channel next.
    #[must_use]
    pub fn chunk(&self) -> Option<&[u8]> {
        self.queue.chunk()
    }

    /// So many bytes of [`Proxy::chunk`] have been written.
    pub fn written(&mut self, count: usize, now: Now) {
        self.stuck = false;
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
        let Some(sent) = self.take_sent(token) else { return };
        if let (false, Some(to)) = (matched, &sent.to) {
            let detail = format!("nobody on MQTT carries out requests to {to}");
            self.request_failed(sent, Reason::NoSuchDomain, &detail, now);
        } else if sent.counted {
            self.counters.delivered += 1;
        }
    }

    /// The broker will never take a publish.
    pub fn not_published(&mut self, token: Token, reason: Reason, why: &str, now: Now) {
        if let Some(sent) = self.take_sent(token) {
            self.request_failed(sent, reason, why, now);
        }
    }

    /// A publish was forgotten before it was sent, as [`Action::Withdraw`] asked.
    pub fn withdrawn(&mut self, token: Token) {
        self.take_sent(token);
    }

    fn context<'a>(&self, now: Now, source: &'a str, request: Option<&'a Values>) -> Context<'a> {
        let known = const { &Values::new() };
        Context { now, source, request, instead: &[], known, limit: self.limits.line }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take_sent(&mut self, token: Token) -> Option<Sent> {
        let (size, sent) = self.sent.remove(&token)?;
        self.outbox -= weight(size, self.limits.outbox);
        self.outbox_bytes -= size;
        Some(sent)
    }
}
