//! What has been heard, counted: who sends what to whom, and what would become of it. Bounded,
//! whatever a domain invents.

use super::judge::{Verdict, judge};
use crate::engine::clock::Now;
use crate::engine::legacy::{self, Kind};
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::refusal::{Reason, head};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How many kinds of messages are told apart for one domain.
const KINDS: usize = 200;
/// How many domains are told apart.
const DOMAINS: usize = 256;
/// The most bytes of a name that are kept.
const NAME: usize = 64;
/// The longest example that is kept whole, so that it can be judged again.
const WHOLE: usize = 2048;

/// Which messages are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Their type; `None` for what is no message.
    pub kind: Option<Kind>,
    /// The command's or the event's name, cut after 64 bytes.
    pub name: String,
    /// Who they are for, as they say it, cut after 64 bytes.
    pub to: String,
    /// What would become of them.
    pub verdict: Verdict,
}

impl Key {
    /// A key, with its names cut.
    #[must_use]
    pub fn new(kind: Option<Kind>, name: &str, to: &str, verdict: Verdict) -> Self {
        Self { kind, name: cut(name, NAME), to: cut(to, NAME), verdict }
    }
}

/// What is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How many there were.
    pub count: u64,
    /// When the last one came.
    pub last: SystemTime,
    /// What is wrong with them, for a person; empty if nothing is.
    pub detail: String,
    /// One of them: the first, or the first that could be kept whole.
    pub example: String,
    /// Whether the example is a whole line, byte for byte.
    pub whole: bool,
}

/// What one domain says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// By kind of message.
    pub entries: BTreeMap<Key, Entry>,
    /// Messages for which there was no room in the entries.
    pub others: u64,
    /// Beginnings that were no whole line, since the gateway came in the middle of it.
    pub torn: u64,
    /// Bytes that were passed on without being looked at, since too much came at once.
    pub unheard: u64,
    /// Bytes that the router did not read in time.
    pub discarded: u64,
}

/// All pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// When it was begun.
    pub since: SystemTime,
    /// By domain; `Dom0` is the router.
    pub pages: BTreeMap<DomainName, Page>,
    /// Messages and bytes of domains for which there was no room.
    pub others: u64,
}

/// One line of the table: entries that the mapping as it is now treats alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who sends it.
    pub domain: DomainName,
    /// What it is, and what would become of it.
    pub key: Key,
    /// How often, when last, and an example.
    pub entry: Entry,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(since: SystemTime) -> Self {
        Self { since, pages: BTreeMap::new(), others: 0 }
    }

    /// A domain's page, if there is room for it.
    pub(super) fn page(&mut self, domain: &DomainName) -> Option<&mut Page> {
        if self.pages.len() >= DOMAINS && !self.pages.contains_key(domain) {
            self.others += 1;
            return None;
        }
        Some(self.pages.entry(domain.clone()).or_default())
    }

    /// Counts a message.
    pub(super) fn count(
        &mut self,
        domain: &DomainName,
        key: Key,
        detail: String,
        line: &[u8],
        now: Now,
    ) {
        let Some(page) = self.page(domain) else { return };
        if let Some(entry) = page.entries.get_mut(&key) {
            entry.count += 1;
            entry.last = now.wall;
            if !entry.whole
                && let (example, true) = example(&key, line)
            {
                (entry.example, entry.whole, entry.detail) = (example, true, detail);
            }
        } else if page.entries.len() < KINDS {
            let (example, whole) = example(&key, line);
            let entry = Entry { count: 1, last: now.wall, detail, example, whole };
            page.entries.insert(key, entry);
        } else {
            page.others += 1;
        }
    }

    /// The book with these rows in the place of its own.
    pub(super) fn of(&self, rows: Vec<Row>) -> Self {
        let mut book = self.clone();
        book.pages.values_mut().for_each(|page| page.entries.clear());
        for Row { domain, key, entry } in rows {
            book.pages.entry(domain).or_default().entries.insert(key, entry);
        }
        book
    }

    /// The table as it was judged when the messages came.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |domain: &DomainName, (key, entry): (&Key, &Entry)| Row {
            domain: domain.clone(),
            key: key.clone(),
            entry: entry.clone(),
        };
        let rows =
            self.pages.iter().flat_map(|(d, page)| page.entries.iter().map(move |e| row(d, e)));
        rows.collect()
    }

    /// The table by the mapping of `setting`, which may be another than the one when the messages
    /// came: each whole example is judged again. What has no whole example stays as it was judged.
    #[must_use]
    pub fn judged(&self, setting: &Setting, now: Now) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (domain, page) in &self.pages {
            for (key, entry) in &page.entries {
                let row = judged(setting, domain, key, entry, now);
                match rows.iter_mut().find(|r| r.domain == row.domain && r.key == row.key) {
                    Some(same) => {
                        same.entry.count += row.entry.count;
                        same.entry.last = same.entry.last.max(row.entry.last);
                    }
                    None => rows.push(row),
                }
            }
        }
        rows.sort_by(|a, b| (&a.domain, &a.key).cmp(&(&b.domain, &b.key)));
        rows
    }
}

fn judged(setting: &Setting, domain: &DomainName, key: &Key, entry: &Entry, now: Now) -> Row {
    let (mut key, mut entry) = (key.clone(), entry.clone());
    // What the router says itself goes by no mapping.
    if entry.whole && !domain.is_dom0() {
        let line = entry.example.clone();
        let message = legacy::parse(line.as_bytes(), setting.limits.depth).ok();
        (key.verdict, entry.detail) =
            judge(setting, domain, line.as_bytes(), message.as_ref(), now);
    }
    Row { domain: domain.clone(), key, entry }
}

/// A line as an example, and whether it is whole. Of one that was too long only the beginning is here.
fn example(key: &Key, line: &[u8]) -> (String, bool) {
    let too_long = key.verdict == Verdict::Refused(Reason::LineTooLong);
    match std::str::from_utf8(line) {
        Ok(text) if text.len() <= WHOLE && !too_long => (text.to_owned(), true),
        _ => (head(line), false),
    }
}

fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}
