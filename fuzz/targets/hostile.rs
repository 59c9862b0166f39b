//! A hostile domain beside honest ones: whatever it says, and however its program comes and goes, each honest
//! call is carried out once and answered once, word for word.
#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use passerelle::engine::limits::Limits;
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use passerelle_fuzz::spelled::{SEPARATOR, World, name};
use passerelle_fuzz::tables;
use passerelle_fuzz::watched::{Step, apply, gateway};
use std::time::Duration;

const HOSTILE: &str = "vm-scan";
const ASKER: &str = "vm-gui";
const HANDLER: &str = "sys-usb";
/// The most that is held between two honest calls: what the hostile domain may hold, and a queue for each other.
const HELD: usize = 64 * 1024;

/// The same done by the hostile domain; `None`: it is not a domain's to do.
fn by_the_hostile_one(step: Step) -> Option<Step> {
    let it = name(HOSTILE);
    Some(match step {
        Step::Bytes(_, bytes) => Step::Bytes(it, bytes),
        Step::Tunnel(_, bytes) => Step::Tunnel(it, bytes),
        Step::TunnelClosed(_) => Step::TunnelClosed(it),
        Step::Connect(_) => Step::Connect(it),
        Step::Disconnect(_) => Step::Disconnect(it),
        Step::Stall(_) => Step::Stall(it),
        Step::Elapse(span) => Step::Elapse(span.min(Duration::from_secs(5))),
        _ => return None,
    })
}

/// What a domain was written, and whom the handler was asked by.
fn written(effects: &[Observed], to: &str) -> Vec<String> {
    let lines = effects.iter().filter_map(|effect| match effect {
        Observed::Written(name, line) if name.as_str() == to => Some(line),
        _ => None,
    });
    lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// The handler answers whatever it is asked, and whoever asks.
fn serve(gateway: &mut Rehearsal, effects: &[Observed], number: usize) {
    for line in written(effects, HANDLER) {
        let Ok(asked) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if asked["type"] != "commande" {
            continue;
        }
        let answer = serde_json::json!({
            "type": "reponse", "source": HANDLER, "destination": asked["source"],
            "payload": {"commande": asked["payload"]["commande"], "data": [number.to_string()]},
        });
        gateway.receive(&name(HANDLER), format!("{answer}\n").as_bytes());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((setting, rest)) = data.split_first() else { return };
    let limits = Limits { line: 2048, queue: 8192, outbox: 8192, calls: 8, ..Limits::default() };
    let domains = [ASKER, HANDLER, HOSTILE].map(name);
    let mut gateway = gateway(&tables::numbered(*setting).table, &limits, &domains);
    let mut world = World::default();
    for (number, part) in rest.split(|b| *b == SEPARATOR).enumerate() {
        let Ok(step) = world.step(&mut Unstructured::new(part)) else { continue };
        let Some(step) = by_the_hostile_one(step) else { continue };
        apply(&mut gateway, &step, &limits);
        let effects = gateway.take_effects();
        world.look_at(&effects);
        serve(&mut gateway, &effects, number);
        gateway.take_effects();

        let arguments = format!(r#"{{"nom_disque":"{number}"}}"#);
        let question = format!(
            r#"{{"type":"commande","source":"{ASKER}","destination":"{HANDLER}","payload":{{"commande":"liste_fichiers","arguments":{arguments}}}}}"#
        ) + "\n";
        gateway.receive(&name(ASKER), question.as_bytes());
        let effects = gateway.take_effects();
        let asked = written(&effects, HANDLER).iter().filter(|line| **line == question).count();
        assert_eq!(asked, 1, "carried out once: {effects:?}");
        serve(&mut gateway, &effects, number);
        let answers = written(&gateway.take_effects(), ASKER);
        let is_its = |line: &&String| line.contains(&format!(r#""data":["{number}"]"#));
        assert_eq!(answers.iter().filter(is_its).count(), 1, "answered once: {answers:?}");
        assert!(gateway.held() <= HELD, "{} bytes are held", gateway.held());
    }
});
