//! Two tables in Markdown: commands and events, with what goes on MQTT for each.

use super::{dialects, payload};
use crate::cmd::Language;
use crate::engine::mapping::scalar::{Condition, Test};
use crate::engine::mapping::shape::Supplied;
use crate::engine::mapping::table::Table;
use crate::engine::mapping::{Command, Handler};
use crate::engine::publish::Qos;
use serde_json::Value;
use std::fmt::Write as _;

/// What is said in each language.
struct Words {
    commands: &'static str,
    command_columns: &'static str,
    events: &'static str,
    event_columns: &'static str,
    everybody: &'static str,
    otherwise: &'static str,
    nothing: &'static str,
    legend: &'static str,
    not_once: &'static str,
}

const ENGLISH: Words = Words {
    commands: "# Commands",
    command_columns: "| Command | Topic root | Request | Response | Carried out by | Ends after |\n|--|--|--|--|--|--|",
    events: "# Events",
    event_columns: "| Event | Topic | Payload |\n|--|--|--|",
    everybody: "every domain",
    otherwise: "or else",
    nothing: "nothing",
    legend: "`/request/<requester>` and `/response/<requester>` follow the root of a topic. `a|b` is one of these values, `?` may be\n\
        left out, and `...` is as the legacy side has it.\n\n\
        # On MQTT\n\n\
        - Payloads are JSON objects. Nothing is retained. The domain's name is its client id.\n\
        - QoS is 1, and MQTT 5 is best: each message then has the user property `source`, the name of whom it is from.\n\
        - To carry out a command, subscribe to `<root>/request` and `<root>/request/+`. Publish the response to the request's\n  \
          response topic, with its correlation data. Without a response topic that is the request's own topic, with `response`\n  \
          in the place of `request`.\n\
        - To ask, subscribe to `<root>/response/<own name>`. Publish to `<root>/request/<own name>`, with that response topic\n  \
          and correlation data of your own.\n\
        - To announce an event, publish to its topic; to hear of it, subscribe to that.\n\
        - On the message port, use a keep-alive of 60 s or less, and connect again when the connection is lost.",
    not_once: "QoS is 0 for",
};

const FRENCH: Words = Words {
    commands: "# Commandes",
    command_columns: "| Commande | Topic racine | Requête | Réponse | Exécutée par | Se termine après |\n|--|--|--|--|--|--|",
    events: "# Événements",
    event_columns: "| Événement | Topic | Charge utile |\n|--|--|--|",
    everybody: "tous les domaines",
    otherwise: "sinon",
    nothing: "rien",
    legend: "La racine du topic est complétée par `/request/<demandeur>` ou `/response/<demandeur>`. `a|b` est l'une de ces valeurs,\n\
        `?` peut être absent, et `...` est comme du côté MVP.\n\n\
        # Sur MQTT\n\n\
        - Les charges utiles sont des objets JSON. Rien n'est retenu. Le nom du domaine est son identifiant de client.\n\
        - La QoS est 1, de préférence en MQTT 5 : chaque message porte alors la propriété utilisateur `source`, le nom de son\n  \
          émetteur.\n\
        - Pour exécuter une commande, abonnez-vous à `<racine>/request` et `<racine>/request/+`. Publiez la réponse sur le topic\n  \
          de réponse de la requête, avec ses données de corrélation. Sans topic de réponse, c'est le topic de la requête, avec\n  \
          `response` à la place de `request`.\n\
        - Pour demander, abonnez-vous à `<racine>/response/<votre nom>`. Publiez sur `<racine>/request/<votre nom>`, avec ce topic\n  \
          de réponse et vos propres données de corrélation.\n\
        - Pour annoncer un événement, publiez sur son topic ; pour en être informé, abonnez-vous-y.\n\
        - Sur le port de messagerie, prenez un keep-alive de 60 s au plus, et reconnectez-vous quand la connexion est perdue.",
    not_once: "La QoS est 0 pour",
};

pub(super) fn tables(table: &Table, language: Language) -> String {
    let words = match language {
        Language::En => ENGLISH,
        Language::Fr => FRENCH,
    };
    let dialects = dialects(table);
    let mut out = format!("{}\n\n{}\n", words.commands, words.command_columns);
    for row in table.commands() {
        let name = named(&row.name, dialects.get(row.dialect));
        // The legend says who asks.
        let request = cell(&payload::request(row, table.requester_member(row)));
        let response =
            payload::response(row).map_or_else(|| words.nothing.to_owned(), |p| cell(&p));
        let (handlers, ends) = (handlers(row, &words), ends(row));
        let _ = writeln!(
            out,
            "| {name} | `{}` | {request} | {response} | {handlers} | {ends} |",
            row.root
        );
    }
    let _ = writeln!(out, "\n{}\n\n{}", words.events, words.event_columns);
    for row in table.events() {
        let Some(topic) = &row.topic else { continue };
        let name = named(&row.name, dialects.get(row.dialect));
        let _ = writeln!(out, "| {name} | `{topic}` | {} |", cell(&payload::event(row)));
    }
    let _ = writeln!(out, "\n{}", words.legend);
    let commands = table.commands().iter().filter(|row| row.qos == Qos::AtMostOnce);
    let events = table.events().iter().filter(|row| row.qos == Qos::AtMostOnce);
    let topics = commands.map(|row| &row.root).chain(events.filter_map(|row| row.topic.as_ref()));
    let topics: Vec<_> = topics.map(|topic| code(&topic.to_string())).collect();
    if !topics.is_empty() {
        let _ = writeln!(out, "- {} {}.", words.not_once, topics.join(", "));
    }
    out
}

/// With its dialect, where there are several.
fn named(name: &str, dialect: Option<&&str>) -> String {
    let name = dialect.map_or_else(|| name.to_owned(), |dialect| format!("{name} ({dialect})"));
    name.replace('|', "\\|")
}

fn handlers(row: &Command, words: &Words) -> String {
    let who = |handler: &Handler| {
        handler.domain.as_ref().map_or_else(|| words.everybody.to_owned(), ToString::to_string)
    };
    let all = row.handlers.iter().map(|handler| {
        let conditions = handler.when.iter().map(|condition| code(&condition_of(condition)));
        match conditions.collect::<Vec<_>>() {
            none if none.is_empty() => who(handler),
            conditions => format!("{}: {}", who(handler), conditions.join(", ")),
        }
    });
    all.collect::<Vec<_>>().join(&format!("; {} ", words.otherwise))
}

fn condition_of(condition: &Condition) -> String {
    match &condition.test {
        Test::OneOf { values, or_absent } => {
            let values: Vec<_> = values.iter().map(|value| text(&payload::scalar(value))).collect();
            let mark = if *or_absent { "?" } else { "" };
            format!("{}{mark}: {}", condition.member, values.join("|"))
        }
        Test::Present(true) => condition.member.clone(),
        Test::Present(false) => format!("!{}", condition.member),
    }
}

/// When a call that nobody answers ends, and what its requester is told then.
fn ends(row: &Command) -> String {
    let timeout = humantime::format_duration(row.timeout);
    match &row.failure {
        Some(failure) => {
            let members = failure.iter().map(|(name, given)| match given {
                Supplied::Constant(constant) => (name.clone(), payload::scalar(constant)),
                _ => (name.clone(), Value::Null),
            });
            format!("{timeout}: {}", code(&Value::Object(members.collect()).to_string()))
        }
        None => timeout.to_string(),
    }
}

/// A payload as a table's cell has it.
fn cell(schema: &Value) -> String {
    code(&shown(schema))
}

/// Code in a table's cell, which ends at this sign.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

fn shown(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(text).collect::<Vec<_>>().join("|");
    }
    if let Some(items) = schema.get("items") {
        return format!("[ {} ]", shown(items));
    }
    if schema.get("contentEncoding").is_some() {
        return "base64".to_owned();
    }
    let Some(members) = schema.get("properties").and_then(Value::as_object) else {
        return "...".to_owned();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_must = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let members = members.iter().map(|(name, member)| {
        let mark = if is_must(name) { "" } else { "?" };
        format!("{name}{mark}: {}", shown(member))
    });
    let members: Vec<_> = members.collect();
    if members.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", members.join(", ")) }
}

/// A value without the quotes of a text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
