//! What becomes of a message that does not go through, and the counters that add up.

use super::durations::Durations;
use super::name::DomainName;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a message is refused: a closed list, with names that do not change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

reasons! {
    /// Not JSON, not UTF-8, or nested too deep.
    NotJson = "not_json",
    /// JSON, but not `{type, source, destination, payload}`.
    NotAnEnvelope = "not_an_envelope",
    /// Longer than a line may be.
    LineTooLong = "line_too_long",
    /// A `type` that the MVP has not.
    UnknownType = "unknown_type",
    /// No row maps it.
    NotMapped = "not_mapped",
    /// A member that the row needs is absent.
    MissingArgument = "missing_argument",
    /// A member is not as the row needs it.
    BadValue = "bad_value",
    /// It claims to be from somebody else.
    SpoofedSource = "spoofed_source",
    /// A name that no domain can have.
    BadName = "bad_name",
    /// Nobody carries it out.
    NoSuchDomain = "no_such_domain",
    /// The domain does not read, or has too much to do.
    DomainStuck = "domain_stuck",
    /// Its time has passed.
    Expired = "expired",
    /// An answer to nothing that was asked.
    NoPendingCall = "no_pending_call",
    /// A request that the broker kept: commands are not replayed.
    RetainedRequest = "retained_request",
    /// More than the domain's share.
    RateLimited = "rate_limited",
    /// The policy forbids it.
    NotAllowed = "not_allowed",
    /// There is no room to keep it.
    StoreFull = "store_full",
    /// The broker does not take it.
    BrokerRefused = "broker_refused",
}

impl Reason {
    /// Whether the fault is in what the message is: then nothing else about it counts, such as who it is
    /// from.
    #[must_use]
    pub fn is_of_the_message(self) -> bool {
        match self {
            Self::NotJson
            | Self::NotAnEnvelope
            | Self::LineTooLong
            | Self::UnknownType
            | Self::NotMapped
            | Self::MissingArgument
            | Self::BadValue => true,
            Self::SpoofedSource
            | Self::BadName
            | Self::NoSuchDomain
            | Self::DomainStuck
            | Self::Expired
            | Self::NoPendingCall
            | Self::RetainedRequest
            | Self::RateLimited
            | Self::NotAllowed
            | Self::StoreFull
            | Self::BrokerRefused => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message needs nothing done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IgnoreReason {
    /// It came back from the broker and has gone the direct way already.
    Own,
    /// The gateway's own line came back.
    Echo,
    /// Dom0's old router passes on what is another domain's.
    Forwarded,
    /// Another domain carries it out.
    OtherHandler,
    /// Another domain asked for it.
    OtherRequester,
    /// It says again what was said.
    Repeat,
    /// The session has it of a subscription that is not the gateway's.
    NotSubscribed,
    /// The domain has come over to MQTT, and receives it from the broker.
    LeftToBroker,
    /// It only makes the broker forget what it had retained.
    Cleared,
}

impl IgnoreReason {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Echo => "echo",
            Self::Forwarded => "forwarded",
            Self::OtherHandler => "other handler",
            Self::OtherRequester => "other requester",
            Self::Repeat => "repeat",
            Self::NotSubscribed => "not subscribed",
            Self::LeftToBroker => "left to the broker",
            Self::Cleared => "cleared",
        }
    }
}

/// A refusal, as it is logged and published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Whose message it was.
    pub from: DomainName,
    /// What is wrong with it, for a person.
    pub detail: String,
    /// The message's first bytes, at most [`HEAD`].
    pub head: String,
}

/// How many bytes of a refused message are kept for the record.
pub const HEAD: usize = 200;

/// The first bytes of a message as text.
#[must_use]
pub fn head(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..HEAD).unwrap_or(bytes)).into_owned()
}

/// The most bytes of what a refusal says.
const DETAIL: usize = 400;

/// What is said of a message, cut where it is long: names and keys in it may be as long as a line.
#[must_use]
pub fn brief(mut detail: String) -> String {
    if detail.len() > DETAIL {
        let cut = (0..=DETAIL).rev().find(|&at| detail.is_char_boundary(at));
        detail.truncate(cut.unwrap_or_default());
        detail.push_str("...");
    }
    detail
}

/// What is said of a message, with the name of its row or command, unless that is named already.
#[must_use]
pub fn of<'d>(name: &str, detail: &'d str) -> Cow<'d, str> {
    match detail.to_lowercase().contains(&name.to_lowercase()) {
        true => Cow::Borrowed(detail),
        false => Cow::Owned(format!("{name}: {detail}")),
    }
}

/// How messages ended. What came in is the sum of these and of what is still under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages that came in.
    pub received: u64,
    /// Given to the other side: written, or acknowledged by the broker.
    pub delivered: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Kept for later, on disk.
    pub stored: u64,
    /// Nothing to be done, by why.
    pub ignored: BTreeMap<IgnoreReason, u64>,
    /// Refused, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// How long answered calls took, but for those that their timeout ends.
    pub took: Durations,
}

impl Counters {
    /// How many messages have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.delivered
            + self.answered
            + self.stored
            + self.ignored.values().sum::<u64>()
            + self.refused.values().sum::<u64>()
    }

    /// How many are still under way. Negative where others' messages ended here.
    #[must_use]
    pub fn open(&self) -> i64 {
        i64::try_from(self.received).unwrap_or(i64::MAX)
            - i64::try_from(self.ended()).unwrap_or(i64::MAX)
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.delivered += other.delivered;
        self.answered += other.answered;
        self.stored += other.stored;
        self.took.add(&other.took);
        for (why, count) in &other.ignored {
            *self.ignored.entry(*why).or_default() += count;
        }
        for (reason, count) in &other.refused {
            *self.refused.entry(*reason).or_default() += count;
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "received={} delivered={} answered={} stored={}",
            self.received, self.delivered, self.answered, self.stored
        )?;
        for (why, count) in &self.ignored {
            write!(f, " ignored[{}]={count}", why.as_str())?;
        }
        for (reason, count) in &self.refused {
            write!(f, " refused[{reason}]={count}")?;
        }
        write!(f, " open={}", self.open())
    }
}
