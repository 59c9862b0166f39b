//! How much a domain may say, and how fast it is heard.

use super::Proxy;
use super::line::Read;
use crate::engine::bucket::Bucket;
use crate::engine::clock::Now;
use crate::engine::legacy::Kind;
use crate::engine::limits::Limits;
use crate::engine::refusal::{Reason, head};
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

/// A domain's share, and its pace.
pub(super) fn buckets(limits: &Limits) -> (Bucket, Bucket) {
    (Bucket::new(limits.rate, limits.rate), Bucket::new(limits.pace, AT_ONCE))
}

/// How many bytes wait for a broker that does not keep up.
const BEHIND: usize = 2 * 1024 * 1024;

/// How many messages of a domain are heard without a pause, whatever others do.
const AT_ONCE: usize = 2000;

impl Proxy {
    /// How the domain is to be heard from now on; `others`: whether others have something to say too.
    #[must_use]
    pub fn pace(&self, others: bool, now: Now) -> Pace {
        let now = now.monotonic;
        if !self.pace.is_low(now) {
            Pace::Calm
        } else if others || self.outbox_bytes > BEHIND {
            Pace::Slow(self.pace.owed_until(now))
        } else {
            Pace::Fast
        }
    }

    /// Whether a line has begun that is long already.
    #[must_use]
    pub fn is_inside_a_long_line(&self) -> bool {
        const LONG: usize = 64 * 1024;
        self.decoder.held() > LONG
    }

    /// Whether the domain may say this, too. There are no more answers than calls: they are not counted.
    pub(super) fn is_within_share(&mut self, read: &Read<'_>, now: Now) -> bool {
        if read.message.kind == Kind::Response {
            return true;
        }
        self.pace.draw(now.monotonic);
        self.share.take(now.monotonic)
    }

    /// More than the domain's share: it is not looked into any further.
    pub(super) fn refuse_over_share(&mut self, read: &Read<'_>, now: Now) {
        let detail = format!("more than {} messages a second (limits.rate)", self.limits.rate);
        if read.message.kind == Kind::Command {
            self.refuse_request(read, Reason::RateLimited, &detail, now);
        } else {
            self.refuse(Reason::RateLimited, detail, read.from(self), head(read.line));
        }
    }
}
