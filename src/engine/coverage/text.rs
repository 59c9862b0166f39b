//! A [`Book`] as the JSON text of `coverage.json`, and back.

use super::book::{Answers, Book, Entry, Key, Page};
use super::judge::Verdict;
use crate::engine::legacy::Kind;
use crate::engine::name::DomainName;
use crate::engine::refusal::Reason;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What is written first, so that a later version knows what it reads.
const VERSION: u64 = 1;

/// Writes a book.
#[must_use]
pub fn write(book: &Book) -> String {
    let pages: Map<String, Value> =
        book.pages.iter().map(|(name, page)| (name.as_str().to_owned(), of_page(page))).collect();
    let whole = json!({
        "version": VERSION,
        "since": time(book.since),
        "domains": pages,
        "others": book.others,
    });
    format!("{whole:#}\n")
}

fn of_page(page: &Page) -> Value {
    let messages: Vec<Value> = page.entries.iter().map(|(k, e)| kept(k, e)).collect();
    json!({
        "messages": messages,
        "others": page.others,
        "torn": page.torn,
        "unheard": page.unheard,
        "discarded": page.discarded,
    })
}

/// One entry, as it stands in the file and in what `passerelle coverage --json` prints.
#[must_use]
pub fn message(key: &Key, entry: &Entry) -> Value {
    let (row, reason) = match &key.verdict {
        Verdict::Covered(row) => (Some(row.as_str()), None),
        Verdict::Refused(reason) => (None, Some(reason.as_str())),
        Verdict::Gateway | Verdict::LegacyOnly | Verdict::Dom0 => (None, None),
    };
    json!({
        "type": key.kind.map(Kind::as_str),
        "name": key.name,
        "to": key.to,
        "verdict": key.verdict.as_str(),
        "row": row,
        "reason": reason,
        "detail": entry.detail,
        "count": entry.count,
        "last": time(entry.last),
        "example": entry.example,
        "whole": entry.whole,
    })
}

/// The same with what a draft of a mapping is made from.
fn kept(key: &Key, entry: &Entry) -> Value {
    let mut value = message(key, entry);
    let answers = |(command, answers): (&String, &Answers)| {
        let repeats = answers.repeats.iter().map(|((a, b), n)| json!([a, b, n]));
        let repeats: Vec<Value> = repeats.collect();
        let Answers { alone, among, again, .. } = answers;
        json!({"command": command, "alone": alone, "among": among, "again": again, "repeats": repeats})
    };
    if let Value::Object(members) = &mut value {
        let more: Vec<&String> = entry.more.values().collect();
        members.insert("more".into(), json!(more));
        let answers: Vec<Value> = entry.answers.iter().map(answers).collect();
        members.insert("answers".into(), json!(answers));
    }
    value
}

/// RFC 3339 in UTC, to the second.
#[must_use]
pub fn time(at: SystemTime) -> String {
    crate::engine::clock::Now { monotonic: std::time::Duration::ZERO, wall: at }.rfc3339()
}

/// Reads a book.
///
/// # Errors
/// What is wrong with the text: it is not one that `write()` has written.
pub fn read(text: &str) -> Result<Book, String> {
    let whole: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if whole.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return Err(format!("\"version\" is not {VERSION}"));
    }
    let mut book = Book::new(moment(&whole, "since")?);
    book.others = number(&whole, "others")?;
    let pages = whole.get("domains").and_then(Value::as_object).ok_or("\"domains\" is missing")?;
    for (name, page) in pages {
        let name = DomainName::parse(name).map_err(|e| e.to_string())?;
        book.pages.insert(name, to_page(page)?);
    }
    Ok(book)
}

fn to_page(value: &Value) -> Result<Page, String> {
    let mut page = Page {
        others: number(value, "others")?,
        torn: number(value, "torn")?,
        unheard: number(value, "unheard")?,
        discarded: number(value, "discarded")?,
        ..Page::default()
    };
    let messages = value.get("messages").and_then(Value::as_array);
    for message in messages.ok_or("\"messages\" is missing")? {
        let kind = match message.get("type").and_then(Value::as_str) {
            None => None,
            Some(kind) => Some(
                Kind::ALL
                    .into_iter()
                    .find(|k| k.as_str() == kind)
                    .ok_or_else(|| format!("\"type\" {kind:?} is unknown"))?,
            ),
        };
        let key = Key::new(kind, word(message, "name")?, word(message, "to")?, verdict(message)?);
        let entry = Entry {
            count: number(message, "count")?,
            last: moment(message, "last")?,
            detail: word(message, "detail")?.to_owned(),
            example: word(message, "example")?.to_owned(),
            whole: message.get("whole").and_then(Value::as_bool).unwrap_or(false),
            more: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        page.take(key, with_more(entry, message)?);
    }
    Ok(page)
}

/// With what earlier versions have not written.
fn with_more(mut entry: Entry, message: &Value) -> Result<Entry, String> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    for example in list(message, "more").unwrap_or_default() {
        entry.keep(example.as_str().ok_or("\"more\" is no list of texts")?, usize::MAX);
    }
    for value in list(message, "answers").unwrap_or_default() {
        let (alone, among) = (number(&value, "alone")?, number(&value, "among")?);
        let mut answers =
            Answers { alone, among, again: number(&value, "again")?, repeats: BTreeMap::new() };
        for repeat in list(&value, "repeats").unwrap_or_default() {
            let names =
                (repeat.get(0).and_then(Value::as_str), repeat.get(1).and_then(Value::as_str));
            let (Some(a), Some(b)) = names else {
                return Err("\"repeats\" names no members".into());
            };
            let count = repeat.get(2).and_then(Value::as_u64).unwrap_or_default();
            answers.repeats.insert((a.to_owned(), b.to_owned()), count);
        }
        entry.pair(word(&value, "command")?, &answers);
    }
    Ok(entry)
}

fn verdict(message: &Value) -> Result<Verdict, String> {
    match word(message, "verdict")? {
        "covered" => Ok(Verdict::Covered(word(message, "row")?.to_owned())),
        "gateway" => Ok(Verdict::Gateway),
        "legacy_only" => Ok(Verdict::LegacyOnly),
        "dom0" => Ok(Verdict::Dom0),
        "refused" => {
            let reason = word(message, "reason")?;
            let known = Reason::ALL.iter().find(|r| r.as_str() == reason);
            known.map(|r| Verdict::Refused(*r)).ok_or(format!("\"reason\" {reason:?} is unknown"))
        }
        other => Err(format!("\"verdict\" {other:?} is unknown")),
    }
}

fn word<'v>(value: &'v Value, key: &str) -> Result<&'v str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("{key:?} is missing"))
}

fn number(value: &Value, key: &str) -> Result<u64, String> {
    value.get(key).and_then(Value::as_u64).ok_or_else(|| format!("{key:?} is missing"))
}

fn moment(value: &Value, key: &str) -> Result<SystemTime, String> {
    let text = word(value, key)?;
    humantime::parse_rfc3339(text).map_err(|e| format!("{key:?}: {e}"))
}
