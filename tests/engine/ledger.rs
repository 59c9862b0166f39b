//! Any input at all: nothing panics, every message is accounted for, and what is held is bounded.

use crate::kit::{assert_ledger, command, name, notification, response, seed_and, with_limits};
use passerelle::engine::limits::Limits;
use passerelle::engine::publish::Received;
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use proptest::prelude::*;
use std::time::Duration;

const LEGACY: [&str; 3] = ["vm-gui", "sys-usb", "vm-scan"];

/// Rows of every kind that the seed has not.
const MORE_ROWS: &str = r#"
[[command]]
name = "TELL"
legacy = "tell"
topic = "own/tell"
handler = "sys-usb"
exclusive = true
request.members = { what = "quoi?" }

[[command]]
name = "TWICE"
legacy = "twice"
topic = "own/twice"
handler = "sys-usb"
timeout = "3s"
request.members = { what = "quoi?" }
failure = { status = "error" }

[[command.answer]]
reponse = "twice"
final = false
when = { mqtt = { status = "begun" }, legacy = { etat = "begun" } }

[[command.answer]]
reponse = "twice"
when = { mqtt = { status = "done" }, legacy = { etat = "done" } }
"#;

#[derive(Debug, Clone)]
enum Step {
    Bytes(usize, Vec<u8>),
    Mqtt(Box<Received>),
    /// A response to one of the requests that the gateway has published.
    Answer(usize, String),
    /// The last message but so many once more.
    Again(usize, bool),
    Connect(usize),
    Disconnect(usize),
    Stall(usize),
    Elapse(u64),
}

fn who() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "vm-gui", "sys-usb", "vm-scan", "vm-far", "Dom0", "dom0", "tous", "mqtt",
        ])
        .prop_map(String::from),
        1 => prop::sample::select(vec!["", "vm/gui", "+", "é", "x y"]).prop_map(String::from),
    ]
}

fn disk() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["USB", "__repository__", "/usr/lib", "a\\udce9", "é"])
        .prop_map(|d| format!("\"{d}\""))
}

fn body() -> impl Strategy<Value = String> {
    let member = prop::sample::select(vec![
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
        "x",
    ]);
    prop_oneof![
        8 => prop::collection::btree_map(member, value(), 0..6)
            .prop_map(|m| {
                let all: Vec<_> = m.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        6 => (disk(), value()).prop_map(|(d, v)| format!(
            r#"{{"nom_disque":{d},"disk":{d},"filepath":"f","chemin_fichier":"f","destination":{d},"contents":"c","id_benchmark":"inputs","x":{v}}}"#
        )),
        3 => (disk(), etat()).prop_map(|(d, e)| format!(
            r#"{{"disk":{d},"filepath":"f","files":[],"footprint":null,"success":true,"etat":"{e}","composant":"c"}}"#
        )),
        2 => (disk(), etat()).prop_map(|(d, e)| format!(
            r#"{{"disk":{d},"source_disk":{d},"target_disk":{d},"filepath":"f","module":"files","data":"Yw==","status":"{e}"}}"#
        )),
        1 => Just("[]".to_owned()),
        1 => Just(r#"["a","b"]"#.to_owned()),
        1 => value(),
    ]
}

fn etat() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "disponible",
        "copié",
        "supprimé",
        "erreur",
        "demarre",
        "termine",
        "ok",
        "error",
        "started",
        "finished",
        "begun",
        "done",
    ])
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        etat().prop_map(|e| format!("\"{e}\"")),
        disk(),
        Just("\"f\"".to_owned()),
        Just("\"Yw==\"".to_owned()),
        Just("\"vm-far\"".to_owned()),
        Just("1".to_owned()),
        Just("0".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just("[]".to_owned()),
        Just(r#"[{"id":"c"},{"id":"d","label":"x"}]"#.to_owned()),
        Just(r#"[{"path":"p","name":"n","type":"folder","size":0}]"#.to_owned()),
        Just("{\n\"a\":1}".to_owned()),
    ]
}

fn known_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
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
        "no-such",
    ])
}

fn line() -> impl Strategy<Value = String> {
    (0..8u8, who(), who(), known_name(), body()).prop_map(|(kind, s, d, n, b)| match kind {
        0..3 => command(&s, &d, n, &b),
        3..5 => response(&s, &d, n, &b),
        5..7 => notification(&s, &d, n, &b),
        _ => format!(r#"{{"type":"autre","source":"{s}","destination":"{d}","payload":{b}}}"#),
    })
}

/// A line of the domain itself, for most lines of other names are refused.
fn own_line() -> impl Strategy<Value = (usize, String)> {
    (0..LEGACY.len(), line()).prop_map(|(at, line)| {
        let object = line.split_once("\"source\":\"").unwrap();
        let (_, rest) = object.1.split_once('"').unwrap();
        (at, format!("{}\"source\":\"{}\"{rest}", object.0, LEGACY[at]))
    })
}

fn bytes() -> impl Strategy<Value = Step> {
    let whole = |(at, line): (usize, String)| Step::Bytes(at, format!("{line}\n").into_bytes());
    prop_oneof![
        8 => own_line().prop_map(whole),
        2 => (0..LEGACY.len(), line()).prop_map(whole),
        1 => (0..LEGACY.len(), line(), any::<prop::sample::Index>()).prop_map(|(at, line, cut)| {
            let mut bytes = line.into_bytes();
            bytes.truncate(cut.index(bytes.len() + 1));
            Step::Bytes(at, bytes)
        }),
        1 => (0..LEGACY.len(), prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(at, bytes)| Step::Bytes(at, bytes)),
        1 => (0..LEGACY.len(), 500..3000usize)
            .prop_map(|(at, n)| Step::Bytes(at, vec![b'x'; n])),
        1 => (0..LEGACY.len()).prop_map(|at| Step::Bytes(at, b"\n".to_vec())),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    let root = prop::sample::select(vec![
        "system/disks/list_disks",
        "system/disks/list_files",
        "system/disks/read_file",
        "system/disks/copy_file",
        "system/disks/remove_file",
        "system/misc/benchmark",
        "system/disks/get_file_footprint",
        "system/disks/create_file",
        "system/components/discover",
        "system/disk/new_file",
        "system/events/error",
        "own/tell",
        "own/twice",
        "no/such",
    ]);
    let end = prop_oneof![
        4 => Just("/request".to_owned()),
        1 => who().prop_map(|w| format!("/request/{w}")),
        2 => who().prop_map(|w| format!("/response/{w}")),
        1 => Just("/response".to_owned()),
        2 => Just("/notification".to_owned()),
        1 => Just(String::new()),
    ];
    prop_oneof![
        9 => (root, end).prop_map(|(r, e)| format!("{r}{e}")),
        1 => "[a-z/+#é]{0,12}",
    ]
}

fn mqtt() -> impl Strategy<Value = Received> {
    let payload = prop_oneof![
        9 => body().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let reply = prop_oneof![
        3 => Just(None),
        3 => who().prop_map(|w| Some(Some(w))),
        1 => Just(Some(None)),
    ];
    let mark = prop_oneof![8 => Just(None), 1 => Just(Some("dom0".to_owned())), 1 => Just(Some("x".to_owned()))];
    let correlation = prop_oneof![
        2 => Just(None),
        2 => "[a-c]".prop_map(Some),
        1 => (1..9u8).prop_map(|i| Some(format!("call-dom0-vm-gui-{i}"))),
    ];
    (topic(), payload, reply, correlation, prop::option::of(who()), mark, 0..20u8, any::<bool>())
        .prop_map(|(topic, payload, reply, correlation, source, mark, retain, dup)| {
            let root = topic.rsplit_once('/').map_or("", |r| r.0).to_owned();
            let response_topic = reply.map(|to| match to {
                Some(to) => format!("{root}/response/{to}"),
                None => "elsewhere".into(),
            });
            Received {
                topic,
                payload: payload.into(),
                retain: retain == 0,
                dup,
                response_topic,
                correlation: correlation.map(|c| c.into_bytes().into()),
                source,
                mark,
            }
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => bytes(),
        10 => mqtt().prop_map(|m| Step::Mqtt(Box::new(m))),
        4 => (0..8usize, body()).prop_map(|(at, b)| Step::Answer(at, b)),
        2 => (0..4usize, any::<bool>()).prop_map(|(at, dup)| Step::Again(at, dup)),
        2 => (0..LEGACY.len()).prop_map(Step::Connect),
        1 => (0..LEGACY.len()).prop_map(Step::Disconnect),
        1 => (0..LEGACY.len()).prop_map(Step::Stall),
        3 => prop::sample::select(vec![0, 1, 3, 10, 29, 30, 31, 59, 61, 600, 100_000])
            .prop_map(Step::Elapse),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        Just(Limits { line: 2048, ..Limits::default() }),
        Just(Limits { line: 2048, calls: 3, queue: 600, ..Limits::default() }),
        Just(Limits { line: 400, calls: 2, queue: 200, outbox: 300, ..Limits::default() }),
    ]
}

/// What was published and can be answered.
#[derive(Default)]
struct World {
    requests: Vec<Received>,
    messages: Vec<Received>,
}

impl World {
    fn look_at(&mut self, effects: &[Observed]) {
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
    }

    fn take(&mut self, gateway: &mut Rehearsal, step: &Step) {
        match step {
            Step::Bytes(at, bytes) => {
                gateway.receive(&name(LEGACY[*at]), bytes);
            }
            Step::Mqtt(message) => self.publish(gateway, (**message).clone()),
            Step::Answer(back, body) => {
                let at = self.requests.len().checked_sub(1 + back);
                if let Some(mut answer) = at.map(|at| self.requests[at].clone()) {
                    answer.payload = body.clone().into();
                    self.publish(gateway, answer);
                }
            }
            Step::Again(back, dup) => {
                let at = self.messages.len().checked_sub(1 + back);
                if let Some(mut message) = at.map(|at| self.messages[at].clone()) {
                    message.dup = *dup;
                    gateway.publish(&message);
                }
            }
            Step::Connect(at) => gateway.connect(&name(LEGACY[*at])),
            Step::Disconnect(at) => gateway.disconnect(&name(LEGACY[*at])),
            Step::Stall(at) => gateway.stall(&name(LEGACY[*at])),
            Step::Elapse(seconds) => gateway.elapse(Duration::from_secs(*seconds)),
        }
    }

    fn publish(&mut self, gateway: &mut Rehearsal, message: Received) {
        gateway.publish(&message);
        self.messages.push(message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_ends_or_is_under_way(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut gateway = with_limits(seed_and(MORE_ROWS), &LEGACY, limits);
        let mut world = World::default();
        for step in &steps {
            world.take(&mut gateway, step);
            let effects = gateway.take_effects();
            world.look_at(&effects);
            assert_ledger(&gateway);
        }
        // After a day without a word nothing waits any more, but for lines to those who do not read.
        gateway.elapse(Duration::from_secs(24 * 60 * 60));
        assert_ledger(&gateway);
        let (_, under_way) = gateway.ledger();
        prop_assert_eq!(under_way, 0);
    }
}
