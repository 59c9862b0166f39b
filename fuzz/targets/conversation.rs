//! The whole engine, driven by conversations as text: those of `fixtures/` are its seeds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::conversation::{self, Input};
use passerelle::engine::limits::Limits;
use passerelle::engine::name::DomainName;
use passerelle_fuzz::tables::{self, Mapping};
use passerelle_fuzz::watched::{Step, Watched};
use serde_json::Value;

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The mapping and the domains that a conversation's first line names.
fn setting(line: &str) -> (&'static Mapping, Vec<DomainName>) {
    let header: Value = serde_json::from_str(line).unwrap_or_default();
    let texts = |key: &str| -> Vec<&str> {
        header[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let files: Vec<&str> = texts("mappings").into_iter().map(file_name).collect();
    let legacy = texts("legacy").into_iter().filter_map(|n| DomainName::parse(n).ok());
    let mut legacy: Vec<_> = legacy.filter(|n| !n.is_dom0() && !n.is_everyone()).take(4).collect();
    legacy.sort();
    legacy.dedup();
    (tables::of_files(&files), legacy)
}

/// The step that an input is. There is none for what Dom0's program does on its sockets.
fn step(input: Input) -> Option<Step> {
    Some(match input {
        Input::Legacy(name, bytes) => Step::Bytes(name, bytes),
        Input::Mqtt(message) => Step::Mqtt(message),
        Input::Connect(name) => Step::Connect(name),
        Input::Disconnect(name) => Step::Disconnect(name),
        Input::Unavailable(name, _) => Step::Unavailable(name),
        Input::Stall(name) => Step::Stall(name),
        Input::TakeForLegacy(name) => Step::TakeForLegacy(name),
        Input::Puback(topic, code) => Step::Puback(topic, code),
        Input::BrokerLost(client) => Step::Lost(client),
        Input::BrokerConnected(kept, client) => Step::Back(kept, client),
        Input::Tunnel(name, bytes) => Step::Tunnel(name, bytes),
        Input::TunnelClosed(name) => Step::TunnelClosed(name),
        Input::Nobody(topic) => Step::Nobody(topic),
        Input::Elapse(span) => Step::Elapse(span),
        Input::Reload(files) => {
            let files: Vec<&str> = files.iter().map(|f| file_name(f)).collect();
            Step::Reload(&tables::of_files(&files).table)
        }
        Input::Relay(_) | Input::Socket(..) | Input::OnSocket(..) => return None,
    })
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let Some(header) = lines.next() else { return };
    let (mapping, legacy) = setting(header);
    let cut = u8::try_from(text.len() % 64).unwrap_or_default();
    let mut watched = Watched::new(&mapping.table, &Limits::default(), &legacy, (cut, 1 + cut / 7));
    let mut all_read = true;
    for line in lines {
        let Ok(input) = conversation::parse(line) else { continue };
        all_read &= !matches!(input, Input::Stall(_));
        if let Some(step) = step(input) {
            watched.step(&step);
        }
    }
    watched.end(all_read);
});
