//! What the gateway wants done, and by whom.

use crate::engine::name::DomainName;
use crate::engine::publish::Token;
use crate::engine::refusal::{IgnoreReason, Refusal};
use crate::engine::session;
use crate::engine::status::{SeenRecord, State};
use crate::engine::store::MessageRecord;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// Who carries out an effect: each domain has a pump for its channel, its session and its log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pump {
    /// That of the gateway's own session.
    Own,
    /// That of a domain.
    Domain(DomainName),
    /// That of a socket which Dom0's program is offered for this requester. It has no effect but the end.
    Socket(DomainName),
}

/// Something that a pump does. It asks nothing back.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Open the channel; [`Gateway::opened`](super::Gateway::opened) or
    /// [`Gateway::not_opened`](super::Gateway::not_opened) says how that went.
    Open,
    /// Close the channel, whatever has come over it: nobody is there any more.
    Close,
    /// Look at the settings of a serial port, and put them right if another program has changed them; then
    /// [`Gateway::was_put_right`](super::Gateway::was_put_right).
    PutRight,
    /// A line waits to be written; see [`Gateway::to_channel`](super::Gateway::to_channel).
    Write,
    /// Something for the MQTT session.
    Session(session::SessionEffect),
    /// Open a connection to the broker for the domain's own MQTT, once the last one is closed.
    Dial,
    /// Write these last bytes to that connection, and close it.
    HangUp(Bytes),
    /// Open the domain's log, and tell what is in it.
    OpenLog,
    /// Write a message to the log, before what comes after this.
    Keep {
        /// Names it from now on.
        token: Token,
        /// The message.
        message: Box<MessageRecord>,
        /// It is nowhere else.
        only: bool,
    },
    /// The broker has a publish that is in the log; one that asks a call stays there until it is over.
    Landed(Token),
    /// Nobody needs what is in the log under this token.
    Over(Token),
    /// The domain leaves its log; see [`Gateway::log_left`](super::Gateway::log_left).
    LeaveLog,
    /// A message of a log that its domain has left is through.
    Sent {
        /// Which log.
        log: u64,
        /// The message's number in it.
        n: u64,
    },
    /// Everything in such a log is through.
    RemoveLog(u64),
    /// Write the memory of who speaks legacy.
    Remember(Box<SeenRecord>),
    /// What the domain's channel is doing has changed.
    Mode(State),
    /// The channel or the session is tried again after so long.
    Retry(Duration),
    /// Log a refusal.
    Refused(Refusal),
    /// Log that nothing had to be done.
    Ignored(IgnoreReason, DomainName),
    /// The domain is nobody's any more, or the socket is not offered any more: the pump ends.
    End,
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Close => f.write_str("Close"),
            Self::PutRight => f.write_str("PutRight"),
            Self::Write => f.write_str("Write"),
            Self::Session(effect) => effect.fmt(f),
            Self::Dial => f.write_str("Dial"),
            // A CONNECT may be among them, with its password.
            Self::HangUp(left) => write!(f, "HangUp({} bytes)", left.len()),
            Self::OpenLog => f.write_str("OpenLog"),
            Self::Keep { token, only, .. } => write!(f, "Keep({token:?}, only: {only})"),
            Self::Landed(token) => write!(f, "Landed({token:?})"),
            Self::Over(token) => write!(f, "Over({token:?})"),
            Self::LeaveLog => f.write_str("LeaveLog"),
            Self::Sent { log, n } => write!(f, "Sent({log}, {n})"),
            Self::RemoveLog(log) => write!(f, "RemoveLog({log})"),
            Self::Remember(_) => f.write_str("Remember"),
            Self::Mode(state) => write!(f, "Mode({state:?})"),
            Self::Retry(after) => write!(f, "Retry({after:?})"),
            Self::Refused(refusal) => write!(f, "Refused({refusal:?})"),
            Self::Ignored(why, from) => write!(f, "Ignored({why:?}, {from:?})"),
            Self::End => f.write_str("End"),
        }
    }
}

/// The effects that are not carried out yet: in order for each pump, and numbered over all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Effects {
    next: u64,
    /// The topic filters that the broker's sessions may have, by their client ids.
    pub held: BTreeMap<String, BTreeSet<String>>,
    #[serde(with = "crate::engine::snapshot::pairs")]
    queues: BTreeMap<Pump, VecDeque<(u64, Effect)>>,
    woken: BTreeSet<Pump>,
}

impl Effects {
    /// None yet; this is what the broker's sessions may have.
    pub fn new(held: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { held, ..Self::default() }
    }

    pub fn push(&mut self, pump: &Pump, effect: Effect) {
        self.next += 1;
        let numbered = (self.next, effect);
        match self.queues.get_mut(pump) {
            Some(queue) => queue.push_back(numbered),
            None => drop(self.queues.insert(pump.clone(), [numbered].into())),
        }
        self.wake(pump);
    }

    pub fn extend(&mut self, pump: &Pump, effects: impl IntoIterator<Item = Effect>) {
        effects.into_iter().for_each(|effect| self.push(pump, effect));
    }

    /// A pump has to look again at what it may do and when.
    pub fn wake(&mut self, pump: &Pump) {
        if !self.woken.contains(pump) {
            self.woken.insert(pump.clone());
        }
    }

    /// The next effect of a pump.
    pub fn pop(&mut self, pump: &Pump) -> Option<Effect> {
        self.queues.get_mut(pump)?.pop_front().map(|(_, effect)| effect)
    }

    /// The oldest effect of all.
    pub fn pop_oldest(&mut self) -> Option<(Pump, Effect)> {
        let oldest = |(pump, queue): (&Pump, &VecDeque<_>)| {
            queue.front().map(|(number, _): &(u64, Effect)| (*number, pump.clone()))
        };
        let (_, pump) = self.queues.iter().filter_map(oldest).min()?;
        let effect = self.pop(&pump)?;
        Some((pump, effect))
    }

    /// The pumps that were woken since this was last asked.
    pub fn take_woken(&mut self) -> BTreeSet<Pump> {
        std::mem::take(&mut self.woken)
    }

    /// A pump has ended.
    pub fn forget(&mut self, pump: &Pump) {
        self.queues.remove(pump);
        self.woken.remove(pump);
    }
}
