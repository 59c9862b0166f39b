//! What has been heard, counted: who sends what to whom, and what would become of it. Bounded,
//! whatever a domain invents.

use super::calls::MayAnswer;
use super::judge::{Verdict, judge};
use crate::engine::clock::Now;
use crate::engine::legacy::{self, Kind};
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::refusal::{Reason, head};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// How many kinds of messages are told apart for one domain.
const KINDS: usize = 200;
/// How many domains are told apart.
const DOMAINS: usize = 256;
/// The most bytes of a name that are kept.
const NAME: usize = 64;
/// The longest example that is kept whole, so that it can be judged again.
const WHOLE: usize = 2048;
/// How many more examples are kept of messages that are counted together, and of how many bytes for one domain.
const MORE: usize = 7;
const MORE_BYTES: usize = 64 * 1024;
/// How many commands an answer may be to, and how many members it may repeat.
const COMMANDS: usize = 8;
const REPEATS: usize = 16;

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
    /// Whole examples that have other members or other kinds of values, by what they have.
    pub more: BTreeMap<String, String>,
    /// The commands that they may answer.
    pub answers: BTreeMap<String, Answers>,
}

/// How often messages came after a command, as its answer might.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// While no other command was open between the two domains.
    pub alone: u64,
    /// While others were.
    pub among: u64,
    /// Of both, those whose command had had an answer before.
    pub again: u64,
    /// How often a member of the message was the same as one of the command.
    pub repeats: BTreeMap<(String, String), u64>,
}

impl Answers {
    /// How often in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.alone.saturating_add(self.among)
    }

    /// Adds others to them.
    pub fn add(&mut self, other: &Self) {
        self.alone += other.alone;
        self.among += other.among;
        self.again += other.again;
        for (names, count) in &other.repeats {
            if self.repeats.len() < REPEATS || self.repeats.contains_key(names) {
                *self.repeats.entry(names.clone()).or_default() += count;
            }
        }
    }
}

impl Entry {
    /// One message.
    fn of(key: &Key, detail: String, line: &[u8], now: Now) -> Self {
        let (example, whole) = example(key, line);
        let (more, answers) = (BTreeMap::new(), BTreeMap::new());
        Self { count: 1, last: now.wall, detail, example, whole, more, answers }
    }

    /// All its whole examples.
    pub fn examples(&self) -> impl Iterator<Item = &str> {
        let first = self.whole.then_some(self.example.as_str());
        first.into_iter().chain(self.more.values().map(String::as_str))
    }

    /// Counts another one's messages as its own.
    fn absorb(&mut self, other: &Self) {
        self.count += other.count;
        self.last = self.last.max(other.last);
        if !self.whole && other.whole {
            (self.example, self.whole) = (other.example.clone(), true);
        }
        for example in other.examples() {
            self.keep(example, MORE_BYTES);
        }
        for (command, answers) in &other.answers {
            self.pair(command, answers);
        }
    }

    /// Keeps an example that has something else than those that are kept; how many bytes it takes.
    pub(super) fn keep(&mut self, example: &str, room: usize) -> usize {
        let known = shape(example);
        let size = known.len() + example.len();
        let full = self.more.len() >= MORE || size > room;
        if full || self.more.contains_key(&known) || known == shape(&self.example) {
            return 0;
        }
        self.more.insert(known, example.to_owned());
        size
    }

    /// It may answer a command.
    pub(super) fn pair(&mut self, command: &str, answers: &Answers) {
        if self.answers.len() < COMMANDS || self.answers.contains_key(command) {
            self.answers.entry(cut(command, NAME)).or_default().add(answers);
        }
    }
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
    /// Bytes that further examples of its messages take.
    pub(super) more: usize,
}

impl Page {
    /// Takes an entry that was written down.
    pub(super) fn take(&mut self, key: Key, entry: Entry) {
        self.more +=
            entry.more.iter().map(|(shape, example)| shape.len() + example.len()).sum::<usize>();
        self.entries.insert(key, entry);
    }
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
        let room = MORE_BYTES.saturating_sub(page.more);
        if let Some(entry) = page.entries.get_mut(&key) {
            entry.count += 1;
            entry.last = now.wall;
            match example(&key, line) {
                (example, true) if !entry.whole => {
                    (entry.example, entry.whole, entry.detail) = (example, true, detail);
                }
                (example, true) => page.more += entry.keep(&example, room),
                (_, false) => {}
            }
        } else if page.entries.len() < KINDS {
            let entry = Entry::of(&key, detail, line, now);
            page.entries.insert(key, entry);
        } else {
            page.others += 1;
        }
    }

    /// A message that is counted may answer these commands.
    pub(super) fn pair(&mut self, domain: &DomainName, key: &Key, found: Vec<MayAnswer>) {
        let entry = self.pages.get_mut(domain).and_then(|page| page.entries.get_mut(key));
        let Some(entry) = entry else { return };
        for MayAnswer { command, alone, again, repeats } in found {
            let repeats = repeats.into_iter().map(|names| (names, 1)).collect();
            let (alone, among) = (u64::from(alone), u64::from(!alone));
            entry.pair(&command, &Answers { alone, among, again: u64::from(again), repeats });
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
                    Some(same) => same.entry.absorb(&row.entry),
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

/// A name as it is kept.
pub(super) fn cut_name(name: &str) -> String {
    cut(name, NAME)
}

/// What a message has: its members, and the kinds of their values.
fn shape(line: &str) -> String {
    let mut out = String::new();
    let body = serde_json::from_str::<Value>(line).ok();
    let body = body.as_ref().and_then(|line| line.get("payload"));
    let body = body.and_then(|payload| payload.get("arguments").or_else(|| payload.get("data")));
    shape_of(body.unwrap_or(&Value::Null), &mut out);
    out
}

fn shape_of(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push('0'),
        Value::Bool(_) => out.push('?'),
        Value::Number(number) => out.push(if number.is_f64() { '.' } else { '1' }),
        Value::String(_) => out.push('"'),
        Value::Array(elements) => {
            let mut kinds: BTreeSet<String> = BTreeSet::new();
            for element in elements {
                let mut kind = String::new();
                shape_of(element, &mut kind);
                kinds.insert(kind);
            }
            out.push('[');
            out.extend(kinds);
            out.push(']');
        }
        Value::Object(members) => {
            // Whatever their order: the same members are the same shape.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (name, value) in sorted {
                out.push_str(name);
                out.push('\0');
                shape_of(value, out);
            }
            out.push('}');
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}
