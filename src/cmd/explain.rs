//! `passerelle explain`: what the policy says of a message, and by which rule.

use super::{ConfigFile, GOOD, Out, bad, load, trouble};
use crate::config::Config;
use crate::engine::mapping::{Command, Event, RowOrigin};
use crate::engine::name::DomainName;
use crate::engine::policy::{Names, Said};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

const MORE: &str = "\
Examples:
  passerelle explain vm-gui liste_disques sys-usb
  passerelle explain sys-usb disque tous --event

Exit codes:
  0  it is allowed
  1  it is not
  2  the configuration is wrong or a file cannot be read";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Who says it; `mqtt` is whoever says no name on MQTT
    #[arg(value_parser = |name: &str| DomainName::parse(name))]
    from: DomainName,
    /// A command or an event, by its name in the mapping or on the legacy wire
    command: String,
    /// Who is asked or told; `tous` is everyone, and whoever hears what is published
    #[arg(value_parser = |name: &str| DomainName::parse(name))]
    to: DomainName,
    /// It is an event, even if a command is called so, or no row has it
    #[arg(long)]
    event: bool,
}

/// Runs it: 0 if it is allowed, 1 if it is not, 2 if the configuration is wrong or a file cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let Ok(config) = load(&args.config, out) else { return trouble() };
    let (text, allowed) = explain(&config, args);
    out.say(text);
    if allowed { GOOD } else { bad() }
}

fn explain(config: &Config, args: &Args) -> (String, bool) {
    let name = args.command.as_str();
    let table = &config.table;
    let commands: Vec<_> = match args.event {
        true => Vec::new(),
        false => table.commands().iter().filter(|c| *c.name == *name || c.legacy == name).collect(),
    };
    let events: Vec<_> = match commands.is_empty() {
        true => table.events().iter().filter(|e| *e.name == *name || e.legacy == name).collect(),
        false => Vec::new(),
    };
    let mut answer = Answer { config, args, text: String::new(), allowed: true };
    if !commands.is_empty() {
        answer.commands(&commands);
    } else if !events.is_empty() {
        answer.events(&events);
    } else if args.event {
        answer.judge(&Said::unmapped_event(name), &args.to);
        answer.say("no row has this event: it goes between legacy domains only");
    } else {
        answer.judge(&Said::unmapped_command(name), &args.to);
        answer.say("no row has this command: it goes between legacy domains only");
    }
    (answer.text, answer.allowed)
}

struct Answer<'a> {
    config: &'a Config,
    args: &'a Args,
    text: String,
    allowed: bool,
}

impl Answer<'_> {
    fn say(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    /// Says what holds, and why; what is not allowed makes the whole not allowed.
    fn judge(&mut self, said: &Said<'_>, to: &DomainName) {
        let verdict = self.config.policy.judge(&self.args.from, said, to);
        let word = if verdict.is_allowed() { "allowed" } else { "not allowed" };
        self.allowed &= verdict.is_allowed();
        self.say(&format!("{word}: {} -> {to}: {said}\n  {verdict}", self.args.from));
    }

    fn commands(&mut self, rows: &[&Arc<Command>]) {
        let to = &self.args.to;
        let mut names = BTreeSet::new();
        for row in rows {
            if names.insert((&row.name, &row.legacy)) {
                self.judge(&Said::command(row), to);
            }
        }
        for row in rows {
            let topic = row.request_topic();
            self.row(&row.origin, &format!("on MQTT {topic}"));
        }
        // Who carries it out on MQTT is not who it is addressed to.
        let others: BTreeSet<_> =
            rows.iter().flat_map(|r| &r.handlers).filter_map(|h| h.domain.as_ref()).collect();
        for handler in others.into_iter().filter(|handler| *handler != to) {
            let policy = &self.config.policy;
            let allowed =
                |row: &&Arc<Command>| policy.allows(&self.args.from, &Said::command(row), handler);
            let word = if rows.iter().all(allowed) { "is allowed" } else { "is not allowed" };
            self.say(&format!("{handler} carries some of these requests out on MQTT: that {word}"));
        }
        if let Some(row) = rows.first() {
            self.who_it_is(&row.request_topic());
        }
        if rows.iter().any(|row| !row.named) && self.args.from != DomainName::anonymous() {
            self.say(
                "from MQTT, in a dialect that does not say who asks, `mqtt` has to be allowed too",
            );
        }
        if self.allowed {
            self.say("its answers are allowed too");
        }
    }

    /// Says what makes somebody on MQTT the one whom a rule names.
    fn who_it_is(&mut self, topic: &str) {
        let (policy, from) = (&self.config.policy, &self.args.from);
        let anonymous = *from == DomainName::anonymous();
        let line = match policy.names {
            _ if policy.is_open() => return,
            Names::Said if anonymous => return,
            Names::Said => format!("on MQTT anybody can say that it is {from}: nothing proves it"),
            Names::Proved if anonymous => {
                format!("on MQTT `mqtt` is everyone whom the broker lets publish on {topic}")
            }
            Names::Proved => format!("on MQTT it is {from} that publishes on {topic}/{from}"),
        };
        self.say(&line);
    }

    fn events(&mut self, rows: &[&Arc<Event>]) {
        let everyone = DomainName::everyone();
        let mut names = BTreeSet::new();
        for row in rows {
            if names.insert((&row.name, &row.legacy)) {
                self.judge(&Said::event(row), &self.args.to);
            }
        }
        for row in rows {
            match &row.topic {
                Some(topic) => self.row(&row.origin, &format!("on MQTT {topic}")),
                None => self.row(&row.origin, "not published"),
            }
        }
        if !self.config.policy.is_open() && self.config.policy.names == Names::Proved {
            self.say(
                "on MQTT the ACL says who may publish it: nothing proves which of them it was",
            );
        }
        if self.args.to != everyone {
            self.say("on MQTT it is for everyone: there, `tous` has to be allowed");
        }
    }

    fn row(&mut self, origin: &RowOrigin, what: &str) {
        let (file, line) = (&origin.source.name, origin.source.line(origin.span.start));
        self.say(&format!("  row {file}:{line}, {what}"));
    }
}
