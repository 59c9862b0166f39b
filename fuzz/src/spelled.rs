//! Steps, spelled by a few bytes each: mostly messages that a gateway understands, in every dialect.

use crate::packets::{connect, packet};
use crate::tables;
use crate::watched::Step;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use passerelle::engine::name::DomainName;
use passerelle::engine::publish::Received;
use passerelle::engine::rehearsal::Observed;
use std::time::Duration;

/// The domains that may be legacy ones.
pub const LEGACY: [&str; 4] = ["vm-gui", "sys-usb", "vm-scan", "vm-late"];
/// Between two steps: what is put into one, or taken out of it, leaves the others as they are.
pub const SEPARATOR: u8 = 0xFF;

const NAMES: [&str; 13] = [
    "vm-gui",
    "sys-usb",
    "vm-scan",
    "vm-late",
    "vm-far",
    "Dom0",
    "dom0",
    "tous",
    "mqtt",
    "passerelle",
    "",
    "vm/gui",
    "+",
];
const LEGACY_NAMES: [&str; 27] = [
    "liste_disques",
    "liste_fichiers",
    "lit_fichier",
    "copie_fichier",
    "supprime_fichier",
    "start_benchmark",
    "get_file_footprint",
    "create_file",
    "liste_composants",
    "tell",
    "twice",
    "file_footprint",
    "file_creation",
    "benchmark_inputs",
    "benchmark_files",
    "etat_composant",
    "fichier",
    "erreur",
    "etat_domu",
    "disque",
    "entree",
    "debug",
    "benchmark",
    "scanne",
    "resultat_scan",
    "journal",
    "no-such",
];
const ROOTS: [&str; 24] = [
    "system/disks/list_disks",
    "system/disks/list_files",
    "system/disks/read_file",
    "system/disks/copy_file",
    "system/disks/remove_file",
    "system/disks/delete_file",
    "system/misc/benchmark",
    "system/benchmark",
    "system/disks/get_file_footprint",
    "system/disks/create_file",
    "system/disks/file_footprint",
    "system/components/discover",
    "system/discover/components",
    "system/disk/new_file",
    "system/disks/new_file",
    "system/disks/delete_file",
    "system/disks/disk_state",
    "system/disk/state",
    "system/events/error",
    "system/error",
    "own/tell",
    "own/twice",
    "system/info",
    "no/such",
];
const MEMBERS: [&str; 44] = [
    "nom_disque",
    "disk",
    "filepath",
    "chemin_fichier",
    "nom_fichier",
    "destination",
    "id_benchmark",
    "contents",
    "data",
    "footprint",
    "success",
    "etat",
    "fichier",
    "status",
    "composant",
    "components",
    "disks",
    "files",
    "pret",
    "niveau",
    "message",
    "source",
    "source_disk",
    "target_disk",
    "module",
    "level",
    "description",
    "datetime",
    "quoi",
    "what",
    "nom",
    "state",
    "id",
    "label",
    "type",
    "compressed",
    "original_footprint",
    "duration",
    "iterations",
    "metrics",
    "domain_name",
    "source_footprint",
    "new_file",
    "x",
];
const VALUES: [&str; 40] = [
    "\"USB\"",
    "\"f\"",
    "\"__repository__\"",
    "\"depot_local\"",
    "\"/usr/lib\"",
    "\"a\\udce9\"",
    "\"é\"",
    "\"Yw==\"",
    "\"inputs\"",
    "\"files\"",
    "\"disponible\"",
    "\"copié\"",
    "\"supprimé\"",
    "\"erreur\"",
    "\"demarre\"",
    "\"termine\"",
    "\"ok\"",
    "\"error\"",
    "\"started\"",
    "\"finished\"",
    "\"begun\"",
    "\"done\"",
    "\"présent\"",
    "\"absent\"",
    "\"connected\"",
    "\"vm-far\"",
    "\"sys-usb\"",
    "\"\"",
    "0",
    "1",
    "-1",
    "40",
    "1e999",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    r#"[{"id":"c"},{"id":"d","label":"x"},"e"]"#,
    r#"[{"path":"p","name":"n","type":"folder","size":0}]"#,
];
/// Bodies that rows ask for, to begin with.
const BODIES: [&str; 16] = [
    "{}",
    r#"{"nom_disque":"USB"}"#,
    r#"{"nom_disque":"USB","chemin_fichier":"f"}"#,
    r#"{"disk":"USB","filepath":"f","destination":"__repository__"}"#,
    r#"{"nom_fichier":"f","nom_disque":"USB"}"#,
    r#"{"id_benchmark":"inputs"}"#,
    r#"{"filepath":"f","disk":"USB","contents":"c"}"#,
    r#"{"disk":"USB","files":[{"type":"file","path":"p","name":"n","size":1}]}"#,
    r#"{"disk":"USB","filepath":"f","footprint":"0","success":true}"#,
    r#"{"source_disk":"USB","target_disk":"__repository__","filepath":"f"}"#,
    r#"{"etat":"termine","metrics":[1]}"#,
    r#"{"source_disk":"USB","filepath":"f","disk":"/r/.","original_footprint":"0","etat":"disponible"}"#,
    r#"{"fichier":"f","etat":"erreur"}"#,
    r#"["USB","a\udce9"]"#,
    r#"{"composant":"c","etat":"ok","id":"c","label":"l","type":"core"}"#,
    r#"{"niveau":40,"message":"m","pret":1,"nom":"USB","level":"error","description":"d"}"#,
];
const SECONDS: [u64; 12] = [0, 1, 2, 3, 10, 29, 30, 31, 59, 61, 600, 100_000];

/// What was published and can be answered, and what the broker may send once more.
#[derive(Debug, Default)]
pub struct World {
    requests: Vec<Received>,
    messages: Vec<Received>,
}

impl World {
    /// Takes note of what the gateway asks on MQTT, as far as it is ever looked at again.
    pub fn look_at(&mut self, effects: &[Observed]) {
        for effect in effects {
            let Observed::Published(_, publish) = effect else { continue };
            if let Some(topic) = &publish.response_topic {
                self.requests.push(Received {
                    topic: topic.clone(),
                    correlation: publish.correlation.clone(),
                    ..Received::default()
                });
            }
        }
        for old in [&mut self.requests, &mut self.messages] {
            old.drain(..old.len().saturating_sub(8));
        }
    }

    /// A step, and whether it leaves a domain that does not read.
    ///
    /// # Errors
    /// There are no bytes for it.
    pub fn step(&mut self, u: &mut Unstructured<'_>) -> Result<Step> {
        let domain = |u: &mut Unstructured<'_>| Ok(name(u.choose(&LEGACY)?));
        Ok(match u.int_in_range(0..=47u8)? {
            0..=9 => {
                let own = *u.choose(&LEGACY)?;
                let mut line = line(u, own)?.into_bytes();
                line.push(b'\n');
                Step::Bytes(name(own), line)
            }
            10 => {
                let own = *u.choose(&LEGACY)?;
                let mut line = line(u, own)?.into_bytes();
                line.truncate(u.int_in_range(0..=300)?);
                Step::Bytes(name(own), line)
            }
            11 => {
                let to = domain(u)?;
                Step::Bytes(to, u.bytes(u.len())?.to_vec())
            }
            12 => Step::Bytes(domain(u)?, vec![b'x'; u.int_in_range(0..=3000)?]),
            13 => Step::Bytes(domain(u)?, b"\n".to_vec()),
            14..=21 => {
                let message = mqtt(u)?;
                self.messages.push(message.clone());
                Step::Mqtt(Box::new(message))
            }
            22..=25 => self.answer(u)?,
            26 => {
                let back = u.int_in_range(1..=4usize)?;
                let at = self.messages.len().checked_sub(back);
                let mut message = at.map(|at| self.messages[at].clone()).unwrap_or_default();
                message.dup = u.arbitrary()?;
                Step::Mqtt(Box::new(message))
            }
            27 => Step::Connect(domain(u)?),
            28 => Step::Disconnect(domain(u)?),
            29 => Step::Stall(domain(u)?),
            32..=37 => Step::Bytes(domain(u)?, said(u)?),
            38..=39 => Step::Tunnel(domain(u)?, told(u)?),
            40 => Step::TunnelClosed(domain(u)?),
            41 => Step::Lost(client(u)?),
            42..=43 => Step::Back(u.arbitrary()?, client(u)?),
            44 => Step::Unavailable(domain(u)?),
            45 => {
                let root = *u.choose(&ROOTS)?;
                Step::Puback(format!("{root}/request"), *u.choose(&[0x10, 0x83, 0x87, 0x95, 0x97])?)
            }
            30 if u.ratio(1, 8)? => {
                let (root, to) = (*u.choose(&ROOTS)?, *u.choose(&["", "/vm-far", "/sys-usb"])?);
                Step::Nobody(format!("{root}/request{to}"))
            }
            30 if u.ratio(1, 4)? => Step::Reload(&tables::numbered(u.arbitrary()?).table),
            _ => Step::Elapse(Duration::from_secs(*u.choose(&SECONDS)?)),
        })
    }

    /// An answer to one of the last requests.
    fn answer(&mut self, u: &mut Unstructured<'_>) -> Result<Step> {
        let back = u.int_in_range(1..=8usize)?;
        let at = self.requests.len().checked_sub(back);
        let mut answer = at.map(|at| self.requests[at].clone()).unwrap_or_default();
        answer.payload = body(u)?.into();
        self.messages.push(answer.clone());
        Ok(Step::Mqtt(Box::new(answer)))
    }
}

/// A name that is one.
///
/// # Panics
/// It is none.
#[must_use]
pub fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

/// One client, or none: all.
fn client(u: &mut Unstructured<'_>) -> Result<Option<String>> {
    let clients = [None, None, Some("vm-gui"), Some("sys-usb"), Some("passerelle-dom0")];
    Ok(u.choose(&clients)?.map(str::to_owned))
}

/// What a domain says in MQTT: packets, or a piece of one, with a line behind them now and then.
fn said(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    for _ in 0..u.int_in_range(1..=3u8)? {
        said.extend(match u.int_in_range(0..=7u8)? {
            0..=3 => {
                let (level, flags) = (*u.choose(&[4u8, 5, 3, 6])?, *u.choose(&[2u8, 0])?);
                connect(level, flags, u.choose(&NAMES)?)
            }
            4 => packet(0x30, b"\0\x03a/bpayload"),
            5 => packet(0x82, b"\0\x01\0\x03a/b\0"),
            6 => packet(0xE0, &[]),
            _ => [line(u, "vm-gui")?.as_bytes(), b"\n"].concat(),
        });
    }
    if u.ratio(1, 4)? {
        said.truncate(u.int_in_range(1..=said.len())?);
    }
    Ok(said)
}

/// What the broker says to a domain on MQTT.
fn told(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=3u8)? {
        0 => packet(0x20, &[0, 0]),
        1 => packet(0x20, &[1, 0, 0]),
        2 => packet(0x90, &[0, 1, 0]),
        _ => packet(0x30, b"\0\x03a/bpayload"),
    })
}

/// A message of a domain, mostly under its own name.
fn line(u: &mut Unstructured<'_>, own: &str) -> Result<String> {
    let kind = u.int_in_range(0..=7u8)?;
    let source = if u.ratio(1, 8)? { *u.choose(&NAMES)? } else { own };
    let (destination, name) = (*u.choose(&NAMES)?, *u.choose(&LEGACY_NAMES)?);
    let (kind, key, body_key) = match kind {
        0..=2 => ("commande", "commande", "arguments"),
        3..=4 => ("reponse", "commande", "data"),
        5..=6 => ("notification", "evenement", "data"),
        _ => ("autre", "commande", "data"),
    };
    let body = body(u)?;
    Ok(format!(
        r#"{{"type":"{kind}","source":"{source}","destination":"{destination}","payload":{{"{key}":"{name}","{body_key}":{body}}}}}"#
    ))
}

/// A body: one that rows ask for, one with members put in or changed, or anything.
fn body(u: &mut Unstructured<'_>) -> Result<String> {
    let base = *u.choose(&BODIES)?;
    let changes = u.int_in_range(0..=9u8)?;
    match (changes, base.strip_suffix('}')) {
        (9, _) => Ok((*u.choose(&VALUES)?).to_owned()),
        (1..=4, Some(open)) => {
            let mut text = open.to_owned();
            for _ in 0..changes {
                let (member, value) = (u.choose(&MEMBERS)?, u.choose(&VALUES)?);
                // What is there already is given another value.
                let place = format!("\"{member}\":");
                if let Some(at) = text.find(&place).map(|at| at + place.len()) {
                    let end = text[at..].find(",\"").map_or(text.len(), |end| at + end);
                    text.replace_range(at..end, value);
                } else {
                    let comma = if text.len() > 1 { "," } else { "" };
                    text.push_str(&format!("{comma}{place}{value}"));
                }
            }
            Ok(text + "}")
        }
        _ => Ok(base.to_owned()),
    }
}

fn mqtt(u: &mut Unstructured<'_>) -> Result<Received> {
    let root = *u.choose(&ROOTS)?;
    let end = *u.choose(&[
        "/request",
        "/request",
        "/request/",
        "/response/",
        "/response",
        "/notification",
        "",
    ])?;
    let who = if end.ends_with('/') { *u.choose(&NAMES)? } else { "" };
    let response_topic = match u.int_in_range(0..=5u8)? {
        0..=2 => None,
        3..=4 => Some(format!("{root}/response/{}", u.choose(&NAMES)?)),
        _ => Some((*u.choose(&["elsewhere", "", "#", "$SYS/x", "own/tell/response"])?).to_owned()),
    };
    let correlation = match u.int_in_range(0..=5u8)? {
        0..=2 => None,
        3..=4 => Some(vec![u.int_in_range(b'a'..=b'c')?]),
        _ => Some(format!("call-vm-gui-{}", u.int_in_range(1..=9u8)?).into_bytes()),
    };
    let source = if u.arbitrary()? { Some((*u.choose(&NAMES)?).to_owned()) } else { None };
    let mark = match u.int_in_range(0..=9u8)? {
        8 => Some("dom0".to_owned()),
        9 => Some("x".to_owned()),
        _ => None,
    };
    let flags: u8 = u.int_in_range(0..=19)?;
    let payload = body(u)?.into_bytes();
    // What is left over may be anything.
    let payload = if flags == 19 { u.bytes(u.len())?.to_vec() } else { payload };
    Ok(Received {
        topic: format!("{root}{end}{who}"),
        payload: payload.into(),
        retain: flags == 0,
        dup: flags == 1,
        response_topic,
        correlation: correlation.map(Into::into),
        source,
        mark,
    })
}
