//! Which answers follow which commands, as far as whoever only listens can tell.

use super::book::cut_name;
use crate::engine::json::{Object, decode_str, same};
use crate::engine::name::DomainName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How many commands from one domain to another are remembered.
const OPEN: usize = 16;
/// How many pairs of domains are.
const PAIRS: usize = 1024;
/// For how long an answer may be to a command.
const LONG: Duration = Duration::from_secs(600);
/// How many members of a command are compared with its answer's, and of how many bytes.
const MEMBERS: usize = 16;
const LONGEST: usize = 256;

/// One command that somebody has been heard to send.
#[derive(Debug)]
struct Open {
    name: String,
    /// Its members that are a text or a number, as they stand.
    members: Vec<(String, String)>,
    at: Duration,
    /// When it was answered, by the number of the answer.
    answered: Option<u64>,
}

/// What is heard of a message that may be an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MayAnswer {
    /// The command.
    pub command: String,
    /// Whether no other command was open between the two.
    pub alone: bool,
    /// Whether the command had an answer before.
    pub again: bool,
    /// Members of the message and of the command that say the same.
    pub repeats: Vec<(String, String)>,
}

/// The commands that may still be answered.
#[derive(Debug, Default)]
pub(super) struct OpenCommands {
    open: BTreeMap<(DomainName, DomainName), VecDeque<Open>>,
    /// How many answers there were.
    answers: u64,
}

impl OpenCommands {
    /// A command goes from one domain to another.
    pub fn asked(
        &mut self,
        (from, to): (&DomainName, &DomainName),
        name: &str,
        arguments: &Object<'_>,
        now: Duration,
    ) {
        let pair = (from.clone(), to.clone());
        if self.open.len() >= PAIRS && !self.open.contains_key(&pair) {
            self.open.retain(|_, calls| calls.iter().any(|call| is_recent(call, now)));
            if self.open.len() >= PAIRS {
                return;
            }
        }
        let calls = self.open.entry(pair).or_default();
        calls.retain(|call| is_recent(call, now));
        if calls.len() >= OPEN {
            calls.pop_front();
        }
        let members = said(arguments);
        calls.push_back(Open { name: cut_name(name), members, at: now, answered: None });
    }

    /// A message goes back, from the domain that was asked to the one that has asked: what it may answer.
    /// Without a response's name, it is a notification, which counts only where it repeats something.
    pub fn answered(
        &mut self,
        (from, to): (&DomainName, &DomainName),
        response: Option<&str>,
        data: &Object<'_>,
        now: Duration,
    ) -> Vec<MayAnswer> {
        let members = said(data);
        // What everyone was asked, everyone may answer.
        let everyone = DomainName::everyone();
        let mut found = Vec::new();
        for asked in [from, &everyone] {
            let Some(calls) = self.open.get_mut(&(to.clone(), asked.clone())) else { continue };
            calls.retain(|call| is_recent(call, now));
            self.answers += 1;
            let number = (!asked.is_everyone()).then_some(self.answers);
            found = may_answer(calls, response, &members, number);
            if !found.is_empty() {
                break;
            }
        }
        found
    }
}

fn is_recent(call: &Open, now: Duration) -> bool {
    now.saturating_sub(call.at) < LONG
}

fn may_answer(
    calls: &mut VecDeque<Open>,
    response: Option<&str>,
    members: &[(String, String)],
    number: Option<u64>,
) -> Vec<MayAnswer> {
    let repeated = |call: &Open| -> Vec<(String, String)> {
        let pairs = members.iter().flat_map(|m| call.members.iter().map(move |c| (m, c)));
        let equal = pairs.filter(|((_, a), (_, b))| same(a, b));
        equal.map(|((m, _), (c, _))| (m.clone(), c.clone())).collect()
    };
    let counts = |call: &Open| response.is_some() || !repeated(call).is_empty();
    // Where none waits for an answer, it is one more to the call that was answered last.
    let again = !calls.iter().any(|call| call.answered.is_none() && counts(call));
    let last = calls.iter().filter(|call| counts(call)).filter_map(|call| call.answered).max();
    let fits = |call: &Open| counts(call) && call.answered == last.filter(|_| again);
    let names: BTreeSet<String> =
        calls.iter().filter(|call| fits(call)).map(|call| call.name.clone()).collect();
    let alone = names.len() == 1;
    let mut found = Vec::new();
    for command in names {
        let call = calls.iter().filter(|c| c.name == command && fits(c));
        // The one that it repeats most of, and of these the oldest.
        let best = call.rev().max_by_key(|call| repeated(call).len());
        let repeats = best.map(repeated).unwrap_or_default();
        found.push(MayAnswer { command, alone, again, repeats });
    }
    let likely = found.iter().find(|f| Some(f.command.as_str()) == response);
    let likely = likely.or_else(|| found.iter().max_by_key(|f| f.repeats.len()));
    if let Some(name) = likely.map(|f| f.command.clone())
        && number.is_some()
        && let Some(call) = calls.iter_mut().find(|c| c.name == name && fits(c))
    {
        call.answered = number;
    }
    found
}

/// Members that tell calls apart: texts that are not empty, and numbers.
fn said(object: &Object<'_>) -> Vec<(String, String)> {
    let tells = |value: &str| match value.as_bytes() {
        [b'"', rest @ ..] => rest.len() > 1,
        [b'-' | b'0'..=b'9', ..] => true,
        _ => false,
    };
    let all = object.members().filter(|m| m.value.len() <= LONGEST && tells(m.value));
    let named = all.filter_map(|m| Some((decode_str(m.raw_key)?.into_owned(), m.value.to_owned())));
    named.filter(|(name, _)| name.len() <= LONGEST).take(MEMBERS).collect()
}
