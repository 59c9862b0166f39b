//! What the subcommands print: odd characters in it, and output that breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the edges"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Of each kind that a terminal obeys or hides, one: a new line, a carriage return, ESC, DEL, C1's CSI, a soft
/// hyphen, a zero-width space, a line separator, a right-to-left override, an isolate, a joiner, a byte-order
/// mark, a tag.
const ODD: &str =
    "\n\r\u{1b}\u{7f}\u{9b}\u{ad}\u{200b}\u{2028}\u{202e}\u{2066}\u{2060}\u{feff}\u{e0041}";

/// A folder with files of every kind, all of them with [`ODD`] in them where they can.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("state")).unwrap();
    fs::create_dir(path.join("store")).unwrap();
    let config = format!(
        "mappings = [\"{ROOT}/mappings/psec.toml\"]\nstate_dir = \"state\"\npolicy = \"deny\"\n\
         [broker]\nurl = \"unix:{}/absent.sock\"\nuser = \"passerelle\"\npasswords = \"passwords\"\n\
         [[channel]]\nunix = \"/var/run/*-msg.sock\"\n[store]\ndir = \"store\"\n",
        path.display()
    );
    fs::write(path.join("good.toml"), config).unwrap();
    fs::write(path.join("bad.toml"), format!("# {}\nodd = '{}'\n", odd_line(), odd_line()))
        .unwrap();
    fs::write(path.join("passwords"), "passerelle:a\nvm-gui:b\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(path.join("passwords"), mode).unwrap();
    let message = serde_json::json!({"type": "commande", "name": ODD, "to": ODD, "verdict": "refused",
        "reason": "not_mapped", "row": null, "detail": ODD, "count": 1, "last": "2026-01-01T00:00:00Z",
        "example": format!("{{{ODD}}}"), "whole": true});
    let page = serde_json::json!({"messages": [message], "others": 1, "torn": 1, "unheard": 1, "discarded": 1});
    let book = serde_json::json!({"version": 1, "since": "2026-01-01T00:00:00Z", "others": 1,
        "domains": {"vm-gui": page}});
    fs::write(path.join("state/coverage.json"), book.to_string()).unwrap();
    let seen =
        serde_json::json!({"type": "commande", "name": ODD, "count": 1, "last": ODD, "watched": 0});
    let record = serde_json::json!({"format": 1, "run": "1", "watching_since": ODD, "saved": ODD, "watched": 1,
        "monotonic": 1, "set_aside": ODD, "domains": {"vm-gui": [seen]}});
    fs::write(path.join("state/seen.json"), record.to_string()).unwrap();
    let header =
        format!("{{\"mappings\":[\"{ROOT}/mappings/psec.toml\"],\"legacy\":[\"vm-gui\"]}}");
    let line = serde_json::json!({"legacy": "vm-gui", "line": ODD});
    fs::write(
        path.join("talk.jsonl"),
        format!("{header}\n{line}\n{{\"publish\":\"{}\"}}\n", odd_line()),
    )
    .unwrap();
    fs::write(path.join("inputs"), format!("{line}\n")).unwrap();
    folder
}

/// [`ODD`], as far as it can stand in a line of TOML.
fn odd_line() -> String {
    ODD.chars().filter(|c| !c.is_ascii_control()).collect()
}

/// Every subcommand that prints something without a broker, and the file for its standard input.
const COMMANDS: [(&[&str], &str); 19] = [
    (&["--help"], ""),
    (&["--version"], ""),
    (&["status", "--help"], ""),
    (&["help", "tap"], ""),
    (&["store", "show", "--help"], ""),
    (&["check", PSEC], ""),
    (&["check", "bad.toml"], ""),
    (&["api", PSEC], ""),
    (&["api", "--asyncapi", PSEC], ""),
    (&["coverage", "--config", "good.toml"], ""),
    (&["coverage", "--config", "good.toml", "--json"], ""),
    (&["ready", "--config", "good.toml"], ""),
    (&["store", "list", "--config", "good.toml"], ""),
    (&["store", "drop", "--config", "good.toml", "vm-gui"], ""),
    (&["explain", "--config", "good.toml", "vm-gui", ODD_NAME, "sys-usb"], ""),
    (&["acl", "--config", "good.toml"], ""),
    (&["acl", "--config", "good.toml", "--listener"], ""),
    (&["translate", "-m", PSEC, "--legacy", "vm-gui"], "inputs"),
    (&["test", "talk.jsonl"], ""),
];
const ODD_NAME: &str = "\n\r\u{1b}\u{7f}\u{9b}\u{200b}\u{202e}";
const PSEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/psec.toml");

fn command(folder: &Path, args: &[&str], input: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    command.args(args).current_dir(folder).env_remove("PASSERELLE_LOG");
    let input = if input.is_empty() { Path::new("/dev/null").into() } else { folder.join(input) };
    command.stdin(File::open(input).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The writing end of a pipe that nobody reads.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn code(output: &Output, args: &[&str]) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{args:?}: {output:?}"))
}

#[test]
fn nothing_that_a_terminal_obeys_or_hides_is_printed() {
    let folder = folder();
    for (args, input) in COMMANDS {
        let output = command(folder.path(), args, input).output().unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(bytes).unwrap();
            let odd = text.chars().find(|c| *c != '\n' && ODD.contains(*c));
            assert_eq!(odd, None, "{args:?}: {text}");
        }
    }
}

#[test]
fn what_is_printed_as_json_means_what_it_did() {
    let folder = folder();
    let args = ["coverage", "--config", "good.toml", "--json"];
    let output = command(folder.path(), &args, "").output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["messages"][0]["name"], ODD);
}

#[test]
fn a_text_from_outside_begins_no_line() {
    let folder = folder();
    let args = ["coverage", "--config", "good.toml"];
    let output = command(folder.path(), &args, "").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\\n\\r\\u{1b}\\u{7f}"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("\\r")), "{text}");
}

#[test]
fn who_no_longer_reads_ends_it_quietly() {
    let folder = folder();
    for (args, input) in COMMANDS {
        let whole = command(folder.path(), args, input).output().unwrap();
        assert!(!whole.stdout.is_empty(), "{args:?}: {whole:?}");
        let cut = command(folder.path(), args, input).stdout(broken_pipe()).output().unwrap();
        assert_eq!(code(&cut, args), code(&whole, args), "{args:?}");
        assert_eq!(cut.stderr, whole.stderr, "{args:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let folder = folder();
    for (args, input) in COMMANDS {
        let full = command(folder.path(), args, input).stdout(full_disk()).output().unwrap();
        assert_eq!(code(&full, args), 2, "{args:?}");
        let told = String::from_utf8(full.stderr).unwrap();
        let error = "error: standard output: No space left on device (os error 28)\n";
        assert!(told.ends_with(error), "{args:?}: {told}");
    }
}

#[test]
fn what_cannot_be_told_is_no_reason_to_fail() {
    let folder = folder();
    let complain: [&[&str]; 6] = [
        &[],
        &["check", "absent.toml"],
        &["status", "--config", "good.toml"],
        &["run", "--config", "bad.toml"],
        &["test", "absent"],
        &["store", "list"],
    ];
    for args in complain {
        let whole = command(folder.path(), args, "").output().unwrap();
        assert!(!whole.stderr.is_empty(), "{args:?}: {whole:?}");
        for broken in [broken_pipe, full_disk] {
            let mute = command(folder.path(), args, "").stderr(broken()).output().unwrap();
            assert_eq!(code(&mute, args), code(&whole, args), "{args:?}");
        }
    }
}

/// Whoever reads the beginning of a stream has it at once, and its end ends the program.
#[test]
fn a_stream_that_is_cut_off_ends() {
    let folder = folder();
    let args = ["translate", "-m", PSEC, "--legacy", "vm-gui"];
    let mut child = command(folder.path(), &args, "").stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    let line = "{\"legacy\":\"vm-gui\",\"line\":\"no JSON\"}\n";
    // It would never end of itself: its input goes on.
    while input.write_all(line.as_bytes()).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output, &args), output.stderr), (0, Vec::new()));
}
