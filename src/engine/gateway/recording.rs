//! What the gateway is told and what it does, for whoever records it. `playing.rs` does it once more.
//!
//! The state at the beginning, every input with its time, and a checksum of every effect: the same state told the
//! same does the same, byte for byte.

use super::stored::FromLog;
use super::{Effect, Gateway, OpenError, Pump, Reloadable, Restored};
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use crate::engine::proxy::Room;
use crate::engine::publish::Token;
use crate::engine::session::SessionInput;
use crate::engine::snapshot::{self, whole};
use crate::engine::store::MessageRecord;
use crate::engine::tunnel::packet;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// Something that the gateway was told: each of its methods that is told `now` has one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the method of its name, with that method's parameters")]
pub enum GatewayInput {
    Appeared {
        of: Identity,
    },
    Vanished {
        of: DomainName,
    },
    FolderFailing {
        folder: String,
        error: Option<String>,
    },
    Opened {
        of: DomainName,
    },
    NotOpened {
        of: DomainName,
        error: OpenError,
    },
    Closed {
        of: DomainName,
        why: String,
    },
    WasPutRight {
        of: DomainName,
    },
    Received {
        of: DomainName,
        #[serde(with = "snapshot::bytes")]
        bytes: Bytes,
        more: bool,
    },
    Written {
        of: DomainName,
        count: usize,
        sum: Sum,
    },
    Session {
        of: Pump,
        input: SessionInput,
    },
    DialNow {
        of: Pump,
    },
    NotDialled {
        of: DomainName,
        why: String,
    },
    HungUp {
        of: DomainName,
    },
    FromBroker {
        of: DomainName,
        #[serde(with = "snapshot::bytes")]
        bytes: Bytes,
    },
    WrittenToBroker {
        of: DomainName,
        count: usize,
        sum: Sum,
    },
    NotWrittenToBroker {
        of: DomainName,
    },
    BrokerGone {
        of: DomainName,
    },
    SocketOpened {
        of: DomainName,
    },
    SocketClosed {
        of: DomainName,
        why: String,
    },
    SocketReceived {
        of: DomainName,
        #[serde(with = "snapshot::bytes")]
        bytes: Bytes,
        more: bool,
    },
    SocketWritten {
        of: DomainName,
        count: usize,
        sum: Sum,
    },
    SetRoom {
        of: DomainName,
        room: Room,
    },
    LogOpened {
        of: DomainName,
        found: Box<Restored>,
    },
    LogNotOpened {
        of: DomainName,
        error: String,
    },
    LogFailing {
        of: DomainName,
        error: Option<String>,
    },
    LogLost {
        of: DomainName,
    },
    LogLeft {
        of: DomainName,
        there: BTreeSet<Token>,
    },
    Kept {
        of: DomainName,
        token: Token,
        message: Box<MessageRecord>,
        is: bool,
    },
    TakeStored {
        of: DomainName,
        messages: Vec<FromLog>,
        last: bool,
    },
    Suspend {
        of: DomainName,
    },
    Suspended {
        of: DomainName,
    },
    MemoryFailing {
        error: Option<String>,
    },
    TakeLog {
        of: DomainName,
    },
    GiveUpCalls {
        of: DomainName,
        calls: Vec<(DomainName, String, String)>,
    },
    SendFromLog {
        log: u64,
        messages: Vec<FromLog>,
        last: bool,
    },
    GiveUpLog {
        log: u64,
    },
    TakeForLegacy {
        of: DomainName,
    },
    Status,
    Wake {
        of: Pump,
    },
    Reload(Box<Reloadable>),
    NotReloaded {
        findings: Vec<String>,
    },
    Finish {
        limit: Duration,
    },
    ReceivedLast {
        of: DomainName,
        #[serde(with = "snapshot::bytes")]
        bytes: Bytes,
    },
    LeaveBroker {
        of: DomainName,
    },
    LeaveBrokerAtLast,
    Ended {
        of: DomainName,
    },
    FinishOwnSession,
    LastRecord,
}

/// The version of what is recorded: that of the lines, not of the state, which only the program that has written it
/// can be sure to read.
pub const FORMAT: u32 = 1;

/// A line of a recording.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// What wrote it: the first line.
    Recording {
        /// [`FORMAT`].
        format: u32,
        /// The program's version.
        program: String,
        /// What the domains say was made unreadable, and nothing else is in it.
        #[serde(default)]
        redacted: bool,
    },
    /// Whoever records was too slow: so many inputs are not here, and a state comes next.
    Missed(u64),
    /// Everything that the gateway knows. What comes next follows from it.
    State(Box<Gateway>),
    /// What it was told, and when.
    Input {
        /// Time since some beginning.
        at: Duration,
        /// The wall clock.
        wall: std::time::SystemTime,
        /// What.
        told: GatewayInput,
    },
    /// What a pump was given to do.
    Effect {
        /// Which pump.
        of: Pump,
        /// Its kind.
        kind: String,
        /// Its checksum.
        sum: Sum,
    },
}

impl Recorded {
    /// What a recording begins with.
    #[must_use]
    pub fn beginning() -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self::Recording { format: FORMAT, program, redacted: false }
    }

    /// Reads a line of a recording.
    ///
    /// # Errors
    /// It is none, or another version's.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        whole(|| serde_json::from_str(line))
    }

    /// As a line.
    #[must_use]
    pub fn line(&self) -> String {
        line(self)
    }

    /// Whether a line is a state.
    #[must_use]
    pub fn is_state(line: &str) -> bool {
        line.starts_with("{\"state\"")
    }
}

/// The CRC-32 of what is not written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum(u32);

impl Sum {
    fn of(bytes: &[u8]) -> Self {
        Self(crc32fast::hash(bytes))
    }
}

/// Where a recording's replay was something else than what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What was recorded.
    pub recorded: String,
    /// What it is now.
    pub now: String,
}

/// What was recorded since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct Recording(Vec<String>);

impl Gateway {
    // -- Recording -----------------------------------------------------------------------------------

    /// Everything is recorded from now on, beginning with the state; or nothing is any more.
    pub fn set_recorded(&mut self, on: bool) {
        self.recording = on.then(|| Recording(vec![Recorded::beginning().line(), self.state()]));
    }

    /// What was recorded since this was last called, a line of JSON for each: see [`Recorded`].
    pub fn take_recorded(&mut self) -> Vec<String> {
        self.recording
            .as_mut()
            .map(|recording| std::mem::take(&mut recording.0))
            .unwrap_or_default()
    }

    /// The state, as a line of a recording.
    fn state(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Line<'g> {
            State(&'g Gateway),
        }
        line(&Line::State(self))
    }

    /// What it is told, if it is recorded. A method that is told `now` calls it first, and calls none that does.
    pub(super) fn note(&mut self, now: Now, told: impl FnOnce(&Self) -> GatewayInput) {
        if self.recording.is_none() {
            return;
        }
        let told = told(self);
        let recorded = Recorded::Input { at: now.monotonic, wall: now.wall, told };
        self.push_recorded(&recorded);
    }

    /// What a pump is given to do.
    pub(super) fn note_effect(&mut self, pump: &Pump, effect: &Effect) {
        if self.recording.is_none() {
            return;
        }
        let (kind, sum) = kind_and_sum(effect);
        self.push_recorded(&Recorded::Effect { of: pump.clone(), kind, sum });
    }

    fn push_recorded(&mut self, recorded: &Recorded) {
        if let Some(Recording(lines)) = &mut self.recording {
            lines.push(line(recorded));
        }
    }

    /// The checksum of the first `count` bytes that are to be written somewhere. A password in a CONNECT is not
    /// recorded, and counts as the stars that it is in a state.
    pub(super) fn sum_of(&self, of: &DomainName, bytes: Option<&[u8]>, count: usize) -> Sum {
        let bytes = bytes.and_then(|bytes| bytes.get(..count)).unwrap_or_default();
        match self.logins.password(of) {
            Some(password) => Sum::of(&hidden(bytes, password.reveal().as_bytes())),
            None => Sum::of(bytes),
        }
    }
}

/// Bytes with stars for the password, which is the last field of a CONNECT (MQTT 5, 3.1.3).
fn hidden<'b>(bytes: &'b [u8], password: &[u8]) -> Cow<'b, [u8]> {
    let connect = packet::size(bytes).filter(|_| packet::kind(bytes) == packet::CONNECT);
    let start = connect.and_then(|size| size.checked_sub(password.len()));
    let Some(start) = start else { return bytes.into() };
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.get_mut(start..start + password.len()) {
        last.fill(b'*');
    }
    bytes.into()
}

/// What is written of an effect.
pub(super) fn kind_and_sum(effect: &Effect) -> (String, Sum) {
    let shown = format!("{effect:?}");
    let kind: String = shown.chars().take_while(|c| c.is_alphanumeric()).collect();
    let sum = match effect {
        // A CONNECT may be among them, with its password.
        Effect::HangUp(left) => Sum::of(&left.len().to_le_bytes()),
        _ => Sum::of(line(effect).as_bytes()),
    };
    (kind, sum)
}

/// A line of JSON.
fn line(what: &impl Serialize) -> String {
    // Every map whose keys are no texts is written as a list: a test writes each kind of state.
    whole(|| serde_json::to_string(what))
        .unwrap_or_else(|error| format!("{{\"unwritable\":\"{error}\"}}"))
}
