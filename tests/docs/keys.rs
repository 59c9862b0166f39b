//! Pages name every key, flag, code and reason that there is, and none that there is not.

use crate::blocks::blocks;
use crate::page::Page;
use passerelle::config::{self, Error};
use passerelle::diagnostic::{Finding, Source};
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::refusal::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

/// A mapping that has everything, and an unknown key `x` in each of its tables: the findings name the
/// known ones.
const EVERYTHING: &str = r#"
dialect = "example"
x = 1
[[command]]
name = "A"
legacy = "a"
topic = "a"
handler = [{ domain = "vm-a", x = 1 }]
alias = { legacy = "b", when = { legacy = { m = { present = true, x = 1 } }, x = 1 }, x = 1 }
request = { members = {}, x = 1 }
failure = { status = { request = "m", x = 1 } }
x = 1
[[command.answer]]
reponse = "a"
when = { request = {}, x = 1 }
repeats = { mqtt = {}, x = 1 }
add = { mqtt = {}, x = 1 }
ignore = { mqtt = [], x = 1 }
members.m = { legacy = "m", listed = { x = 1 }, each = { x = 1 }, default = { x = 1 }, leave_out = { mqtt = { value = 1, x = 1 }, x = 1 }, x = 1 }
x = 1
[[command.announced]]
topic = "a"
repeats = { m = "m" }
x = 1
[[event]]
name = "E"
legacy = "e"
topic = "e"
x = 1
"#;

/// Which section of docs/mapping.md explains the keys of what the reader calls so. Those of `both` are the
/// two sides, which the key itself is explained with.
const SECTIONS: [(&str, &str); 14] = [
    ("a mapping file", "A mapping file"),
    ("a command", "A command"),
    ("`alias`", "An alias"),
    ("a handler", "A handler"),
    ("an answer", "An answer"),
    ("`repeats`", "Repeats"),
    ("an announcement", "An announcement"),
    ("an event", "An event"),
    ("`when`", "When"),
    ("a condition", "A condition"),
    ("`request`", "A body"),
    ("member `m`", "A member"),
    ("`listed`", "listed"),
    ("a value", "A value"),
];

/// What the reader knows of each table.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let source = Arc::new(Source { name: "m.toml".into(), text: EVERYTHING.into() });
    keys_of(Table::compile(&[source], &Speaks::default()).err().unwrap())
}

/// The keys that findings about unknown ones name, by what they are keys of.
fn keys_of(findings: Vec<Finding>) -> BTreeMap<String, BTreeSet<String>> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in findings {
        let Some(what) = finding.message.strip_prefix("unknown key `x` in ") else { continue };
        let (_, keys) = finding.help.rsplit_once(" are: ").unwrap();
        known.entry(what.to_owned()).or_default().extend(keys.split(", ").map(str::to_owned));
    }
    known
}

/// What is named in the first column of a section's first table.
fn explained(page: &Page, heading: &str) -> BTreeSet<String> {
    tables(page, heading).into_iter().next().unwrap_or_default()
}

/// What is named in the first column of each of a section's tables.
pub fn tables(page: &Page, heading: &str) -> Vec<BTreeSet<String>> {
    let mut lines = page.text.lines();
    assert!(lines.any(|l| l.trim_start_matches('#').trim() == heading), "no section {heading}");
    let section: Vec<_> = lines.take_while(|l| !l.starts_with('#')).collect();
    let tables = section.split(|line| !line.starts_with('|')).filter(|rows| rows.len() > 2);
    let named = |row: &&str| -> Vec<String> {
        let cell = row.split('|').nth(1).unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    tables.map(|rows| rows.iter().skip(2).flat_map(named).collect()).collect()
}

#[test]
fn every_key_of_a_mapping_is_explained_and_no_other() {
    let (page, known) = (Page::read("docs/mapping.md"), known());
    for (what, heading) in SECTIONS {
        let keys = known.get(what).unwrap_or_else(|| panic!("no finding about {what}: {known:?}"));
        assert_eq!(&explained(&page, heading), keys, "{heading}");
    }
    // The rest are tables of the two sides, each explained with the key that it belongs to.
    let sides = BTreeSet::from(["legacy".to_owned(), "mqtt".to_owned()]);
    for what in ["`add`", "`ignore`", "`default`", "`leave_out`"] {
        assert_eq!(known[what], sides, "{what}");
    }
    assert_eq!(known["`each`"], known["`request`"]);
    assert_eq!(known["`mqtt`"], explained(&page, "leave_out"));
    assert_eq!(known.len(), SECTIONS.len() + 6, "{known:?}");
}

#[test]
fn every_key_of_a_mapping_has_an_example_that_is_run() {
    let page = Page::read("docs/mapping.md");
    let run = ["file", "example", "body"];
    let blocks = blocks(&page).into_iter().filter(|block| {
        block.words.first().is_some_and(|word| word == "toml")
            && block.words.get(1).is_some_and(|word| run.contains(&word.as_str()))
    });
    let text: String = blocks.map(|block| block.text).collect();
    let words: BTreeSet<_> =
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
    for (what, keys) in known() {
        let missing: Vec<_> = keys.difference(&words).collect();
        assert!(missing.is_empty(), "no example has these keys of {what}: {missing:?}");
    }
}

/// A configuration with an unknown key in each of its tables.
const EVERY_TABLE: &str = r#"
x = 1
mappings = ["m"]
broker = { url = "tcp://h:1", x = 1 }
control.x = 1
metrics.x = 1
limits.x = 1
log.x = 1
observe.x = 1
store.x = 1
allow = [{ x = 1 }]
channel = [{ unix = "/a/*-msg.sock", x = 1 }]
"#;

#[test]
fn every_key_of_the_configuration_is_explained_and_no_other() {
    let source = Arc::new(Source { name: "passerelle.toml".into(), text: EVERY_TABLE.into() });
    let Err(Error::Findings(findings)) = config::load(&source) else { panic!("nothing is found") };
    let page = Page::read("docs/configuration.md");
    let known = keys_of(findings);
    assert_eq!(known.len(), 10, "{known:?}");
    for (what, keys) in known {
        let heading = match what.as_str() {
            "the configuration" => "At the top",
            "an `[[allow]]`" => "allow",
            "a `[[channel]]`" | "a channel" => "channel",
            table => table.trim_matches('`'),
        };
        assert_eq!(explained(&page, heading), keys, "{heading}");
    }
}

#[test]
fn every_reason_of_a_refusal_is_explained_and_no_other() {
    let reasons = Reason::ALL.iter().map(|reason| reason.to_string()).collect();
    assert_eq!(explained(&Page::read("docs/troubleshooting.md"), "Refusals"), reasons);
}

/// What `--help` says of a subcommand.
fn help(subcommand: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    let output = program.args(subcommand).arg("--help").output().unwrap();
    assert!(output.status.success(), "{subcommand:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The long options of a subcommand, and of those below it.
fn options(subcommand: &[&str]) -> BTreeSet<String> {
    let help = help(subcommand);
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',', '=']).take(3));
    let mut all: BTreeSet<_> =
        words.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let below = below.map_while(|line| line.strip_prefix("  "));
    let names = below.filter(|line| !line.starts_with(' ')).filter_map(|l| l.split(' ').next());
    for name in names.filter(|name| *name != "help") {
        all.extend(options(&[subcommand, &[name]].concat()));
    }
    all
}

#[test]
fn every_option_is_explained_and_no_other() {
    let page = Page::read("docs/cli.md");
    let cells = explained(&page, "Options");
    let named = cells.iter().filter_map(|cell| cell.split([' ', '=']).next());
    let named: BTreeSet<_> =
        named.filter(|name| name.starts_with("--")).map(str::to_owned).collect();
    assert_eq!(named, options(&[]));
    // In the prose of every page, what stands as an option of this program is one.
    let foreign = ["--unix", "--mount", "--allow-untrusted"];
    for page in Page::all().iter().filter(|page| page.path != "CHANGELOG.md") {
        for word in page.prose().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let option = word.split([' ', '=']).next().unwrap_or_default();
            let is_one = option.starts_with("--") && !foreign.contains(&option);
            assert!(!is_one || named.contains(option), "{}: {option}", page.path);
        }
    }
}
