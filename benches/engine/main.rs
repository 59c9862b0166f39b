//! The engine alone: nanoseconds, and bytes allocated, for one message of every row in either
//! direction, and megabytes a second on large ones.
//!
//! The messages are those of `fixtures/conversations/psec`: each input is measured on a gateway that has
//! had the inputs before it. divan rather than criterion, for its `AllocProfiler` counts allocations
//! without an allocator of our own, and it brings few crates along.

#![allow(clippy::disallowed_methods, reason = "the benchmark plays the edges")]

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use passerelle::cmd::read;
use passerelle::conversation::{BEGINNING, Input, apply, is_effect, parse};
use passerelle::engine::clock::Now;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use passerelle::engine::proxy::Setting;
use passerelle::engine::publish::Received;
use passerelle::engine::rehearsal::Rehearsal;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() {
    divan::main();
}

/// One message of a conversation, and what came before it.
struct Case {
    name: String,
    setting: Setting,
    legacy: Vec<DomainName>,
    before: Vec<Input>,
    input: Input,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Case {
    /// A gateway that has had what came before.
    fn gateway(&self) -> Rehearsal {
        let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH + BEGINNING };
        let mut gateway = Rehearsal::new(self.setting.clone(), &self.legacy, now);
        for input in &self.before {
            let _ = apply(&mut gateway, input.clone(), no_reload);
        }
        gateway
    }
}

/// These conversations load nothing anew.
fn no_reload(_: &[String]) -> Result<Table, String> {
    Err("not here".into())
}

fn setting() -> Setting {
    let source = read(&Path::new(ROOT).join("mappings/psec.toml"));
    let table = source.ok().and_then(|s| Table::compile(&[s], &Speaks::default()).ok());
    Setting {
        table: Arc::new(table.unwrap_or_default()),
        policy: Arc::default(),
        limits: Limits::default(),
        instance: "dom0".into(),
        nonce: "call".into(),
    }
}

fn named(names: &[&str]) -> Vec<DomainName> {
    names.iter().filter_map(|name| DomainName::parse(name).ok()).collect()
}

/// Every input of the conversations with `psec.toml`, but for those that only let time pass.
fn messages() -> Vec<Case> {
    let setting = setting();
    let folder = Path::new(ROOT).join("fixtures/conversations/psec");
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| e.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        // Which of the domains that are named there are legacy is said in quotes.
        let head = lines.next().and_then(|l| l.split_once("\"legacy\":")).map_or("", |h| h.1);
        let legacy = named(&head.split('"').collect::<Vec<_>>());
        let mut before = Vec::new();
        for line in lines.filter(|line| is_effect(line) == Ok(false)) {
            let Ok(input) = parse(line) else { continue };
            if let Input::Legacy(..) | Input::Mqtt(_) = input {
                let side =
                    if matches!(input, Input::Mqtt(_)) { "from MQTT" } else { "from legacy" };
                cases.push(Case {
                    name: format!("{name} {} {side}", before.len() + 1),
                    setting: setting.clone(),
                    legacy: legacy.clone(),
                    before: before.clone(),
                    input: input.clone(),
                });
            }
            before.push(input);
        }
    }
    cases
}

#[divan::bench(args = messages())]
fn message(bencher: Bencher<'_, '_>, case: &Case) {
    measure(bencher, case);
}

fn measure(bencher: Bencher<'_, '_>, case: &Case) {
    let size = match &case.input {
        Input::Legacy(_, bytes) => bytes.len(),
        Input::Mqtt(message) => message.payload.len(),
        _ => 0,
    };
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| (case.gateway(), case.input.clone()))
        .bench_values(|(mut gateway, input)| {
            let effects = apply(&mut gateway, input, no_reload);
            (gateway, effects)
        });
}

/// A listing of 100 000 files and the creation of a file of 8 MiB, in either direction.
fn large() -> Vec<Case> {
    let setting = setting();
    let files = files();
    let contents = "The quick brown fox jumps over the lazy dog. ".repeat(8 << 20 >> 5);
    let contents = contents.get(..8 << 20).unwrap_or_default();
    let data = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(contents)
    };
    let legacy = |from: &str, kind: &str, to: &str, payload: String| {
        let line = format!(
            "{{\"type\":\"{kind}\",\"source\":\"{from}\",\"destination\":\"{to}\",\"payload\":{payload}}}\n"
        );
        let name = DomainName::parse(from).unwrap_or_else(|_| DomainName::dom0());
        Input::Legacy(name, line.into_bytes())
    };
    let mqtt = |topic: &str, payload: String| {
        let topic = format!("system/disks/{topic}");
        let payload = payload.into_bytes().into();
        Input::Mqtt(Box::new(Received { topic, payload, ..Received::default() }))
    };
    let command =
        |name: &str, arguments: &str| format!(r#"{{"commande":"{name}","arguments":{arguments}}}"#);
    let ask = r#"{"nom_disque":"DISK1"}"#;
    let listing = format!(r#"{{"disk":"DISK1","files":[{files}]}}"#);
    let create = format!(r#"{{"filepath":"a","disk":"DISK1","contents":"{contents}"}}"#);
    let case = |name: &str, legacy: &[&str], before, input| Case {
        name: name.to_owned(),
        setting: setting.clone(),
        legacy: named(legacy),
        before,
        input,
    };
    vec![
        case(
            "listing to MQTT",
            &["sys-usb"],
            vec![mqtt("list_files/request", r#"{"source":"vm-m","disk":"DISK1"}"#.to_owned())],
            legacy(
                "sys-usb",
                "reponse",
                "vm-m",
                format!(r#"{{"commande":"liste_fichiers","data":{listing}}}"#),
            ),
        ),
        case(
            "listing to legacy",
            &["vm-gui"],
            vec![legacy("vm-gui", "commande", "sys-usb", command("liste_fichiers", ask))],
            mqtt("list_files/response/vm-gui", listing),
        ),
        case(
            "create_file to MQTT",
            &["vm-gui"],
            vec![],
            legacy("vm-gui", "commande", "sys-usb", command("create_file", &create)),
        ),
        case(
            "create_file to legacy",
            &["sys-usb"],
            vec![],
            mqtt(
                "create_file/request",
                format!(r#"{{"source":"vm-m","filepath":"a","disk":"DISK1","data":"{data}"}}"#),
            ),
        ),
    ]
}

fn files() -> String {
    let mut out = String::new();
    for i in 0..100_000 {
        let comma = if i > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            r#"{comma}{{"type":"file","path":"photos/2019/holidays-{:02}/","name":"IMG-{i:06} \u00e9t\u00e9.jpeg","size":{}}}"#,
            i % 97,
            1000 + i
        );
    }
    out
}

#[divan::bench(args = large(), sample_count = 10)]
fn large_message(bencher: Bencher<'_, '_>, case: &Case) {
    measure(bencher, case);
}
