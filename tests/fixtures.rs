//! The fixtures: conversations are played, mapping files with faults are checked word for word, and
//! nothing of a mapping file is without a conversation.

#![allow(clippy::disallowed_methods, reason = "tests play the edges")]

use passerelle::cmd::read;
use passerelle::engine::json::{self, Object};
use passerelle::engine::mapping::scalar::all_hold;
use passerelle::engine::mapping::shape::Side;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::mapping::{Answer, Command, Event, Table, Topic, Wire};
use passerelle::engine::refusal::Reason;
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CONVERSATIONS: &str = "fixtures/conversations";
/// Fewer than this, and some were not found.
const AT_LEAST: usize = 120;

fn passerelle() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_passerelle"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// All files with an ending in a folder and below, in order.
fn files(folder: &Path, ending: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_conversation_goes_as_it_is_written() -> Outcome {
    let count = files(Path::new(CONVERSATIONS), "jsonl")?.len();
    assert!(count >= AT_LEAST, "only {count} conversations");
    let output = passerelle().args(["test", CONVERSATIONS]).output()?;
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.trim_end(), format!("{count} conversations, 0 failed"));
    Ok(())
}

#[test]
fn every_fault_of_a_file_is_told_in_these_words() -> Outcome {
    let folder = Path::new("fixtures/mappings/invalid");
    let mut count = 0;
    for text in files(folder, "txt")? {
        let file = text.with_extension("toml");
        let output = passerelle().arg("check").arg(&file).output()?;
        assert_eq!(said(&output), std::fs::read_to_string(&text)?, "{}", file.display());
        assert_eq!(output.status.code(), Some(1), "{}", file.display());
        count += 1;
    }
    let cases =
        folder.read_dir()?.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "toml"));
    assert_eq!(count, cases.count(), "each case has its text");
    assert!(count >= 70, "only {count} cases");
    Ok(())
}

#[test]
fn good_files_pass_alone_and_together() -> Outcome {
    let seed = "mappings/psec.toml";
    let (extended, first, newer, newest) = (
        "mappings/psec-extended.toml",
        "mappings/psec-lib-2024.toml",
        "mappings/psec-lib-1.1.toml",
        "mappings/safecor-1.2.toml",
    );
    let valid = files(Path::new("fixtures/mappings/valid"), "toml")?;
    assert!(valid.len() >= 3, "only {} valid files", valid.len());
    let mut sets: Vec<Vec<PathBuf>> = valid.into_iter().map(|f| vec![f]).collect();
    for set in [
        &[seed][..],
        &[extended],
        &[first],
        &[newer],
        &[seed, extended],
        &[seed, first],
        &[seed, newer],
        &[newest],
        &[seed, newest],
        &[first, newest],
        &[newer, newest],
        &[seed, extended, first, newer, newest],
        &[seed, "fixtures/mappings/valid/business.toml"],
    ] {
        sets.push(set.iter().map(PathBuf::from).collect());
    }
    for set in sets {
        let output = passerelle().arg("check").args(&set).output()?;
        assert!(output.status.success(), "{set:?}: {}", said(&output));
    }
    Ok(())
}

/// These need a broker, or belong to limits that conversations do not reach.
const ELSEWHERE: [Reason; 3] = [Reason::RateLimited, Reason::StoreFull, Reason::BrokerRefused];

#[test]
fn every_reason_has_a_conversation() -> Outcome {
    for reason in Reason::ALL.iter().filter(|r| !ELSEWHERE.contains(r)) {
        let path = Path::new(CONVERSATIONS).join(format!("refusals/{reason}.jsonl"));
        let steps = steps(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut effects = steps.iter().flat_map(|s| &s.1);
        let shown = effects.any(|e| {
            Object::parse(e).is_ok_and(|e| text(&e, "refused").as_deref() == Some(reason.as_str()))
        });
        assert!(shown, "{}", path.display());
    }
    Ok(())
}

// --- Byte for byte, which a conversation does not compare -------------------------------------------

#[test]
fn values_are_carried_byte_for_byte() -> Outcome {
    let cases = [
        // Between legacy domains: spaces, escapes and all.
        (
            r#"{"legacy":"vm-gui","message":{ "type" : "notification","source":"vm-gui","destination":"sys-usb","payload":{"evenement":"test","data":"caf\udce9 \u00e9\/ é"} }}"#,
            r#""message":{ "type" : "notification","source":"vm-gui","destination":"sys-usb","payload":{"evenement":"test","data":"caf\udce9 \u00e9\/ é"} }"#,
        ),
        (
            r#"{"legacy":"sys-usb","message":{"type":"reponse","source":"sys-usb","destination":"vm-scan","payload":{"commande":"liste_fichiers","data":{"disk":"Cl\u00E9","files":[{"name":"caf\udCe9\/.txt","path":"/","type":"file","size":17.00}],"n":-0.0E+1}}}}"#,
            r#""payload":{"disk":"Cl\u00E9","files":[{"path":"/","size":17.00,"name":"caf\udCe9\/.txt","type":"file"}],"n":-0.0E+1}"#,
        ),
        (
            r#"{"mqtt":"system/disks/list_files/response/vm-gui","payload":{"disk":"Clé","files":[{"path":"/","size":1e2,"name":"caf\udCe9\/.txt","type":"file"}],"n":12345678901234567890123}}"#,
            r#""data":{"disk":"Clé","files":[{"path":"/","size":1e2,"name":"caf\udCe9\/.txt","type":"file"}],"n":12345678901234567890123}"#,
        ),
    ];
    for (input, expected) in cases {
        let mut child = passerelle()
            .args(["translate", "-m", "mappings/psec.toml", "--legacy", "vm-gui,sys-usb"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
        let text = said(&child.wait_with_output()?);
        assert!(text.contains(expected), "{input}\n{text}");
    }
    Ok(())
}

// --- Nothing of a mapping file is without a conversation --------------------------------------------

/// A conversation's lines as steps: an input, and the effects that are expected of it.
type Steps = Vec<(String, Vec<String>)>;

fn steps(path: &Path) -> Outcome<Steps> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut steps = Steps::new();
    for line in lines.skip(1) {
        match steps.last_mut() {
            Some((_, effects)) if passerelle::conversation::is_effect(line)? => {
                effects.push(line.to_owned());
            }
            _ => steps.push((line.to_owned(), Vec::new())),
        }
    }
    Ok(steps)
}

/// A legacy message's kind, name and body, wherever a step has it.
fn legacy<'l>(line: &Object<'l>) -> Option<(&'static str, String, &'l str)> {
    let message = Object::parse(line.get("message")?).ok()?;
    let payload = Object::parse(message.get("payload")?).ok()?;
    let kind = message.get("type")?;
    let (kind, name, body) = match kind {
        "\"commande\"" => ("commande", "commande", "arguments"),
        "\"reponse\"" => ("reponse", "commande", "data"),
        _ => ("notification", "evenement", "data"),
    };
    let name = json::decode_str(payload.get(name)?)?.into_owned();
    Some((kind, name, payload.get(body).unwrap_or("{}")))
}

fn text(line: &Object<'_>, key: &str) -> Option<String> {
    Some(json::decode_str(line.get(key)?)?.into_owned())
}

fn published(effects: &[String], fits: impl Fn(&str) -> bool) -> bool {
    effects.iter().filter_map(|e| text(&Object::parse(e).ok()?, "publish")).any(|t| fits(&t))
}

fn written(effects: &[String], kind: &str, name: &str) -> bool {
    effects.iter().any(|e| {
        Object::parse(e).is_ok_and(|e| {
            e.get("write").is_some() && legacy(&e).is_some_and(|(k, n, _)| k == kind && n == name)
        })
    })
}

/// Whether a step is a legacy message of this name, fit for a row, that has this effect.
fn legacy_step(
    (input, effects): &(String, Vec<String>),
    kind: &str,
    fits: impl Fn(&str, &Object<'_>) -> bool,
    effect: impl Fn(&[String]) -> bool,
) -> bool {
    let Ok(line) = Object::parse(input) else { return false };
    let Some((k, name, body)) = line.get("legacy").and(legacy(&line)) else { return false };
    k == kind && fits(&name, &Object::parse(body).unwrap_or_default()) && effect(effects)
}

/// Whether a step is an MQTT message to this topic, fit for a row, that has this effect.
fn mqtt_step(
    (input, effects): &(String, Vec<String>),
    fits: impl Fn(&str, &Object<'_>) -> bool,
    effect: impl Fn(&[String]) -> bool,
) -> bool {
    let Ok(line) = Object::parse(input) else { return false };
    let (Some(topic), Some(payload)) = (text(&line, "mqtt"), line.get("payload")) else {
        return false;
    };
    fits(&topic, &Object::parse(payload).unwrap_or_default()) && effect(effects)
}

fn asks(command: &Command, from: Side, step: &(String, Vec<String>)) -> bool {
    match from {
        Side::Legacy => {
            let fits = |name: &str, arguments: &Object<'_>| {
                name == command.legacy && all_hold(&command.when.legacy, |m| arguments.get(m))
            };
            legacy_step(step, "commande", fits, |e| published(e, |t| t == command.request_topic()))
        }
        Side::Mqtt => {
            let fits = |topic: &str, payload: &Object<'_>| {
                matches!(Topic::parse(topic), Topic::Request(root, _) if root == command.root)
                    && all_hold(&command.when.mqtt, |m| payload.get(m))
            };
            mqtt_step(step, fits, |e| written(e, "commande", &command.legacy))
        }
    }
}

fn answers(command: &Command, answer: &Answer, from: Side, step: &(String, Vec<String>)) -> bool {
    let (kind, name) = match &answer.wire {
        Wire::Response(name) => ("reponse", name.as_str()),
        Wire::Event(name) => ("notification", name.as_str()),
        Wire::Silent => ("", ""),
    };
    let is_response = |topic: &str| matches!(Topic::parse(topic), Topic::Response(root, _) if root == command.root);
    match from {
        Side::Legacy => {
            let fits = |said: &str, data: &Object<'_>| {
                said == name && all_hold(&answer.when.legacy, |m| data.get(m))
            };
            legacy_step(step, kind, fits, |e| published(e, is_response))
        }
        Side::Mqtt => {
            let fits = |topic: &str, payload: &Object<'_>| {
                is_response(topic) && all_hold(&answer.when.mqtt, |m| payload.get(m))
            };
            mqtt_step(step, fits, |e| kind.is_empty() || written(e, kind, name))
        }
    }
}

fn tells(event: &Event, from: Side, step: &(String, Vec<String>)) -> bool {
    match from {
        Side::Legacy => {
            let fits = |name: &str, data: &Object<'_>| {
                name == event.legacy && all_hold(&event.when.legacy, |m| data.get(m))
            };
            let effect = |e: &[String]| match &event.topic {
                Some(topic) => published(e, |t| t == topic),
                None => !published(e, |_| true),
            };
            legacy_step(step, "notification", fits, effect)
        }
        Side::Mqtt => {
            let fits = |topic: &str, payload: &Object<'_>| {
                Some(topic) == event.topic.as_deref()
                    && all_hold(&event.when.mqtt, |m| payload.get(m))
            };
            mqtt_step(step, fits, |e| written(e, "notification", &event.legacy))
        }
    }
}

/// What of a mapping file's rows no step shows, and how many things were looked for.
fn missing(table: &Table, steps: &Steps) -> (Vec<String>, usize) {
    let (mut missing, mut count) = (Vec::new(), 0);
    let mut look = |what: String, shown: bool| {
        count += 1;
        if !shown {
            missing.push(what);
        }
    };
    for from in [Side::Legacy, Side::Mqtt] {
        for row in table.commands() {
            let line = row.origin.source.line(row.origin.span.start);
            if row.direction.goes_from(from) {
                let shown = steps.iter().any(|s| asks(row, from, s));
                look(format!("{} (line {line}), asked from {from:?}", row.name), shown);
            }
            for answer in row.answers.iter().filter(|a| a.direction.goes_from(from)) {
                // An answer comes from the side to which requests go.
                if !row.direction.goes_from(from.other()) {
                    continue;
                }
                let line = row.origin.source.line(answer.span.start);
                let shown = steps.iter().any(|s| answers(row, answer, from, s));
                look(format!("{} (line {line}), answered from {from:?}", row.name), shown);
            }
        }
        for row in table.events().iter().filter(|r| r.direction.goes_from(from)) {
            let line = row.origin.source.line(row.origin.span.start);
            let shown = steps.iter().any(|s| tells(row, from, s));
            look(format!("{} (line {line}), told from {from:?}", row.name), shown);
        }
    }
    (missing, count)
}

#[test]
fn every_row_has_a_conversation_in_each_of_its_directions() -> Outcome {
    let mut count = 0;
    for file in files(Path::new("mappings"), "toml")? {
        let table = Table::compile(&[read(&file)?], &Speaks::default())
            .map_err(|found| format!("{}: {} findings", file.display(), found.len()))?;
        let name = file.file_stem().and_then(|n| n.to_str()).ok_or("a mapping file has a name")?;
        let mut all = Steps::new();
        for conversation in files(&Path::new(CONVERSATIONS).join(name), "jsonl")? {
            all.extend(steps(&conversation)?);
        }
        let (missing, looked_for) = missing(&table, &all);
        assert!(missing.is_empty(), "{}: {missing:#?}", file.display());
        count += looked_for;
    }
    assert!(count >= 150, "only {count} rows, answers and directions");
    Ok(())
}
