//! Fair shares: how fast each domain is read, and how many bytes it may hold.

use super::Gateway;
use super::domain::{Domain, Log, Mode};
use crate::engine::clock::Now;
use crate::engine::limits::level;
use crate::engine::name::DomainName;
use crate::engine::proxy::Pace;
use std::time::Duration;

/// The bytes that are read at a time: so many of them that nobody else waits long meanwhile.
pub const CHUNK: usize = 8 * 1024;
/// Within a long line: it is one message, and takes nobody's time before its end.
const LONG: usize = 128 * 1024;
/// Of a domain that says very much, and is held back.
const PIECE: usize = 1024;
/// For so long after a domain has spoken, others that say very much are held back.
const WHILE: Duration = Duration::from_secs(1);

impl Gateway {
    /// How many bytes may be read from a domain's channel now, if any.
    #[must_use]
    pub fn may_read(&self, name: &DomainName) -> Option<usize> {
        let domain = self.domains.get(name)?;
        if self.finishing.is_some() || domain.paused.is_some() {
            return None;
        }
        let outbox = self.setting.limits.outbox;
        match &domain.mode {
            Mode::Gone => None,
            Mode::Legacy(_) if domain.log == Log::Opening => None,
            Mode::Legacy(legacy) if legacy.detector.held() > outbox => None,
            Mode::Legacy(legacy) if legacy.proxy.is_inside_a_long_line() => Some(LONG),
            Mode::Legacy(_) if domain.slow => Some(PIECE),
            Mode::Legacy(_) => Some(CHUNK),
            Mode::Leaving(leaving) => (leaving.detector.held() < outbox).then_some(CHUNK),
            Mode::Mqtt(tunnel) => tunnel.has_room().then_some(CHUNK),
        }
    }

    /// Whether more may be read from the broker for a domain's own MQTT.
    #[must_use]
    pub fn may_read_broker(&self, name: &DomainName) -> bool {
        match self.domains.get(name).map(|domain| &domain.mode) {
            Some(Mode::Mqtt(tunnel)) => tunnel.to_domain().is_none(),
            _ => false,
        }
    }

    /// A domain that says very much waits while others speak: they, and the broker, have their turn. Not one
    /// that waits for its answers, however fast it calls: there is never more of it to read.
    pub(super) fn pace(&mut self, name: &DomainName, more: bool, now: Now) {
        let other = self.spoken.as_ref().filter(|(spoken, _)| spoken != name);
        let others = other.is_some_and(|(_, at)| now.monotonic.saturating_sub(*at) < WHILE);
        let Some(domain) = self.domains.get_mut(name) else { return };
        let Mode::Legacy(legacy) = &domain.mode else { return };
        let pace = legacy.proxy.pace(others && more, now);
        (domain.slow, domain.paused) = match pace {
            Pace::Calm | Pace::Fast => (false, None),
            Pace::Slow(until) => (true, until),
        };
        if pace == Pace::Calm {
            match &mut self.spoken {
                Some((spoken, at)) if spoken == name => *at = now.monotonic,
                spoken => *spoken = Some((name.clone(), now.monotonic)),
            }
        }
    }

    /// Counts what a domain holds. While all together hold too many bytes, those who hold the most are held
    /// back.
    pub(super) fn count_held(&mut self, name: &DomainName, now: Now) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let held = domain.count_held();
        let before = std::mem::replace(&mut domain.held, held);
        self.held = self.held - before + held;
        if before != held && (self.level.is_some() || self.held > self.setting.limits.memory) {
            self.share_memory(now);
        }
    }

    pub(super) fn share_memory(&mut self, now: Now) {
        let mut all: Vec<usize> = self.domains.values().map(|domain| domain.held).collect();
        let level = level(self.setting.limits.memory, &mut all);
        if self.level == level {
            return;
        }
        tracing::debug!(?level, "what each domain may hold");
        self.level = level;
        for name in self.names() {
            self.share_memory_with(&name, now);
            self.follow_up(&name, now);
        }
    }

    /// A domain may hold as much as everyone.
    pub(super) fn share_memory_with(&mut self, name: &DomainName, now: Now) {
        let (level, outbox) = (self.level, self.setting.limits.outbox);
        self.only_with(name, now, |domain: &mut Domain| match &mut domain.mode {
            Mode::Legacy(legacy) => legacy.proxy.set_level(level, now),
            Mode::Mqtt(tunnel) => {
                tunnel.set_limit(level.map_or(outbox, |level| level.min(outbox)), now.monotonic);
            }
            Mode::Leaving(_) | Mode::Gone => {}
        });
    }
}
