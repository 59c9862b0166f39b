//! What was heard and no row covers: commands with what may answer them, and events.

use super::kinds::Seen;
use crate::engine::coverage::{Answers, Row, Verdict};
use crate::engine::legacy::{self, Kind};
use crate::engine::mapping::Table;
use crate::engine::refusal::Reason;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// As deep as a line may be.
const DEPTH: usize = 64;
/// From so many on, what was heard is no chance.
const SURE: u64 = 10;

/// Messages of one name.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    pub count: u64,
    pub from: BTreeSet<String>,
    pub to: BTreeSet<String>,
    pub body: Seen,
    /// The commands that they may answer.
    answers: BTreeMap<String, Answers>,
    /// Some of them have no row.
    open: bool,
}

/// A command that has no row, or whose answer has none.
#[derive(Debug)]
pub struct Command {
    /// `None`: nobody was heard to send it, and only an answer is known.
    pub legacy: Option<String>,
    pub heard: Messages,
    pub answers: Vec<Answer>,
}

/// What may answer it.
#[derive(Debug)]
pub struct Answer {
    pub name: String,
    /// It is a notification.
    pub event: bool,
    pub heard: Messages,
    /// How sure that is, for a comment.
    pub how: String,
    /// It comes after another answer.
    pub follows: bool,
    /// It comes more than once.
    pub again: bool,
    /// Its members that repeat the command's.
    pub repeats: Vec<(String, String)>,
}

impl Answer {
    fn new(name: &str, event: bool, heard: &Messages, command: &str, how: String) -> Self {
        let (repeats, answers) = (repeats(heard, command), heard.answers.get(command));
        let again = answers.is_some_and(|a| a.again > 0);
        let follows = again && answers.is_some_and(|a| a.again == a.count());
        let (name, heard, again) = (name.to_owned(), heard.clone(), again && !follows);
        Self { name, event, heard, how, follows, again, repeats }
    }
}

/// All that has no row.
#[derive(Debug, Default)]
pub struct Heard {
    pub commands: Vec<Command>,
    pub events: Vec<(String, Messages)>,
    /// What is not drafted, and why.
    pub notes: Vec<String>,
}

type Groups = BTreeMap<String, Messages>;

impl Heard {
    /// Sorts what was heard.
    pub fn of(rows: &[Row], table: &Table) -> Self {
        let mut heard = Self::default();
        let [commands, responses, events] = Kind::ALL.map(|kind| heard.groups(rows, kind, table));
        for (name, messages) in commands.iter().filter(|(_, m)| m.open) {
            let legacy = Some(name.clone());
            heard.commands.push(Command { legacy, heard: messages.clone(), answers: Vec::new() });
        }
        for (name, messages) in &responses {
            heard.answer(name, messages, &commands);
        }
        for (name, messages) in &events {
            heard.answering_event(name, messages);
        }
        heard.events = events.into_iter().filter(|(_, m)| m.open).collect();
        heard
    }

    /// Whether there is nothing to draft.
    pub fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.events.is_empty()
    }

    fn groups(&mut self, rows: &[Row], kind: Kind, table: &Table) -> Groups {
        let mut groups = Groups::new();
        for row in rows.iter().filter(|row| row.key.kind == Some(kind)) {
            let examples = || row.entry.examples();
            let read = |line: &str| {
                let message = legacy::parse(line.as_bytes(), DEPTH).ok()?;
                let body = serde_json::from_str::<Value>(message.body.text).ok()?;
                Some((message.name, body))
            };
            let first = examples().find_map(read);
            let name = first.as_ref().map_or(&row.key.name, |(name, _)| name);
            let open = has_no_row(row, kind, name, table);
            if let (true, Some(why)) = (open, undraftable(row, name, first.is_some(), table)) {
                self.notes.push(format!("{} {name} of {}: {why}", kind.as_str(), row.domain));
                continue;
            }
            let group = groups.entry(name.clone()).or_default();
            group.open |= open;
            group.count += row.entry.count;
            group.from.insert(row.domain.as_str().to_owned());
            group.to.insert(row.key.to.clone());
            examples().filter_map(read).for_each(|(_, body)| group.body.take(&body));
            for (command, answers) in &row.entry.answers {
                group.answers.entry(command.clone()).or_default().add(answers);
            }
        }
        groups
    }

    /// Finds the commands that a response answers.
    fn answer(&mut self, name: &str, messages: &Messages, commands: &Groups) {
        let (owners, how) = owners(name, messages, commands);
        let mut answered = false;
        for owner in &owners {
            let is_it =
                |c: &&mut Command| c.legacy.as_ref().is_some_and(|legacy| kept(legacy) == *owner);
            if let Some(command) = self.commands.iter_mut().find(is_it) {
                let how = how(messages.answers.get(owner));
                command.answers.push(Answer::new(name, false, messages, owner, how));
                answered = true;
            } else if messages.open && !commands.get(owner).is_some_and(|m| m.open) {
                self.notes.push(format!(
                    "the reponse {name} answers {owner}, which has a row: add `[[command.answer]]` with `reponse = {}` to it",
                    super::quoted::text(name)
                ));
                answered = true;
            }
        }
        if !answered && messages.open {
            let how = "nobody was heard to ask for it".to_owned();
            // It was asked the other way round.
            let asked = Messages {
                from: messages.to.clone(),
                to: messages.from.clone(),
                ..Messages::default()
            };
            let answer = Answer::new(name, false, messages, "", how);
            self.commands.push(Command { legacy: None, heard: asked, answers: vec![answer] });
        }
    }

    /// A notification to the one who has asked, which repeats what was asked, answers where no response does.
    fn answering_event(&mut self, name: &str, messages: &Messages) {
        for command in self.commands.iter_mut().filter(|c| c.answers.is_empty()) {
            let Some(legacy) = command.legacy.as_ref().map(|legacy| kept(legacy)) else { continue };
            let repeats = !repeats(messages, &legacy).is_empty();
            let Some(answers) = messages.answers.get(&legacy).filter(|_| repeats) else { continue };
            let how = format!(
                "a guess: {} of {} came after the command, and repeat what it says",
                answers.count(),
                messages.count
            );
            command.answers.push(Answer::new(name, true, messages, &legacy, how));
        }
    }
}

/// A name as the memory keeps it with an answer.
fn kept(name: &str) -> String {
    crate::printable::head(name, 64).to_owned()
}

fn has_no_row(row: &Row, kind: Kind, name: &str, table: &Table) -> bool {
    match row.key.verdict {
        Verdict::Refused(Reason::NotMapped) | Verdict::LegacyOnly => true,
        // What the router says is for Dom0's controller to say: it needs rows, too.
        Verdict::Dom0 => match kind {
            Kind::Command => !table.commands().iter().any(|c| c.legacy == name),
            Kind::Response => !table.is_a_response(name),
            Kind::Notification => !table.events().iter().any(|e| e.legacy == name),
        },
        _ => false,
    }
}

/// Why there can be no row for it.
fn undraftable(row: &Row, name: &str, known: bool, table: &Table) -> Option<String> {
    let default = table.default_dialect();
    let has = |c: &&std::sync::Arc<crate::engine::mapping::Command>| {
        c.dialect == default && c.legacy == name
    };
    match row.key.kind {
        _ if name == "?" || name.is_empty() => Some("no row can have this name".to_owned()),
        _ if !known && row.key.name.len() >= 60 => {
            Some("its name is not known whole, for the line is too long to be kept".to_owned())
        }
        Some(Kind::Command) => table.commands().iter().find(has).map(|c| {
            format!(
                "{} is its row, but not in the dialect of {}: see `[dialects]`",
                c.name, row.key.to
            )
        }),
        _ => None,
    }
}

/// The commands that a response may answer, and how sure it is of one.
fn owners(
    name: &str,
    messages: &Messages,
    commands: &Groups,
) -> (Vec<String>, impl Fn(Option<&Answers>) -> String) {
    let all = &messages.answers;
    // By chance it comes now and then when another command was the last.
    let often = |(command, a): &(&String, &Answers)| {
        let most = all.values().map(|a| a.alone).max().unwrap_or_default();
        let second = a.again == a.count();
        let asked = commands.iter().find(|(name, _)| kept(name) == **command);
        let asked = asked.map_or(0, |(_, messages)| messages.count);
        a.alone > 0 && a.alone * 10 >= most && (!second || a.again * 2 >= asked)
    };
    let alone: Vec<String> = all.iter().filter(often).map(|(command, _)| command.clone()).collect();
    let among = || {
        let most = all.values().map(|a| a.repeats.values().sum::<u64>()).max().unwrap_or_default();
        let best = |(_, a): &(&String, &Answers)| a.repeats.values().sum::<u64>() == most;
        all.iter().filter(best).map(|(command, _)| command.clone()).collect::<Vec<_>>()
    };
    let by_name = || commands.get_key_value(name).map(|(name, _)| kept(name));
    let the_other_way = || {
        let goes_back = |(_, m): &(&String, &Messages)| {
            !m.from.is_disjoint(&messages.to) && !m.to.is_disjoint(&messages.from)
        };
        let mut all = commands.iter().filter(goes_back);
        all.next().filter(|_| all.next().is_none()).map(|(name, _)| kept(name))
    };
    let owners = match () {
        () if !alone.is_empty() => alone,
        () if all.contains_key(&kept(name)) => vec![kept(name)],
        () if !all.is_empty() => among(),
        () => by_name().or_else(the_other_way).into_iter().collect(),
    };
    let (count, shared) = (messages.count, owners.len() > 1);
    let how = move |answers: Option<&Answers>| {
        let also = if shared { "; other commands have it, too" } else { "" };
        match answers {
            Some(a) if a.alone > 0 => {
                let sure = if a.alone >= SURE && !shared { "sure" } else { "likely" };
                let (alone, n) = (a.alone, count);
                format!("{sure}: {alone} of {n} came while only this command was open{also}")
            }
            Some(a) => format!(
                "a guess: {} of {count} came while this was open, and others{also}",
                a.among
            ),
            None => "a guess: by the names, for none was heard after its command".to_owned(),
        }
    };
    (owners, how)
}

/// Members that were the same in the answer and in the command each time, and more than once.
fn repeats(messages: &Messages, command: &str) -> Vec<(String, String)> {
    let Some(answers) = messages.answers.get(command) else { return Vec::new() };
    let always = answers.repeats.iter().filter(|(_, n)| **n > 1 && **n == answers.count());
    let mut found: Vec<(String, String)> = Vec::new();
    for ((member, asked), _) in always {
        let same = |(m, a): &(String, String)| m == member || a == asked;
        // Of several that were the same by chance, the one of the same name.
        match found.iter_mut().find(|pair| same(pair)) {
            Some(pair) if member == asked => *pair = (member.clone(), asked.clone()),
            Some(_) => {}
            None => found.push((member.clone(), asked.clone())),
        }
    }
    found
}
