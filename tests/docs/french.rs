//! The French pages say what the English ones do: the same sections, commands, configurations and tables.

use crate::page::Page;

/// Each French page and the one that it translates.
const PAGES: [(&str, &str); 3] = [
    ("docs/fr/presentation.md", "README.md"),
    ("docs/fr/MIGRATION.md", "MIGRATION.md"),
    ("docs/fr/mapping.md", "docs/mapping.md"),
];

/// What two pages have in common whatever their language, one thing a line.
fn structure(page: &Page) -> Vec<String> {
    let (mut all, mut code) = (Vec::new(), false);
    for line in page.text.lines() {
        let fence = line.starts_with("```");
        code ^= fence;
        if code || fence || line.starts_with("<!--") {
            all.push(line.to_owned());
        } else if line.starts_with('#') {
            all.push(line.split(' ').next().unwrap_or_default().to_owned());
        } else if line.starts_with('|') {
            // Of a table, its columns and all that is code.
            let cells = line.matches('|').count();
            let words: Vec<_> = line.split('`').skip(1).step_by(2).collect();
            all.push(format!("{cells} {}", words.join(" ")));
        }
    }
    all
}

#[test]
fn the_french_pages_are_the_english_ones() {
    for (french, english) in PAGES {
        let (here, there) = (structure(&Page::read(french)), structure(&Page::read(english)));
        for (number, line) in there.iter().enumerate() {
            assert_eq!(here.get(number), Some(line), "{french}: thing {number} of {english}");
        }
        assert_eq!(here.len(), there.len(), "{french} has more than {english}");
    }
}
