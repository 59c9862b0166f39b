//! An AsyncAPI 3.0 document of a domain on MQTT. Each command is two operations, for who asks and for who carries it
//! out, and so is each event.

use super::{dialects, payload};
use crate::engine::mapping::table::Table;
use crate::engine::mapping::{Command, Event, Handler};
use crate::engine::publish::Qos;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The versions of the specification and of its MQTT bindings.
const SPECIFICATION: &str = "3.0.0";
const BINDINGS: &str = "0.2.0";
/// The last level of the topics of commands whose requesters say who they are.
const REQUESTER: &str = "/{requester}";

pub(super) fn document(table: &Table) -> Value {
    let mut document =
        Document { channels: BTreeMap::new(), operations: Map::new(), messages: Map::new() };
    let dialects = dialects(table);
    let prefix = |dialect: usize| dialects.get(dialect).map(|name| format!("{name}."));
    for row in table.commands() {
        document.command(row, &prefix(row.dialect).unwrap_or_default());
    }
    for row in table.events() {
        document.event(row, &prefix(row.dialect).unwrap_or_default());
    }
    let channels: Map<_, _> =
        document.channels.into_iter().map(|(key, channel)| (key, channel.shown())).collect();
    json!({
        "asyncapi": SPECIFICATION,
        "info": {
            "title": "What a domain says and hears on MQTT",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Made by passerelle api from the mapping. Whatever a payload has beside the members \
                that are named here goes across under its own name.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": document.operations,
        "components": {"messages": document.messages},
    })
}

/// A topic, or the topics of all requesters, and what is said there.
struct Channel {
    address: String,
    messages: Map<String, Value>,
}

impl Channel {
    fn shown(self) -> Value {
        let mut parameters = Map::new();
        if self.address.ends_with(REQUESTER) {
            let requester = json!({"description": "The name of the domain that asks."});
            parameters.insert("requester".to_owned(), requester);
        }
        json!({"address": self.address, "messages": self.messages, "parameters": parameters})
    }
}

struct Document {
    channels: BTreeMap<String, Channel>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
}

impl Document {
    fn command(&mut self, row: &Command, prefix: &str) {
        let about = about(row);
        let key = self.row(&format!("{prefix}{}", row.name), ".request");
        let mqtt = json!({
            "responseTopic": {"type": "string", "description": format!("{}/response/<requester>", row.root)},
            "correlationData": {"type": "string"},
            "bindingVersion": BINDINGS,
        });
        let request = json!({
            "name": &*row.name, "payload": payload::request(row, None), "bindings": {"mqtt": mqtt},
        });
        let asked = self.message(&format!("{key}.request"), request, &topic(row, "request"));
        let answered = payload::response(row).map(|body| {
            let response = json!({"name": &*row.name, "payload": body});
            self.message(&format!("{key}.response"), response, &topic(row, "response"))
        });
        for (what, action) in [("ask", "send"), ("carry-out", "receive")] {
            let mut operation = operation(action, &asked, row.qos);
            operation.insert("description".to_owned(), json!(about));
            if let Some(answered) = &answered {
                let messages = [json!({"$ref": answered})];
                let reply = json!({"channel": channel_of(answered), "messages": messages});
                operation.insert("reply".to_owned(), reply);
            }
            self.operations.insert(format!("{what}.{key}"), operation.into());
        }
    }

    fn event(&mut self, row: &Event, prefix: &str) {
        let Some(topic) = &row.topic else { return };
        let key = self.row(&format!("{prefix}{}", row.name), ".notification");
        let message = json!({"name": &*row.name, "payload": payload::event(row)});
        let told = self.message(&format!("{key}.notification"), message, topic);
        for (what, action) in [("tell", "send"), ("hear", "receive")] {
            let operation = operation(action, &told, row.qos);
            self.operations.insert(format!("{what}.{key}"), operation.into());
        }
    }

    /// The name of a row's messages: several rows may have one name.
    fn row(&self, name: &str, ending: &str) -> String {
        free(name, |name| !self.messages.contains_key(&format!("{name}{ending}")))
    }

    /// The name of a topic's channel.
    fn channel(&mut self, address: &str) -> String {
        let known = self.channels.iter().find(|(_, channel)| channel.address == address);
        if let Some((name, _)) = known {
            return name.clone();
        }
        let name = free(address, |name| !self.channels.contains_key(name));
        let channel = Channel { address: address.to_owned(), messages: Map::new() };
        self.channels.insert(name.clone(), channel);
        name
    }

    /// A message on a channel, which other messages may share; the reference to it.
    fn message(&mut self, key: &str, message: Value, address: &str) -> String {
        self.messages.insert(key.to_owned(), message);
        let name = self.channel(address);
        if let Some(channel) = self.channels.get_mut(&name) {
            let component = json!({"$ref": format!("#/components/messages/{key}")});
            channel.messages.insert(key.to_owned(), component);
        }
        format!("#/channels/{name}/messages/{key}")
    }
}

/// A text as a name of AsyncAPI's, which no other has: it has letters, digits and some signs, and a reference to
/// it may have no others.
fn free(text: &str, is_free: impl Fn(&String) -> bool) -> String {
    let sign = |c: char| match c {
        '{' | '}' => None,
        '/' => Some('.'),
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => Some(c),
        _ => Some('_'),
    };
    let name: String = text.chars().filter_map(sign).collect();
    let others = (2..).map(|number| format!("{name}.{number}"));
    let mut all = std::iter::once(name.clone()).chain(others);
    all.find(is_free).unwrap_or(name)
}

fn operation(action: &str, message: &str, qos: Qos) -> Map<String, Value> {
    let qos = match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
    };
    let mqtt = json!({"qos": qos, "retain": false, "bindingVersion": BINDINGS});
    let members = [
        ("action", json!(action)),
        ("channel", channel_of(message)),
        ("messages", json!([{"$ref": message}])),
        ("bindings", json!({"mqtt": mqtt})),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// The reference to the channel of a message.
fn channel_of(message: &str) -> Value {
    json!({"$ref": message.split_once("/messages/").map_or(message, |(channel, _)| channel)})
}

fn topic(row: &Command, kind: &str) -> String {
    let requester = if row.named { REQUESTER } else { "" };
    format!("{}/{kind}{requester}", row.root)
}

/// What the seed's tables leave open: who carries it out, and how a call ends.
fn about(row: &Command) -> String {
    let who = |handler: &Handler| handler.domain.as_ref().map(ToString::to_string);
    let handlers: Vec<_> =
        row.handlers.iter().map(|h| who(h).unwrap_or_else(|| "every domain".to_owned())).collect();
    let more = if row.has_more_answers() { " There may be several answers." } else { "" };
    let timeout = humantime::format_duration(row.timeout);
    format!("Carried out by {}. It ends after {timeout} at most.{more}", handlers.join(" or "))
}
