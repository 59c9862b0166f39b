//! The lines that a domain sends: how they are cut, how many it may send, and how fast it is heard.

use super::Proxy;
use super::line::Read;
use crate::engine::bucket::Bucket;
use crate::engine::clock::Now;
use crate::engine::frame::{Decoder, Frame};
use crate::engine::legacy::Kind;
use crate::engine::limits::Limits;
use crate::engine::refusal::Reason;
use crate::engine::status::{Heard, Spoke, Utterance};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// How a domain is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It does not say much.
    Calm,
    /// It says very much, and nobody minds.
    Fast,
    /// It says very much, while others have something to say too or the broker is behind: in small pieces,
    /// and the next not before then.
    Slow(Option<Duration>),
}

/// How long a line may take to go round once a channel sends nothing back any more.
const ROUND: Duration = Duration::from_millis(100);

/// How many bytes wait for a broker that does not keep up.
const BEHIND: usize = 2 * 1024 * 1024;

/// How many messages of a domain are heard without a pause, whatever others do.
const AT_ONCE: usize = 2000;

/// What comes from the channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineInput {
    decoder: Decoder,
    /// How many bytes of the line that has begun an earlier run had read.
    half: usize,
    /// How much more the domain may say.
    share: Bucket,
    /// How much more it is heard with while others speak.
    pace: Bucket,
    heard: Heard,
    last_arrival: Duration,
    echoes: Echoes,
}

/// Lines that may go round: the kernel has sent them back, and whoever sent them takes that for a message.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Echoes {
    until: Duration,
    /// The digests of those that have come.
    seen: BTreeSet<u64>,
}

impl LineInput {
    /// For a channel that is not connected yet.
    pub fn new(limits: &Limits, now: Duration) -> Self {
        let (share, pace) = buckets(limits);
        let (decoder, heard) = (Decoder::new(limits.line), Heard::default());
        Self { decoder, half: 0, share, pace, heard, last_arrival: now, echoes: Echoes::default() }
    }

    /// Another rate holds from now on, and nothing of the old one is owed.
    pub fn set_rate(&mut self, limits: &Limits) {
        (self.share, self.pace) = buckets(limits);
    }

    /// How long a line may be.
    pub fn set_limit(&mut self, limit: usize) {
        self.decoder.set_limit(limit);
    }

    /// The channel is there: nothing of a line is left.
    pub fn connected(&mut self) {
        self.reset();
        self.heard.connected();
    }

    /// Nothing of a line is left. Says how many bytes of it there were.
    pub fn reset(&mut self) -> usize {
        self.half = 0;
        self.decoder.reset()
    }

    /// Bytes of the channel. Says when the last ones of the same line came, if they go on with one.
    pub fn push(&mut self, bytes: &[u8], now: Duration) -> Option<Duration> {
        let last = self.decoder.is_inside_a_line().then_some(self.last_arrival);
        self.last_arrival = now;
        self.decoder.push(bytes);
        last
    }

    /// The channel has sent lines back until now: what comes more than once for a moment has gone round.
    pub fn expect_echoes(&mut self, now: Duration) {
        self.echoes = Echoes { until: now.saturating_add(ROUND), seen: BTreeSet::new() };
    }

    /// Whether a line has come before, and only goes round.
    pub fn is_echo(&mut self, line: &[u8], now: Duration) -> bool {
        if self.echoes.until <= now {
            self.echoes.seen.clear();
            return false;
        }
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        !self.echoes.seen.insert(hasher.finish())
    }

    /// What follows belongs to a line that was begun, and is skipped.
    pub fn skip_line(&mut self) {
        self.decoder.skip_line();
    }

    /// An earlier run had read these bytes of a line.
    pub fn go_on_with(&mut self, half: &[u8]) {
        self.half = half.len();
        self.decoder.push(half);
    }

    /// How many bytes of the next line an earlier run had read.
    pub fn take_half(&mut self) -> usize {
        std::mem::take(&mut self.half)
    }

    /// Bytes of a line that goes on when the gateway is back.
    pub fn push_begun(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// The next line that has come whole, or is too long.
    pub fn next_line(&mut self) -> Option<Frame> {
        self.decoder.next()
    }

    /// The line that has begun, and whether it is skipped.
    pub fn begun(&self) -> Option<(&[u8], bool)> {
        self.decoder.begun()
    }

    /// How many bytes of a line are held.
    pub fn held(&self) -> usize {
        self.decoder.held()
    }

    /// A message, or something that is none, was read.
    pub fn note(&mut self, spoke: Spoke, name: &str, now: Now) {
        self.heard.note(spoke, name, now);
    }

    /// What was read.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// What was read since this was last called.
    pub fn take_heard(&mut self) -> Vec<Utterance> {
        self.heard.take()
    }

    /// Something that is no message counts as one that was heard.
    pub fn draw(&mut self, now: Now) {
        self.pace.draw(now.monotonic);
    }

    /// Whether the domain may send one more message.
    fn take_share(&mut self, now: Now) -> bool {
        self.pace.draw(now.monotonic);
        self.share.take(now.monotonic)
    }
}

fn buckets(limits: &Limits) -> (Bucket, Bucket) {
    (Bucket::new(limits.rate, limits.rate), Bucket::new(limits.pace, AT_ONCE))
}

impl Proxy {
    /// How the domain is to be heard from now on; `others`: whether others have something to say too.
    #[must_use]
    pub fn pace(&self, others: bool, now: Now) -> Pace {
        let now = now.monotonic;
        if !self.input.pace.is_low(now) {
            Pace::Calm
        } else if others || self.unacked.bytes() > BEHIND {
            Pace::Slow(self.input.pace.owed_until(now))
        } else {
            Pace::Fast
        }
    }

    /// Whether a line has begun that is long already.
    #[must_use]
    pub fn is_inside_a_long_line(&self) -> bool {
        const LONG: usize = 64 * 1024;
        self.input.held() > LONG
    }

    /// Whether the domain may say this, too. There are no more answers than calls: they are not counted.
    pub(super) fn is_within_share(&mut self, read: &Read<'_>, now: Now) -> bool {
        if read.message.kind == Kind::Response {
            return true;
        }
        self.input.take_share(now)
    }

    /// More than the domain's share: it is not looked into any further.
    pub(super) fn refuse_over_share(&mut self, read: &Read<'_>, now: Now) {
        let detail =
            format!("more than {} messages a second (limits.rate)", self.rules.limits.rate);
        if read.message.kind == Kind::Command {
            self.refuse_request(read, Reason::RateLimited, &detail, now);
        } else {
            self.refuse_read(read, Reason::RateLimited, &detail);
        }
    }
}
