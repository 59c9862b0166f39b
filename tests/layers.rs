//! The modules use each other as ARCHITECTURE.md shows, in no circle; and the engine knows nothing outside.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test reads the sources"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push(path);
        }
    }
}

/// A source without its comments and its tests, and the path of its module.
fn modules() -> Vec<(Vec<String>, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(&src).expect("below src").with_extension("");
        let parts = path.iter().map(|part| part.to_str().expect("a name").to_owned());
        let mut parts: Vec<_> = parts.collect();
        parts.pop_if(|last| last == "mod");
        let text = fs::read_to_string(file).expect("a source");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: Vec<_> = code.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
        (parts, code.join("\n"))
    };
    let all: Vec<_> = files.iter().map(module).collect();
    assert!(all.len() > 100, "{} modules", all.len());
    all
}

/// The words of a path that begins here: `a::b::{c, d}` has two.
fn paths(code: &str) -> Vec<Vec<String>> {
    let end =
        code.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(code.len());
    let words =
        |text: &str| text.split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect();
    let start: Vec<String> = words(&code[..end]);
    match code[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((inner, _)) if code[..end].ends_with("::") => inner
            .split(',')
            .map(|item| {
                let item = item.split(" as ").next().unwrap_or_default().trim();
                start.iter().cloned().chain(words(item)).collect()
            })
            .collect(),
        _ => vec![start],
    }
}

/// What a module names of this crate, as paths from its root.
fn named(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        all.extend(paths(&code[at + "crate::".len()..]));
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut base = module.len();
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, base) = (next, base.saturating_sub(1));
        }
        let above = module.get(..base).unwrap_or_default();
        all.extend(paths(rest).into_iter().map(|path| [above, &path].concat()));
    }
    all
}

/// Who uses whom, among the modules of one folder; of all, if it is empty.
fn arrows(folder: &[&str]) -> Arrows {
    let modules = modules();
    let known: BTreeSet<&[String]> = modules.iter().map(|(path, _)| path.as_slice()).collect();
    let here = |path: &[String]| {
        let inside = path.iter().zip(folder).all(|(a, b)| a == b) && path.len() > folder.len();
        let is_one = (folder.len() + 1..=path.len()).any(|n| known.contains(&path[..n]));
        (inside && is_one).then(|| path[folder.len()].clone())
    };
    let mut all = Arrows::new();
    for (module, code) in &modules {
        let Some(from) = here(module) else { continue };
        let to: BTreeSet<_> = named(module, code).iter().filter_map(|path| here(path)).collect();
        all.entry(from.clone()).or_default().extend(to.into_iter().filter(|to| *to != from));
    }
    all
}

/// A circle, if there is one: everything without an arrow to what is left is taken away.
fn circle(arrows: &Arrows) -> BTreeSet<String> {
    let mut left: BTreeSet<_> = arrows.keys().cloned().collect();
    loop {
        let before = left.len();
        let rest = left.clone();
        left.retain(|one| arrows[one].iter().any(|to| rest.contains(to)));
        if left.len() == before {
            return left;
        }
    }
}

/// The arrows that a block of ARCHITECTURE.md shows: `a -> b, c`.
fn shown(name: &str) -> Arrows {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, rest) = text.split_once(&format!("```arrows {name}\n")).expect(name);
    let (block, _) = rest.split_once("```").expect("its end");
    let arrow = |line: &str| {
        let (from, to) = line.split_once(" -> ").unwrap_or((line, ""));
        let to = to.split(", ").filter(|to| !to.is_empty()).map(str::to_owned);
        (from.trim().to_owned(), to.collect())
    };
    block.lines().map(arrow).collect()
}

#[test]
fn modules_use_each_other_as_shown_and_in_no_circle() {
    for (name, folder) in [("src", &[][..]), ("edge", &["edge"]), ("engine", &["engine"])] {
        let mut found = arrows(folder);
        assert!(circle(&found).is_empty(), "a circle in {name}: {:?}", circle(&found));
        found.retain(|_, to| !to.is_empty());
        let mut allowed = shown(name);
        allowed.retain(|_, to| !to.is_empty());
        assert_eq!(found, allowed, "ARCHITECTURE.md shows others in {name}");
    }
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let mut places: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (module, code) in modules() {
        let Some(layer) = module.first().filter(|layer| ["engine", "edge"].contains(&&***layer))
        else {
            continue;
        };
        // What is indented belongs to a function or to a trait.
        let defined = code.lines().filter_map(|line| {
            let line = line.strip_prefix("pub").map_or(line, |rest| {
                rest.strip_prefix('(').and_then(|r| r.split_once(')')).map_or(rest, |(_, r)| r)
            });
            let (kind, rest) = line.trim_start_matches(' ').split_once(' ')?;
            let is_indented = line.starts_with("    ");
            let is_type = ["struct", "enum", "trait", "type"].contains(&kind) && !is_indented;
            is_type.then(|| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
        });
        for name in defined {
            let key = (layer.clone(), name.to_owned());
            places.entry(key).or_default().insert(module.join("::"));
        }
    }
    assert!(places.len() > 200, "{} types", places.len());
    let twice: Vec<_> = places.iter().filter(|(_, modules)| modules.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn the_engine_knows_no_runtime_no_library_of_mqtt_no_files_and_no_edge() {
    let forbidden = ["tokio", "rumqttc", "std::fs", "std::net", "std::os", "std::thread", "rustix"];
    let inside =
        modules().into_iter().filter(|(path, _)| path.first().is_some_and(|p| p == "engine"));
    let mut count = 0;
    for (path, code) in inside {
        count += 1;
        for word in
            forbidden.iter().chain(&["crate::edge", "crate::cmd", "crate::config", "Instant::now"])
        {
            assert!(!code.contains(word), "{}: {word}", path.join("::"));
        }
    }
    assert!(count > 60, "{count} modules");
}

#[test]
fn what_the_documents_for_maintainers_name_is_there() {
    let code: String = modules().into_iter().map(|(_, code)| code).collect();
    let mut count = 0;
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).expect(page);
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/') && !word.contains([' ', '<', '$', '{']);
            if is_path
                && ["src/", "tests/", "fixtures/", "fuzz/", "docs/", "benches/"]
                    .iter()
                    .any(|s| word.starts_with(s))
            {
                count += 1;
                assert!(root().join(word).exists(), "{page}: {word}");
            } else if let Some(name) = word.strip_suffix("()") {
                count += 1;
                let name = name.rsplit("::").next().unwrap_or(name);
                assert!(code.contains(&format!("fn {name}")), "{page}: {word}");
            }
        }
    }
    assert!(count > 40, "{count} names");
}
