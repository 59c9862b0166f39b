//! A domain's log on disk: what its pump has done with it.

use super::Gateway;
use super::GatewayInput;
use super::domain::{Log, Mode};
use super::effect::Pump;
use super::own::given_up;
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::proxy::{Proxy, Room};
use crate::engine::publish::Token;
use crate::engine::refusal::Refusal;
use crate::engine::store::{MessageRecord, Record};
use crate::engine::tunnel::detector::Detector;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an earlier run has left in a domain's log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Restored {
    /// How many messages are in the log alone, and how many of them are counted.
    pub messages: (usize, u64),
    /// Calls on MQTT that wait for their answers: their numbers, whether the broker has their requests, and
    /// what is left of their time.
    pub calls: Vec<(u64, MessageRecord, bool, Duration)>,
    /// What else the last run was about, with the time by which it counts.
    pub suspended: Vec<(Record, Option<Duration>)>,
}

/// A message that comes back from the log: its number, and what is left of its time.
pub type FromLog = (u64, Box<MessageRecord>, Option<Duration>);

impl Gateway {
    /// There is so much room in a domain's log.
    pub fn set_room(&mut self, name: &DomainName, room: Room, now: Now) {
        self.note(now, |_| GatewayInput::SetRoom { of: name.clone(), room });
        if let Some(proxy) = self.domains.get_mut(name).and_then(|domain| domain.proxy_mut()) {
            proxy.set_store(room, now);
        }
    }

    /// A domain's log is open, and this is in it. Gives the tokens of calls, by their numbers: `None` for one
    /// that is over.
    pub fn log_opened(
        &mut self,
        name: &DomainName,
        found: Restored,
        now: Now,
    ) -> Vec<(u64, Option<Token>)> {
        self.note(now, |_| GatewayInput::LogOpened {
            of: name.clone(),
            found: Box::new(found.clone()),
        });
        let mut tokens = Vec::new();
        let restored = |proxy: &mut Proxy| {
            let (messages, counted) = found.messages;
            proxy.restore(messages, counted);
            for (n, message, landed, left) in &found.calls {
                tokens.push((*n, proxy.restore_call(message, *landed, *left, now)));
            }
            proxy.resume(found.suspended, now);
            proxy.restored(now);
        };
        self.only_with(name, now, |domain| {
            domain.log = Log::Open;
            let serial =
                matches!(domain.identity, crate::engine::identity::Identity::Behind { .. });
            if let Mode::Legacy(legacy) = &mut domain.mode {
                restored(&mut legacy.proxy);
                if legacy.proxy.goes_on_within_a_line() && !serial {
                    legacy.detector = legacy.detector.then(Detector::within_a_line());
                }
            }
        });
        self.lines_begin(name, now);
        tokens
    }

    /// A domain's log cannot be opened: nothing of it is kept on disk.
    pub fn log_not_opened(&mut self, name: &DomainName, error: String, now: Now) {
        self.note(now, |_| GatewayInput::LogNotOpened { of: name.clone(), error: error.clone() });
        self.only_with(name, now, |domain| domain.log = Log::Open);
        self.own.board.store(name, Some(error));
        self.lines_begin(name, now);
    }

    /// The log takes nothing for this reason, or does again.
    pub fn log_failing(&mut self, name: &DomainName, error: Option<String>, now: Now) {
        self.note(now, |_| GatewayInput::LogFailing { of: name.clone(), error: error.clone() });
        self.own.board.store(name, error);
        self.run_own(now);
    }

    /// The memory cannot be written for this reason, or can be again.
    pub fn memory_failing(&mut self, error: Option<String>, now: Now) {
        self.note(now, |_| GatewayInput::MemoryFailing { error: error.clone() });
        self.own.board.memory(error);
        self.run_own(now);
    }

    /// Somebody has removed a domain's log: what is not in memory is lost. Gives what is, and whether the
    /// broker has it, for a new log.
    #[must_use]
    pub fn log_lost(
        &mut self,
        name: &DomainName,
        now: Now,
    ) -> Vec<(Token, Box<MessageRecord>, bool)> {
        self.note(now, |_| GatewayInput::LogLost { of: name.clone() });
        let rest = self.only_with(name, now, |domain| {
            let (Some(session), Some(proxy)) = (&domain.session, domain.proxy()) else {
                return Vec::new();
            };
            let published = session.publishes().filter_map(|publish| {
                Some((publish.token, Box::new(proxy.message(publish)?), false))
            });
            let calls = proxy.calls().into_iter();
            let calls = calls.map(|(token, message, landed)| (token, Box::new(message), landed));
            published.chain(calls).collect()
        });
        self.with(name, now, |domain| domain.proxy_mut().map(Proxy::has_all_stored));
        rest.unwrap_or_default()
    }

    /// A message that was to be in the log alone is there, or is not.
    pub fn kept(
        &mut self,
        name: &DomainName,
        token: Token,
        message: &MessageRecord,
        is: bool,
        now: Now,
    ) {
        self.note(now, |_| GatewayInput::Kept {
            of: name.clone(),
            token,
            message: Box::new(message.clone()),
            is,
        });
        self.with(name, now, |domain| {
            let Some(proxy) = domain.proxy_mut() else { return };
            match is {
                true => proxy.stored(message),
                false => proxy.not_stored(token, message, now),
            }
        });
    }

    /// Whether messages that are in a domain's log alone have room in memory now.
    #[must_use]
    pub fn wants_stored(&self, name: &DomainName) -> bool {
        self.domains.get(name).is_some_and(super::domain::Domain::wants_stored)
    }

    /// Messages come back from a domain's log; `last`: there are no more. Gives the token of each, by its
    /// number, `None` for one that nobody wants any more, and whether it asks a call.
    pub fn take_stored(
        &mut self,
        name: &DomainName,
        messages: Vec<FromLog>,
        last: bool,
        now: Now,
    ) -> Vec<(u64, Option<Token>, bool)> {
        self.note(now, |_| GatewayInput::TakeStored {
            of: name.clone(),
            messages: messages.clone(),
            last,
        });
        let mut tokens = Vec::new();
        self.with(name, now, |domain| {
            let Some(proxy) = domain.proxy_mut() else { return };
            for (n, message, left) in messages {
                let token = proxy.take_stored(&message, left, now);
                tokens.push((n, token, message.call.is_some()));
            }
            if last {
                proxy.has_all_stored();
            }
        });
        tokens
    }

    /// What is to be in a domain's log when the gateway ends.
    #[must_use]
    pub fn suspend(&mut self, name: &DomainName, now: Now) -> Vec<Record> {
        self.note(now, |_| GatewayInput::Suspend { of: name.clone() });
        let records = self.only_with(name, now, |domain| domain.proxy_mut().map(|p| p.suspend()));
        records.flatten().unwrap_or_default()
    }

    /// It is there.
    pub fn suspended(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::Suspended { of: name.clone() });
        self.with(name, now, |domain| domain.proxy_mut().map(Proxy::suspended));
    }

    /// A domain has left a log, now or in an earlier run. Gives the number under which the pump of the
    /// gateway's own session knows it.
    pub fn take_log(&mut self, name: DomainName, now: Now) -> u64 {
        self.note(now, |_| GatewayInput::TakeLog { of: name.clone() });
        self.effects.wake(&Pump::Own);
        self.own.take_log(name)
    }

    /// Calls that an earlier run has left in such a log: nobody waits for them any more.
    /// For each: its requester, its row, and the message's first bytes.
    pub fn give_up_calls(
        &mut self,
        name: &DomainName,
        calls: Vec<(DomainName, String, String)>,
        now: Now,
    ) {
        self.note(now, |_| GatewayInput::GiveUpCalls { of: name.clone(), calls: calls.clone() });
        for (from, row, head) in calls {
            self.refused(&Pump::Own, given_up(name, from, &row, head), now);
        }
    }

    /// Of which log that its domain has left the next messages are wanted.
    #[must_use]
    pub fn wants_from_log(&self) -> Option<u64> {
        self.own.wants_from_log()
    }

    /// They are here; `last`: there are no more.
    pub fn send_from_log(&mut self, log: u64, messages: Vec<FromLog>, last: bool, now: Now) {
        self.note(now, |_| GatewayInput::SendFromLog { log, messages: messages.clone(), last });
        let refusals = self.own.send_from_log(log, messages, last, &mut self.effects, now);
        for refusal in refusals {
            self.send_refusal(refusal, now);
        }
        self.run_own(now);
    }

    fn send_refusal(&mut self, refusal: Refusal, now: Now) {
        self.refused(&Pump::Own, refusal, now);
    }

    /// A log cannot be read: it is left until the next start.
    pub fn give_up_log(&mut self, log: u64, now: Now) {
        self.note(now, |_| GatewayInput::GiveUpLog { log });
        self.own.give_up_log(log);
    }
}
