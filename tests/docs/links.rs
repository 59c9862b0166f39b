//! Links lead to files and headings that there are.

use crate::page::{Page, ROOT};
use std::path::{Component, Path, PathBuf};

/// The targets of a line's links.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// A path without its `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{}", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in Page::all() {
        let folder = Path::new(&page.path).parent().unwrap();
        for target in page.prose().flat_map(links).filter(|t| !t.contains("://")) {
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a)));
            let path =
                if file.is_empty() { page.path.clone().into() } else { plain(&folder.join(file)) };
            assert!(Path::new(ROOT).join(&path).exists(), "{}: no {target}", page.path);
            if let Some(anchor) = anchor {
                let there = Page::read(path.to_str().unwrap()).anchors();
                assert!(there.contains(anchor), "{}: {target}: of {there:?}", page.path);
            }
            followed += 1;
        }
    }
    assert!(followed > 60, "{followed} links");
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = Page::read("README.md");
    assert!(
        readme.text.lines().count() <= 200,
        "it is for a first look: move what is long into docs/"
    );
    let named: Vec<_> = readme.prose().flat_map(links).collect();
    for page in
        Page::all().iter().map(|page| page.path.as_str()).filter(|path| *path != "README.md")
    {
        let of_the_project = !page.contains("/fr/") && !page.starts_with("fuzz/");
        assert!(!of_the_project || named.contains(&page), "README.md does not name {page}");
    }
}
