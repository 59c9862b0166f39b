//! There and back: two gateways, at one of which the server is migrated and at the other the requester.
//! What a legacy domain says arrives at the other legacy domain as it was said.

use crate::kit::{assert_ledger, command, elsewhere, name, notification, response, seed, shared};
use passerelle::engine::json::{self, Object};
use passerelle::engine::mapping::Table;
use passerelle::engine::publish::{Publish, Received};
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static SEED: LazyLock<Arc<Table>> = LazyLock::new(|| Arc::new(seed()));

/// A JSON string as it may stand in a line: escapes of every kind, lone surrogates included.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9 ./_-]{1,8}",
        2 => "[^\"\\\\\u{0}-\u{1f}]{1,4}",
        2 => prop::sample::select(vec![
            r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u00e9", r"\u00E9",
            r"\ud83d\ude00", "\u{7f}", "\u{2028}",
        ]).prop_map(String::from),
        1 => prop::sample::select(vec![r"\udce9", r"\uDCE9", r"\ud83d", r"\udfff\ud800"])
            .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|p| format!("\"{}\"", p.concat()))
}

/// The same without a lone surrogate.
fn proper() -> impl Strategy<Value = String> {
    text().prop_filter("proper Unicode", |t| json::decode_str(t).is_some())
}

/// A text that no rule of the mapping knows.
fn plain() -> impl Strategy<Value = String> {
    text().prop_map(|t| format!("\"x{}", &t[1..]))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        text(),
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-0.0",
            "1.50",
            "1E400",
            "-1e-999",
            "0.1000",
            "123456789012345678901234567890",
            "[]",
            "{}",
            "[ 1 , 2 ]",
            "{ }",
        ])
        .prop_map(String::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            (text(), inner).prop_map(|(k, v)| format!("{{{k}:{v}}}")),
        ]
    })
}

/// Members that no row names.
fn unknown() -> impl Strategy<Value = String> {
    prop::collection::btree_map("unknown-[a-e]", value(), 0..3).prop_map(members)
}

fn members(all: BTreeMap<String, String>) -> String {
    all.iter().map(|(k, v)| format!(",\"{k}\":{v}")).collect()
}

/// A call that can cross and come back as it was: its command, and the answers to it.
#[derive(Debug, Clone)]
struct Call {
    name: &'static str,
    arguments: String,
    answers: Vec<(&'static str, String)>,
}

fn file() -> impl Strategy<Value = String> {
    let name = || (text(), text(), unknown());
    prop_oneof![
        (name(), any::<u64>()).prop_map(|((path, name, more), size)| {
            format!(r#"{{"type":"file","path":{path},"name":{name},"size":{size}{more}}}"#)
        }),
        name().prop_map(|(path, name, more)| {
            format!(r#"{{"type":"folder","path":{path},"name":{name}{more}}}"#)
        }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let call = |name, arguments, answers| Call { name, arguments, answers };
    let place = || (plain(), text(), unknown());
    prop_oneof![
        (unknown(), prop::collection::vec(text(), 0..4)).prop_map(move |(more, names)| {
            let arguments = format!("{{{}}}", more.strip_prefix(',').unwrap_or_default());
            call("liste_disques", arguments, vec![("liste_disques", format!("[{}]", names.join(",")))])
        }),
        (place(), prop::collection::vec(file(), 0..4), unknown()).prop_map(
            move |((disk, _, more), files, other)| {
                let files = files.join(",");
                let data = format!(r#"{{"disk":{disk},"files":[{files}]{other}}}"#);
                call("liste_fichiers", format!(r#"{{"nom_disque":{disk}{more}}}"#), vec![("liste_fichiers", data)])
            }
        ),
        place().prop_map(move |(disk, path, more)| {
            call("lit_fichier", format!(r#"{{"nom_disque":{disk},"chemin_fichier":{path}{more}}}"#), vec![])
        }),
        (place(), value()).prop_map(move |((disk, path, more), to)| {
            call("copie_fichier", format!(r#"{{"disk":{disk},"filepath":{path},"destination":{to}{more}}}"#), vec![])
        }),
        place().prop_map(move |(disk, path, more)| {
            call("supprime_fichier", format!(r#"{{"nom_disque":{disk},"nom_fichier":{path}{more}}}"#), vec![])
        }),
        (plain(), value(), unknown()).prop_map(move |(id, metrics, more)| {
            call("start_benchmark", format!(r#"{{"id_benchmark":{id}{more}}}"#), vec![
                ("benchmark_files", r#"{"etat":"demarre"}"#.into()),
                ("benchmark_files", format!(r#"{{"etat":"termine","metrics":{metrics}{more}}}"#)),
            ])
        }),
        (plain(), value()).prop_map(move |(id, message)| {
            call("start_benchmark", format!(r#"{{"id_benchmark":{id}}}"#), vec![
                ("benchmark_files", format!(r#"{{"etat":"erreur","message":{message}}}"#)),
            ])
        }),
        (value(), value(), unknown()).prop_map(move |(duration, iterations, more)| {
            let data = format!(r#"{{"duration":{duration},"iterations":{iterations}{more}}}"#);
            call("start_benchmark", r#"{"id_benchmark":"inputs"}"#.into(), vec![("benchmark_inputs", data)])
        }),
        (place(), prop_oneof![plain(), Just("null".to_owned())]).prop_map(
            move |((disk, path, more), print)| {
                let place = format!(r#""disk":{disk},"filepath":{path}{more}"#);
                let data = format!(r#"{{"filepath":{path},"disk":{disk},"footprint":{print}{more}}}"#);
                call("get_file_footprint", format!("{{{place}}}"), vec![("file_footprint", data)])
            }
        ),
        (place(), proper(), any::<bool>()).prop_map(move |((disk, path, more), contents, success)| {
            let arguments = format!(r#"{{"disk":{disk},"filepath":{path},"contents":{contents}{more}}}"#);
            let data = format!(
                r#"{{"filepath":{path},"disk":{disk},"footprint":"","success":{success}{more}}}"#
            );
            call("create_file", arguments, vec![("file_creation", data)])
        }),
        (unknown(), prop::collection::vec(text(), 1..3)).prop_map(move |(more, names)| {
            let one = |n| ("etat_composant", format!(r#"{{"composant":{n},"etat":"ok"{more}}}"#));
            call("liste_composants", "{}".into(), names.iter().map(one).collect())
        }),
    ]
}

/// The very same values, but for the order of members, and for texts that were written anew.
fn assert_same(came: &str, said: &str, anew: bool) -> Result<(), TestCaseError> {
    if let (Ok(a), Ok(b)) = (Object::parse(came), Object::parse(said)) {
        prop_assert_eq!(a.members().count(), b.members().count(), "{} and {}", came, said);
        for member in b.members() {
            let other = a.members().find(|m| m.key == member.key);
            let other = other.ok_or_else(|| TestCaseError::fail(format!("{came} and {said}")))?;
            assert_same(other.value, member.value, *member.key == *b"contents")?;
        }
        return Ok(());
    }
    let mut elements: [Vec<&str>; 2] = Default::default();
    for (list, text) in elements.iter_mut().zip([came, said]) {
        let _ = json::for_each(text, &mut |e| {
            list.push(e);
            Ok::<(), ()>(())
        });
    }
    if said.starts_with('[') && elements.iter().all(|e| !e.is_empty()) {
        prop_assert_eq!(elements[0].len(), elements[1].len());
        for (a, b) in elements[0].iter().zip(&elements[1]) {
            assert_same(a, b, false)?;
        }
    } else if anew {
        prop_assert!(json::same(came, said), "{} and {}", came, said);
    } else {
        prop_assert_eq!(came, said);
    }
    Ok(())
}

fn received(publish: &Publish) -> Received {
    Received {
        topic: publish.topic.clone(),
        payload: publish.payload.clone(),
        response_topic: publish.response_topic.clone(),
        correlation: publish.correlation.clone(),
        source: publish.source.as_ref().map(ToString::to_string),
        mark: publish.mark.as_ref().map(ToString::to_string),
        ..Received::default()
    }
}

/// A line into one gateway, and the lines that come out of the other.
fn cross(
    from: &mut Rehearsal,
    domain: &str,
    line: &str,
    to: &mut Rehearsal,
) -> (Vec<Publish>, Vec<String>) {
    assert!(from.receive(&name(domain), format!("{line}\n").as_bytes()));
    let published = from.take_effects().into_iter().filter_map(|e| match e {
        Observed::Published(_, publish) => Some(publish),
        _ => None,
    });
    let published: Vec<_> = published.collect();
    for publish in &published {
        to.publish(&received(publish));
    }
    let written = to.take_effects().into_iter().filter_map(|e| match e {
        Observed::Written(_, line) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
        _ => None,
    });
    let written = written.collect();
    assert_ledger(from);
    assert_ledger(to);
    (published, written)
}

fn gateways() -> (Rehearsal, Rehearsal) {
    (shared(&SEED, &[name("vm-gui")]), elsewhere(&SEED, &[name("sys-usb")]))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_call_and_its_answers_arrive_as_they_were_said(call in call()) {
        let (mut asks, mut serves) = gateways();
        let line = command("vm-gui", "sys-usb", call.name, &call.arguments);
        let (published, written) = cross(&mut asks, "vm-gui", &line, &mut serves);
        prop_assert_eq!((published.len(), written.len()), (1, 1), "{}", line);
        assert_same(&written[0], &line, false)?;
        for (answer, data) in &call.answers {
            let line = response("sys-usb", "vm-gui", answer, data);
            let (published, written) = cross(&mut serves, "sys-usb", &line, &mut asks);
            prop_assert_eq!((published.len(), written.len()), (1, 1), "{}", line);
            prop_assert!(published[0].correlation.is_some());
            assert_same(&written[0], &line, false)?;
        }
    }

    #[test]
    fn a_notification_arrives_as_it_was_said(
        disk in plain(),
        path in text(),
        values in prop::collection::vec(value(), 4),
        more in unknown(),
    ) {
        let [module, datetime, level, message] = &values[..] else { unreachable!() };
        for (event, data) in [
            ("erreur", format!(r#"{{"module":{module},"datetime":{datetime},"niveau":{level},"message":{message}{more}}}"#)),
            ("fichier", format!(r#"{{"source_disk":{disk},"filepath":{path},"disk":{disk},"original_footprint":"","fichier":{path},"etat":"disponible"{more}}}"#)),
        ] {
            let (mut hears, mut tells) = gateways();
            let line = notification("sys-usb", "tous", event, &data);
            let (published, written) = cross(&mut tells, "sys-usb", &line, &mut hears);
            prop_assert_eq!((published.len(), written.len()), (1, 1), "{}", line);
            assert_same(&written[0], &line, false)?;
        }
    }
}
