//! Learning what a mapping covers: bytes as they pass between the domains and their old router come
//! in, and a [`Book`] of what they say comes out. Nothing here passes anything on.

mod book;
mod calls;
mod judge;
mod text;

pub use book::{Answers, Book, Entry, Key, Page, Row};
pub use judge::{Verdict, judge};
pub use text::{message, read, time, write};

use super::clock::Now;
use super::frame::{Decoder, Frame};
use super::legacy::{self, Kind, Message};
use super::limits::level;
use super::name::DomainName;
use super::proxy::{STATE, Setting};
use super::refusal::Reason;
use bytes::Bytes;
use calls::OpenCommands;
use std::collections::BTreeMap;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The domain, to the router.
    Domain,
    /// The router, to the domain.
    Router,
}

/// One direction of one channel.
#[derive(Debug)]
struct Ear {
    decoder: Decoder,
    /// Nothing whole has come yet: the first may be the end of something.
    fresh: bool,
}

/// Everything that has been heard.
#[derive(Debug)]
pub struct Coverage {
    setting: Setting,
    ears: BTreeMap<DomainName, (Ear, Ear)>,
    /// The most bytes of one line, while all lines together are too long.
    level: Option<usize>,
    book: Book,
    calls: OpenCommands,
}

impl Coverage {
    /// Goes on with a book, by this mapping.
    #[must_use]
    pub fn new(setting: Setting, book: Book) -> Self {
        let calls = OpenCommands::default();
        Self { setting, ears: BTreeMap::new(), level: None, book, calls }
    }

    /// What has been heard so far.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The same, all of it judged by the mapping that holds.
    #[must_use]
    pub fn judged(&self, now: Now) -> Book {
        self.book.of(self.book.judged(&self.setting, now))
    }

    fn ear(&mut self, domain: &DomainName, from: Speaker) -> &mut Ear {
        let line = self.setting.limits.line;
        let new = || Ear { decoder: Decoder::new(line), fresh: true };
        let (of_domain, of_router) =
            self.ears.entry(domain.clone()).or_insert_with(|| (new(), new()));
        match from {
            Speaker::Domain => of_domain,
            Speaker::Router => of_router,
        }
    }

    /// A connection has begun: perhaps in the middle of a line.
    pub fn opened(&mut self, domain: &DomainName, from: Speaker) {
        let ear = self.ear(domain, from);
        ear.decoder.reset();
        ear.fresh = true;
    }

    /// So many bytes have passed that nobody looked at.
    pub fn missed(&mut self, domain: &DomainName, from: Speaker, bytes: u64) {
        self.ear(domain, from).decoder.skip_line();
        if let Some(page) = self.book.page(domain) {
            page.unheard += bytes;
        }
    }

    /// The router did not read so many bytes of a domain in time.
    pub fn discarded(&mut self, domain: &DomainName, bytes: u64) {
        if let Some(page) = self.book.page(domain) {
            page.discarded += bytes;
        }
    }

    /// Bytes pass, cut anywhere.
    pub fn hear(&mut self, domain: &DomainName, from: Speaker, bytes: &[u8], now: Now) {
        self.ear(domain, from).decoder.push(bytes);
        self.take_lines(domain, from, now);
        self.share(now);
    }

    fn take_lines(&mut self, domain: &DomainName, from: Speaker, now: Now) {
        loop {
            let ear = self.ear(domain, from);
            let Some(frame) = ear.decoder.next() else { break };
            let fresh = std::mem::take(&mut ear.fresh);
            match (from, frame) {
                (Speaker::Domain, Frame::Line(line)) => self.line(domain, &line, fresh, now),
                (Speaker::Domain, Frame::TooLong(start)) => self.too_long(domain, &start, now),
                (Speaker::Router, Frame::Line(line)) => self.router_said(&line, now),
                // What the router passes on has been heard already, or else is told as not heard.
                (Speaker::Router, Frame::TooLong(_)) => {}
            }
        }
    }

    fn line(&mut self, domain: &DomainName, line: &Bytes, fresh: bool, now: Now) {
        let message = legacy::parse(line, self.setting.limits.depth);
        if fresh && message.as_ref().is_err_and(|(reason, _)| *reason == Reason::NotJson) {
            if let Some(page) = self.book.page(domain) {
                page.torn += 1;
            }
            return;
        }
        let message = message.ok();
        let (verdict, detail) = judge(&self.setting, domain, line, message.as_ref(), now);
        let key = match &message {
            Some(m) => Key::new(Some(m.kind), &m.name, &m.destination, verdict),
            None => Key::new(None, "", "", verdict),
        };
        self.book.count(domain, key.clone(), detail, line, now);
        if let Some(message) = &message {
            self.pair(domain, &key, message, now);
        }
    }

    /// Remembers a command, and which of them a message may answer.
    fn pair(&mut self, domain: &DomainName, key: &Key, message: &Message<'_>, now: Now) {
        let Ok(to) = DomainName::parse(&message.destination) else { return };
        let (body, at) = (message.body.as_object(), now.monotonic);
        match message.kind {
            Kind::Command => self.calls.asked((domain, &to), &message.name, body, at),
            Kind::Notification if to.is_everyone() => {}
            kind => {
                let response = (kind == Kind::Response).then_some(message.name.as_str());
                let found = self.calls.answered((domain, &to), response, body, at);
                self.book.pair(domain, key, found);
            }
        }
    }

    fn too_long(&mut self, domain: &DomainName, start: &[u8], now: Now) {
        if self.level.is_some_and(|level| level < self.setting.limits.line) {
            if let Some(page) = self.book.page(domain) {
                page.unheard += u64::try_from(start.len()).unwrap_or(u64::MAX);
            }
            return;
        }
        let key = Key::new(None, "", "", Verdict::Refused(Reason::LineTooLong));
        let detail = format!("a line may have {} bytes", self.setting.limits.line);
        self.book.count(domain, key, detail, start, now);
    }

    /// Of what the router writes, its own is of interest: the rest was heard from who said it.
    fn router_said(&mut self, line: &[u8], now: Now) {
        let Ok(message) = legacy::parse(line, self.setting.limits.depth) else { return };
        let source = DomainName::parse(&message.source).ok();
        if let Some(dom0) = source.filter(DomainName::is_dom0) {
            let state = message.kind == Kind::Notification && message.name == STATE;
            let verdict = if state { Verdict::Gateway } else { Verdict::Dom0 };
            let key = Key::new(Some(message.kind), &message.name, &message.destination, verdict);
            self.book.count(&dom0, key.clone(), String::new(), line, now);
            self.pair(&dom0, &key, &message, now);
        }
    }

    /// Has those who hold the longest lines give way while all together hold too much.
    fn share(&mut self, now: Now) {
        let ears = self.ears.values().flat_map(|(a, b)| [a, b]);
        let mut held: Vec<usize> = ears.map(|e| e.decoder.held()).collect();
        let new = level(self.setting.limits.memory, &mut held);
        if new == self.level {
            return;
        }
        self.level = new;
        let line = self.setting.limits.line;
        for ear in self.ears.values_mut().flat_map(|(a, b)| [a, b]) {
            ear.decoder.set_limit(new.map_or(line, |level| level.min(line)));
        }
        // Who has said more already may never say any more.
        let domains: Vec<_> = self.ears.keys().cloned().collect();
        for domain in &domains {
            self.take_lines(domain, Speaker::Domain, now);
            self.take_lines(domain, Speaker::Router, now);
        }
    }
}
