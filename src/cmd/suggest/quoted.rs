//! Names and texts from outside in a TOML file.

use crate::printable;

/// A key: bare where it can be.
pub fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => text(name),
    }
}

/// A text in quotes: what cannot be seen is escaped.
pub fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if printable::text(c.encode_utf8(&mut [0; 4])) == *c.encode_utf8(&mut [0; 4]) => {
                out.push(c)
            }
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// The beginning of a text, for a comment.
pub fn shown(text: &str, most: usize) -> String {
    let head: String = text.chars().take(most).collect();
    let cut = if head.len() < text.len() { "..." } else { "" };
    format!("{}{cut}", printable::text(&head))
}
