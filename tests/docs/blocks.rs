//! The blocks of code of a page: what is shown is run, and compared with what comes of it.
//!
//! A block's second word says what it is for:
//!
//! | block | |
//! |--|--|
//! | `toml file NAME`, `json file NAME` | is written, under that name, into the page's folder |
//! | `sh worked` | is run there; its output is the `worked` block that follows, or nothing |
//! | `sh fails` | likewise, and it ends with another code than 0 |
//! | `toml example`, `json example DOMAINS` | a mapping, and a conversation with these legacy domains |
//! | `python shown FILE`, `rust shown FILE` | is that file of the project |
//! | `toml drafted` | is a part of a draft of `suggest`, in lines that stand there in this order |
//! | `toml body` | a part of an event, with a table of bodies of both sides below it |
//! | `text` after `<!-- fixture: NAME -->` | what `check` says about that mapping |
//! | `text` after `<!-- demo -->` | a part of what the demo prints |
//! | `text` after `<!-- coverage -->`, `<!-- status -->` | what these subcommands print: see `shown`, and the status' own test |
//! | `toml` alone | a configuration, or a part of one, without a fault |
//!
//! MIGRATION.md has its own test, and what it runs (`sh run`) is not looked at here.

use crate::authority::Authority;
use crate::page::{Page, ROOT, shipped};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A block of code, with what stands around it.
pub struct Block {
    /// What follows the fence, in words.
    pub words: Vec<String>,
    pub text: String,
    /// The line before it.
    pub before: String,
    /// The rows of the table below it, without its head.
    table: Vec<Vec<String>>,
}

impl Block {
    fn is(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len() && self.words.iter().zip(words).all(|(a, b)| a == b)
    }
}

pub fn blocks(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut lines, mut before) = (page.text.lines(), String::new());
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("```") {
            let words = words.split_whitespace().map(str::to_owned).collect();
            let text =
                lines.by_ref().take_while(|l| *l != "```").map(|l| format!("{l}\n")).collect();
            blocks.push(Block { words, text, before: std::mem::take(&mut before), table: vec![] });
            continue;
        }
        if let Some(row) = line.strip_prefix('|').and_then(|l| l.strip_suffix('|')) {
            let cells = row.split('|').map(|cell| cell.trim().to_owned()).collect();
            if let Some(block) = blocks.last_mut() {
                block.table.push(cells);
            }
        }
        before = line.to_owned();
    }
    blocks
}

/// The folder in which a page's blocks are run, with the shipped mappings.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(format!("{ROOT}/mappings"), folder.path().join("mappings")).unwrap();
    folder
}

pub fn sh(script: &str, folder: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_passerelle")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-eu", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn what_is_shown_is_what_the_program_says() {
    let mut count = 0;
    for page in Page::all() {
        let (here, blocks) = (folder(), blocks(&page));
        let mut following = blocks.iter().skip(1);
        for block in &blocks {
            let next = following.next();
            if block.words.get(1).is_some_and(|w| w == "file") {
                fs::write(here.path().join(&block.words[2]), &block.text).unwrap();
            }
            let fails = block.is(&["sh", "fails"]);
            if !fails && !block.is(&["sh", "worked"]) {
                continue;
            }
            let expected = next.filter(|b| b.words.get(1).is_some_and(|w| w == "worked"));
            let expected = expected.filter(|b| !b.is(&["sh"])).map_or("", |b| b.text.as_str());
            let output = sh(&block.text, here.path());
            assert_eq!(said(&output), expected, "{}: {}", page.path, block.text);
            assert_eq!(output.status.success(), !fails, "{}: {}", page.path, block.text);
            count += 1;
        }
    }
    assert!(count >= 7, "{count} blocks");
}

#[test]
fn programs_are_shown_as_they_are() {
    let mut count = 0;
    for page in Page::all() {
        for block in blocks(&page).iter().filter(|b| b.words.get(1).is_some_and(|w| w == "shown")) {
            assert_eq!(block.text, shipped(&block.words[2]), "{}", page.path);
            count += 1;
        }
    }
    assert!(count >= 2, "{count} programs");
}

#[test]
fn a_draft_is_shown_as_it_is_made() {
    let drafted = shipped("fixtures/cli/suggest-draft.txt");
    let page = Page::read("docs/observing.md");
    let blocks = blocks(&page);
    let shown = blocks.iter().find(|b| b.is(&["toml", "drafted"])).unwrap();
    let mut lines = drafted.lines();
    for line in shown.text.lines() {
        assert!(lines.any(|drafted| drafted == line), "{line}");
    }
}

/// A mapping file's head, unless it has its own.
fn with_dialect(mapping: &str) -> String {
    let head = if mapping.starts_with("dialect") { "" } else { "dialect = \"example\"\n" };
    format!("{head}{mapping}")
}

#[test]
fn every_example_of_a_mapping_goes_as_it_is_written() {
    let (here, mut count, mut mappings) = (folder(), 0, 0);
    for page in Page::all() {
        let mut mapping = String::new();
        for block in blocks(&page) {
            if block.is(&["toml", "example"]) {
                mapping = with_dialect(&block.text);
                mappings += 1;
            }
            let Some(legacy) = block.is(&["json", "example"]).then(|| &block.words[2..]) else {
                continue;
            };
            fs::write(here.path().join("example.toml"), &mapping).unwrap();
            let header = serde_json::json!({"mappings": ["example.toml"], "legacy": legacy});
            let conversation = format!("{header}\n{}", block.text);
            fs::write(here.path().join("example.jsonl"), &conversation).unwrap();
            let output = sh("passerelle test example.jsonl", here.path());
            assert!(output.status.success(), "{}: {mapping}{}", page.path, said(&output));
            count += 1;
        }
    }
    assert!(count >= mappings && mappings >= 8, "{count} conversations of {mappings} mappings");
}

/// A cell's code, or the text of a refusal.
fn body(cell: &str) -> Result<Value, String> {
    let code = cell.trim_start_matches("refused: ").trim_matches('`');
    if cell.starts_with("refused: ") {
        return Err(code.to_owned());
    }
    Ok(serde_json::from_str(code).unwrap_or_else(|e| panic!("{cell}: {e}")))
}

/// What becomes of a body that comes from legacy, or from MQTT.
fn becomes(mapping: &Path, from_legacy: bool, body: &Value) -> Result<Value, String> {
    let input = if from_legacy {
        serde_json::json!({"legacy": "vm-gui", "message": {"type": "notification", "source": "vm-gui",
            "destination": "vm-av", "payload": {"evenement": "exemple", "data": body}}})
    } else {
        serde_json::json!({"mqtt": "example/notification", "payload": body, "source": "vm-av"})
    };
    let script = format!(
        "passerelle translate -m {} --legacy vm-gui <<'END'\n{input}\nEND\n",
        mapping.display()
    );
    let said = said(&sh(&script, mapping.parent().unwrap()));
    let first = said.lines().next().unwrap_or_else(|| panic!("nothing comes of {input}"));
    let effect: Value = serde_json::from_str(first).unwrap_or_else(|e| panic!("{said}: {e}"));
    match effect["refused"].as_str() {
        Some(reason) => {
            // The row is this test's own, and a backtick would end the code of the page.
            let detail = effect["detail"].as_str().unwrap().trim_start_matches("EXEMPLE: ");
            Err(format!("{reason}: {detail}").replace('`', ""))
        }
        None if from_legacy => Ok(effect["payload"].clone()),
        None => Ok(effect["message"]["payload"]["data"].clone()),
    }
}

#[test]
fn every_body_reads_on_each_side_as_it_is_written() {
    let (here, mut count) = (folder(), 0);
    let mapping = here.path().join("example.toml");
    let event = "[[event]]\nname = \"EXEMPLE\"\nlegacy = \"exemple\"\ntopic = \"example\"\n";
    for page in Page::all() {
        for block in blocks(&page).iter().filter(|b| b.is(&["toml", "body"])) {
            fs::write(&mapping, with_dialect(&format!("{event}{}", block.text))).unwrap();
            let rows = block.table.iter().filter(|row| ["→", "←", "↔"].contains(&row[1].as_str()));
            let rows: Vec<_> = rows.collect();
            assert!(!rows.is_empty(), "nothing shows what this does: {}", block.text);
            for row in rows {
                let (legacy, mqtt) = (body(&row[0]), body(&row[2]));
                if row[1] != "←" {
                    assert_eq!(becomes(&mapping, true, legacy.as_ref().unwrap()), mqtt, "{row:?}");
                }
                if row[1] != "→" {
                    assert_eq!(becomes(&mapping, false, mqtt.as_ref().unwrap()), legacy, "{row:?}");
                }
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count} bodies");
}

#[test]
fn findings_are_shown_as_check_says_them() {
    let mut count = 0;
    for page in Page::all() {
        for block in blocks(&page) {
            let Some(name) = block.before.strip_prefix("<!-- fixture: ") else { continue };
            let name = name.trim_end_matches(" -->");
            let file = format!("fixtures/mappings/invalid/{name}");
            let said =
                shipped(&format!("{file}.txt")).replace(&format!("{file}.toml"), "mine.toml");
            let (finding, _) = said.rsplit_once("\n1 finding").unwrap();
            assert_eq!(block.text, finding, "{}: {name}", page.path);
            count += 1;
        }
    }
    assert!(count >= 10, "{count} findings");
}

/// A part of a configuration as a whole one: with what the smallest one has, where it has not.
fn whole(part: &str) -> String {
    let (top, tables) = part.split_at(part.find("\n[").map_or(part.len(), |at| at + 1));
    let (top, tables) = if part.starts_with('[') { ("", part) } else { (top, tables) };
    let mut text = String::new();
    for (key, line) in [
        ("mappings", "mappings = [\"mappings/psec.toml\", \"mappings/psec-lib-1.1.toml\"]\n"),
        ("broker", "broker = { url = \"unix:/run/mosquitto/mqtt.sock\" }\n"),
        ("channel", "channel = [{ unix = \"/var/run/*-msg.sock\" }]\n"),
    ] {
        let has = |form: String| part.lines().any(|l| l.starts_with(&form));
        if !has(format!("{key} =")) && !has(format!("[{key}]")) && !has(format!("[[{key}]]")) {
            text.push_str(line);
        }
    }
    format!("{text}{top}{tables}")
}

#[test]
fn every_part_of_a_configuration_is_without_a_fault() {
    let (here, mut count) = (folder(), 0);
    let relay = here.path().to_str().unwrap();
    let own = fs::read_dir(Path::new(ROOT).join("mappings")).unwrap();
    fs::remove_file(here.path().join("mappings")).unwrap();
    fs::create_dir(here.path().join("mappings")).unwrap();
    for file in own.map(|entry| entry.unwrap().path()) {
        fs::copy(&file, here.path().join("mappings").join(file.file_name().unwrap())).unwrap();
    }
    fs::write(
        here.path().join("mappings/antivirus.toml"),
        "dialect = \"psec\"\nrequester_member = \"source\"\n",
    )
    .unwrap();
    let authority = Authority::new().unwrap();
    let (certificate, key) = authority.sign(&["passerelle"]).unwrap();
    let files =
        [(authority.file(), "ca.pem"), (certificate, "passerelle.pem"), (key, "passerelle.key")];
    for (file, name) in files {
        fs::copy(file, here.path().join(name)).unwrap();
    }
    for page in Page::all() {
        for block in blocks(&page).iter().filter(|b| b.words == ["toml"]) {
            fs::write(
                here.path().join("passerelle.toml"),
                whole(&block.text).replace("/run/passerelle", relay),
            )
            .unwrap();
            let output = sh("passerelle check passerelle.toml", here.path());
            assert!(output.status.success(), "{}: {}", page.path, said(&output));
            count += 1;
        }
    }
    assert!(count >= 6, "{count} parts");
}

/// A line of the demo without the time that it took.
fn timeless(line: &str) -> String {
    let mut words: Vec<_> = line.split_whitespace().collect();
    if let Some(ms) = words.iter().position(|w| *w == "ms") {
        words.drain(ms - 1..=ms);
    }
    words.join(" ")
}

#[test]
fn the_demo_prints_what_the_readme_shows() {
    let demo = Path::new(env!("CARGO_BIN_EXE_passerelle")).with_file_name("examples").join("demo");
    let output = Command::new(&demo).current_dir(ROOT).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", demo.display()));
    assert!(output.status.success(), "{}", said(&output));
    let printed: String = said(&output).lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{}", timeless(line));
        all
    });
    let readme = Page::read("README.md");
    let blocks = blocks(&readme);
    let shown = blocks.iter().find(|b| b.before == "<!-- demo -->").unwrap();
    let mut rest = printed.as_str();
    for line in shown.text.lines().filter(|l| !l.is_empty()).map(timeless) {
        let (_, after) =
            rest.split_once(&format!("{line}\n")).unwrap_or_else(|| panic!("{line} in {printed}"));
        rest = after;
    }
}
