//! Every pair of dialects side by side: what is published serves both, and what comes from either is read as it is
//! read alone.

use crate::kit::{Play, command, compile, name, notification, response, root, shared};
use passerelle::diagnostic::Source;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::publish::Received;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const DIALECTS: [&str; 4] = ["psec", "psec-lib-2024", "psec-lib-1.1", "safecor-1.2"];

/// A request of an application, and what a legacy `sys-usb` says to it.
type Call = (&'static str, Value, Vec<(&'static str, &'static str, Value)>);

fn files(dialect: &str) -> Vec<PathBuf> {
    let more = (dialect == "psec").then_some("psec-extended");
    let names = std::iter::once(dialect).chain(more);
    names.map(|name| root().join(format!("mappings/{name}.toml"))).collect()
}

/// These dialects, each spoken by a domain of that name.
fn table(dialects: &[&str]) -> Arc<Table> {
    let files: Vec<_> = dialects.iter().flat_map(|dialect| files(dialect)).collect();
    let mut speaks = Speaks::default();
    for dialect in dialects {
        speaks.domains.insert(name(dialect), (*dialect).to_owned());
    }
    Arc::new(compile(&files, &speaks))
}

fn play(table: &Arc<Table>) -> Play {
    Play::with(shared(table, &[name("sys-usb")]))
}

fn pairs() -> impl Iterator<Item = [&'static str; 2]> {
    let pairs = DIALECTS.into_iter().flat_map(|a| DIALECTS.map(|b| [a, b]));
    pairs.filter(|[a, b]| a != b)
}

/// What was published, by its topic; the gateway's own notices are another matter.
fn published(effects: &[String]) -> BTreeMap<String, Value> {
    let effects = effects.iter().map(|e| serde_json::from_str::<Value>(e).unwrap());
    let ours = effects.filter(|e| e["publish"].is_string() && e["as"] != "passerelle-dom0");
    ours.map(|e| (e["publish"].as_str().unwrap().to_owned(), e["payload"].clone())).collect()
}

/// What was written, in its order.
fn written(effects: &[String]) -> Vec<Value> {
    let effects = effects.iter().map(|e| serde_json::from_str::<Value>(e).unwrap());
    effects.filter(|e| e["write"].is_string()).map(|e| e["message"].clone()).collect()
}

/// Asserts that each message of `alone` is in `both`: elements of a list one by one.
fn serves(both: &Value, alone: &Value, what: &str) {
    match (both, alone) {
        (Value::Object(both), Value::Object(alone)) => {
            for (member, value) in alone {
                let there = both.get(member).unwrap_or_else(|| panic!("{what}: no {member}"));
                serves(there, value, &format!("{what}: {member}"));
            }
        }
        (Value::Array(both), Value::Array(alone)) => {
            assert_eq!(both.len(), alone.len(), "{what}");
            both.iter().zip(alone).for_each(|(both, alone)| serves(both, alone, what));
        }
        // What nobody knows alone, the other dialect's call may.
        (_, Value::String(unknown)) if unknown.is_empty() => {}
        _ => assert_eq!(both, alone, "{what}"),
    }
}

fn all_served(both: &BTreeMap<String, Value>, alone: &BTreeMap<String, Value>, what: &str) {
    for (topic, payload) in alone {
        let there = both.get(topic).unwrap_or_else(|| panic!("{what}: nothing on {topic}"));
        serves(there, payload, &format!("{what}: {topic}"));
    }
}

fn notifications() -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("disque", json!({"nom": "D", "etat": "présent"})),
        ("disque", json!({"nom": "D", "etat": "absent"})),
        ("fichier", json!({"fichier": "/a", "etat": "copié"})),
        ("fichier", json!({"fichier": "/a", "source_disk": "D", "etat": "erreur"})),
        ("fichier", json!({"fichier": "/a", "etat": "supprimé"})),
        (
            "fichier",
            json!({"source_disk": "D", "filepath": "/a", "disk": "E", "original_footprint": "1f",
                   "etat": "disponible"}),
        ),
        (
            "fichier",
            json!({"source_disk": "D", "filepath": "/a", "disk": "E", "original_footprint": "1f",
                   "etat": "copié"}),
        ),
    ];
    for level in [10, 20, 30, 40, 50] {
        all.push(("erreur", json!({"niveau": level, "message": "m", "module": "x"})));
    }
    all
}

fn tell(play: &mut Play, event: &str, data: &Value) -> Vec<String> {
    play.line(&notification("sys-usb", "tous", event, &data.to_string()))
}

#[test]
fn a_notification_of_a_legacy_domain_serves_both() {
    for pair in pairs() {
        let mut both = play(&table(&pair));
        for (event, data) in notifications() {
            let together = published(&tell(&mut both, event, &data));
            for dialect in pair {
                let alone = published(&tell(&mut play(&table(&[dialect])), event, &data));
                all_served(&together, &alone, &format!("{pair:?}: {event} {data}, {dialect}"));
            }
        }
    }
}

#[test]
fn a_notification_of_either_is_read_as_alone() {
    let mut count = 0;
    for pair in pairs() {
        for dialect in pair {
            for (event, data) in notifications() {
                let said = published(&tell(&mut play(&table(&[dialect])), event, &data));
                for (topic, payload) in said {
                    let message = Received {
                        topic,
                        payload: payload.to_string().into(),
                        source: Some("vm-app".into()),
                        ..Received::default()
                    };
                    let alone = written(&play(&table(&[dialect])).mqtt(&message));
                    let both = written(&play(&table(&pair)).mqtt(&message));
                    assert_eq!(both, alone, "{pair:?}: {message:?}");
                    assert_eq!(alone.len(), 1, "{dialect}: {message:?}");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 200, "only {count}");
}

/// What applications of a dialect ask, and what the MVP's server answers.
fn calls(dialect: &str) -> Vec<Call> {
    let seed = dialect == "psec";
    let root = |seeds: &'static str, others: &'static str| if seed { seeds } else { others };
    let file = json!({"disk": "D", "filepath": "/a"});
    let of = |members: &Value| -> Value { members.clone() };
    let ended = |etat: &str| {
        json!({"source_disk": "D", "fichier": "/a", "filepath": "/a", "disk": "E",
               "original_footprint": "1f", "etat": etat})
    };
    let failed = || json!({"fichier": "/a", "etat": "erreur"});
    let (read, copy) = if seed {
        let copy = json!({"source_disk": "D", "filepath": "/a", "target_disk": "E"});
        (json!({"source_disk": "D", "filepath": "/a"}), copy)
    } else {
        (of(&file), json!({"disk": "D", "filepath": "/a", "destination": "E"}))
    };
    let list = match dialect {
        "psec" | "psec-lib-2024" => json!({"disk": "D"}),
        _ => json!({"disk": "D", "recursive": true, "from_dir": ""}),
    };
    let tree = json!([{"type": "folder", "path": "/", "name": "f"},
                      {"type": "file", "path": "/", "name": "a", "size": 1}]);
    let created = json!({"filepath": "/a", "disk": "D", "footprint": "1f", "success": true});
    let footprint = match dialect {
        "psec" => "system/disks/get_file_footprint",
        "safecor-1.2" => "system/disks/file_fingerprint",
        _ => "system/disks/file_footprint",
    };
    let benchmark = "system/misc/benchmark";
    let mut creates = vec![json!({"disk": "D", "filepath": "/a", "data": "eA=="})];
    if dialect == "psec-lib-2024" {
        creates = vec![json!({"disk": "D", "filepath": "/a", "contents": "x"})];
    } else if !seed {
        creates[0]["compressed"] = json!(false);
        let packed = json!({"disk": "D", "filepath": "/a", "data": "eAFLzs8rSc0rBQALzAL9",
                            "compressed": true});
        creates.push(packed);
    }
    let mut all: Vec<Call> = vec![
        ("system/disks/list_disks", json!({}), vec![("reponse", "liste_disques", json!(["D"]))]),
        (
            "system/disks/list_files",
            list,
            vec![("reponse", "liste_fichiers", json!({"disk": "D", "files": tree}))],
        ),
        (
            "system/disks/read_file",
            of(&read),
            vec![("notification", "fichier", ended("disponible"))],
        ),
        ("system/disks/read_file", of(&read), vec![("notification", "fichier", failed())]),
        ("system/disks/read_file", read, vec![]),
        ("system/disks/copy_file", of(&copy), vec![("notification", "fichier", ended("copié"))]),
        ("system/disks/copy_file", of(&copy), vec![("notification", "fichier", failed())]),
        ("system/disks/copy_file", copy, vec![]),
        (root("system/disks/remove_file", "system/disks/delete_file"), of(&file), vec![]),
        (
            footprint,
            file,
            vec![(
                "reponse",
                "file_footprint",
                json!({"filepath": "/a", "disk": "D", "footprint": "1f"}),
            )],
        ),
        (
            benchmark,
            json!({"module": "files"}),
            vec![
                ("reponse", "benchmark_files", json!({"etat": "demarre"})),
                ("reponse", "benchmark_files", json!({"etat": "termine", "metrics": [1]})),
            ],
        ),
        (
            benchmark,
            json!({"module": "files"}),
            vec![("reponse", "benchmark_files", json!({"etat": "erreur", "message": "m"}))],
        ),
        (
            benchmark,
            json!({"module": "inputs"}),
            vec![("reponse", "benchmark_inputs", json!({"duration": 0, "iterations": 5}))],
        ),
        (benchmark, json!({"module": "inputs"}), vec![]),
        (
            root("system/components/discover", "system/discover/components"),
            json!({}),
            vec![("reponse", "etat_composant", json!({"composant": "c", "etat": "demarrage"}))],
        ),
    ];
    for create in creates {
        let root = "system/disks/create_file";
        all.push((root, of(&create), vec![("reponse", "file_creation", of(&created))]));
        all.push((root, create, vec![]));
    }
    all
}

/// Asks, answers, lets the time run out, and says what was written and published at each step.
fn asked(
    play: &mut Play,
    dialect: &str,
    call: &Call,
) -> Vec<(Vec<Value>, BTreeMap<String, Value>)> {
    let (root, request, answers) = call;
    let mut request = request.clone();
    let requester = if dialect == "psec" {
        request["source"] = json!(dialect);
        dialect
    } else {
        "mqtt"
    };
    let topic = format!("{root}/request");
    let message = Received { topic, payload: request.to_string().into(), ..Received::default() };
    let mut steps = vec![play.mqtt(&message)];
    for (kind, name, data) in answers {
        let data = data.to_string();
        let line = match *kind {
            "reponse" => response("sys-usb", requester, name, &data),
            _ => notification("sys-usb", "tous", name, &data),
        };
        steps.push(play.line(&line));
    }
    steps.push(play.elapse(601));
    steps.iter().map(|step| (written(step), published(step))).collect()
}

#[test]
fn an_answer_of_a_legacy_domain_serves_whoever_asked() {
    let mut count = 0;
    for pair in pairs() {
        for dialect in pair {
            for call in calls(dialect) {
                let alone = asked(&mut play(&table(&[dialect])), dialect, &call);
                let both = asked(&mut play(&table(&pair)), dialect, &call);
                let what = format!("{pair:?}: {dialect} asks {} {}", call.0, call.1);
                assert_eq!(alone.len(), both.len());
                for ((wrote, told), (both_wrote, both_told)) in alone.iter().zip(&both) {
                    assert_eq!(both_wrote, wrote, "{what}");
                    all_served(both_told, told, &what);
                }
                count += 1;
            }
        }
    }
    assert!(count > 300, "only {count}");
}

#[test]
fn a_command_for_everyone_serves_both() {
    let commands = [
        ("liste_disques", json!({})),
        ("liste_fichiers", json!({"nom_disque": "D"})),
        ("lit_fichier", json!({"nom_disque": "D", "chemin_fichier": "/a"})),
        ("copie_fichier", json!({"disk": "D", "filepath": "/a", "destination": "E"})),
        ("supprime_fichier", json!({"nom_disque": "D", "nom_fichier": "/a"})),
        ("start_benchmark", json!({"id_benchmark": "files"})),
        ("get_file_footprint", json!({"disk": "D", "filepath": "/a"})),
        ("create_file", json!({"disk": "D", "filepath": "/a", "contents": "x"})),
        ("liste_composants", json!({})),
    ];
    for pair in pairs() {
        for (name, arguments) in &commands {
            let line = command("sys-usb", "tous", name, &arguments.to_string());
            let both = published(&play(&table(&pair)).line(&line));
            for dialect in pair {
                let alone = published(&play(&table(&[dialect])).line(&line));
                assert!(!alone.is_empty(), "{dialect}: {name}");
                all_served(&both, &alone, &format!("{pair:?}: {name}"));
            }
        }
    }
}

#[test]
fn no_shipped_dialect_contradicts_another_and_one_that_does_is_shown() {
    for pair in pairs() {
        assert_eq!(table(&pair).contradictions(), [], "{pair:?}");
    }
    let event = |value: &str| {
        format!(
            "[[event]]\nname = \"E\"\nlegacy = \"e\"\ntopic = \"t\"\nadd.mqtt = {{ m = {value} }}\n"
        )
    };
    let file = |name: &str, head: &str, value: &str| {
        Arc::new(Source { name: name.into(), text: format!("{head}\n{}", event(value)) })
    };
    let older = file("older.toml", "dialect = \"older\"", "1");
    let newer = file("newer.toml", "dialect = \"newer\"\nsupersedes = \"older\"", "2");
    for files in [[&older, &newer], [&newer, &older]] {
        let table = Table::compile(&files.map(Arc::clone), &Speaks::default()).unwrap();
        let found = table.contradictions();
        let said = found.iter().map(passerelle::diagnostic::Finding::on_a_line).collect::<String>();
        assert!(said.starts_with("older.toml:2: E and E (newer.toml:3) give `m`"), "{said}");
        let said = Play::with(shared(&Arc::new(table), &[name("sys-usb")]))
            .line(&notification("sys-usb", "tous", "e", "{}"));
        assert_eq!(published(&said)["t/notification"], json!({"m": 2}));
    }
}
