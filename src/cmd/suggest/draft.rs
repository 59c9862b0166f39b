//! The draft of a mapping file: rows for what has none, with what is a guess marked as one.

use super::heard::{Answer, Command, Heard, Messages};
use super::kinds::Seen;
use super::names::Names;
use super::quoted::{key, shown, text};
use crate::document::OPEN;
use crate::engine::mapping::Table;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How much of a name a comment shows.
const NAME: usize = 64;
/// How many names a comment lists.
const LISTED: usize = 8;
/// How deep lists of objects are drafted; what is below goes as it is.
const DEEP: usize = 4;

/// Writes the draft.
pub fn draft(heard: &Heard, table: &Table, since: &str) -> String {
    let mut out = format!(
        "# A draft by `passerelle suggest`: rows for what was heard since {since} and no row covers.\n\
         # On the left in `members` stands the name on MQTT: until you choose a better one, the legacy name.\n\
         # What is a guess says so. `passerelle check` names what is still to be filled in: each \"{OPEN}\".\n\n"
    );
    head(&mut out, table);
    let mut names = Names::new(table);
    for command in &heard.commands {
        write_command(&mut out, command, table, &mut names);
    }
    for (name, messages) in &heard.events {
        event(&mut out, name, messages, &mut names);
    }
    if !heard.notes.is_empty() {
        out.push_str("\n# Not drafted:\n");
    }
    for note in &heard.notes {
        let _ = writeln!(out, "# - {}", shown(note, 400));
    }
    out
}

/// What all files of a dialect say alike.
fn head(out: &mut String, table: &Table) {
    let Some(dialect) = table.dialect(table.default_dialect()) else {
        return out.push_str("dialect = \"psec\"\nrequester_member = \"source\"\n");
    };
    let _ = writeln!(out, "dialect = {}", text(&dialect.name));
    let requesters = if dialect.named { "named" } else { "anonymous" };
    let _ = writeln!(out, "requesters = \"{requesters}\"");
    if let Some(member) = &dialect.requester_member {
        let _ = writeln!(out, "requester_member = {}", text(member));
    }
    if !dialect.supersedes.is_empty() {
        let older: Vec<_> = dialect.supersedes.iter().map(|name| text(name)).collect();
        let _ = writeln!(out, "supersedes = [{}]", older.join(", "));
    }
}

fn write_command(out: &mut String, command: &Command, table: &Table, names: &mut Names<'_>) {
    let Command { legacy, heard, answers } = command;
    let known = legacy.as_ref().or(answers.first().map(|answer| &answer.name));
    let known = known.map_or("", String::as_str);
    let handler = handler(&heard.to);
    out.push('\n');
    match legacy {
        Some(_) => flow(out, "commande", known, heard),
        None => {
            let _ =
                writeln!(out, "# The commande that {} answers was not heard.", shown(known, NAME));
        }
    }
    let _ = writeln!(out, "[[command]]\nname = {}", text(&names.command(known)));
    match legacy {
        Some(legacy) => {
            let _ = writeln!(out, "legacy = {}", text(legacy));
        }
        None => {
            let _ = writeln!(out, "legacy = \"{OPEN}\"   # the commande that is answered below");
        }
    }
    let (topic, beside) = names.command_topic(known, handler.as_deref());
    let _ = writeln!(out, "topic = {}   # a guess: {beside}", text(&topic));
    match handler {
        Some(handler) => {
            let _ = writeln!(out, "handler = {}", text(&handler));
        }
        None => {
            let to = listed(&heard.to);
            let _ = writeln!(
                out,
                "handler = \"{OPEN}\"   # one of {to}; or a list with a `when`: docs/mapping.md"
            );
        }
    }
    let taken: Vec<String> = table
        .dialect(table.default_dialect())
        .and_then(|dialect| dialect.requester_member.clone())
        .or_else(|| Some("source".to_owned()))
        .into_iter()
        .collect();
    if legacy.is_some() {
        members(out, "command.request", &heard.body, &taken, "arguments", 0);
    }
    if answers.is_empty() {
        out.push_str("# No answer was heard: it is sent and forgotten.\n");
    }
    let told = told_by(answers);
    let more = answers.iter().any(|answer| answer.follows);
    for answer in answers {
        let told = Told { by: told.as_deref(), more: more && !answer.follows };
        write_answer(out, answer, told, &heard.body);
    }
}

/// What an answer has since there are others.
#[derive(Clone, Copy)]
struct Told<'a> {
    /// The member that tells them apart.
    by: Option<&'a str>,
    /// Others come after it.
    more: bool,
}

/// Says who was heard.
fn flow(out: &mut String, what: &str, name: &str, heard: &Messages) {
    let (name, count) = (shown(name, NAME), heard.count);
    let (from, to) = (listed(&heard.from), listed(&heard.to));
    let _ = writeln!(out, "# {what} {name}: {count} heard from {from}, to {to}");
}

fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<_> = names.iter().take(LISTED).map(|name| shown(name, NAME)).collect();
    let more = names.len().saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// Who carries it out, where that is one domain or everyone.
fn handler(to: &BTreeSet<String>) -> Option<String> {
    use crate::engine::name::DomainName;
    let mut domains = to.iter().map(|name| DomainName::parse(name).ok());
    let first = domains.next().flatten()?;
    let is_everyone = to.iter().any(|name| DomainName::parse(name).is_ok_and(|d| d.is_everyone()));
    let is_a_domain = first.is_dom0() || first.meaning().is_none();
    match domains.all(|other| other.as_ref() == Some(&first)) {
        _ if is_everyone => Some("*".to_owned()),
        true if is_a_domain => Some(first.as_str().to_owned()),
        _ => None,
    }
}

/// The member that tells several answers apart on MQTT, which none of them has.
fn told_by(answers: &[Answer]) -> Option<String> {
    let has =
        |name: &String| answers.iter().any(|a| a.heard.body.members().any(|(n, ..)| n == name));
    let free = (1..).map(|n| if n == 1 { "answer".to_owned() } else { format!("answer_{n}") });
    free.into_iter().find(|name| !has(name)).filter(|_| answers.len() > 1)
}

fn write_answer(out: &mut String, answer: &Answer, told: Told<'_>, request: &Seen) {
    let Answer { name, event, heard, how, repeats, .. } = answer;
    let _ = writeln!(out, "\n# {how}\n[[command.answer]]");
    let wire = if *event { "evenement" } else { "reponse" };
    let _ = writeln!(out, "{wire} = {}", text(name));
    if answer.again {
        out.push_str("# It came more than once after one command: give all but the last `final = false`, and a `when`.\n");
    }
    if told.more {
        out.push_str("final = false   # a guess: another answer came after it\n");
    }
    if let Some(member) = told.by {
        let _ = writeln!(
            out,
            "when.mqtt = {{ {} = {} }}   # a guess: what tells the answers apart on MQTT",
            key(member),
            text(name)
        );
    }
    let carried = |(member, asked): &&(String, String)| {
        is_sayable(member) && is_sayable(asked) && request.members().any(|(n, ..)| n == asked)
    };
    let repeats: Vec<_> =
        repeats.iter().filter(carried).filter(|_| heard.body.is_object()).collect();
    if !repeats.is_empty() {
        let pairs: Vec<_> =
            repeats.iter().map(|(m, a)| format!("{} = {}", key(m), text(a))).collect();
        let pairs = pairs.join(", ");
        out.push_str("# a guess: it was always the same as in the command\n");
        let _ = match event {
            true => writeln!(out, "repeats.legacy = {{ {pairs} }}"),
            false => writeln!(out, "repeats = {{ mqtt = {{ {pairs} }}, legacy = {{ {pairs} }} }}"),
        };
    }
    let mut taken: Vec<String> = told.by.map(str::to_owned).into_iter().collect();
    taken.extend(repeats.iter().filter(|_| *event).map(|(member, _)| format!("\0{member}")));
    members(out, "command.answer", &heard.body, &taken, whole_name(name), 0);
}

fn event(out: &mut String, name: &str, heard: &Messages, names: &mut Names<'_>) {
    out.push('\n');
    flow(out, "evenement", name, heard);
    if !heard.to.contains("tous") {
        out.push_str("# On MQTT it has no receiver: every domain that subscribes to it is told.\n");
    }
    let (topic, beside) = names.event_topic(name);
    let _ =
        writeln!(out, "[[event]]\nname = {}\nlegacy = {}", text(&names.event(name)), text(name));
    let _ = writeln!(out, "topic = {}   # a guess: {beside}", text(&topic));
    members(out, "event", &heard.body, &[], "value", 0);
}

/// What a list or a text is called on MQTT that has no name: the last word of its message's.
fn whole_name(name: &str) -> &str {
    let last = name.rsplit('_').next().unwrap_or_default();
    if is_sayable(last) { last } else { "value" }
}

/// Whether a mapping can name it: these mean something else there.
fn is_sayable(name: &str) -> bool {
    !name.is_empty() && name != "." && !name.ends_with('?')
}

/// The members of a body. A name in `taken` is another's on MQTT; one with NUL before it is filled in by the
/// gateway, and not a member of its own.
fn members(out: &mut String, path: &str, body: &Seen, taken: &[String], whole: &str, depth: usize) {
    if body.is_nothing() {
        return out
            .push_str("# No example was kept whole: its members go under their own names.\n");
    }
    if !body.is_object() {
        let _ = writeln!(out, "[{path}.members]");
        let _ = writeln!(out, "{} = \".\"   # the whole body: {}", key(whole), body.described());
        return;
    }
    let sayable: Vec<_> = body
        .members()
        .filter(|(name, ..)| is_sayable(name) && !taken.contains(&format!("\0{name}")))
        .collect();
    for (name, ..) in body.members().filter(|(name, ..)| !is_sayable(name)) {
        let _ = writeln!(
            out,
            "# {} goes under its own name, which no row can name.",
            shown(&text(name), NAME)
        );
    }
    let mqtt = |name: &str| {
        let is_free = |new: &String| {
            !taken.contains(new)
                && (new == name || !sayable.iter().any(|(other, ..)| *other == new))
        };
        let mut all = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}_{n}")));
        all.find(is_free).unwrap_or_default()
    };
    let (lists, simple): (Vec<_>, Vec<_>) =
        sayable.iter().partition(|(_, seen, _)| depth < DEEP && seen.objects().is_some());
    if !simple.is_empty() {
        let _ = writeln!(out, "[{path}.members]");
    }
    let lines = simple.iter().map(|(name, seen, always)| {
        let mark = if *always { "" } else { "?" };
        (format!("{} = {}", key(&mqtt(name)), text(&format!("{name}{mark}"))), seen.described())
    });
    let lines: Vec<_> = lines.collect();
    let width =
        lines.iter().map(|(line, _)| line.chars().count()).filter(|w| *w < 40).max().unwrap_or(0);
    for (line, what) in lines {
        let _ = writeln!(out, "{line:width$}   # {what}");
    }
    for (name, seen, always) in lists {
        let Some(elements) = seen.objects() else { continue };
        let place = format!("{path}.members.{}", key(&mqtt(name)));
        let _ = writeln!(out, "[{place}]   # {}\nlegacy = {}", seen.described(), text(name));
        if !always {
            out.push_str("optional = true\n");
        }
        members(out, &format!("{place}.each"), elements, &[], "value", depth + 1);
    }
}
