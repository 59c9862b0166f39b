//! Any text as mapping files: findings with their places in the text, or a table that translates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::diagnostic::Source;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::publish::Received;
use passerelle_fuzz::findings::check;
use passerelle_fuzz::spelled::name;
use passerelle_fuzz::watched::{Step, Watched};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Between two files.
const SEPARATOR: &str = "\n#---\n";
/// Values of every kind for what a row asks for.
const VALUES: [&str; 6] = ["\"x\"", "1", "true", "null", "[{\"a\":\"x\"}]", "\"Yw==\""];

/// Objects of all the words in quotes or before `=`, with the words themselves among the values.
fn bodies(text: &str) -> Vec<String> {
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    let words: BTreeSet<&str> = text.split(word).filter(|w| !w.is_empty()).take(200).collect();
    let object = |value: &dyn Fn(usize) -> String| {
        let member = |(i, word): (usize, &&str)| format!("\"{word}\":{}", value(i));
        let members: Vec<_> = words.iter().enumerate().map(member).collect();
        format!("{{{}}}", members.join(","))
    };
    let list: Vec<&str> = words.iter().copied().collect();
    let own = |i: usize| format!("\"{}\"", list[(i * 7 + 3) % list.len()]);
    let plain = VALUES.iter().map(|value| object(&|_| (*value).to_owned()));
    plain.chain([object(&own), "{}".into(), "[]".into()]).collect()
}

/// Everything that the table has rows for, from both sides.
fn drive(table: Table, text: &str) {
    let table = Arc::new(table);
    let (gui, usb) = (name("vm-gui"), name("sys-usb"));
    let limits = Limits { line: 65536, ..Limits::default() };
    let mut watched = Watched::new(&table, &limits, &[gui.clone(), usb], (64, 1));
    let bodies = bodies(text);
    let mut say = |kind: &str, key: &str, body_key: &str, name: &str, body: &str| {
        let name = passerelle::engine::json::string(name);
        let line = format!(
            "{{\"type\":\"{kind}\",\"source\":\"vm-gui\",\"destination\":\"vm-far\",\"payload\":{{\"{key}\":{name},\"{body_key}\":{body}}}}}\n"
        );
        watched.step(&Step::Bytes(gui.clone(), line.into_bytes()));
    };
    for body in &bodies {
        for command in table.commands().iter().take(8) {
            say("commande", "commande", "arguments", &command.legacy, body);
            say("reponse", "commande", "data", &command.legacy, body);
        }
        for event in table.events().iter().take(8) {
            say("notification", "evenement", "data", &event.legacy, body);
        }
    }
    let roots = table.commands().iter().map(|c| c.root.clone());
    let topics = table.events().iter().filter_map(|e| e.topic.clone());
    let requests = roots.take(8).flat_map(|root| {
        [format!("{root}/request"), format!("{root}/response"), format!("{root}/response/vm-gui")]
    });
    for topic in requests.chain(topics.take(8)) {
        for body in &bodies {
            let payload = body.clone().into();
            let message = Received { topic: topic.clone(), payload, ..Received::default() };
            watched.step(&Step::Mqtt(Box::new(message)));
        }
    }
    watched.end(true);
}

fuzz_target!(|text: &str| {
    let source = |(i, text): (usize, &str)| {
        Arc::new(Source { name: format!("{i}.toml"), text: text.to_owned() })
    };
    let sources: Vec<_> = text.split(SEPARATOR).take(3).enumerate().map(source).collect();
    match Table::compile(&sources, &Speaks::default()) {
        Ok(table) => drive(table, text),
        Err(found) => check(&found),
    }
});
