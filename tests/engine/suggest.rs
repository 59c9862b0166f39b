//! Drafts of rows from what observing has heard: filled in, they carry it both ways.

use crate::kit::{command, name, notification, response, root, seed, setting};
use passerelle::engine::clock::Now;
use passerelle::engine::coverage::{Book, Coverage, Speaker, write};
use passerelle::engine::limits::Limits;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const CONFIG: &str = "mappings = [\"psec.toml\"]\nstate_dir = \".\"\n\
    broker.url = \"unix:/run/mosquitto/mqtt.sock\"\n[[channel]]\nunix = \"/var/run/*-msg.sock\"\n";

/// Base64 of zlib.
const PACKED: &str = "eJyrqBgeAADQxF3B";

fn now() -> Now {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    Now { monotonic: Duration::ZERO, wall }
}

/// What a domain says, and to whom.
type Said<'a> = (&'a str, &'a str, String);

/// A call: who asks whom what, and what is answered, by name and data.
type Call =
    (&'static str, &'static str, &'static str, String, &'static [(&'static str, &'static str)]);

/// A folder in which this was heard.
fn heard(said: &[Said<'_>]) -> TempDir {
    let mut coverage = Coverage::new(setting(seed(), Limits::default()), Book::new(now().wall));
    for (channel, from, line) in said {
        let speaker = if *from == "Dom0" { Speaker::Router } else { Speaker::Domain };
        coverage.hear(&name(channel), speaker, format!("{line}\n").as_bytes(), now());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("coverage.json"), write(coverage.book())).unwrap();
    fs::write(folder.path().join("passerelle.toml"), CONFIG).unwrap();
    fs::copy(root().join("mappings/psec.toml"), folder.path().join("psec.toml")).unwrap();
    folder
}

fn run(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    program.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = program.stderr(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    program.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// The draft of what was heard.
fn draft(folder: &Path) -> String {
    let output = run(folder, &["suggest", "--config", "passerelle.toml", "-o", "draft.toml"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::read_to_string(folder.join("draft.toml")).unwrap()
}

fn check(folder: &Path) -> (bool, String) {
    let output = run(folder, &["check", "psec.toml", "draft.toml"], "");
    (output.status.success(), text(&output.stdout).to_owned())
}

/// What comes of inputs while one domain is legacy: the last effect that is a publish or a line.
fn becomes(folder: &Path, legacy: &str, inputs: &[Value]) -> Value {
    let input: String = inputs.iter().map(|input| format!("{input}\n")).collect();
    let args = ["translate", "-m", "psec.toml", "-m", "draft.toml", "--legacy", legacy];
    let output = run(folder, &args, &input);
    let mut lines =
        text(&output.stdout).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.rfind(|e| e.get("publish").or(e.get("write")).is_some());
    last.unwrap_or_else(|| panic!("{input}{}{}", text(&output.stdout), text(&output.stderr)))
}

fn message(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// Everything goes to MQTT, and comes back from it as it was.
fn is_carried(folder: &Path, (from, to, asked, arguments, answers): &Call) {
    let line = message(&command(from, to, asked, arguments));
    let ask = json!({"legacy": from, "message": line});
    let request = becomes(folder, from, std::slice::from_ref(&ask));
    let topic = request["publish"].as_str().unwrap_or_else(|| panic!("{request}"));
    let answered = format!("{}/response/{from}", topic.strip_suffix("/request").unwrap());
    let request = json!({"mqtt": topic, "payload": request["payload"], "response_topic": answered, "source": from});
    let written = becomes(folder, to, std::slice::from_ref(&request));
    assert_eq!(written["message"]["payload"], line["payload"], "{written}");
    for (name, data) in *answers {
        let line = message(&response(to, from, name, data));
        let answer = json!({"legacy": to, "message": line});
        let published = becomes(folder, to, &[request.clone(), answer]);
        assert_eq!(published["publish"], answered, "{published}");
        let answer = json!({"mqtt": answered, "payload": published["payload"], "source": to});
        let written = becomes(folder, from, &[ask.clone(), answer]);
        assert_eq!(written["message"]["payload"], line["payload"], "{written}");
    }
}

fn calls() -> Vec<Call> {
    let scan = |path: &str| format!(r#"{{"nom_disque":"KEY","chemin":"{path}"}}"#);
    let deep =
        r#"{"nom_disque":"KEY","chemin":"/c","options":{"profond":true,"listes":[[1],["a"]]}}"#;
    let clean: &[_] = &[("verdict", r#"{"chemin":"/a","etat":"sain"}"#)];
    let worse: &[_] = &[(
        "verdict",
        r#"{"chemin":"/b","etat":"infecte","signatures":[{"nom":"E","score":0.5},{"nom":"F"}]}"#,
    )];
    vec![
        ("vm-gui", "vm-scan", "scan_fichier", scan("/a"), clean),
        ("vm-gui", "vm-scan", "scan_fichier", scan("/b"), worse),
        (
            "vm-gui",
            "vm-scan",
            "scan_fichier",
            deep.to_owned(),
            &[("verdict", r#"{"chemin":"/c","etat":null}"#)],
        ),
        ("vm-gui", "vm-scan", "liste_regles", "{}".to_owned(), &[("regles", r#"["r1","r2"]"#)]),
        (
            "vm-gui",
            "vm-scan",
            "version_regles",
            "{}".to_owned(),
            &[("version", "3"), ("regles", r#"["r3"]"#)],
        ),
        ("vm-x", "vm-y", "charge", format!(r#"{{"contenu":"{PACKED}","source":"s"}}"#), &[]),
    ]
}

#[test]
fn a_draft_that_is_filled_in_carries_what_was_heard_both_ways() {
    let mut said: Vec<Said<'_>> = Vec::new();
    for (from, to, asked, arguments, answers) in &calls() {
        said.push((from, from, command(from, to, asked, arguments)));
        said.extend(answers.iter().map(|(name, data)| (*to, *to, response(to, from, name, data))));
    }
    for to in ["vm-scan", "vm-y"] {
        said.push(("vm-gui", "vm-gui", command("vm-gui", to, "redemarre", r#"{"delai":3}"#)));
    }
    let events = [
        r#"{"niveau":3,"texte":"a"}"#,
        r#"{"niveau":null,"octets":"YWJjZGVmMTIzNDU2Nzg5MA=="}"#,
        r#"{"niveau":"haut"}"#,
    ];
    for data in events {
        said.push(("vm-scan", "vm-scan", notification("vm-scan", "tous", "alerte", data)));
    }
    said.push(("vm-gui", "vm-gui", command("vm-gui", "dom0", "version_systeme", "{}")));
    said.push((
        "vm-gui",
        "Dom0",
        response("Dom0", "vm-gui", "version_systeme", r#"{"version":"1.2"}"#),
    ));
    said.push(("vm-scan", "vm-scan", response("vm-scan", "vm-b", "orpheline", r#"{"x":1}"#)));

    let folder = heard(&said);
    let here = folder.path();
    let text = draft(here);
    let kept = root().join("fixtures/cli/suggest-draft.txt");
    if std::env::var_os("PASSERELLE_BLESS").is_some_and(|bless| !bless.is_empty()) {
        fs::write(&kept, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&kept).unwrap_or_default());

    // What nobody can know is told by its line, and nothing else is wrong.
    let (good, found) = check(here);
    assert!(!good && found.ends_with("\n2 findings\n"), "{found}");
    for (key, value) in [("handler", "vm-scan"), ("legacy", "demande_orpheline")] {
        assert!(found.contains(&format!("error: `{key}` is still to be filled in")), "{found}");
        let open = format!("{key} = \"?\"");
        let at = text.lines().position(|line| line.starts_with(&open)).unwrap() + 1;
        assert!(found.contains(&format!("--> draft.toml:{at}:")), "{found}");
        let filled = fs::read_to_string(here.join("draft.toml")).unwrap();
        fs::write(here.join("draft.toml"), filled.replace(&open, &format!("{key} = \"{value}\"")))
            .unwrap();
    }
    assert_eq!(check(here), (true, "2 files, 16 commands, 5 events: nothing wrong\n".to_owned()));

    calls().iter().for_each(|call| is_carried(here, call));
    for data in events {
        let line = message(&notification("vm-scan", "tous", "alerte", data));
        let published = becomes(here, "vm-scan", &[json!({"legacy": "vm-scan", "message": line})]);
        let told = json!({"mqtt": published["publish"], "payload": published["payload"], "source": "vm-scan"});
        let written = becomes(here, "vm-gui", &[told]);
        assert_eq!(written["message"]["payload"], line["payload"]);
    }
    // A draft that was filled in is not lost.
    let output = run(here, &["suggest", "--config", "passerelle.toml", "-o", "draft.toml"], "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn names_from_outside_stay_names() {
    let names = [
        "a\"]\n[[event]]",
        "a\\",
        "#",
        "",
        ".",
        "?",
        "x?",
        "a.b",
        "'",
        "\u{0}\u{7f}\u{85}",
        "\u{202e}x",
        "é 😀",
        "source",
        "=",
        "[command]",
        "\r",
        "\t",
    ];
    let members: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!([{*name: *name}]))).collect();
    let data = Value::Object(members).to_string();
    let mut said: Vec<Said<'_>> = Vec::new();
    let mut calls: Vec<Call> = Vec::new();
    for name in ["a\"]\\n[[event]]", "request", "it's", "à/+#", "\u{202e}"] {
        let quoted = name.replace('"', "\\\"");
        let quoted: &'static str = quoted.leak();
        let answer = (quoted, &*data.clone().leak());
        said.push(("vm-a", "vm-a", command("vm-a", "vm-b", quoted, &data)));
        said.push(("vm-b", "vm-b", response("vm-b", "vm-a", quoted, &data)));
        calls.push(("vm-a", "vm-b", quoted, data.clone(), vec![answer].leak()));
    }
    let folder = heard(&said);
    let text = draft(folder.path());
    let open = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!text.contains(open), "{text:?}");
    assert_eq!(
        check(folder.path()),
        (true, "2 files, 14 commands, 4 events: nothing wrong\n".to_owned())
    );
    calls.iter().for_each(|call| is_carried(folder.path(), call));
}

#[test]
fn what_has_rows_needs_no_draft() {
    let line = command("vm-gui", "sys-usb", "liste_disques", "{}");
    let folder = heard(&[("vm-gui", "vm-gui", line)]);
    let output = run(folder.path(), &["suggest", "--config", "passerelle.toml"], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("nothing to draft"));
}
