//! What is shown of a system that runs: the coverage, and lines of the log.

use crate::blocks::{blocks, folder, said, sh};
use crate::page::{Page, ROOT};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A message as observing remembers it, heard some minutes ago.
fn heard(
    kind: &str,
    name: &str,
    (from, to): (&str, &str),
    count: u64,
    ago: u64,
    body: &str,
) -> Value {
    let (key, inner) = match kind {
        "commande" => ("commande", "arguments"),
        "reponse" => ("commande", "data"),
        _ => ("evenement", "data"),
    };
    let payload = format!("{{\"{key}\":\"{name}\",\"{inner}\":{body}}}");
    let example = format!(
        "{{\"type\":\"{kind}\",\"source\":\"{from}\",\"destination\":\"{to}\",\"payload\":{payload}}}"
    );
    // Half a minute more, so that the test may take its time.
    let last = SystemTime::now() - Duration::from_secs(60 * ago + 30);
    let last = humantime::format_rfc3339_seconds(last).to_string();
    json!({"type": kind, "name": name, "to": to, "verdict": "legacy_only", "count": count, "last": last,
        "detail": "", "example": example, "whole": true})
}

#[test]
fn the_coverage_is_as_it_is_shown() {
    let page = |messages: [Value; 2]| json!({"messages": messages, "others": 0, "torn": 0, "unheard": 0, "discarded": 0});
    let disk = r#"{"nom":"KEY","etat":"présent"}"#;
    let (gui_usb, usb_gui) = (("vm-gui", "sys-usb"), ("sys-usb", "vm-gui"));
    let usb = page([
        heard("reponse", "liste_disques", usb_gui, 212, 3, r#"["KEY"]"#),
        heard("notification", "disque", ("sys-usb", "tous"), 4, 120, disk),
    ]);
    let gui = page([
        heard("commande", "liste_disques", gui_usb, 212, 3, "{}"),
        heard("commande", "scan_fichier", ("vm-gui", "vm-scan"), 31, 5, r#"{"nom_disque":"KEY"}"#),
    ]);
    let book = json!({"version": 1, "since": "2026-01-01T08:00:00Z", "others": 0,
        "domains": {"sys-usb": usb, "vm-gui": gui}});
    let here = folder();
    fs::write(here.path().join("coverage.json"), book.to_string()).unwrap();
    let config = "mappings = [\"mappings/psec.toml\"]\nstate_dir = \".\"\n\
        broker.url = \"unix:/run/mosquitto/mqtt.sock\"\n[[channel]]\nunix = \"/var/run/*-msg.sock\"\n";
    fs::write(here.path().join("passerelle.toml"), config).unwrap();
    let output = sh("passerelle coverage --config passerelle.toml", here.path());
    assert_eq!(output.status.code(), Some(1));
    let page = Page::read("docs/observing.md");
    let blocks = blocks(&page);
    let shown = blocks.iter().find(|b| b.before == "<!-- coverage -->").unwrap();
    assert_eq!(said(&output), shown.text);
}

/// All of the program's own code.
fn source(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => source(&entry.path(), all),
            false => *all += &fs::read_to_string(entry.path()).unwrap(),
        }
    }
}

#[test]
fn every_line_of_the_log_that_is_shown_can_be_there() {
    let mut code = String::new();
    source(&Path::new(ROOT).join("src"), &mut code);
    let mut count = 0;
    for page in Page::all().iter().filter(|page| page.path != "CHANGELOG.md") {
        let blocks = blocks(page);
        let shown = blocks.iter().flat_map(|block| block.text.lines()).filter_map(|line| {
            let levels = ["ERROR ", "WARN ", "INFO "];
            levels.iter().find_map(|level| line.strip_prefix(level))
        });
        // A table says "`message` in the log".
        let named = page.prose().filter_map(|line| {
            let (before, _) = line.split_once("` in the log")?;
            before.rsplit('`').next()
        });
        for line in shown.chain(named) {
            let mut words = line.split(' ').peekable();
            let message: Vec<_> = words.by_ref().take_while(|w| !w.contains('=')).collect();
            let message = message.join(" ");
            let is_said =
                code.contains(&format!("\"{message}\"")) || code.contains(&format!("\"{message}:"));
            assert!(is_said, "{}: nothing logs {message:?}", page.path);
            for key in line.split(' ').filter_map(|word| word.split_once('=')).map(|(key, _)| key) {
                let key = key.split('[').next().unwrap_or_default();
                assert!(code.contains(key), "{}: nothing logs {key}", page.path);
            }
            count += 1;
        }
    }
    assert!(count >= 6, "{count} lines");
}
