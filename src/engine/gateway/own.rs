//! The gateway's own session: notifications, refusals, the status, and what departed domains have left.

use super::effect::{Effect, Effects, Pump};
use crate::engine::clock::Now;
use crate::engine::hub::Hub;
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Token};
use crate::engine::refusal::{Reason, Refusal, of};
use crate::engine::session::{Session, SessionLog};
use crate::engine::status::{Board, Memory, Report};
use crate::engine::store::MessageRecord;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// The most bytes of notices that wait for the broker.
const NOTICES: usize = 1024 * 1024;
/// The most bytes that wait for it before the callers of a flood are told nothing.
const TOLD: usize = 4 * 1024 * 1024;
/// The most bytes of messages of departed domains that wait for it: beside them there is room for notices.
const WAITING: usize = NOTICES / 2;
/// Tokens of what others have left begin here, so that they differ from the hub's and the board's.
const OTHERS: u64 = 1 << 63;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Own {
    pub hub: Hub,
    pub session: Session,
    pub log: SessionLog,
    pub board: Board,
    pub memory: Memory,
    /// Whether anybody writes the memory to disk.
    pub remembers: bool,
    pub left: Left,
    /// It has said that the gateway ends.
    pub farewell: bool,
    pub ending: bool,
}

/// Logs that their domains have left, in the order in which they did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Left {
    logs: Vec<LeftLog>,
    next_log: u64,
    next_token: u64,
    /// The messages that wait for the broker: in which log, under which number.
    sent: HashMap<Token, (u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftLog {
    id: u64,
    name: DomainName,
    /// Everything in it has been read.
    read: bool,
    waiting: usize,
}

impl Left {
    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(OTHERS + self.next_token)
    }

    /// The broker has a message, or will never take it. Says of which log it was, and its number there.
    fn landed(&mut self, token: Token) -> Option<(u64, u64)> {
        let (log, n) = self.sent.remove(&token)?;
        if let Some(left) = self.logs.iter_mut().find(|left| left.id == log) {
            left.waiting -= 1;
        }
        Some((log, n))
    }
}

impl Own {
    /// Publishes what a domain that is gone has said.
    pub fn publish_for(&mut self, mut publish: Publish, now: Now) {
        publish.token = self.left.token();
        self.session.publish(publish, now.monotonic);
    }

    /// Tells a caller of a flood, if there is room.
    pub fn tell(&mut self, mut publish: Publish, now: Now) {
        if self.session.outbox().1 < TOLD {
            publish.token = self.left.token();
            self.session.publish(publish, now.monotonic);
        }
    }

    /// Publishes a call that was handed over, or a notice, unless there are too many notices that the
    /// broker has not taken: the log has all.
    pub fn publish(&mut self, publish: Publish, now: Now) {
        if self.hub.has_call(publish.token) || self.session.outbox().1 < NOTICES {
            self.session.publish(publish, now.monotonic);
        }
    }

    /// Publishes what is new on the board. It cannot pile up, for each domain has one token; but what
    /// others have left on the board's topics may be much.
    pub fn publish_board(&mut self, now: Now) {
        for publish in self.board.take_publishes() {
            match publish.payload.is_empty() {
                true => self.publish(publish, now),
                false => self.session.publish(publish, now.monotonic),
            }
        }
    }

    /// A domain's channel reports.
    pub fn report(&mut self, name: &DomainName, report: &Report, now: Now) {
        self.memory.heard(name, &report.heard, now);
        self.memory.published(name, report.published, report.ended, now);
        self.memory.carries(name, report.state);
        self.board.report(name, report, self.memory.last(name), now);
    }

    /// Has the memory written, if it is time.
    pub fn remember(&mut self, effects: &mut Effects, now: Now) {
        if self.remembers
            && let Some(record) = self.memory.take_due(now)
        {
            effects.push(&Pump::Own, Effect::Remember(Box::new(record)));
        }
    }

    pub fn deadline(&self) -> Option<Duration> {
        let memory = self.memory.deadline().filter(|_| self.remembers);
        let others = [self.hub.deadline(), self.board.deadline(), self.session.deadline(), memory];
        others.into_iter().flatten().min()
    }

    /// How many publishes the broker has not taken, or nobody was there for. What is in a log is sent by
    /// the next run.
    pub fn waiting(&self) -> usize {
        self.session.outbox().0.saturating_sub(self.left.sent.len()) + self.hub.unheard()
    }

    /// A domain has left this log. Gives the log's number.
    pub fn take_log(&mut self, name: DomainName) -> u64 {
        let left = &mut self.left;
        left.next_log += 1;
        let id = left.next_log;
        left.logs.push(LeftLog { id, name, read: false, waiting: 0 });
        id
    }

    /// The log of which the next messages are wanted. What a domain left before comes first.
    pub fn wants_from_log(&self) -> Option<u64> {
        (self.session.outbox().1 < WAITING).then_some(())?;
        let logs = &self.left.logs;
        let first = |at: usize, left: &LeftLog| {
            !logs.iter().take(at).any(|before| before.name == left.name && !before.read)
        };
        logs.iter().enumerate().find(|(at, l)| !l.read && first(*at, l)).map(|(_, left)| left.id)
    }

    /// Messages of a log, with what is left of their time; `last`: there are no more. Gives refusals of
    /// requests, for nobody is there any more who could be told how they end.
    pub fn send_from_log(
        &mut self,
        log: u64,
        messages: Vec<(u64, Box<MessageRecord>, Option<Duration>)>,
        last: bool,
        effects: &mut Effects,
        now: Now,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let left = &mut self.left;
        let Some(at) = left.logs.iter().position(|left| left.id == log) else { return refusals };
        for (n, message, time) in messages {
            let is_request = message.response_topic.is_some();
            if is_request || time == Some(Duration::ZERO) {
                effects.push(&Pump::Own, Effect::Sent { log, n });
                if is_request && let Some(log) = left.logs.get(at) {
                    let row = message.call.map(|call| call.row).unwrap_or(message.topic);
                    refusals.push(given_up(&log.name, message.from, &row, message.head));
                }
                continue;
            }
            let token = left.token();
            left.sent.insert(token, (log, n));
            if let Some(log) = left.logs.get_mut(at) {
                log.waiting += 1;
            }
            self.session.publish(message.publish(token, time), now.monotonic);
        }
        if let Some(log) = left.logs.get_mut(at) {
            log.read |= last;
        }
        refusals
    }

    /// A log that cannot be read is left until the next start.
    pub fn give_up_log(&mut self, log: u64) {
        self.left.logs.retain(|left| left.id != log);
        self.left.sent.retain(|_, (of, _)| *of != log);
    }

    /// The broker has taken a publish that was not the hub's, or will never take it: says whether.
    pub fn landed(&mut self, token: Token, effects: &mut Effects) -> bool {
        if let Some((log, n)) = self.left.landed(token) {
            effects.push(&Pump::Own, Effect::Sent { log, n });
        }
        token.0 >= OTHERS
    }

    /// Logs of which everything is through are removed.
    pub fn clear_logs(&mut self, effects: &mut Effects) {
        self.left.logs.retain(|left| {
            let through = left.read && left.waiting == 0;
            if through {
                tracing::info!(domain = %left.name, "all that the domain left has been sent");
                effects.push(&Pump::Own, Effect::RemoveLog(left.id));
            }
            !through
        });
    }
}

/// What became of a message for a domain that is no legacy domain here any more.
pub(super) fn given_up(name: &DomainName, from: DomainName, row: &str, head: String) -> Refusal {
    let detail = of(row, &format!("{name} is no legacy domain here any more")).into_owned();
    Refusal { reason: Reason::Expired, from, detail, head }
}
