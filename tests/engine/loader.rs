//! Any text at all as a mapping file: nothing panics, and every finding has its place in the text.

use crate::kit::root;
use passerelle::diagnostic::Source;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static SEED: LazyLock<String> = LazyLock::new(|| {
    std::fs::read_to_string(root().join("mappings/psec.toml")).expect("the seed's mapping")
});

/// What mapping files are made of, and what they are not.
fn piece() -> impl Strategy<Value = String> {
    let words = vec![
        "[[command]]\n",
        "[[command.answer]]\n",
        "[[command.announced]]\n",
        "[[event]]\n",
        "[command.request.members]\n",
        "[command.answer.members.files.each.members]\n",
        "[event.members]\n",
        "name",
        "legacy",
        "topic",
        "handler",
        "exclusive",
        "timeout",
        "failure",
        "request.members",
        "members",
        "repeats",
        "repeats.legacy",
        "when",
        "when.mqtt",
        "when.legacy",
        "add",
        "add.mqtt",
        "add.legacy",
        "only",
        "alias",
        "reponse",
        "evenement",
        "final",
        "one_for_each",
        "each",
        "each.members",
        "default.mqtt",
        "leave_out.legacy",
        "values",
        "null",
        "encoding",
        "starting",
        "prefix",
        "ignore.legacy",
        "dialect",
        "requesters",
        "requester_member",
        "supersedes",
        "qos",
        "direction",
        "optional",
        "instead",
        "ends",
        " = ",
        "=",
        "\n",
        ".",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "\"\"\"",
        "#",
        " ",
        "?",
        "\"liste_disques\"",
        "\"system/x\"",
        "\"system/#\"",
        "\"sys-usb\"",
        "\"*\"",
        "\"\"",
        "\".\"",
        "\"to_mqtt\"",
        "\"to_legacy\"",
        "\"base64\"",
        "\"named\"",
        "\"30s\"",
        "\"500000000000years\"",
        "\"-1s\"",
        "true",
        "false",
        "0",
        "-1",
        "9223372036854775807",
        "0x10",
        "1.5",
        "nan",
        "1979-05-27T07:32:00Z",
        "\u{feff}",
        "é",
        "\u{1F600}",
        "\0",
        "\r",
        "{ disk = \"nom_disque\" }",
        "{ mqtt = { status = \"ok\" } }",
        "{ request = \"disk\" }",
        "{ context = \"now\" }",
        "{ present = true }",
        "{ legacy = \".\" }",
    ];
    prop_oneof![
        12 => prop::sample::select(words).prop_map(String::from),
        1 => any::<String>(),
    ]
}

/// The seed's own file with a few parts of it gone, put elsewhere or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..60usize, prop::collection::vec(piece(), 0..4));
    prop::collection::vec(change, 1..5).prop_map(|changes| {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, gone, pieces) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + gone).min(text.len());
            text.splice(at..end, pieces.concat().chars());
        }
        text.into_iter().collect()
    })
}

/// The seed's own file with one word put in the place of another: still TOML, most of the time.
fn reworded() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    prop::collection::vec(change, 1..4).prop_map(|changes| {
        let mut text = SEED.clone();
        for (from, to) in changes {
            let quoted: Vec<&str> = text.split('"').collect();
            let odd = |i: prop::sample::Index| 2 * i.index(quoted.len() / 2) + 1;
            let mut new = quoted.clone();
            new[odd(from)] = quoted[odd(to)];
            text = new.join("\"");
        }
        text
    })
}

/// The seed's own file with a line gone, doubled or moved.
fn shuffled() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>());
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        let mut lines: Vec<&str> = SEED.lines().collect();
        for (from, to, keep) in changes {
            let line = lines[from.index(lines.len())];
            if !keep {
                lines.remove(from.index(lines.len()));
            }
            lines.insert(to.index(lines.len() + 1), line);
        }
        lines.join("\n")
    })
}

fn check(texts: &[String]) -> Result<(), TestCaseError> {
    let source = |(i, text): (usize, &String)| {
        Arc::new(Source { name: format!("{i}.toml"), text: text.clone() })
    };
    let sources: Vec<_> = texts.iter().enumerate().map(source).collect();
    let Err(found) = Table::compile(&sources, &Speaks::default()) else { return Ok(()) };
    prop_assert!(!found.is_empty());
    for finding in found {
        let text = &finding.source.text;
        prop_assert!(
            text.get(finding.span.clone()).is_some(),
            "{:?} is not in the {} bytes of the text: {}",
            finding.span,
            text.len(),
            finding.message
        );
        prop_assert!(!finding.message.is_empty());
        prop_assert!(finding.to_string().contains(&finding.source.name));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        check(&[pieces.concat()])?;
    }

    #[test]
    fn no_change_of_a_good_file_panics(text in prop_oneof![mutated(), reworded(), shuffled()]) {
        check(&[text])?;
    }

    #[test]
    fn nor_do_two_files_together(one in reworded(), other in prop_oneof![shuffled(), mutated()]) {
        check(&[one, other.replace("\"psec\"", "\"other\"")])?;
    }
}
