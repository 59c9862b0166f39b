//! The JSON Schemas for editors, held against what the program itself says of the same files.
//!
//! A schema need not find everything that is wrong; but what it calls wrong is wrong, and what the program
//! finds wrong with a file's shape, the schema finds too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the edges"
)]

use jsonschema::Validator;
use passerelle::config;
use passerelle::diagnostic::Source;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What the program says of a configuration or of a mapping, in one line each.
type Check = fn(&str) -> Vec<String>;

fn schema(kind: &str) -> Value {
    let path = format!("{ROOT}/schemas/{kind}.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

fn source(text: &str) -> Arc<Source> {
    Arc::new(Source { name: format!("{ROOT}/packaging/it.toml"), text: text.to_owned() })
}

fn check_config(text: &str) -> Vec<String> {
    match config::load(&source(text)) {
        Ok(_) => Vec::new(),
        Err(config::Error::Findings(found)) => found.into_iter().map(|f| f.message).collect(),
        // The files that it names are not what a schema is about.
        Err(config::Error::Unreadable(_)) => Vec::new(),
    }
}

fn check_mapping(text: &str) -> Vec<String> {
    let found = Table::compile(&[source(text)], &Speaks::default()).err();
    found.into_iter().flatten().map(|f| f.message).collect()
}

/// Whether a finding is about the shape of the file, which a schema can tell.
fn is_of_shape(finding: &str) -> bool {
    finding.starts_with("unknown key")
        || finding.contains(" must be ")
        || (finding.contains(" has no `") && !finding.contains("configuration"))
}

fn value(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

/// The file's values as TOML again.
fn text(value: &Value) -> Option<String> {
    let table: toml::Table = serde_json::from_value(value.clone()).ok()?;
    Some(table.to_string())
}

/// The shipped example with everything in it that is commented out.
fn whole_config() -> String {
    let all: String = read("packaging/passerelle.toml")
        .lines()
        .map(|line| {
            let bare = line.strip_prefix('#').unwrap_or(line);
            let is_key = bare.starts_with(|c: char| c.is_ascii_lowercase()) && bare.contains(" = ");
            format!("{}\n", if is_key { bare } else { line })
        })
        .collect();
    all.replace("#     dir = ", "dir = ")
        + "[[allow]]\nfrom = \"vm-gui\"\ncommand = \"LISTE_*\"\nto = \"sys-usb\"\n"
}

/// A value everywhere: replaced by one of another kind, removed, or with a key beside it that nobody knows.
fn mutations(of: &Value) -> impl Iterator<Item = Value> {
    let mut paths = Vec::new();
    walk(of, String::new(), &mut paths);
    paths.into_iter().flat_map(|path| mutations_at(of, &path))
}

fn mutations_at(of: &Value, path: &str) -> Vec<Value> {
    let others = [
        json!(7),
        json!(-1),
        json!(true),
        json!("?"),
        json!(""),
        json!([]),
        json!({}),
        json!(["x", 1]),
    ];
    let replaced = others.into_iter().map(|other| {
        let mut changed = of.clone();
        *changed.pointer_mut(path).unwrap() = other;
        changed
    });
    let mut all: Vec<_> = replaced.collect();
    let (parent, key) = path.rsplit_once('/').unwrap();
    let mut changed = of.clone();
    if let Some(table) = changed.pointer_mut(parent).unwrap().as_object_mut() {
        table.remove(&key.replace("~1", "/").replace("~0", "~"));
        all.push(changed);
    }
    let mut changed = of.clone();
    if let Some(table) = changed.pointer_mut(path).unwrap().as_object_mut() {
        table.insert("nobody_knows_this".into(), json!("x"));
        all.push(changed);
    }
    all
}

fn walk(value: &Value, path: String, paths: &mut Vec<String>) {
    if !path.is_empty() {
        paths.push(path.clone());
    }
    let step = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(table) => table.iter().for_each(|(key, v)| walk(v, step(key), paths)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| walk(v, step(&i.to_string()), paths));
        }
        _ => {}
    }
}

fn said(schema: &Validator, value: &Value) -> Vec<String> {
    schema.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[track_caller]
fn agree(schema: &Validator, check: Check, text: &str) -> bool {
    let (by_schema, by_program) = (said(schema, &value(text)), check(text));
    let wrong = !by_schema.is_empty();
    assert!(
        !wrong || !by_program.is_empty(),
        "only the schema finds something wrong, {by_schema:?}, with\n{text}"
    );
    let of_shape: Vec<_> = by_program.iter().filter(|f| is_of_shape(f)).collect();
    assert!(wrong || of_shape.is_empty(), "the schema does not find {of_shape:?} in\n{text}");
    wrong
}

#[track_caller]
fn agree_on_mutations(schema: &Validator, check: Check, text_of: &str, at_least: usize) {
    assert_eq!(check(text_of), Vec::<String>::new());
    assert_eq!(said(schema, &value(text_of)), Vec::<String>::new());
    let mut wrong = 0;
    for changed in mutations(&value(text_of)) {
        if let Some(text) = text(&changed) {
            wrong += usize::from(agree(schema, check, &text));
        }
    }
    assert!(wrong >= at_least, "only {wrong} were wrong");
}

#[test]
fn the_configurations_schema_says_what_the_program_says() {
    let schema = jsonschema::validator_for(&schema("passerelle")).unwrap();
    let whole = whole_config().replace("mappings/psec.toml", "../mappings/psec.toml");
    let whole = whole.replace("state_dir = \"/var", "policy = \"deny\"\nstate_dir = \"/var");
    // Certificates belong to TLS.
    let whole = whole.replace("unix:/run/mosquitto/mqtt.sock", "mqtts://broker.example:8883");
    agree_on_mutations(&schema, check_config, &whole, 300);
    let serial = "mappings = [\"../mappings/psec.toml\"]\n[broker]\nurl = \"tcp://h:1\"\n\
                  [[channel]]\nserial = \"/dev/hvc2\"\nlocal = [\"vm-gui\"]\n";
    agree_on_mutations(&schema, check_config, serial, 20);
}

#[test]
fn the_mappings_schema_says_what_the_program_says() {
    let schema = jsonschema::validator_for(&schema("mapping")).unwrap();
    // What is written in psec-lib-1.1.toml is in the last of these too.
    for file in ["psec", "psec-extended", "psec-lib-2024", "safecor-1.2"] {
        let text = read(&format!("mappings/{file}.toml"));
        agree_on_mutations(&schema, check_mapping, &text, 50);
    }
    for entry in Path::new(ROOT).join("fixtures/mappings/valid").read_dir().unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(said(&schema, &value(&text)), Vec::<String>::new());
    }
}

#[test]
fn no_schema_finds_more_than_the_program_in_wrong_files() {
    let (config, mapping) = (schema("passerelle"), schema("mapping"));
    let config = jsonschema::validator_for(&config).unwrap();
    let mapping = jsonschema::validator_for(&mapping).unwrap();
    let mut found = 0;
    for entry in Path::new(ROOT).join("fixtures/mappings/invalid").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if path.extension().is_none_or(|e| e != "toml")
            || toml::from_str::<toml::Table>(&text).is_err()
        {
            continue;
        }
        found += usize::from(match config::looks_like_one(&text) {
            true => agree(&config, check_config, &text),
            false => agree(&mapping, check_mapping, &text),
        });
    }
    assert!(found >= 25, "only {found}");
}

/// The keys that a schema knows, wherever they are.
fn keys(schema: &Value, known: &mut BTreeSet<String>) {
    match schema {
        Value::Object(table) => {
            if let Some(Value::Object(properties)) = table.get("properties") {
                known.extend(properties.keys().cloned());
            }
            table.values().for_each(|v| keys(v, known));
        }
        Value::Array(list) => list.iter().for_each(|v| keys(v, known)),
        _ => {}
    }
}

#[test]
fn every_key_of_a_schema_is_described_and_in_a_file_that_says_how_it_is_used() {
    let mut known = BTreeSet::new();
    keys(&schema("mapping"), &mut known);
    let shipped: String = ["psec", "psec-extended", "psec-lib-1.1", "psec-lib-2024", "safecor-1.2"]
        .map(|file| read(&format!("mappings/{file}.toml")))
        .concat()
        + &read("docs/mapping.md");
    known.retain(|key| !shipped.contains(key));
    assert_eq!(known, BTreeSet::new(), "no shipped mapping has these");
}
