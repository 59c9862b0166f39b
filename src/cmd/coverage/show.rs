//! A book of messages for people, and for scripts.

use crate::engine::clock::Now;
use crate::engine::coverage::{Book, Key, Page, Row, Verdict, message, time};
use crate::engine::legacy::Kind;
use crate::engine::refusal::Reason;
use crate::printable::text as shown;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// How wide the table may be.
const WIDTH: usize = 80;
/// How much of an example is shown.
const HEAD: usize = 200;

/// As JSON: every row, what it is judged to be, and what could not be told.
pub fn json(book: &Book, rows: &[Row]) -> String {
    let messages: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut value = message(&row.key, &row.entry);
            if let Value::Object(object) = &mut value {
                object.insert("domain".into(), row.domain.as_str().into());
                object.insert("covered".into(), row.key.verdict.is_covered().into());
                object.insert("help".into(), advice(row).into());
            }
            value
        })
        .collect();
    let domains: BTreeMap<&str, Value> = book
        .pages
        .iter()
        .map(|(name, p)| {
            let counts = json!({"others": p.others, "torn": p.torn, "unheard": p.unheard, "discarded": p.discarded});
            (name.as_str(), counts)
        })
        .collect();
    let whole = json!({"since": time(book.since), "messages": messages, "domains": domains,
                       "others": book.others});
    format!("{whole:#}\n")
}

/// As a table that fits 80 columns; below it, what is not covered, with an example and the way out.
pub fn table(book: &Book, rows: &[Row], by: &str, now: Now) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Heard since {}, judged by the mapping {by}.", time(book.since));
    if rows.is_empty() {
        text.push_str("Nothing has been heard yet.\n");
        return text;
    }
    let mut domain = None;
    for row in rows {
        if domain != Some(&row.domain) {
            domain = Some(&row.domain);
            let _ = writeln!(text, "\n{}", row.domain);
            let _ = writeln!(
                text,
                "  {:9} {:20} {:11} {:>7} {:>4}  covered by",
                "", "name", "to", "count", "ago"
            );
        }
        line(&mut text, row, now.wall);
    }
    let open: Vec<&Row> = rows.iter().filter(|r| !r.key.verdict.is_covered()).collect();
    for row in &open {
        uncovered(&mut text, row);
    }
    for (name, page) in &book.pages {
        remarks(&mut text, name.as_str(), page);
    }
    if book.others > 0 {
        let _ = writeln!(text, "\nNot told apart, from too many domains: {}", book.others);
    }
    let covered = rows.len() - open.len();
    let _ = writeln!(text, "\n{covered} covered, {} not covered", open.len());
    text
}

fn line(text: &mut String, row: &Row, now: SystemTime) {
    let Key { name, to, verdict, .. } = &row.key;
    let _ = writeln!(
        text,
        "  {:9} {:20} {:11} {:>7} {:>4}  {}",
        kind(&row.key),
        fit(name, 20),
        fit(to, 11),
        amount(row.entry.count),
        ago(now.duration_since(row.entry.last).unwrap_or_default()),
        match verdict {
            Verdict::Covered(row) => fit(row, 20),
            Verdict::Gateway => "the gateway".into(),
            Verdict::Dom0 => "Dom0's controller".into(),
            Verdict::LegacyOnly => "NO: legacy only".into(),
            Verdict::Refused(reason) => format!("NO: {reason}"),
        }
    );
}

fn kind(key: &Key) -> &'static str {
    match key.kind {
        Some(Kind::Command) => "commande",
        Some(Kind::Response) => "reponse",
        Some(Kind::Notification) => "evenement",
        None => "(a line)",
    }
}

/// One that is not covered: why, an example, and what to do.
fn uncovered(text: &mut String, row: &Row) {
    let Key { name, to, verdict, .. } = &row.key;
    let reason = match verdict {
        Verdict::Refused(reason) => reason.as_str(),
        _ => "legacy only",
    };
    let what = match row.key.kind {
        Some(_) => format!("{} {} to {}", kind(&row.key), shown(name), shown(to)),
        None => "a line".to_owned(),
    };
    let _ = writeln!(text);
    wrap(text, "", &format!("{}: {what}: {reason}", row.domain));
    wrap(text, "    ", &shown(&row.entry.detail));
    let mut example: String = shown(&row.entry.example).chars().take(HEAD).collect();
    if example.len() < row.entry.example.len() || !row.entry.whole {
        example.push_str("...");
    }
    chop(text, "    | ", &example);
    wrap(text, "    -> ", &advice(row));
}

/// What can be done about it.
fn advice(row: &Row) -> String {
    let Key { name, .. } = &row.key;
    let name = shown(name);
    let what = match row.key.kind {
        Some(Kind::Command) => "[[command]]",
        Some(Kind::Response) => "[[command.answer]]",
        Some(Kind::Notification) => "[[event]]",
        None => "",
    };
    match &row.key.verdict {
        Verdict::Covered(_) | Verdict::Gateway => String::new(),
        Verdict::Dom0 => {
            "move Dom0's controller to MQTT first: the gateway does not answer for it".into()
        }
        Verdict::LegacyOnly => {
            // Of the shipped files, this one has what the seed maps not.
            let shipped = if matches!(&*name, "disque" | "etat_domu") {
                ": mappings/psec-extended.toml has it"
            } else {
                ""
            };
            format!(
                "if a migrated domain needs it, write a row {what} for {name} (docs/mapping.md), or name a mapping file that has one{shipped}"
            )
        }
        Verdict::Refused(Reason::NotMapped) => {
            format!(
                "write a row {what} for {name} (docs/mapping.md), or name a mapping file that has one"
            )
        }
        Verdict::Refused(Reason::NoPendingCall) => format!(
            "the dialect of who it is for has no command that {name} answers: add a {what}, or say in [dialects] what that domain speaks"
        ),
        Verdict::Refused(Reason::MissingArgument | Reason::BadValue) => {
            "mend the program that says it, or its row: `?` marks a member that may be absent"
                .into()
        }
        Verdict::Refused(Reason::SpoofedSource) => {
            "have the program say its domain's name: the one of its socket".into()
        }
        Verdict::Refused(Reason::BadName) => "have the program write a domain's name".into(),
        Verdict::Refused(Reason::LineTooLong) => "raise `limits.line`, or mend the program".into(),
        Verdict::Refused(Reason::NotJson | Reason::NotAnEnvelope | Reason::UnknownType) => {
            "mend the program that writes it: it is no message".into()
        }
        Verdict::Refused(reason) => format!("see {reason} in docs/troubleshooting.md"),
    }
}

fn remarks(text: &mut String, name: &str, page: &Page) {
    for (count, what) in [
        (page.others, "messages of too many kinds to be told apart"),
        (page.torn, "lines whose beginning was not heard"),
        (page.unheard, "bytes that were passed on without being looked at"),
        (page.discarded, "bytes that the router did not read, discarded"),
    ] {
        if count > 0 {
            text.push('\n');
            wrap(text, "", &format!("{name}: {count} {what}"));
        }
    }
}

/// At most so many characters.
fn fit(text: &str, width: usize) -> String {
    let text = shown(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('~');
    cut
}

/// A number of at most seven places.
fn amount(count: u64) -> String {
    match count {
        0..10_000_000 => count.to_string(),
        10_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// A time span of at most four places.
fn ago(span: Duration) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let seconds = span.as_secs();
    let unit = UNITS.iter().find(|(size, _)| seconds >= *size);
    let (size, name) = unit.copied().unwrap_or((1, 's'));
    format!("{}{name}", (seconds / size).min(999))
}

/// Writes a text in lines that fit, broken at spaces; the first begins with the mark.
fn wrap(text: &mut String, mark: &str, long: &str) {
    let (mut lead, mut line) = (mark.to_owned(), String::new());
    for word in long.split_whitespace().flat_map(|word| pieces(word, WIDTH - mark.len())) {
        let width = lead.len() + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && width > WIDTH {
            let _ = writeln!(text, "{lead}{line}");
            lead = " ".repeat(mark.len());
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(text, "{lead}{line}");
    }
}

/// Writes a text in lines that fit, broken anywhere: each begins with the mark.
fn chop(text: &mut String, mark: &str, long: &str) {
    for line in pieces(long, WIDTH - mark.len()) {
        let _ = writeln!(text, "{mark}{line}");
    }
}

/// Pieces of so many characters at most.
fn pieces(mut rest: &str, most: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(most).map_or(rest.len(), |(at, _)| at);
        let (piece, more) = rest.split_at(end);
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}
