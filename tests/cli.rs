//! The command line, with its exact texts and exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the edges"
)]

#[path = "peers/authority.rs"]
mod authority;

use authority::Authority;
use passerelle::config::{self, Config};
use passerelle::diagnostic::Source;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How a run of the program ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// Runs the program in a folder.
fn passerelle(folder: &Path, args: &[&str], input: &str) -> Ended {
    passerelle_with(folder, args, input, &[])
}

/// Runs the program in a folder, with more in its environment.
fn passerelle_with(folder: &Path, args: &[&str], input: &str, env: &[(&str, &str)]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_passerelle"))
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .env_remove("PASSERELLE_LOG")
        .env_remove("PASSERELLE_CONFIG")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends at once does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

fn psec() -> String {
    format!("{ROOT}/mappings/psec.toml")
}

/// Compares with `fixtures/cli/<name>.txt`, or writes it when `PASSERELLE_BLESS` is set.
#[track_caller]
fn as_kept(name: &str, text: &str) {
    let path = Path::new(ROOT).join("fixtures/cli").join(format!("{name}.txt"));
    if std::env::var_os("PASSERELLE_BLESS").is_some_and(|bless| !bless.is_empty()) {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} says\n{kept}\nbut it is\n{text}", path.display());
}

fn ended(code: i32, out: &str, err: &str) -> Ended {
    Ended { code, out: out.to_owned(), err: err.to_owned() }
}

#[test]
fn help_is_as_kept() {
    let here = folder(&[]);
    for (name, args) in [
        ("help", &["--help"][..]),
        ("run", &["run", "--help"]),
        ("status", &["status", "--help"]),
        ("ready", &["ready", "--help"]),
        ("tap", &["tap", "--help"]),
        ("record", &["record", "--help"]),
        ("replay", &["replay", "--help"]),
        ("reload", &["reload", "--help"]),
        ("log", &["log", "--help"]),
        ("legacy", &["legacy", "--help"]),
        ("store", &["store", "--help"]),
        ("store-list", &["store", "list", "--help"]),
        ("store-show", &["store", "show", "--help"]),
        ("store-drop", &["store", "drop", "--help"]),
        ("explain", &["explain", "--help"]),
        ("acl", &["acl", "--help"]),
        ("check", &["check", "--help"]),
        ("coverage", &["coverage", "--help"]),
        ("api", &["api", "--help"]),
        ("suggest", &["suggest", "--help"]),
        ("report", &["report", "--help"]),
        ("translate", &["translate", "--help"]),
        ("test", &["test", "--help"]),
    ] {
        let shown = passerelle(here.path(), args, "");
        assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{args:?}");
        as_kept(name, &shown.out);
        for part in ["\nExamples:\n  passerelle ", "\nExit codes"] {
            assert!(shown.out.contains(part), "{args:?}: {part:?} in\n{}", shown.out);
        }
    }
    // Without arguments, the help is an error.
    let shown = passerelle(here.path(), &[], "");
    assert_eq!((shown.code, shown.out.as_str()), (2, ""));
    as_kept("help", &shown.err);
    let version = option_env!("PASSERELLE_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
    let version = format!("passerelle {version}\n");
    assert_eq!(passerelle(here.path(), &["--version"], ""), ended(0, &version, ""));
}

#[test]
fn arguments_that_are_missing_or_unknown_are_told() {
    let here = folder(&[]);
    for (name, args) in [
        ("run-wrong-log-format", &["run", "--config", "c", "--log-format", "xml"][..]),
        ("translate-without-mapping", &["translate"]),
        ("translate-wrong-dialect", &["translate", "-m", "m", "--dialect", "vm-gui"]),
        ("translate-wrong-name", &["translate", "-m", "m", "--legacy", "vm/gui"]),
        ("ready-wrong-time", &["ready", "--config", "c", "--quiet-for", "7"]),
        ("test-without-path", &["test"]),
        ("unknown-subcommand", &["watch"]),
    ] {
        let shown = passerelle(here.path(), args, "");
        assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{args:?}");
        as_kept(name, &shown.err);
    }
}

#[test]
fn check_says_what_it_has_looked_at() {
    let here = folder(&[("passerelle.toml", CONFIG)]);
    fs::create_dir(here.path().join("mappings")).unwrap();
    fs::copy(psec(), here.path().join("mappings/psec.toml")).unwrap();
    let two = "2 files, 9 commands, 4 events: nothing wrong\n";
    // A file counts once, by whatever name.
    for args in
        [&["passerelle.toml", "mappings/psec.toml"][..], &["passerelle.toml", "./mappings"], &["."]]
    {
        let args = [&["check"], args].concat();
        assert_eq!(passerelle(here.path(), &args, ""), ended(0, two, ""), "{args:?}");
    }
    fs::write(here.path().join("mappings/one.toml"), ONE_EVENT).unwrap();
    let one = "1 file, 0 commands, 1 event: nothing wrong\n";
    let args = ["check", "mappings/one.toml"];
    assert_eq!(passerelle(here.path(), &args, ""), ended(0, one, ""));
    let three = "3 files, 9 commands, 5 events: nothing wrong\n";
    assert_eq!(passerelle(here.path(), &["check", "."], ""), ended(0, three, ""));
}

/// A folder among `mappings` means the files in it, as it does elsewhere.
#[test]
fn a_configuration_names_a_folder_of_mappings() {
    let config = CONFIG.replace("mappings/psec.toml", "mappings");
    let here = folder(&[("passerelle.toml", &config), ("mappings/own/one.toml", ONE_EVENT)]);
    let mappings = here.path().join("mappings");
    fs::copy(psec(), mappings.join("psec.toml")).unwrap();
    // What editors and package managers leave beside a file is none of them, nor what is hidden or found twice.
    for aside in [".one.toml", "one.toml~", "one.toml.apk-new"] {
        fs::write(mappings.join(aside), "wrong").unwrap();
    }
    std::os::unix::fs::symlink("own", mappings.join("again")).unwrap();
    let three = "3 files, 9 commands, 5 events: nothing wrong\n";
    for args in [&["check", "passerelle.toml"][..], &["check", "."]] {
        assert_eq!(passerelle(here.path(), args, ""), ended(0, three, ""), "{args:?}");
    }
    let args = ["explain", "--config", "passerelle.toml", "vm-gui", "SCANNED", "tous"];
    let shown = passerelle(here.path(), &args, "");
    assert!(shown.out.contains("row mappings/own/one.toml:3"), "{shown:?}");
    fs::write(mappings.join("own/two.toml"), WRONG_MAPPING).unwrap();
    let shown = passerelle(here.path(), &["check", "passerelle.toml"], "");
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.out.contains("mappings/own/two.toml:"), "{shown:?}");
    fs::remove_dir_all(&mappings).unwrap();
    fs::create_dir(&mappings).unwrap();
    let error = "error: mappings: there is no file *.toml\n";
    assert_eq!(passerelle(here.path(), &["check", "passerelle.toml"], ""), ended(2, "", error));
}

/// Every subcommand that has a configuration takes it from `PASSERELLE_CONFIG`, and `--config` comes first.
#[test]
fn the_environment_says_where_the_configuration_is() {
    let here = folder(&[("wrong.toml", WRONG_CONFIG), ("good.toml", CONFIG)]);
    fs::create_dir(here.path().join("mappings")).unwrap();
    fs::copy(psec(), here.path().join("mappings/psec.toml")).unwrap();
    let found = "passerelle.toml";
    for (args, code) in [
        (&["check"][..], 1),
        (&["run"], 2),
        (&["status"], 2),
        (&["ready"], 2),
        (&["coverage"], 2),
        (&["store", "list"], 2),
        (&["store", "show"], 2),
        (&["store", "drop", "vm-gui"], 2),
        (&["explain", "vm-gui", "liste_disques", "sys-usb"], 2),
        (&["acl"], 2),
    ] {
        let wrong = [("PASSERELLE_CONFIG", "wrong.toml")];
        let shown = passerelle_with(here.path(), args, "", &wrong);
        assert_eq!(shown.code, code, "{args:?}: {shown:?}");
        let (findings, nothing) =
            if code == 1 { (shown.out, shown.err) } else { (shown.err, shown.out) };
        assert_eq!(nothing, "", "{args:?}");
        // Some need a part of it alone, and tell what is wrong with that.
        if matches!(args, ["status" | "ready" | "store", ..]) {
            assert!(findings.contains("no broker's address"), "{args:?}: {findings}");
        } else {
            as_kept("check-config-findings", &findings.replace("wrong.toml", found));
        }
        // By its default it is in the one place where packages put it.
        let help = passerelle(here.path(), &[args, &["--help"]].concat(), "").out;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[default: /etc/passerelle/passerelle.toml]"), "{args:?}: {help}");
    }
    let wrong = [("PASSERELLE_CONFIG", "wrong.toml")];
    let args = ["explain", "--config", "good.toml", "vm-gui", "liste_disques", "sys-usb"];
    assert_eq!(passerelle_with(here.path(), &args, "", &wrong).code, 0);
    for args in [&["check"][..], &["status"], &["store", "list"]] {
        let shown = passerelle_with(here.path(), args, "", &[("PASSERELLE_CONFIG", "")]);
        assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{args:?}");
        let way_out = "it is empty: name a file, or unset PASSERELLE_CONFIG";
        assert!(shown.err.contains(way_out), "{args:?}: {}", shown.err);
    }
    // The folder itself needs no configuration.
    let args = ["store", "list", "--dir", "absent"];
    let shown = passerelle_with(here.path(), &args, "", &wrong);
    assert!(!shown.err.contains("wrong.toml"), "{shown:?}");
}

#[test]
fn check_of_a_file_that_cannot_be_read_is_2() {
    let here = folder(&[("passerelle.toml", CONFIG)]);
    fs::create_dir(here.path().join("folder")).unwrap();
    fs::write(here.path().join("latin1.toml"), b"dialect = \"\xe9\"\n").unwrap();
    for (file, error) in [
        ("absent.toml", "absent.toml: No such file or directory (os error 2)"),
        ("folder", "folder: there is no file *.toml"),
        ("latin1.toml", "latin1.toml: line 1, byte 12 is not UTF-8: save the file as UTF-8"),
        // The mapping that a configuration names.
        ("passerelle.toml", "mappings/psec.toml: No such file or directory (os error 2)"),
    ] {
        let shown = passerelle(here.path(), &["check", file], "");
        assert_eq!(shown, ended(2, "", &format!("error: {error}\n")));
    }
}

#[test]
fn check_shows_every_finding_of_a_mapping_at_once() {
    let here = folder(&[("business.toml", WRONG_MAPPING)]);
    let shown = passerelle(here.path(), &["check", "business.toml"], "");
    assert_eq!((shown.code, shown.err.as_str()), (1, ""));
    as_kept("check-mapping-findings", &shown.out);
}

#[test]
fn check_says_where_dialects_contradict_each_other() {
    let event = |head: &str, value: i32| {
        format!(
            "{head}\n[[event]]\nname = \"E\"\nlegacy = \"e\"\ntopic = \"t\"\nadd.mqtt.m = {value}\n"
        )
    };
    let older = event("dialect = \"older\"", 1);
    let newer = event("dialect = \"newer\"\nsupersedes = \"older\"", 2);
    let here = folder(&[("older.toml", &older), ("newer.toml", &newer)]);
    let shown = passerelle(here.path(), &["check", "older.toml", "newer.toml"], "");
    let warning = "warning: older.toml:2: E and E (newer.toml:3) give `m` on \"t/notification\" another value \
                   each, and the newer one's is published; help: let both say the same, or give one of them a \
                   topic of its own\n";
    assert_eq!(shown, ended(0, "2 files, 0 commands, 2 events: nothing wrong\n", warning));
}

#[test]
fn check_shows_every_finding_of_a_configuration_at_once() {
    let here = folder(&[("passerelle.toml", WRONG_CONFIG)]);
    let shown = passerelle(here.path(), &["check", "passerelle.toml"], "");
    assert_eq!((shown.code, shown.err.as_str()), (1, ""));
    as_kept("check-config-findings", &shown.out);
}

#[test]
fn run_does_not_start_with_a_wrong_configuration() {
    let here = folder(&[("wrong.toml", WRONG_CONFIG), ("passerelle.toml", CONFIG)]);
    let shown = passerelle(here.path(), &["run", "--config", "wrong.toml"], "");
    assert_eq!((shown.code, shown.out.as_str()), (2, ""));
    as_kept("check-config-findings", &shown.err.replace("wrong.toml", "passerelle.toml"));
    let error = "error: absent.toml: No such file or directory (os error 2)\n";
    let shown = passerelle(here.path(), &["run", "--config", "absent.toml"], "");
    assert_eq!(shown, ended(2, "", error));
    let error = "error: mappings/psec.toml: No such file or directory (os error 2)\n";
    let shown = passerelle(here.path(), &["run", "--config", "passerelle.toml"], "");
    assert_eq!(shown, ended(2, "", error));
}

#[test]
fn run_does_not_start_where_its_sockets_folder_is_absent() {
    let absent = CONFIG.replace("/run/*-msg.sock", "/absent/*-msg.sock");
    let here = folder(&[("passerelle.toml", &absent)]);
    fs::create_dir(here.path().join("mappings")).unwrap();
    fs::copy(psec(), here.path().join("mappings/psec.toml")).unwrap();
    let shown = passerelle(here.path(), &["run", "--config", "passerelle.toml"], "");
    let error = "error: /absent/*-msg.sock: /absent: No such file or directory (os error 2)\n";
    assert_eq!(shown, ended(2, "", error));
}

#[test]
fn a_log_level_that_there_is_not_is_told() {
    let here = folder(&[("passerelle.toml", CONFIG)]);
    for level in ["warning", "infoo", "", "INFO", "a=b=c", "off"] {
        let args = ["run", "--config", "passerelle.toml", "--log", level];
        let shown = passerelle(here.path(), &args, "");
        assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{level:?}");
        let allowed = "[possible values: error, warn, info, debug, trace]";
        assert!(shown.err.contains(allowed), "{level:?}: {}", shown.err);
        let mut run = Command::new(env!("CARGO_BIN_EXE_passerelle"));
        run.args(&args[..3]).current_dir(here.path()).env("PASSERELLE_LOG", level);
        let output = run.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{level:?}");
        assert!(told.contains(allowed), "{level:?}: {told}");
    }
    as_kept(
        "run-wrong-log",
        &passerelle(here.path(), &["run", "--config", "c", "--log", "warning"], "").err,
    );
}

#[test]
fn run_does_not_observe_where_it_cannot_keep_what_it_learns() {
    let here = folder(&[]);
    let path = here.path().display();
    let text = format!(
        "mappings = [\"{}\"]\nstate_dir = \"absent\"\n[broker]\nurl = \"unix:/absent/mqtt.sock\"\n\
         [[channel]]\nunix = \"/var/run/*-msg.sock\"\n[observe]\nrelay = \"{path}\"\n",
        psec()
    );
    fs::write(here.path().join("passerelle.toml"), text).unwrap();
    let shown = passerelle(here.path(), &["run", "--config", "passerelle.toml"], "");
    let error = "error: absent/passerelle.lock: No such file or directory (os error 2); make the folder \
                 of `state_dir`, and have it belong to the gateway's user\n";
    assert_eq!(shown, ended(2, "", error));
    let shown = passerelle(here.path(), &["coverage", "--config", "passerelle.toml"], "");
    let error = "error: absent/coverage.json: No such file or directory (os error 2)\n\
                 help: `passerelle run` with [observe] writes it: see docs/observing.md\n";
    assert_eq!(shown, ended(2, "", error));
}

#[test]
fn translate_says_which_line_is_wrong() {
    let here = folder(&[]);
    let args = ["translate", "-m", &psec(), "--legacy", "vm-gui"];
    for (input, error) in [
        (
            "{\"elapse\":\"1s\"}\n{\"nope\":1}\n",
            "line 2: an input has one of \"legacy\", \"mqtt\", \"connect\", \"disconnect\", \"unavailable\", \"stall\", \"nobody\", \"puback\", \"broker\", \"elapse\", \"reload\", \"take_for_legacy\", \"relay\", \"socket\", \"tunnel\"",
        ),
        (
            "\n{\"legacy\":\"vm-gui\",\"massage\":{}}\n",
            "line 2: unknown key \"massage\" (known: legacy, message, line, base64)",
        ),
        (
            "{\"legacy\":\"vm-scan\",\"message\":{}}\n",
            "line 1: vm-scan is not connected: name it in --legacy, or write {\"connect\":\"vm-scan\"} before",
        ),
        (
            "{\"legacy\":\"vm-gui\"}\n",
            "line 1: a legacy input has a \"message\", a \"line\" or \"base64\"",
        ),
    ] {
        assert_eq!(
            passerelle(here.path(), &args, input),
            ended(2, "", &format!("error: {error}\n")),
            "{input}"
        );
    }
}

#[test]
fn translate_does_not_start_without_its_mapping() {
    let here = folder(&[("business.toml", WRONG_MAPPING)]);
    let error = "error: absent.toml: No such file or directory (os error 2)\n";
    let shown = passerelle(here.path(), &["translate", "-m", "absent.toml"], "");
    assert_eq!(shown, ended(2, "", error));
    let shown = passerelle(here.path(), &["translate", "-m", "business.toml"], "");
    assert_eq!((shown.code, shown.out.as_str()), (2, ""));
    as_kept("check-mapping-findings", &shown.err);
    let args = ["translate", "-m", &psec(), "--dialect", "sys-usb=esperanto"];
    let error = "error: no dialect \"esperanto\" is loaded; there are: psec\n";
    assert_eq!(passerelle(here.path(), &args, ""), ended(2, "", error));
}

#[test]
fn translate_takes_a_folder_of_mappings() {
    let here = folder(&[("mappings/one.toml", ONE_EVENT)]);
    fs::copy(psec(), here.path().join("mappings/psec.toml")).unwrap();
    let args = ["translate", "-m", "mappings", "--dialect", "sys-usb=psec"];
    assert_eq!(passerelle(here.path(), &args, ""), ended(0, "", ""));
}

#[test]
fn test_shows_what_differs() {
    let header = format!("{{\"mappings\":[\"{}\"],\"legacy\":[\"vm-gui\"]}}", psec());
    let good = format!("{header}\n# nothing is pending\n{{\"elapse\":\"1h\"}}\n");
    let differs = format!(
        "{header}\n\n{}\n{}\n{}\n",
        r#"{"legacy":"vm-gui","message":{"type":"commande","source":"vm-gui","destination":"sys-usb","payload":{"commande":"liste_disques","arguments":{}}}}"#,
        r#"{"publish":"system/disks/list_disks/request","payload":{"source":"vm-gui"},"qos":0,"as":"vm-gui"}"#,
        r#"{"refused":"not_mapped","from":"vm-gui"}"#,
    );
    let here = folder(&[
        ("cases/a/good.jsonl", &good),
        ("cases/b/differs.jsonl", &differs),
        ("cases/c/header.jsonl", "{\"mapping\":[]}\n"),
        ("cases/c/inputs.jsonl", &format!("{header}\n{{\"nope\":1}}\n")),
        ("cases/c/none.jsonl", &format!("{header}\n")),
        ("cases/read-me.txt", "no conversation"),
        ("empty/read-me.txt", "no conversation"),
    ]);
    let shown = passerelle(here.path(), &["test", "cases/a"], "");
    assert_eq!(shown, ended(0, "1 conversation, 0 failed\n", ""));
    let shown = passerelle(here.path(), &["test", "cases"], "");
    assert_eq!((shown.code, shown.err.as_str()), (1, ""));
    as_kept("test-differences", &shown.out);
    let error = "error: empty: there is no file *.jsonl\n";
    assert_eq!(passerelle(here.path(), &["test", "empty"], ""), ended(2, "", error));
    let error = "error: absent: No such file or directory (os error 2)\n";
    assert_eq!(passerelle(here.path(), &["test", "absent"], ""), ended(2, "", error));
}

/// The shipped example with every key that is commented out put in.
fn every_key() -> String {
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let put_in = |line: &str| match line.strip_prefix('#').filter(|rest| begins(rest)) {
        Some(rest) => format!("{rest}\n"),
        None => format!("{line}\n"),
    };
    let text: String = shipped("packaging/passerelle.toml").lines().map(put_in).collect();
    // Certificates belong to TLS.
    text.replacen("unix:/run/mosquitto/mqtt.sock", "mqtts://broker.example:8883", 1)
}

fn load(text: String) -> Config {
    let name = format!("{ROOT}/passerelle.toml");
    config::load(&Arc::new(Source { name, text })).unwrap()
}

#[test]
fn the_shipped_example_has_every_key_at_its_default() {
    let (example, full) = (load(shipped("packaging/passerelle.toml")), load(every_key()));
    let without: String =
        every_key().lines().take_while(|l| *l != "[limits]").map(|l| format!("{l}\n")).collect();
    for other in [&full, &load(without)] {
        assert_eq!(example.limits, other.limits);
        assert_eq!(example.grace, other.grace);
        assert_eq!(example.state_dir, other.state_dir);
        assert_eq!(example.control, other.control);
        assert_eq!(example.instance, other.instance);
        assert_eq!(example.channels, other.channels);
        assert_eq!(example.log, other.log);
        assert_eq!(example.broker.keep_alive, other.broker.keep_alive);
        assert_eq!(example.broker.session_expiry, other.broker.session_expiry);
    }
}

#[test]
fn every_key_is_in_the_example() {
    // An unknown key in each table: the findings name the known ones.
    let wrong = "x = 1\nmappings = [\"m\"]\n[broker]\nurl = \"mqtts://h:1\"\nx = 1\n[limits]\nx = 1\n\
                 [log]\nx = 1\n[observe]\nx = 1\n[dom0]\nx = 1\n[control]\nx = 1\n[store]\nx = 1\n[[channel]]\nunix = \"/a/*-msg.sock\"\nx = 1\n";
    let source = Arc::new(Source { name: "passerelle.toml".into(), text: wrong.into() });
    let Err(config::Error::Findings(findings)) = config::load(&source) else { panic!() };
    let unknown = |f: &&_| -> bool {
        let finding: &passerelle::diagnostic::Finding = f;
        finding.message.starts_with("unknown key")
    };
    let findings: Vec<_> = findings.iter().filter(unknown).collect();
    assert_eq!(findings.len(), 9, "{findings:?}");
    let keys: BTreeSet<&str> =
        findings.iter().flat_map(|f| f.help.rsplit_once(": ").unwrap().1.split(", ")).collect();
    assert!(keys.len() > 25, "{keys:?}");
    let example = shipped("packaging/passerelle.toml");
    for key in keys {
        let forms = [format!("{key} = "), format!("[{key}]")];
        assert!(forms.iter().any(|form| example.contains(form)), "the example has no {key}");
    }
}

/// `make install` and the like, into a folder, with this program.
fn make(what: &str, init: &str, root: &Path) -> String {
    let output = Command::new("make")
        .args(["--silent", what, "PREFIX=/usr"])
        .arg(format!("INIT={init}"))
        .arg(format!("DESTDIR={}", root.display()))
        .arg(format!("PROGRAM={}", env!("CARGO_BIN_EXE_passerelle")))
        .arg("PAGES=absent")
        .current_dir(ROOT)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{err}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything below a folder.
fn all_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        }
        all.insert(path);
    }
    all
}

/// The files among it.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    all_below(folder).into_iter().filter(|path| path.is_file()).collect()
}

#[test]
fn what_is_installed_is_what_the_documentation_names() {
    let here = folder(&[]);
    let root = here.path().join("root");
    // An empty folder that was there stays.
    fs::create_dir_all(root.join("etc/logrotate.d")).unwrap();
    let before = all_below(&root);
    assert_eq!(make("install", "openrc", &root), "");
    assert_eq!(make("install", "openrc", &root), "");
    for file in [
        "usr/bin/passerelle",
        "etc/passerelle/passerelle.toml",
        "etc/passerelle/mappings/psec.toml",
        "etc/init.d/passerelle",
        "etc/conf.d/passerelle",
        "etc/logrotate.d/passerelle",
        "usr/share/doc/passerelle/README.md",
        "usr/share/doc/passerelle/mosquitto.conf",
        "usr/share/doc/passerelle/prometheus/passerelle.rules.yml",
        "usr/share/passerelle/mapping.schema.json",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let service = fs::read_to_string(root.join("etc/init.d/passerelle")).unwrap();
    assert!(service.contains("command=\"/usr/bin/passerelle\""));
    assert!(service.contains("passerelle_config:=/etc/passerelle/passerelle.toml"));
    let mapping = fs::read_to_string(root.join("etc/passerelle/mappings/psec.toml")).unwrap();
    assert!(
        mapping.starts_with("#:schema /usr/share/passerelle/mapping.schema.json\n"),
        "{mapping}"
    );
    let shown = passerelle(&root, &["check", "etc/passerelle/passerelle.toml"], "");
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    make("uninstall", "openrc", &root);
    assert_eq!(all_below(&root), before);
    make("install", "systemd", &root);
    assert!(root.join("usr/lib/systemd/system/passerelle.service").is_file());
    assert!(!root.join("etc/init.d/passerelle").exists());
    make("uninstall", "systemd", &root);
    assert_eq!(all_below(&root), before);
    // Another INIT than the one that it was installed for, and a mapping that only an older version had.
    make("install", "openrc", &root);
    for place in ["etc/passerelle/mappings", "usr/share/passerelle/etc/passerelle/mappings"] {
        fs::write(root.join(place).join("older.toml"), "# an older version\n").unwrap();
    }
    make("uninstall", "systemd", &root);
    assert_eq!(all_below(&root), before);
}

#[test]
fn what_an_operator_has_edited_is_neither_replaced_nor_removed() {
    let here = folder(&[]);
    let root = here.path().join("root");
    make("install", "openrc", &root);
    let etc = root.join("etc");
    let edited = [
        "passerelle/mappings/psec.toml",
        "passerelle/passerelle.toml",
        "conf.d/passerelle",
        "init.d/passerelle",
        "logrotate.d/passerelle",
    ]
    .map(|name| etc.join(name));
    for file in &edited {
        fs::write(file, "# mine\n").unwrap();
    }
    // An older version's file, as it was installed: nobody has edited it.
    let untouched = "passerelle/mappings/psec-extended.toml";
    let original = root.join("usr/share/passerelle/etc");
    for place in [&etc, &original] {
        fs::write(place.join(untouched), "# an older version\n").unwrap();
        fs::write(original.join("passerelle/mappings/psec.toml"), "# an older version\n").unwrap();
    }
    let said = make("install", "openrc", &root);
    for file in &edited {
        assert_eq!(fs::read_to_string(file).unwrap(), "# mine\n", "{}", file.display());
        assert!(said.contains(&format!("{} has been edited and stays", file.display())), "{said}");
    }
    assert_ne!(fs::read_to_string(etc.join(untouched)).unwrap(), "# an older version\n");
    let said = make("uninstall", "openrc", &root);
    assert!(said.contains("passerelle.toml has been edited and stays"), "{said}");
    assert_eq!(files_below(&root), edited.into_iter().collect());
}

/// The members of a payload in the tables of `api`, at any depth.
fn members(cell: &str) -> BTreeSet<&str> {
    let named = |word: &str| word.ends_with(':');
    cell.split(' ').filter(|w| named(w)).map(|w| w.trim_end_matches([':', '?'])).collect()
}

/// The tables of the document that the mapping was written from: name, topic, and the members of both payloads.
#[test]
fn the_tables_of_the_shipped_mapping_are_those_it_was_made_from() {
    const FILE: [&str; 2] = ["disk", "filepath"];
    let kept: [(&str, &str, &[&str], &[&str]); 9] = [
        ("LISTE_DISQUES", "system/disks/list_disks", &[], &["disks", "label", "id"]),
        (
            "LISTE_FICHIERS",
            "system/disks/list_files",
            &["disk"],
            &["disk", "files", "path", "size", "name", "type"],
        ),
        ("LIT_FICHIER", "system/disks/read_file", &["source_disk", "filepath"], &["status"]),
        (
            "COPIE_FICHIER",
            "system/disks/copy_file",
            &["source_disk", "filepath", "target_disk"],
            &["status"],
        ),
        ("SUPPRIME_FICHIER", "system/disks/remove_file", &FILE, &["status"]),
        // The results of a benchmark are carried beside its status.
        (
            "START_BENCHMARK",
            "system/misc/benchmark",
            &["module"],
            &["status", "duration", "iterations", "message", "metrics"],
        ),
        ("GET_FILE_FOOTPRINT", "system/disks/get_file_footprint", &FILE, &["footprint"]),
        ("CREATE_FILE", "system/disks/create_file", &["disk", "filepath", "data"], &["status"]),
        (
            "LISTE_COMPOSANTS",
            "system/components/discover",
            &[],
            &["components", "id", "label", "type"],
        ),
    ];
    let said = passerelle(Path::new(ROOT), &["api", "mappings/psec.toml"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let rows = said.out.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    assert_eq!(rows.len(), kept.len() + 3, "{}", said.out);
    for (row, (name, root, request, response)) in rows.iter().zip(kept) {
        assert_eq!((row[0], row[1]), (format!("| {name}").as_str(), format!("`{root}`").as_str()));
        assert_eq!(members(row[2]), request.iter().copied().collect(), "{name}");
        assert_eq!(members(row[3]), response.iter().copied().collect(), "{name}");
    }
    let events = [
        ("FICHIER", "system/disk/new_file", &["disk", "filepath", "size_in_bytes"][..]),
        ("ERREUR", "system/events/error", &["module", "datetime", "level", "description"][..]),
    ];
    for (name, topic, payload) in events {
        let is_it = |row: &&Vec<&str>| {
            row[0] == format!("| {name}") && row[1] == format!("`{topic}/notification`")
        };
        let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(members(row[2]), payload.iter().copied().collect(), "{name}");
    }
    as_kept("api-tables", &said.out);
    as_kept(
        "api-tables-fr",
        &passerelle(Path::new(ROOT), &["api", "mappings/psec.toml", "--lang", "fr"], "").out,
    );
}

/// Where in a document references lead.
fn references<'v>(value: &'v serde_json::Value, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::Object(members) => {
            found.extend(members.get("$ref").and_then(|to| to.as_str()));
            members.values().for_each(|value| references(value, found));
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn an_asyncapi_document_has_every_row_and_leads_nowhere_else() {
    for (files, operations) in [(&["mappings/psec.toml"][..], 24), (&["mappings"][..], 146)] {
        let args = [&["api", "--asyncapi"][..], files].concat();
        let said = passerelle(Path::new(ROOT), &args, "");
        let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(document["operations"].as_object().unwrap().len(), operations);
        let mut all = Vec::new();
        references(&document, &mut all);
        assert!(all.len() > operations);
        for to in all {
            let place = to.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{to}");
        }
    }
    // Names that AsyncAPI has not, and topics that would have one name.
    let odd = "dialect = \"odd\"\n[[event]]\nname = \"A/B ~\"\nlegacy = \"a\"\ntopic = \"x/y\"\n\
               [[event]]\nname = \"C\"\nlegacy = \"c\"\ntopic = \"x.y\"\n";
    let here = folder(&[("odd.toml", odd)]);
    let said = passerelle(here.path(), &["api", "--asyncapi", "odd.toml"], "");
    let document: serde_json::Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.iter().all(|to| document.pointer(to.trim_start_matches('#')).is_some()), "{all:?}");
    let addresses =
        document["channels"].as_object().unwrap().values().map(|c| c["address"].as_str());
    let expected = BTreeSet::from([Some("x/y/notification"), Some("x.y/notification")]);
    assert_eq!(addresses.collect::<BTreeSet<_>>(), expected);
    let said = passerelle(Path::new(ROOT), &["api", "--asyncapi", "mappings/psec.toml"], "");
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let list = &document["operations"]["carry-out.LISTE_FICHIERS"];
    assert_eq!((&list["action"], &list["bindings"]["mqtt"]["qos"]), (&"receive".into(), &1.into()));
    let create = &document["components"]["messages"]["CREATE_FILE.request"]["payload"];
    assert_eq!(create["properties"]["data"]["contentEncoding"], "base64");
    assert_eq!(create["required"], serde_json::json!(["data", "disk", "filepath"]));
}

/// What the program writes to a terminal, on either of its outputs.
fn on_a_terminal(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read as _;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_passerelle"))
        .args(args)
        .current_dir(folder)
        // What else says something about colours is not the test's: NO_COLOR, CLICOLOR, and CI, too.
        .env_clear()
        .env("TERM", "xterm")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(terminal())
        .stderr(terminal())
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    // Its end is an error: nobody has the other side open any more.
    let _ = fs::File::from(master).read_to_end(&mut shown);
    child.wait().unwrap();
    String::from_utf8(shown).unwrap()
}

#[test]
fn colours_are_for_a_terminal_and_for_nobody_who_wants_none() {
    const ESCAPE: char = '\u{1b}';
    let here = folder(&[("wrong.toml", WRONG_CONFIG)]);
    for args in [
        &["--help"][..],
        &["check", "wrong.toml"],
        &["run", "--config", "wrong.toml"],
        &["coverage", "--config", "wrong.toml"],
        &["translate", "-m", "wrong.toml"],
    ] {
        assert!(on_a_terminal(here.path(), args, &[]).contains(ESCAPE), "{args:?}");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let shown = on_a_terminal(here.path(), args, &[(name, value)]);
            assert!(!shown.is_empty() && !shown.contains(ESCAPE), "{args:?} {name}: {shown:?}");
        }
        let Ended { out, err, .. } = passerelle(here.path(), args, "");
        assert!(!(out + &err).contains(ESCAPE), "{args:?}");
    }
}

/// A configuration whose policy denies, with two rules, and passwords.
const POLICY: &str = r#"mappings = ["mappings/psec.toml"]
policy = "deny"
[broker]
url = "unix:/run/mosquitto/mqtt.sock"
user = "passerelle"
passwords = "passwords"
[[channel]]
unix = "/run/*-msg.sock"
[[allow]]
from = "vm-gui"
command = "LISTE_*"
to = "sys-usb"
[[allow]]
from = "sys-*"
event = "*"
"#;

fn with_policy() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder(&[
        ("p.toml", POLICY),
        ("mappings/psec.toml", &shipped("mappings/psec.toml")),
        ("passwords", "passerelle:a\nvm-gui:b\ndom0:c\n"),
    ]);
    let file = folder.path().join("passwords");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

#[test]
fn explain_names_the_rule_and_its_line() {
    let here = with_policy();
    for (args, code, parts) in [
        (
            &["vm-gui", "LISTE_DISQUES", "sys-usb"][..],
            0,
            &[
                "allowed: ",
                "p.toml:9: [[allow]] from",
                "it is vm-gui that publishes on system/disks/list_disks/request/vm-gui",
            ][..],
        ),
        (
            &["vm-gui", "liste_disques", "sys-usb"],
            0,
            &["psec.toml:20, on MQTT system/disks/list_disks/request"],
        ),
        (
            &["vm-gui", "liste_fichiers", "sys-usb"],
            0,
            &["Dom0 carries some of these requests out on MQTT: that is not allowed"],
        ),
        (
            &["vm-gui", "lit_fichier", "sys-usb"],
            1,
            &["not allowed: ", "p.toml:2: policy = \"deny\""],
        ),
        (
            &["mqtt", "liste_disques", "sys-usb"],
            1,
            &[
                "not allowed: mqtt -> sys-usb: LISTE_DISQUES",
                "everyone whom the broker lets publish",
            ],
        ),
        (
            &["sys-usb", "fichier", "tous"],
            0,
            &[
                "p.toml:13: [[allow]] from = \"sys-*\" event = \"*\"",
                "on MQTT system/disk/new_file/notification",
            ],
        ),
        (&["vm-gui", "fichier", "tous"], 1, &["not allowed: vm-gui -> tous: FICHIER"]),
        (&["sys-usb", "disque", "vm-gui", "--event"], 0, &["\"disque\"", "no row has this event"]),
        (&["sys-usb", "disque", "vm-gui"], 1, &["no row has this command"]),
    ] {
        let args = [&["explain", "--config", "p.toml"], args].concat();
        let shown = passerelle(here.path(), &args, "");
        assert_eq!((shown.code, shown.err.as_str()), (code, ""), "{args:?}");
        for part in parts {
            assert!(shown.out.contains(part), "{args:?}: {part:?} in\n{}", shown.out);
        }
    }
    fs::write(here.path().join("p.toml"), POLICY.replace("deny", "ask")).unwrap();
    let shown = passerelle(here.path(), &["explain", "--config", "p.toml", "a", "b", "c"], "");
    assert!(shown.code == 2 && shown.err.contains("there is no policy"), "{shown:?}");
}

#[test]
fn check_warns_of_rules_that_others_can_use() {
    let here = with_policy();
    let check = || passerelle(here.path(), &["check", "p.toml"], "");
    let good = check();
    let nothing = "2 files, 9 commands, 4 events: nothing wrong\n";
    assert_eq!(good, ended(0, nothing, ""));
    let open = POLICY.replace("passwords = \"passwords\"\n", "");
    for (text, warned) in [
        (open.clone(), &["p.toml:8: [[allow]] from = \"vm-gui\"", "p.toml:12: [[allow]] from"][..]),
        (open.replace("\"deny\"", "\"allow\""), &[]),
        (open.replace("vm-gui", "*").replace("sys-*", "mqtt"), &[]),
        (POLICY.replace("vm-gui", "mqtt"), &["p.toml:9: [[allow]] from = \"mqtt\""]),
    ] {
        fs::write(here.path().join("p.toml"), text).unwrap();
        let shown = check();
        assert_eq!((shown.code, shown.out.as_str()), (0, nothing), "{}", shown.err);
        assert_eq!(shown.err.matches("warning: ").count(), warned.len(), "{}", shown.err);
        for part in warned {
            assert!(shown.err.contains(part), "{part:?} in\n{}", shown.err);
        }
    }
}

#[test]
fn names_that_mean_something_are_nobodys() {
    let here = with_policy();
    for (from, to) in [
        ("/run/*-msg.sock", "/run/mqtt-msg.sock"),
        ("/run/*-msg.sock", "/run/dom0-msg.sock"),
        ("/run/*-msg.sock", "/run/passerelle-x-msg.sock"),
        ("[[channel]]", "[dialects]\nmqtt = \"psec\"\n[[channel]]"),
        ("[[channel]]", "[dialects]\ntous = \"psec\"\n[[channel]]"),
    ] {
        fs::write(here.path().join("p.toml"), POLICY.replace(from, to)).unwrap();
        let shown = passerelle(here.path(), &["check", "p.toml"], "");
        assert_eq!(shown.code, 1, "{to}: {shown:?}");
        assert!(shown.out.contains("no domain can have the name"), "{to}: {shown:?}");
    }
    let dom0 = POLICY.replace("[[channel]]", "[dialects]\ndom0 = \"psec\"\n[[channel]]");
    fs::write(here.path().join("p.toml"), dom0).unwrap();
    assert_eq!(passerelle(here.path(), &["check", "p.toml"], "").code, 0);
}

#[test]
fn acl_is_as_kept_and_has_no_secret() {
    let here = with_policy();
    let shown = passerelle(here.path(), &["acl", "--config", "p.toml", "--domain", "vm-log"], "");
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    as_kept("acl-file", &shown.out);
    let shown = passerelle(here.path(), &["acl", "--config", "p.toml", "--listener"], "");
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    as_kept("acl-listener", &shown.out);
    fs::set_permissions(
        here.path().join("passwords"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let shown = passerelle(here.path(), &["acl", "--config", "p.toml"], "");
    assert!(shown.code == 2 && shown.err.contains("chmod 600 passwords"), "{shown:?}");
    fs::write(here.path().join("p.toml"), CONFIG).unwrap();
    let shown = passerelle(here.path(), &["acl", "--config", "p.toml"], "");
    assert!(
        shown.code == 2 && shown.err.contains("the broker cannot tell the domains apart"),
        "{shown:?}"
    );
}

const CONFIG: &str = "\
mappings = [\"mappings/psec.toml\"]
[broker]
url = \"unix:/absent/mqtt.sock\"
[[channel]]
unix = \"/run/*-msg.sock\"
";

const ONE_EVENT: &str = "\
dialect = \"psec\"
requester_member = \"source\"
[[event]]
name = \"SCANNED\"
legacy = \"scanned\"
topic = \"business/scanned\"
";

const WRONG_CONFIG: &str = "\
mapping = [\"mappings/psec.toml\"]
instance = \"dom 0\"
grace = \"soon\"

[broker]
url = \"mqtt://localhost\"
password_file = \"password\"

[[channel]]
unix = \"/var/run/*\"

[[channel]]
serial = \"/dev/hvc2\"

[limits]
line = \"16 megabytes\"
calls = \"many\"

[log]
level = \"loud\"
format = \"xml\"
";

const WRONG_MAPPING: &str = "\
dialect = \"business\"
requesters = \"named\"
requester_member = \"source\"

[[command]]
name = \"SCAN\"
legacy = \"scan\"
topic = \"business/#\"
handler = \"vm-scan\"
colour = \"blue\"

[[command.answer]]
reponse = \"scan\"
members.verdict = { legacy = \"verdict\", values = { clean = \"sain\", infected = \"sain\" } }

[[event]]
name = \"SCANNED\"
legacy = \"scanned\"
topic = \"business/scanned\"
[event.members]
file = 3
";

#[test]
fn check_finds_what_run_would_find_without_connecting() {
    let here = folder(&[("passwords", ""), ("password", "s3cret\n"), ("file", "")]);
    for made in ["sockets", "state"] {
        fs::create_dir(here.path().join(made)).unwrap();
    }
    let good = format!(
        "mappings = [{:?}]\nstate_dir = \"state\"\n[broker]\nurl = \"unix:/absent/mqtt.sock\"\n\
         user = \"passerelle\"\npasswords = \"passwords\"\n[[channel]]\nunix = \"{}/sockets/*-msg.sock\"\n\
         [store]\ndir = \"state/store\"\n",
        psec(),
        here.path().display()
    );
    let secrets = |name: &str, text: &str, mode: u32| {
        let file = here.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let check = |text: &str| {
        fs::write(here.path().join("passerelle.toml"), text).unwrap();
        passerelle(here.path(), &["check", "passerelle.toml"], "")
    };
    let told = |text: &str, what: &str| {
        let shown = check(text);
        assert!(shown.code == 1 && shown.out.contains(what), "{what}\n{shown:?}");
        assert!(!shown.out.contains("s3cret"), "{shown:?}");
    };
    const ALL: &str = "passerelle:s3cret\nvm-gui:s3cret\n";
    secrets("passwords", ALL, 0o600);
    secrets("password", "s3cret\n", 0o600);
    assert_eq!(check(&good).code, 0);
    for (text, mode, what) in [
        (ALL, 0o644, "its mode is 644"),
        ("passerelle:s3cret\n\nvm-gui:s3cret\n", 0o600, "passwords:2: no colon"),
        ("passerelle:s3cret\nvm-gui:s3cret\nvm-gui:s3cret\n", 0o600, "passwords:3: this name has"),
        ("vm-gui:s3cret\n", 0o600, "no line for \"passerelle\""),
        ("\u{feff}passerelle:s3cret\n", 0o600, "a byte-order mark"),
    ] {
        secrets("passwords", text, mode);
        told(&good, what);
    }
    secrets("passwords", ALL, 0o600);
    let long = format!("unix:/{}.sock", "x".repeat(103));
    for (from, to, what) in [
        ("\"passwords\"", "\"absent\"", "absent: No such file"),
        ("passwords =", "password_file = \"absent\"\npasswords =", "absent: No such file"),
        ("/sockets/", "/absent/", "/absent: No such file"),
        ("state_dir = \"state\"", "state_dir = \"absent\"", "absent: No such file"),
        ("state_dir = \"state\"", "state_dir = \"file\"", "file: it is no folder"),
        ("state/store", "file/store", "file: it is no folder"),
        ("unix:/absent/mqtt.sock", &long, "107 bytes at most"),
        ("unix:/absent/mqtt.sock", "tcp://::1:1883", "no broker's address"),
        ("unix:/absent/mqtt.sock", "tcp://[::x]:1883", "no broker's address"),
    ] {
        told(&good.replacen(from, to, 1), what);
    }
    let one_more = "passwords =";
    let with_one = good.replacen(one_more, "password_file = \"password\"\npasswords =", 1);
    secrets("passwords", "vm-gui:s3cret\n", 0o600);
    assert_eq!(check(&with_one).code, 0);
    let tcp = with_one.replacen("unix:/absent/mqtt.sock", "tcp://[::1]:1883", 1);
    assert_eq!(check(&tcp).code, 0);
}

/// What `mqtts://` needs: the keys, and what is in the files.
#[test]
fn check_finds_what_is_wrong_with_certificates() {
    let here = folder(&[("empty.pem", ""), ("torn.pem", "-----BEGIN CERTIFICATE-----\n%")]);
    let at = |name: &str| here.path().join(name);
    for made in ["sockets", "state"] {
        fs::create_dir(at(made)).unwrap();
    }
    let authority = Authority::new().unwrap();
    let (certificate, key) = authority.sign(&["passerelle"]).unwrap();
    let (_, other) = authority.sign(&["another"]).unwrap();
    let open = at("open.key");
    fs::copy(&key, &open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let ca = format!("ca_file = {:?}\n", authority.file());
    let cert = format!("cert_file = {certificate:?}\n");
    let good = format!("{ca}{cert}key_file = {key:?}\n");
    let check = |url: &str, keys: &str| {
        let text = format!(
            "mappings = [{:?}]\nstate_dir = \"state\"\n[broker]\nurl = {url}\n{keys}\
             [[channel]]\nunix = \"{}/*-msg.sock\"\n",
            psec(),
            at("sockets").display()
        );
        fs::write(at("passerelle.toml"), text).unwrap();
        passerelle(here.path(), &["check", "passerelle.toml"], "")
    };
    let tls = "\"mqtts://broker.example:8883\"";
    let list = "[\"unix:/absent/mqtt.sock\", \"mqtts://[::1]:8883\", \"mqtts://10.0.0.1:8883\"]";
    for (url, keys) in [(tls, &ca), (tls, &good), (list, &good)] {
        let shown = check(url, keys);
        assert_eq!(shown.code, 0, "{shown:?}");
    }
    let plain = "\"tcp://broker.example:1883\"";
    for (url, keys, what) in [
        (tls, "", "nothing says which broker to believe"),
        (tls, &format!("{ca}{cert}"), "a certificate without its key"),
        (tls, &format!("{ca}key_file = {key:?}\n"), "a key without its certificate"),
        (plain, &ca, "a certificate or key without TLS"),
        (tls, "ca_file = \"absent.pem\"\n", "absent.pem: No such file"),
        (tls, "ca_file = \"empty.pem\"\n", "empty.pem: there is no certificate in it"),
        (tls, "ca_file = \"torn.pem\"\n", "torn.pem: it is no PEM"),
        (tls, "ca_file = \"state\"\n", "state: it is no regular file"),
        (
            tls,
            &format!("{ca}{cert}key_file = \"open.key\"\n"),
            "others may not read or write the key",
        ),
        (tls, &format!("{ca}{cert}key_file = {certificate:?}\n"), "others may not read"),
        (tls, &format!("{ca}{cert}key_file = {other:?}\n"), "do not belong together"),
        (tls, &format!("{ca}cert_file = {key:?}\nkey_file = {key:?}\n"), "no certificate in it"),
        ("\"mqtts://a b:8883\"", &ca, "is no name that a certificate can have"),
        ("[]", "", "`url` names no broker"),
        ("[1]", "", "`url`"),
        (&format!("[{plain}, {plain}]"), "", "is named twice"),
    ] {
        let shown = check(url, keys);
        assert!(shown.code == 1 && shown.out.contains(what), "{what}: {shown:?}");
        let run = passerelle(here.path(), &["run", "--config", "passerelle.toml"], "");
        assert!(run.code == 2 && run.err.contains(what), "{what}: {run:?}");
    }
}

/// What lies in the way of what is kept, while observing too; and a port that is a link to itself.
#[test]
fn check_finds_what_lies_in_the_way() {
    let here = folder(&[]);
    let at = |name: &str| here.path().join(name);
    for made in ["sockets", "state", "relay", "fifo", "taken/coverage.json", "taken/seen.json.new"]
    {
        fs::create_dir_all(at(made)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo/passerelle.lock"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::create_dir_all(at("locked/passerelle.lock")).unwrap();
    std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
    let dom0 = format!("unix = \"{}/*-msg.sock\"", at("sockets").display());
    let domu = format!("serial = \"{}\"\nlocal = [\"vm-gui\"]", at("loop").display());
    let relay = |name: &str| format!("[observe]\nrelay = {:?}\n", at(name));
    let check = |state: &str, channel: &str, more: &str| {
        let text = format!(
            "mappings = [{:?}]\nstate_dir = \"{state}\"\n[broker]\nurl = \"unix:/absent/mqtt.sock\"\n\
             [[channel]]\n{channel}\n{more}",
            psec()
        );
        fs::write(at("passerelle.toml"), text).unwrap();
        passerelle(here.path(), &["check", "passerelle.toml"], "")
    };
    for more in ["", &relay("relay")] {
        assert_eq!(check("state", &dom0, more).code, 0);
        for (state, what) in [
            ("fifo", "passerelle.lock: it is no regular file"),
            ("locked", "passerelle.lock: it is no regular file"),
            ("taken", ".json: it is a folder"),
        ] {
            let shown = check(state, &dom0, more);
            assert!(shown.code == 1 && shown.out.contains(what), "{state} {more}: {shown:?}");
        }
    }
    let shown = check("state", &domu, "");
    // Each C library has its own words.
    let what = std::io::Error::from(rustix::io::Errno::LOOP).to_string();
    assert!(shown.code == 1 && shown.out.contains(&what), "{shown:?}");
}

/// The service passes its environment to both.
#[test]
fn check_takes_the_level_of_the_log_that_run_takes() {
    for (level, code) in [("debug", 0), ("infoo", 2)] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_passerelle"));
        let output =
            program.arg("check").arg(psec()).env("PASSERELLE_LOG", level).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(code == 0 || err.contains("infoo"), "{err}");
    }
}
