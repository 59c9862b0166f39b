//! `policy` and `[[allow]]`: who may say what to whom.

use super::Reader;
use crate::document::{Fields, Text};
use crate::engine::policy::{AllowRule, FileLine, Otherwise, Pattern, Policy, Subject};
use std::ops::Range;

impl Reader<'_, '_> {
    /// The policy. What is not said there is allowed.
    pub(super) fn policy(&mut self, fields: &mut Fields<'_>) -> Policy {
        let said = fields.text("policy", self.found);
        let otherwise = match said.as_ref().map(|said| said.text.as_str()) {
            None | Some("allow") => Otherwise::Allow,
            Some("deny") => Otherwise::Deny,
            Some(other) => {
                let span = said.as_ref().map_or(0..0, |said| said.span.clone());
                let help = "the policies are \"allow\", and \"deny\" for all that no [[allow]] has";
                self.add(span, format!("there is no policy {other:?}"), help);
                Otherwise::Deny
            }
        };
        let place = said.map(|said| self.place(&said.span));
        let mut rules = Vec::new();
        for mut table in fields.tables("allow", "an `[[allow]]`", self.found) {
            rules.push(self.rule(&mut table));
            table.finish(self.found);
        }
        Policy { otherwise, place, rules, ..Policy::default() }
    }

    fn place(&self, span: &Range<usize>) -> FileLine {
        FileLine { file: self.source.name.clone(), line: self.source.line(span.start) }
    }

    fn rule(&mut self, table: &mut Fields<'_>) -> AllowRule {
        let from = table.text("from", self.found);
        let to = table.text("to", self.found);
        let command = table.text("command", self.found);
        let event = table.text("event", self.found);
        if let (Some(_), Some(event)) = (&command, &event) {
            let message = "a rule is about commands or about events";
            self.add(event.span.clone(), message, "write one [[allow]] for each");
        }
        if [&from, &to, &command, &event].iter().all(|text| text.is_none()) {
            let help = "name at least one of `from`, `command`, `event` and `to`";
            self.add(table.span(), "it allows everything", help);
        }
        for text in [&from, &to].into_iter().flatten() {
            let legal = |c: u8| c.is_ascii_alphanumeric() || b".-_*".contains(&c);
            if text.text.is_empty() || !text.text.bytes().all(legal) {
                let message = format!("{:?} is like no domain's name", text.text);
                let help = "write letters, digits, `.`, `_`, `-`, and `*` for any of them";
                self.add(text.span.clone(), message, help);
            }
        }
        for text in [&command, &event].into_iter().flatten().filter(|t| t.text.is_empty()) {
            let help = "write a name, with `*` for what may be anything, or leave it out";
            self.add(text.span.clone(), "the name is empty", help);
        }
        let pattern = |text: Text| Pattern::new(&text.text);
        let about = match (command, event) {
            (Some(name), _) => Subject::Command(pattern(name)),
            (None, Some(name)) => Subject::Event(pattern(name)),
            (None, None) => Subject::Anything,
        };
        let place = self.place(&table.span());
        AllowRule { from: from.map(pattern), about, to: to.map(pattern), place }
    }
}
