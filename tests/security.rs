//! SECURITY.md says what is so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads the project's files"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The Rust files of a folder and those below it, in their order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The names of a file's tests: of the functions that follow an attribute `test`.
fn tests(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.ends_with("test]") || line.contains("::test(");
        } else if is_test && let Some((_, name)) = line.split_once("fn ") {
            names.insert(name.split('(').next().unwrap().to_owned());
            is_test = false;
        }
    }
    names
}

#[test]
fn every_promise_names_tests_that_there_are() {
    let files = ["src", "tests"].map(|folder| sources(&Path::new(ROOT).join(folder))).concat();
    let known: BTreeSet<_> = files.iter().flat_map(|file| tests(&text(file))).collect();
    assert!(known.len() > 300, "{} tests", known.len());
    let document = text("SECURITY.md");
    let (_, promised) = document.split_once("\n## What is promised\n").unwrap();
    let (promised, _) = promised.split_once("\n## ").unwrap();
    for promise in promised.trim().split("\n\n") {
        let is_name = |word: &&str| word.contains('_') && !word.contains([' ', '/', '.']);
        let cited = promise.lines().filter(|line| line.starts_with('`'));
        let cited: Vec<_> = cited.filter_map(|l| l.split('`').nth(1).filter(is_name)).collect();
        assert!(promise.starts_with("**") && !cited.is_empty(), "no test shows this: {promise}");
        for name in cited {
            assert!(known.contains(name), "there is no test {name}");
        }
    }
}

/// The files that a test is in, with what its neighbours share.
fn with_shared(file: &Path) -> String {
    let shared = file.with_file_name("mod.rs");
    let shared = if shared.exists() { text(&shared) } else { String::new() };
    text(file) + &shared
}

#[test]
fn every_bound_names_a_test_that_has_its_figure() {
    let files = ["src", "tests"].map(|folder| sources(&Path::new(ROOT).join(folder))).concat();
    let document = text("SECURITY.md");
    let (_, bounds) = document.split_once("\n## What each can do at most\n").unwrap();
    let (bounds, _) = bounds.split_once("\n## ").unwrap();
    let rows = bounds.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| | "));
    let mut figures = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, _, most, cited, _] = cells[..] else { panic!("not three cells: {row}") };
        let cited: Vec<_> = cited.split('`').skip(1).step_by(2).collect();
        assert!(!cited.is_empty(), "no test shows this: {row}");
        let mut shown = String::new();
        for name in cited {
            let file = files.iter().find(|file| tests(&text(file)).contains(name));
            shown += &with_shared(file.unwrap_or_else(|| panic!("there is no test {name}")));
        }
        for figure in most.split("**").skip(1).step_by(2) {
            let number = figure.split(' ').next().unwrap();
            if number.parse::<u64>().is_ok() {
                let is_there = shown.split(|c: char| !c.is_ascii_digit()).any(|n| n == number);
                assert!(is_there, "{number} is in none of its tests: {row}");
                figures += 1;
            }
        }
    }
    assert!(figures > 5, "{figures} figures");
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    assert!(text("Cargo.toml").contains("\nunsafe_code = \"deny\"\n"));
    let source = Path::new(ROOT).join("src");
    let allowed = |file: &PathBuf| text(file).matches("allow(unsafe_code)").count();
    let mut found = Vec::new();
    for file in sources(&source) {
        let places = ["unsafe {", "unsafe impl"].map(|word| text(&file).matches(word).count());
        let places = places.iter().sum();
        assert_eq!(text(&file).matches("// SAFETY: ").count(), places, "{}", file.display());
        assert!(places == 0 || allowed(&file) > 0, "{}", file.display());
        if places > 0 {
            found.push((file.strip_prefix(ROOT).unwrap().display().to_string(), places));
        }
    }
    let expected = [("src/edge/channel.rs", 1), ("src/edge/heap.rs", 7), ("src/edge/watch.rs", 1)];
    assert_eq!(found, expected.map(|(file, calls)| (file.to_owned(), calls)));
    for (file, _) in expected {
        assert!(text("SECURITY.md").contains(file), "{file}");
    }
}
