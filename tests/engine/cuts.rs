//! The same bytes have the same effects, however they are cut.

use crate::kit::{
    assert_ledger, command, compile, name, notification, request, response, root, seed, shared,
};
use passerelle::conversation::{self, Input};
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use std::path::{Path, PathBuf};

/// Loads the mapping files of a reload.
type Load<'l> = &'l dyn Fn(&[String]) -> Table;

/// Plays inputs; the bytes of each from a domain are cut in two, if `cut` says where.
fn play(
    mut gateway: Rehearsal,
    inputs: &[Input],
    load: Load<'_>,
    cut: Option<usize>,
) -> Vec<String> {
    let mut effects = Vec::new();
    for input in inputs {
        let parts = match (cut, input) {
            (Some(cut), Input::Legacy(name, bytes)) => {
                let (before, after) = bytes.split_at(cut.min(bytes.len()));
                vec![
                    Input::Legacy(name.clone(), before.to_vec()),
                    Input::Legacy(name.clone(), after.to_vec()),
                ]
            }
            _ => vec![input.clone()],
        };
        let mut all = Vec::new();
        for part in parts {
            let load = |files: &[String]| Ok(load(files));
            let done = conversation::apply(&mut gateway, part, load).expect("an input");
            assert_ledger(&gateway);
            all.extend(done);
        }
        effects.extend(joined(all).iter().map(conversation::render));
    }
    effects
}

/// The effects with what goes through a tunnel in one piece.
fn joined(effects: Vec<Observed>) -> Vec<Observed> {
    let mut joined: Vec<Observed> = Vec::new();
    for effect in effects {
        match (joined.last_mut(), &effect) {
            (
                Some(Observed::Tunnelled(before, way, first)),
                Observed::Tunnelled(name, to, more),
            ) if before == name && way == to => {
                *first = [&first[..], more].concat().into();
            }
            _ => joined.push(effect),
        }
    }
    joined
}

/// Cuts the legacy inputs at every byte (very long ones at their beginning and here and there) and
/// compares; says how many inputs there were.
fn cut_everywhere(
    what: &str,
    gateway: impl Fn() -> Rehearsal,
    inputs: &[Input],
    load: Load<'_>,
) -> usize {
    const LONG: usize = 4096;
    const STRIDE: usize = 997;
    let whole = play(gateway(), inputs, load, None);
    let lengths: Vec<usize> = inputs.iter().filter_map(length).collect();
    let longest = lengths.iter().copied().max().unwrap_or_default();
    // Where something large comes from MQTT each run takes its time.
    let large = |i: &Input| matches!(i, Input::Mqtt(message) if message.payload.len() > LONG);
    let step = if inputs.iter().any(large) { 16 } else { 1 };
    for cut in (0..longest.min(LONG)).step_by(step).chain((LONG..longest).step_by(STRIDE)) {
        assert_eq!(play(gateway(), inputs, load, Some(cut)), whole, "{what}: cut at byte {cut}");
    }
    lengths.len()
}

fn length(input: &Input) -> Option<usize> {
    match input {
        Input::Legacy(_, bytes) => Some(bytes.len()),
        _ => None,
    }
}

/// A line of every kind, good and bad, and what makes the next one answer something.
fn every_kind() -> Vec<Input> {
    let from =
        |domain: &str, line: String| Input::Legacy(name(domain), format!("{line}\n").into_bytes());
    let gui = |line| from("vm-gui", line);
    let usb = |line| from("sys-usb", line);
    let mqtt =
        |root: &str, payload: &str| Input::Mqtt(Box::new(request(root, "vm-far", "c", payload)));
    vec![
        gui(command("vm-gui", "sys-usb", "liste_disques", "{}")),
        usb(response("sys-usb", "vm-gui", "liste_disques", r#"["Cl\u00e9","caf\udce9"]"#)),
        gui(command("vm-gui", "Dom0", "liste_fichiers", r#"{"nom_disque":"__repository__"}"#)),
        gui(command("vm-gui", "vm-far", "get_file_footprint", r#"{"disk":"d","filepath":"é"}"#)),
        mqtt("system/disks/list_files", r#"{"disk":"USB"}"#),
        usb(format!(
            "{}\r",
            response(
                "sys-usb",
                "vm-far",
                "liste_fichiers",
                r#"{"disk":"USB","files":[{"type":"folder","path":"","name":"a\\\"\udce9"}]}"#
            )
        )),
        mqtt("system/disks/read_file", r#"{"source_disk":"USB","filepath":"f"}"#),
        usb(notification(
            "sys-usb",
            "tous",
            "fichier",
            r#"{"source_disk":"USB","filepath":"f","disk":"/r/.","original_footprint":"","etat":"disponible"}"#,
        )),
        usb(notification("sys-usb", "Dom0", "etat_domu", r#"{"pret":1}"#)),
        gui(notification("vm-gui", "sys-usb", "entree", r#"{"entree":"souris"}"#)),
        gui(command("vm-gui", "tous", "liste_composants", "{}")),
        usb("\n\r\n not json \u{0}\n[1,2]\n{}".into()),
        Input::Legacy(name("sys-usb"), b"\xff\xfe\"\n\x10\x00\n{\"type\":\"commande\"".to_vec()),
        usb(notification("vm-x", "tous", "erreur", r#"{"niveau":40,"message":"m"}"#)),
        gui(notification("vm-gui", "tous", "erreur", r#"{"niveau":40,"message":"\ud83d\ude00"}"#)),
    ]
}

#[test]
fn lines_of_every_kind_have_the_same_effects_cut_at_every_byte() {
    let inputs = every_kind();
    let table = std::sync::Arc::new(seed());
    let gateway = || shared(&table, &[name("vm-gui"), name("sys-usb")]);
    assert_eq!(cut_everywhere("every kind", gateway, &inputs, &|_| seed()), 13);
    assert!(play(gateway(), &inputs, &|_| seed(), None).len() > 20);
}

/// A conversation's setting and inputs.
struct Conversation {
    mappings: Vec<PathBuf>,
    legacy: Vec<DomainName>,
    speaks: Speaks,
    inputs: Vec<Input>,
}

fn read(file: &Path) -> Conversation {
    let text = std::fs::read_to_string(file).expect("a conversation");
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut lines = lines.collect::<Vec<_>>().into_iter();
    let header: serde_json::Value =
        serde_json::from_str(lines.next().expect("a header")).expect("a header");
    let folder = file.parent().expect("a folder");
    let list = |key: &str| header[key].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let mut speaks = Speaks::default();
    for (domain, dialect) in header["dialects"].as_object().into_iter().flatten() {
        speaks.domains.insert(name(domain), text(dialect));
    }
    let inputs = lines.filter(|l| !conversation::is_effect(l).expect("an input or an effect"));
    Conversation {
        mappings: list("mappings").iter().map(|m| folder.join(text(m))).collect(),
        legacy: list("legacy").iter().map(|d| name(&text(d))).collect(),
        speaks,
        inputs: inputs.map(|l| conversation::parse(l).expect("an input")).collect(),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "jsonl") {
            files.push(path);
        }
    }
}

#[test]
fn conversations_have_the_same_effects_cut_at_every_byte() {
    let folder = root().join("fixtures/conversations");
    if !folder.exists() {
        return;
    }
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    let mut count = 0;
    for file in &files {
        let Conversation { mappings, legacy, speaks, inputs } = read(file);
        let table = std::sync::Arc::new(compile(&mappings, &speaks));
        let gateway = || shared(&table, &legacy);
        let folder = file.parent().expect("a folder");
        let load = |files: &[String]| {
            let files: Vec<_> = files.iter().map(|f| folder.join(f)).collect();
            compile(&files, &speaks)
        };
        count += cut_everywhere(&file.display().to_string(), gateway, &inputs, &load);
    }
    assert!(files.len() >= 20, "{} conversations", files.len());
    assert!(count >= files.len(), "{count} legacy inputs in {} conversations", files.len());
}
