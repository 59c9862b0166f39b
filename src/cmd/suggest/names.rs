//! Names and topics for new rows, in the family of those that there are.

use crate::engine::mapping::Table;
use std::collections::{BTreeMap, BTreeSet};

/// The longest name that is made, in characters.
const LONGEST: usize = 60;

/// What is taken.
pub struct Names<'t> {
    table: &'t Table,
    commands: BTreeSet<String>,
    events: BTreeSet<String>,
    /// Topics without their last part.
    topics: BTreeSet<String>,
}

impl<'t> Names<'t> {
    pub fn new(table: &'t Table) -> Self {
        let topic = |event: &str| event.trim_end_matches("/notification").to_owned();
        let commands = table.commands().iter().map(|row| row.root.clone());
        let events = table.events().iter().filter_map(|row| row.topic.as_deref().map(topic));
        Self {
            table,
            commands: table.commands().iter().map(|row| row.name.to_string()).collect(),
            events: table.events().iter().map(|row| row.name.to_string()).collect(),
            topics: commands.chain(events).collect(),
        }
    }

    /// A name for a command's row.
    pub fn command(&mut self, legacy: &str) -> String {
        taken(&mut self.commands, &plain(legacy).to_uppercase())
    }

    /// A name for an event's row.
    pub fn event(&mut self, legacy: &str) -> String {
        taken(&mut self.events, &plain(legacy).to_uppercase())
    }

    /// A topic for a command that this domain carries out, and beside what it is.
    pub fn command_topic(&mut self, legacy: &str, handler: Option<&str>) -> (String, String) {
        let rows = self.table.commands().iter();
        let is_its = |row: &&std::sync::Arc<crate::engine::mapping::Command>| {
            let domain = |h: &crate::engine::mapping::Handler| {
                h.domain.as_ref().map_or("*", |domain| domain.as_str())
                    == handler.unwrap_or_default()
            };
            row.handlers.iter().any(domain)
        };
        let beside = family(rows.filter(is_its).map(|row| row.root.as_str()));
        let (folder, beside) = beside.unwrap_or_else(|| {
            let all = family(self.table.commands().iter().map(|row| row.root.as_str()));
            let first = all.and_then(|(folder, _)| folder.split('/').next().map(str::to_owned));
            let first = first.unwrap_or_else(|| "legacy".to_owned());
            let own = handler.filter(|h| *h != "*").map_or_else(|| "commands".to_owned(), level);
            (format!("{first}/{own}"), "no row is carried out there yet".to_owned())
        });
        (taken(&mut self.topics, &format!("{folder}/{}", level(legacy))), beside)
    }

    /// A topic for an event, and beside what it is.
    pub fn event_topic(&mut self, legacy: &str) -> (String, String) {
        let topics = self.table.events().iter().filter_map(|row| row.topic.as_deref());
        let beside = family(topics.map(|topic| topic.trim_end_matches("/notification")));
        let none = || ("legacy/events".to_owned(), "there is no other event yet".to_owned());
        let (folder, beside) = beside.unwrap_or_else(none);
        (taken(&mut self.topics, &format!("{folder}/{}", level(legacy))), beside)
    }
}

/// The folder that most topics are in, and one of those.
fn family<'t>(topics: impl Iterator<Item = &'t str>) -> Option<(String, String)> {
    let mut folders: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for topic in topics {
        let Some((folder, _)) = topic.rsplit_once('/') else { continue };
        folders.entry(folder).or_insert((0, topic)).0 += 1;
    }
    let best = folders.into_iter().rev().max_by_key(|(_, (count, _))| *count)?;
    let (folder, (_, topic)) = best;
    Some((folder.to_owned(), format!("beside {}", crate::printable::text(topic))))
}

/// A name of letters, digits and `_`.
fn plain(legacy: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() { c } else { '_' };
    let name: String = legacy.chars().take(LONGEST).map(kept).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// The last level of a topic, which is none that the gateway adds itself.
fn level(legacy: &str) -> String {
    let kept = |c: char| {
        if matches!(c, '-' | '.') {
            c
        } else {
            plain(c.encode_utf8(&mut [0; 4])).chars().next().unwrap_or('_')
        }
    };
    let name: String = legacy.chars().take(LONGEST).map(kept).collect::<String>().to_lowercase();
    match name.as_str() {
        "" | "request" | "response" | "notification" => format!("{name}_"),
        _ => name,
    }
}

/// The name itself, or with a number behind it if it is taken; from now on it is.
fn taken(all: &mut BTreeSet<String>, name: &str) -> String {
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|new| !all.contains(new));
    let free = free.unwrap_or_default();
    all.insert(free.clone());
    free
}
