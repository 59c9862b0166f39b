//! `passerelle store`: what is kept on disk, without a gateway or beside one.

use super::{ConfigFile, GOOD, Out, bad, load_bare, trouble};
use crate::edge::store::{Content, KeptLog, drop_domain, list};
use crate::engine::name::DomainName;
use crate::engine::store::{IncomingState, LinePurpose, MessageRecord, Record};
use crate::printable;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle store list
  passerelle store show vm-gui | jq .
  passerelle store drop vm-gui
  passerelle store list --dir /mnt/var/lib/passerelle/store

Exit codes:
  0  done
  1  there is nothing of that domain
  2  the configuration is wrong or has no store, or it cannot be read or written";

/// Arguments of `store`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How much is kept of each domain
    #[command(after_help = MORE)]
    List(Place),
    /// What is kept, one JSON object a line, in the order in which it is sent
    #[command(after_help = MORE)]
    Show {
        #[command(flatten)]
        place: Place,
        /// Of this domain alone
        domain: Option<String>,
    },
    /// Throw away what is kept of a domain; no gateway may run with the store
    #[command(after_help = MORE)]
    Drop {
        #[command(flatten)]
        place: Place,
        /// Of this domain
        domain: String,
    },
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    config: ConfigFile,
    /// The store's folder itself, instead of the configuration's `store.dir`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it: 0 if it did what was asked for, 1 if there is nothing of that domain, 2 if it could not.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let (Command::List(place) | Command::Show { place, .. } | Command::Drop { place, .. }) =
        &args.command;
    let dir = match folder(place, out) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let done = match &args.command {
        Command::List(_) => show_list(&dir, out),
        Command::Show { domain, .. } => {
            name(domain.as_deref()).and_then(|name| show(&dir, name, out))
        }
        Command::Drop { domain, .. } => name(Some(domain)).and_then(|name| throw(&dir, name, out)),
    };
    done.unwrap_or_else(|error| {
        out.complain(format_args!("error: {error}\n"));
        trouble()
    })
}

fn folder(place: &Place, out: &mut Out) -> Result<PathBuf, ExitCode> {
    if let Some(dir) = &place.dir {
        return Ok(dir.clone());
    }
    let config = load_bare(&place.config, out)?;
    config.store.map(|store| store.dir).ok_or_else(|| {
        let file = place.config.config.display();
        out.complain(format_args!(
            "error: {file}: there is no store: add [store] with `dir`, or give --dir\n"
        ));
        trouble()
    })
}

fn name(text: Option<&str>) -> Result<Option<DomainName>, String> {
    text.map(|text| DomainName::parse(text).map_err(|error| error.to_string())).transpose()
}

fn show_list(dir: &Path, out: &mut Out) -> Result<ExitCode, String> {
    let shown = list(dir)?;
    let head = ("DOMAIN", "MESSAGES", "CALLS", "LINES", "BYTES");
    let (a, b, c, d, e) = head;
    out.say(format_args!("{a:<24} {b:>9} {c:>7} {d:>7} {e:>12}\n"));
    for kept in &shown.domains {
        let count = |wanted: fn(&Record) -> bool| {
            kept.content.iter().filter(|content| wanted(&content.entry.is)).count()
        };
        let calls = |r: &Record| match r {
            Record::Message(message) => message.call.is_some(),
            other => matches!(other, Record::Given(_)),
        };
        let messages = |r: &Record| matches!(r, Record::Message(m) if m.call.is_none());
        let lines = |r: &Record| matches!(r, Record::Line(_) | Record::Half(_));
        let (messages, calls, lines) = (count(messages), count(calls), count(lines));
        out.say(format_args!(
            "{:<24} {messages:>9} {calls:>7} {lines:>7} {:>12}\n",
            kept.name.as_str(),
            kept.size
        ));
    }
    tell_faults(&shown.domains, out);
    if shown.running {
        out.say("a gateway runs with it\n");
    }
    Ok(GOOD)
}

fn tell_faults(domains: &[KeptLog], out: &mut Out) {
    for fault in domains.iter().flat_map(|kept| &kept.faults) {
        out.complain(format_args!("damaged: {}\n", printable::text(fault)));
    }
}

fn show(dir: &Path, name: Option<DomainName>, out: &mut Out) -> Result<ExitCode, String> {
    let mut shown = list(dir)?;
    if let Some(name) = &name {
        shown.domains.retain(|kept| kept.name == *name);
    }
    for kept in &shown.domains {
        for content in &kept.content {
            out.say_json(format_args!("{}\n", line(&kept.name, content)));
        }
    }
    tell_faults(&shown.domains, out);
    Ok(if name.is_some() && shown.domains.is_empty() { bad() } else { GOOD })
}

fn line(domain: &DomainName, content: &Content) -> Value {
    let Content { entry, landed, untimely } = content;
    let mut value = match &entry.is {
        Record::Message(message) => message_line(message, *landed, *untimely),
        Record::Given(call) => {
            let state = match call.state {
                IncomingState::Held | IncomingState::Queued => "not given yet",
                IncomingState::Open | IncomingState::Unanswered => "waits for its answer",
            };
            json!({"is": "call", "row": call.row, "from": call.requester, "to": call.handler,
                "state": state, "over": untimely, "head": call.head})
        }
        Record::Line(line) => {
            let from = match &line.purpose {
                LinePurpose::Message { from, .. } => Some(from),
                LinePurpose::Call(_) | LinePurpose::Notice => None,
            };
            json!({"is": "line", "from": from, "line": text(&line.line)})
        }
        Record::Half(half) => json!({"is": "half a line", "line": text(&half.bytes)}),
        Record::Landed | Record::Over => Value::Null,
    };
    if let Value::Object(members) = &mut value {
        members.insert("domain".into(), json!(domain));
        members.insert("n".into(), json!(entry.n));
    }
    value
}

fn message_line(message: &MessageRecord, landed: bool, untimely: bool) -> Value {
    let made =
        std::time::SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(message.made));
    let made = made.map(|made| humantime::format_rfc3339_seconds(made).to_string());
    let state = match (&message.call, landed) {
        (Some(call), _) if call.held => "waits for another call",
        (Some(_), true) => "waits for its answer",
        _ => "waits for the broker",
    };
    json!({"is": if message.call.is_some() { "call" } else { "message" },
        "id": message.id, "topic": message.topic, "made": made, "from": message.from,
        "to": message.to, "state": state, "over": untimely && message.until.is_some(),
        "payload": text(&message.payload)})
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn throw(dir: &Path, name: Option<DomainName>, out: &mut Out) -> Result<ExitCode, String> {
    let Some(name) = name else { return Ok(bad()) };
    match drop_domain(dir, &name)? {
        Some(count) => {
            out.say(format_args!("{count} records of {name} thrown away\n"));
            Ok(GOOD)
        }
        None => {
            out.say(format_args!("there is nothing of {name}\n"));
            Ok(bad())
        }
    }
}
