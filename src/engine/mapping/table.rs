//! The compiled table: which row a message belongs to.

use super::load::{Rows, load};
use super::scalar::{Condition, all_hold};
use super::shape::{Both, Shape, Side};
use super::shared::{know_each_other, strange};
use super::{Command, Dialect, Event, Topic, Wire, check, newer_than};
use crate::diagnostic::{Finding, Findings, Source};
use crate::engine::json::Object;
use crate::engine::name::DomainName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Which dialect a domain speaks on MQTT, as the configuration says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Speaks {
    /// Everyone's, unless said otherwise; if this is not said either, the first file's.
    pub default: Option<String>,
    /// Who speaks another.
    pub domains: BTreeMap<DomainName, String>,
}

/// A row to be looked for: its index, and what the message must be like.
type Candidate = (usize, Vec<Condition>);

/// The mapping table. Its rows are shared: a call holds the one that it began with, whatever table
/// comes after this one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Table {
    dialects: Vec<Dialect>,
    commands: Vec<Arc<Command>>,
    events: Vec<Arc<Event>>,
    default_dialect: usize,
    spoken: BTreeMap<DomainName, usize>,
    #[serde(with = "crate::engine::snapshot::pairs")]
    commands_by_name: HashMap<(usize, String), Vec<Candidate>>,
    commands_by_root: HashMap<String, Vec<Candidate>>,
    #[serde(with = "crate::engine::snapshot::pairs")]
    responses_by_name: HashMap<(usize, String), Vec<usize>>,
    events_by_name: HashMap<String, Vec<Candidate>>,
    events_by_topic: HashMap<String, Vec<Candidate>>,
}

/// What the table has for a notification from the legacy side.
#[derive(Debug, PartialEq)]
pub enum EventRows {
    /// No row has the name.
    NotMapped,
    /// Rows have the name, but none is for what it says.
    NoneFits,
    /// These rows.
    Rows(Vec<Arc<Event>>),
}

impl Table {
    /// Compiles the files.
    ///
    /// # Errors
    /// All findings, in the order of files and lines.
    pub fn compile(sources: &[Arc<Source>], speaks: &Speaks) -> Result<Self, Vec<Finding>> {
        let mut found = Findings::default();
        let mut rows = Rows::default();
        for source in sources {
            load(source, &mut rows, &mut found);
        }
        check::check(&rows, &mut found);
        if !found.is_empty() {
            return Err(found.into_sorted());
        }
        let mut table = Self::index(rows);
        table.speak(speaks);
        Ok(table)
    }

    /// The names of the dialects, the first file's first.
    pub fn dialects(&self) -> impl Iterator<Item = &str> {
        self.dialects.iter().map(|d| d.name.as_str())
    }

    fn speak(&mut self, speaks: &Speaks) {
        let find = |name: &String| self.dialects.iter().position(|d| d.name == *name);
        let default = speaks.default.as_ref().and_then(find).unwrap_or(0);
        let known = |(who, name): (&DomainName, &String)| Some((who.clone(), find(name)?));
        let spoken = speaks.domains.iter().filter_map(known).collect();
        self.default_dialect = default;
        self.spoken = spoken;
    }

    fn index(mut rows: Rows) -> Self {
        reserve_names(&mut rows);
        know_each_other(&mut rows);
        let mut table = Self { dialects: rows.dialects, ..Self::default() };
        table.commands = rows.commands.into_iter().map(Arc::new).collect();
        table.events = rows.events.into_iter().map(Arc::new).collect();
        for (i, command) in table.commands.iter().enumerate() {
            if command.direction.goes_from(Side::Legacy) {
                let own = (command.legacy.clone(), command.when.legacy.clone());
                let more = command.aliases.iter().map(|a| (a.legacy.clone(), a.when.clone()));
                for (name, when) in std::iter::once(own).chain(more) {
                    let key = (command.dialect, name);
                    table.commands_by_name.entry(key).or_default().push((i, when));
                }
            }
            if command.direction.goes_from(Side::Mqtt) {
                let candidate = (i, command.when.mqtt.clone());
                table.commands_by_root.entry(command.root.clone()).or_default().push(candidate);
            }
            let responses: BTreeSet<_> = command.answers.iter().filter_map(response).collect();
            for name in responses {
                let key = (command.dialect, name.clone());
                table.responses_by_name.entry(key).or_default().push(i);
            }
        }
        for (i, event) in table.events.iter().enumerate() {
            if event.direction.goes_from(Side::Legacy) {
                let candidate = (i, event.when.legacy.clone());
                table.events_by_name.entry(event.legacy.clone()).or_default().push(candidate);
            }
            if let (true, Some(topic)) = (event.direction.goes_from(Side::Mqtt), &event.topic) {
                let candidate = (i, event.when.mqtt.clone());
                table.events_by_topic.entry(topic.clone()).or_default().push(candidate);
            }
        }
        table.sort();
        table
    }

    /// The exception before the rule; and where nobody says who asks, the libraries' dialects before
    /// those whose requesters name themselves, the newest library first.
    fn sort(&mut self) {
        let general = |c: &Candidate| c.1.is_empty();
        self.commands_by_name.values_mut().for_each(|list| list.sort_by_key(general));
        self.events_by_name.values_mut().for_each(|list| list.sort_by_key(general));
        let ranks: Vec<_> = (0..self.dialects.len()).map(|i| self.rank(i)).collect();
        let rank = |dialect: Option<usize>| dialect.and_then(|d| ranks.get(d).copied());
        let (commands, events) = (&self.commands, &self.events);
        for list in self.commands_by_root.values_mut() {
            list.sort_by_key(|c| (rank(commands.get(c.0).map(|r| r.dialect)), general(c)));
        }
        for list in self.events_by_topic.values_mut() {
            list.sort_by_key(|c| (rank(events.get(c.0).map(|r| r.dialect)), general(c)));
        }
    }

    pub(super) fn rank(&self, dialect: usize) -> (bool, usize) {
        let named = self.dialects.get(dialect).is_some_and(|d| d.named);
        (named, newer_than(&self.dialects, dialect).len())
    }

    /// All commands.
    #[must_use]
    pub fn commands(&self) -> &[Arc<Command>] {
        &self.commands
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// Every domain that a row or the configuration names.
    #[must_use]
    pub fn domains(&self) -> BTreeSet<DomainName> {
        let handlers = self.commands.iter().flat_map(|c| &c.handlers);
        let handlers = handlers.filter_map(|h| h.domain.clone());
        handlers.chain(self.spoken.keys().cloned()).collect()
    }

    /// The member in which a row's requests say who asks.
    #[must_use]
    pub fn requester_member(&self, command: &Command) -> Option<&str> {
        self.dialects.get(command.dialect)?.requester_member.as_deref()
    }

    /// A dialect.
    #[must_use]
    pub fn dialect(&self, at: usize) -> Option<&Dialect> {
        self.dialects.get(at)
    }

    /// The dialect that a domain speaks.
    #[must_use]
    pub fn dialect_of(&self, domain: &DomainName) -> usize {
        self.spoken.get(domain).copied().unwrap_or(self.default_dialect)
    }

    /// The dialect of those of whom nothing is said.
    #[must_use]
    pub fn default_dialect(&self) -> usize {
        self.default_dialect
    }

    /// Every dialect that somebody speaks, the default first.
    #[must_use]
    pub fn dialects_in_use(&self) -> Vec<usize> {
        let mut all = vec![self.default_dialect];
        for &dialect in self.spoken.values() {
            if !all.contains(&dialect) {
                all.push(dialect);
            }
        }
        all
    }

    /// The row of a legacy command in a dialect.
    #[must_use]
    pub fn command_named(
        &self,
        dialect: usize,
        name: &str,
        arguments: &Object<'_>,
    ) -> Option<&Arc<Command>> {
        let candidates = self.commands_by_name.get(&(dialect, name.to_owned()))?;
        let fits = |c: &&Candidate| all_hold(&c.1, |m| arguments.get(m));
        candidates.iter().find(fits).and_then(|c| self.commands.get(c.0))
    }

    /// The row of a request on MQTT, from a requester that has said its name or has not.
    #[must_use]
    pub fn command_at(
        &self,
        root: &str,
        requester: Option<&DomainName>,
        payload: &Object<'_>,
    ) -> Option<&Arc<Command>> {
        let candidates = self.commands_by_root.get(root)?;
        let own = requester.map(|r| self.dialect_of(r));
        let fits = |c: &&Candidate| all_hold(&c.1, |m| payload.get(m));
        let is_own = |c: &&Candidate| self.commands.get(c.0).map(|r| r.dialect) == own;
        let fit = candidates.iter().filter(is_own).find(fits);
        let row = |c: &Candidate| self.commands.get(c.0);
        let first = fit.or_else(|| candidates.iter().find(fits)).and_then(row)?;
        if first.named || first.is_answered_on_legacy() {
            return Some(first);
        }
        // An older dialect's requester may wait for the answer that a newer one does without.
        let kin = candidates.iter().filter(fits).filter_map(row);
        let mut kin = kin.filter(|r| !r.named && r.legacy == first.legacy);
        Some(kin.find(|r| r.is_answered_on_legacy()).unwrap_or(first))
    }

    /// The rows of requests from MQTT of a root, the newest dialect's first.
    pub fn commands_at(&self, root: &str) -> impl Iterator<Item = &Arc<Command>> {
        let candidates = self.commands_by_root.get(root).into_iter().flatten();
        candidates.filter_map(|c| self.commands.get(c.0))
    }

    /// The name of the first row that has a topic, whatever is said there.
    #[must_use]
    pub fn row_at(&self, topic: &str) -> Option<Arc<str>> {
        if let Topic::Request(root, _) | Topic::Response(root, _) = Topic::parse(topic) {
            return self.commands_at(root).next().map(|row| Arc::clone(&row.name));
        }
        let first = self.events_by_topic.get(topic)?.first()?;
        self.events.get(first.0).map(|row| Arc::clone(&row.name))
    }

    /// Whether requests of this root are mapped.
    #[must_use]
    pub fn has_command_at(&self, root: &str) -> bool {
        self.commands_by_root.contains_key(root)
    }

    /// The rows of a dialect that a legacy response of this name may answer.
    #[must_use]
    pub fn answered_by(&self, dialect: usize, response: &str) -> Vec<&Arc<Command>> {
        let rows = self.responses_by_name.get(&(dialect, response.to_owned()));
        rows.into_iter().flatten().filter_map(|&i| self.commands.get(i)).collect()
    }

    /// Whether a legacy response of this name answers any row of any dialect.
    #[must_use]
    pub fn is_a_response(&self, response: &str) -> bool {
        (0..self.dialects.len()).any(|d| !self.answered_by(d, response).is_empty())
    }

    /// The rows of a legacy notification: one for each dialect. Those that share a topic follow each other, the
    /// newest dialect's first: nobody is to see one event twice, so that they make one message.
    #[must_use]
    pub fn events_named(&self, name: &str, data: &Object<'_>) -> EventRows {
        let Some(candidates) = self.events_by_name.get(name) else { return EventRows::NotMapped };
        let mut rows: Vec<usize> = Vec::new();
        let dialect = |i: usize| self.events.get(i).map(|e| e.dialect);
        for (i, _) in candidates.iter().filter(|c| all_hold(&c.1, |m| data.get(m))) {
            if !rows.iter().any(|&r| dialect(r) == dialect(*i)) {
                rows.push(*i);
            }
        }
        if rows.is_empty() {
            return EventRows::NoneFits;
        }
        let topic = |i: usize| self.events.get(i).and_then(|e| e.topic.as_ref());
        let place = |i: usize| (dialect(i).map(|d| self.rank(d)), i);
        let first_of = |i: usize| {
            let same = rows.iter().copied().filter(|&r| topic(r).is_some() && topic(r) == topic(i));
            same.min_by_key(|&r| place(r)).unwrap_or(i)
        };
        let mut placed: Vec<_> = rows.iter().map(|&i| (first_of(i), place(i), i)).collect();
        placed.sort_unstable();
        EventRows::Rows(placed.iter().filter_map(|p| self.events.get(p.2).cloned()).collect())
    }

    /// The row of a notification on MQTT. Of several dialects' it is the one to which the least of it is
    /// strange, or else the newest's.
    #[must_use]
    pub fn event_at(&self, topic: &str, payload: &Object<'_>) -> Option<&Arc<Event>> {
        let candidates = self.events_by_topic.get(topic)?;
        let fits = |c: &&Candidate| all_hold(&c.1, |m| payload.get(m));
        let mut rows: Vec<&Arc<Event>> = Vec::new();
        for row in candidates.iter().filter(fits).filter_map(|c| self.events.get(c.0)) {
            if !rows.iter().any(|r| r.dialect == row.dialect) {
                rows.push(row);
            }
        }
        match rows.as_slice() {
            [] => None,
            [only] => Some(only),
            _ => rows
                .into_iter()
                .min_by_key(|r| (r.when.mqtt.is_empty(), strange(&r.shape, &r.when.mqtt, payload))),
        }
    }

    /// Whether notifications of this topic are mapped.
    #[must_use]
    pub fn has_event_at(&self, topic: &str) -> bool {
        self.events_by_topic.contains_key(topic)
    }
}

/// What means something on a side cannot be carried through from the other by accident.
fn reserve_names(rows: &mut Rows) {
    let mut legacy: HashMap<String, BTreeSet<String>> = HashMap::new();
    let mut mqtt: HashMap<String, BTreeSet<String>> = HashMap::new();
    for command in &rows.commands {
        for (name, when) in command
            .aliases
            .iter()
            .map(|a| (&a.legacy, &a.when))
            .chain([(&command.legacy, &command.when.legacy)])
        {
            legacy.entry(name.clone()).or_default().extend(members(when));
        }
        let names = mqtt.entry(command.root.clone()).or_default();
        names.extend(members(&command.when.mqtt));
        names.extend(command.handlers.iter().flat_map(|h| members(&h.when)));
    }
    for command in &mut rows.commands {
        let (legacy, mqtt) = (legacy.get(&command.legacy), mqtt.get(&command.root));
        reserve(&mut command.request, &command.when, legacy, mqtt);
        for answer in &mut command.answers {
            reserve(&mut answer.shape, &answer.when, None, None);
        }
    }
    let mut legacy: HashMap<String, BTreeSet<String>> = HashMap::new();
    for event in &rows.events {
        legacy.entry(event.legacy.clone()).or_default().extend(members(&event.when.legacy));
    }
    for event in &mut rows.events {
        reserve(&mut event.shape, &event.when, legacy.get(&event.legacy), None);
    }
}

fn response(answer: &super::Answer) -> Option<&String> {
    match &answer.wire {
        Wire::Response(name) if answer.direction.goes_from(Side::Legacy) => Some(name),
        _ => None,
    }
}

fn members(conditions: &[Condition]) -> impl Iterator<Item = String> + '_ {
    conditions.iter().map(|c| c.member.clone())
}

fn reserve(
    shape: &mut Shape,
    when: &Both<Vec<Condition>>,
    legacy: Option<&BTreeSet<String>>,
    mqtt: Option<&BTreeSet<String>>,
) {
    for (side, more) in [(Side::Legacy, legacy), (Side::Mqtt, mqtt)] {
        shape.own[side] = shape.names(side);
        shape.own[side].extend(members(&when[side]));
        shape.reserved[side] = shape.own[side].clone();
        shape.reserved[side].extend(more.into_iter().flatten().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_dialects_that_write_to_one_topic_the_newer_is_first() {
        let event = "[[event]]\nname = \"E\"\nlegacy = \"e\"\ntopic = \"t\"\n";
        let file = |name: &str, text: String| Arc::new(Source { name: name.into(), text });
        let older = file("older", format!("dialect = \"older\"\n{event}"));
        let newer = file("newer", format!("dialect = \"newer\"\nsupersedes = \"older\"\n{event}"));
        for files in [[&older, &newer], [&newer, &older]] {
            let table = Table::compile(&files.map(Arc::clone), &Speaks::default());
            let table = table.unwrap_or_default();
            let EventRows::Rows(rows) = table.events_named("e", &Object::default()) else {
                unreachable!("the event is mapped");
            };
            let names: Vec<_> = rows.iter().map(|e| e.origin.source.name.as_str()).collect();
            assert_eq!(names, ["newer", "older"]);
        }
    }
}
