//! Mapping files to rows. Every key is known, every finding is kept.

use super::keeps::{keeps, lead, one_at_a_time};
use super::read::{Reader, direction};
use super::scalar::Condition;
use super::shape::{Both, Repeat, Shape, Supplied};
use super::{
    Alias, Announced, Answer, Command, DEFAULT_TIMEOUT, Dialect, Direction, Event, Handler,
    RowOrigin, Wire, constants, topic,
};
use crate::diagnostic::{Findings, Source};
use crate::document::{self, Fields, Text};
use crate::engine::name::DomainName;
use crate::engine::publish::Qos;
use std::sync::Arc;
use toml::de::DeTable;

/// The rows of all files, as written.
#[derive(Debug, Default)]
pub struct Rows {
    /// The dialects, in the order in which they are first named.
    pub dialects: Vec<Dialect>,
    /// The commands, in the order of the files.
    pub commands: Vec<Command>,
    /// The events, in the order of the files.
    pub events: Vec<Event>,
}

/// Reads one file into `rows`.
pub fn load(source: &Arc<Source>, rows: &mut Rows, found: &mut Findings) {
    let Some(root) = document::parse(source, found) else { return };
    let mut fields = Fields::new(source, root.get_ref(), 0..0, "a mapping file");
    let Some(dialect) = dialect(&mut fields, rows, source, found) else {
        return;
    };
    let default_qos = qos(&mut fields, source, Qos::AtLeastOnce, found);
    for mut row in fields.tables("command", "a command", found) {
        let mut reader = Reader { source, found };
        let named = rows.dialects.get(dialect).cloned();
        rows.commands.extend(command(&mut row, &mut reader, dialect, named.as_ref(), default_qos));
        row.finish(found);
    }
    for mut row in fields.tables("event", "an event", found) {
        let mut reader = Reader { source, found };
        rows.events.extend(event(&mut row, &mut reader, dialect, default_qos));
        row.finish(found);
    }
    fields.finish(found);
}

fn dialect(
    fields: &mut Fields<'_>,
    rows: &mut Rows,
    source: &Arc<Source>,
    found: &mut Findings,
) -> Option<usize> {
    let name = fields.required("dialect", found);
    let requesters = fields.text("requesters", found);
    let requester_member = fields.text("requester_member", found).map(|t| t.text);
    let supersedes = fields.texts("supersedes", found).into_iter().map(|t| t.text).collect();
    let named = match requesters.as_ref().map(|t| t.text.as_str()) {
        None | Some("named") => true,
        Some("anonymous") => false,
        Some(other) => {
            let span = requesters.as_ref().map_or(0..0, |t| t.span.clone());
            let message = format!("requesters cannot be {other:?}");
            found.add(source, span, message, "they are \"named\" or \"anonymous\"");
            true
        }
    };
    let name = name?;
    let this = Dialect { name: name.text, named, requester_member, supersedes };
    if let Some(at) = rows.dialects.iter().position(|d| d.name == this.name) {
        if let Some((key, there)) = rows.dialects.get(at).and_then(|known| known.differs(&this)) {
            let message = format!(
                "the dialect {:?} has another `{key}` in a file before this one",
                this.name
            );
            found.add(source, name.span, message, format!("{there}, as that one does"));
        }
        return Some(at);
    }
    rows.dialects.push(this);
    Some(rows.dialects.len() - 1)
}

fn qos(fields: &mut Fields<'_>, source: &Arc<Source>, usual: Qos, found: &mut Findings) -> Qos {
    match fields.number("qos", found) {
        None => usual,
        Some(0) => Qos::AtMostOnce,
        Some(1) => Qos::AtLeastOnce,
        Some(_) => {
            let help = "write 0 (at most once) or 1 (at least once)";
            found.add(source, fields.span_of("qos"), "`qos` is 0 or 1", help);
            usual
        }
    }
}

fn command<'d>(
    row: &mut Fields<'d>,
    reader: &mut Reader<'_, 'd>,
    dialect: usize,
    described: Option<&Dialect>,
    default_qos: Qos,
) -> Option<Command> {
    let name = row.required("name", reader.found);
    let legacy = row.required("legacy", reader.found);
    let root = row.required("topic", reader.found);
    let root = root.map(|t| topic::root(t, "/request", reader));
    let direction = direction(row, reader);
    let (when, _) = reader.when(row, false);
    let handlers = handlers(row, reader);
    if !row.has("handler") && direction != Direction::ToMqtt {
        let help = "add `handler = \"a legacy domain\"`, or \"*\" for every one";
        reader.add(row.span(), "the command has no handler", help);
    }
    let exclusive = row.flag("exclusive", reader.found).unwrap_or(false);
    let answered_twice = row.flag("answered_twice", reader.found).unwrap_or(false);
    let timeout = row.duration("timeout", reader.found).unwrap_or(DEFAULT_TIMEOUT);
    let qos = qos(row, reader.source, default_qos, reader.found);
    let aliases = row.fields("alias", reader.found).and_then(|f| alias(f, reader));
    let mut request = match row.fields("request", reader.found) {
        Some(mut fields) => {
            let shape = reader.shape(&mut fields);
            fields.finish(reader.found);
            shape
        }
        None => Shape::default(),
    };
    if let Some(member) = described.and_then(|d| d.requester_member.clone()) {
        request.add.mqtt.push((member, Supplied::Source));
    }
    request.fixed = Both { legacy: constants(&when.legacy), mqtt: constants(&when.mqtt) };
    let mut answers: Vec<_> = row
        .tables("answer", "an answer", reader.found)
        .into_iter()
        .filter_map(|f| answer(f, reader))
        .collect();
    let mut announced: Vec<_> = row
        .tables("announced", "an announcement", reader.found)
        .into_iter()
        .filter_map(|f| announcement(f, reader))
        .collect();
    let one_at_a_time = one_at_a_time(row, &answers, reader);
    let has_failure = row.table("failure", reader.found).is_some();
    let failure = has_failure.then(|| reader.givens(row, "failure"));
    let failure_as_answer = row.flag("failure_as_answer", reader.found).unwrap_or(false);
    lead(&request, &mut answers, &mut announced);
    let mut keeps = keeps(&answers, &announced, failure.as_deref());
    keeps.extend(one_at_a_time.keeps(&request, answered_twice));
    Some(Command {
        name: name?.text.into(),
        dialect,
        named: described.is_some_and(|d| d.named),
        legacy: legacy?.text,
        aliases: aliases.into_iter().collect(),
        root: root?,
        direction,
        when,
        handlers,
        exclusive,
        one_at_a_time,
        timeout,
        qos,
        answered_twice,
        request,
        answers,
        announced,
        failure,
        failure_as_answer,
        keeps: keeps.into_iter().collect(),
        origin: origin(row, reader),
    })
}

fn alias<'d>(mut fields: Fields<'d>, reader: &mut Reader<'_, 'd>) -> Option<Alias> {
    let legacy = fields.required("legacy", reader.found);
    let (when, _) = reader.when(&mut fields, false);
    if when.legacy.is_empty() || !when.mqtt.is_empty() {
        let help = "add `when.legacy = { argument = { present = true } }`, or the like";
        reader.add(fields.span(), "an alias says by its arguments when it is meant", help);
    }
    fields.finish(reader.found);
    Some(Alias { legacy: legacy?.text, when: when.legacy })
}

fn handlers<'d>(row: &mut Fields<'d>, reader: &mut Reader<'_, 'd>) -> Vec<Handler> {
    let Some(value) = row.get("handler") else { return Vec::new() };
    let mut all = Vec::new();
    if value.get_ref().as_str() == Some(document::OPEN) {
        row.filled_in("handler", reader.found);
        return all;
    }
    if let Some(text) = value.get_ref().as_str() {
        all.extend(handler(Text { text: text.into(), span: value.span() }, Vec::new(), reader));
        return all;
    }
    let Some(list) = value.get_ref().as_array() else {
        let way = "write `handler = \"vm-scan\"`, or `handler = [{ domain = \"Dom0\", when = {...} }, { domain = \"sys-usb\" }]`";
        row.wrong_kind("handler", value, "a domain, or a list of tables", way, reader.found);
        return all;
    };
    for item in list.iter() {
        let table: Option<&'d DeTable<'d>> = item.get_ref().as_table();
        let Some(table) = table else {
            let way = "write each as `{ domain = \"sys-usb\" }`, all but the last with a `when`";
            row.wrong_kind("handler", item, "a domain, or a list of tables", way, reader.found);
            continue;
        };
        if all.last().is_some_and(|h: &Handler| h.when.is_empty()) {
            let help = "put the handler without `when` last";
            reader.add(item.span(), "no request can reach this handler", help);
        }
        let mut fields = Fields::new(reader.source, table, item.span(), "a handler");
        let domain = fields.required("domain", reader.found);
        let when = reader.conditions_at(&mut fields, "when");
        fields.finish(reader.found);
        all.extend(domain.and_then(|d| handler(d, when, reader)));
    }
    all
}

fn handler(domain: Text, when: Vec<Condition>, reader: &mut Reader<'_, '_>) -> Option<Handler> {
    if domain.text == "*" {
        return Some(Handler { domain: None, when });
    }
    match DomainName::parse(&domain.text) {
        Ok(name) if name.is_everyone() => {
            let message = "`tous` is a destination, and no domain";
            reader.add(domain.span, message, "write \"*\" for every legacy domain");
            None
        }
        Ok(name) if !name.is_dom0() && name.meaning().is_some() => {
            let message =
                format!("`{name}` is {}, and no domain", name.meaning().unwrap_or_default());
            reader.add(domain.span, message, "name a domain, or \"*\" for every one");
            None
        }
        Ok(name) => Some(Handler { domain: Some(name), when }),
        Err(error) => {
            reader.add(domain.span, error.to_string(), "name a domain, or \"*\" for every one");
            None
        }
    }
}

fn answer<'d>(mut fields: Fields<'d>, reader: &mut Reader<'_, 'd>) -> Option<Answer> {
    let response = fields.filled_in("reponse", reader.found);
    let event = fields.filled_in("evenement", reader.found);
    let direction = direction(&mut fields, reader);
    let (when, request) = reader.when(&mut fields, true);
    let one_for_each = fields.text("one_for_each", reader.found).map(|t| t.text);
    let ends = fields.flag("final", reader.found).unwrap_or(true);
    let unasked = fields.flag("unasked", reader.found).unwrap_or(false);
    let mut shape = reader.shape(&mut fields);
    shape.repeats = reader.repeats(&mut fields, &shape);
    shape.fixed = Both { legacy: constants(&when.legacy), mqtt: constants(&when.mqtt) };
    let span = fields.span();
    let known = fields.finish(reader.found);
    let wire = match (response, event) {
        (Some(_), Some(event)) => {
            let help = "keep `reponse` or `evenement`";
            reader.add(event.span, "an answer is a response or a notification, not both", help);
            return None;
        }
        (Some(name), None) => Wire::Response(name.text),
        (None, Some(name)) => Wire::Event(name.text),
        (None, None) => Wire::Silent,
    };
    // With an unknown key, that is what was meant to say it.
    if wire == Wire::Silent && direction != Direction::ToLegacy && known {
        let help = "add `reponse` or `evenement`, or `only = \"to_legacy\"` if nothing is to be said there";
        reader.add(span.clone(), "the answer is nothing on the legacy wire", help);
    }
    Some(Answer { wire, direction, when, request, one_for_each, shape, ends, unasked, span })
}

fn announcement<'d>(mut fields: Fields<'d>, reader: &mut Reader<'_, 'd>) -> Option<Announced> {
    let topic_text = fields.required("topic", reader.found);
    let ends = fields.flag("ends", reader.found).unwrap_or(false);
    let legacy = reader.givens(&mut fields, "legacy");
    let mqtt = reader.constants(&mut fields, "mqtt");
    let mut repeats = Vec::new();
    if let Some((table, _)) = fields.table("repeats", reader.found) {
        for (name, value) in table.iter() {
            let request = document::text(reader.source, value, "a request's member", reader.found);
            let Some(request) = request else { continue };
            reader.named(name.get_ref(), name.span());
            reader.named(&request.text, request.span);
            let member = name.get_ref().to_string();
            repeats.push(Repeat { member, request: request.text, written: false, leading: None });
        }
    }
    let span = fields.span();
    if repeats.is_empty() {
        let help = "add `repeats = { notification's member = \"request's member\" }`";
        reader.add(span.clone(), "nothing tells which call the notification belongs to", help);
    }
    fields.finish(reader.found);
    Some(Announced { topic: topic::whole(topic_text?, reader), repeats, legacy, mqtt, ends, span })
}

fn event<'d>(
    row: &mut Fields<'d>,
    reader: &mut Reader<'_, 'd>,
    dialect: usize,
    default_qos: Qos,
) -> Option<Event> {
    let name = row.required("name", reader.found);
    let legacy = row.required("legacy", reader.found);
    let root = row.filled_in("topic", reader.found);
    let usual = Text { text: "/notification".into(), span: row.span() };
    let suffix = row.text("suffix", reader.found).unwrap_or(usual);
    let root = root.map(|t| topic::root(t, &suffix.text, reader));
    let plain = |level: &str| !level.is_empty() && !level.contains(['+', '#', '\0']);
    let is_plain = suffix.text.strip_prefix('/').is_some_and(|s| s.split('/').all(plain));
    if !suffix.text.is_empty() && !is_plain {
        let message = format!("suffix {:?} is no end of a topic", suffix.text);
        reader.add(suffix.span.clone(), message, "write `\"/name\"`, or `\"\"` for none");
    }
    let direction = direction(row, reader);
    if root.is_none() && direction != Direction::ToMqtt {
        let help = "add `topic`, or `only = \"to_mqtt\"` if it is not to be published";
        reader.add(row.span(), "an event without a topic cannot come from MQTT", help);
    }
    let (when, _) = reader.when(row, false);
    let qos = qos(row, reader.source, default_qos, reader.found);
    let mut shape = reader.shape(row);
    shape.fixed = Both { legacy: constants(&when.legacy), mqtt: constants(&when.mqtt) };
    Some(Event {
        name: name?.text.into(),
        dialect,
        legacy: legacy?.text,
        topic: root.map(|r| r + &suffix.text),
        direction,
        when,
        qos,
        shape,
        origin: origin(row, reader),
    })
}

fn origin(row: &Fields<'_>, reader: &Reader<'_, '_>) -> RowOrigin {
    RowOrigin { source: Arc::clone(reader.source), span: row.span(), places: row.places() }
}
