//! Text from outside, as it may be shown: nothing in it moves a cursor, turns the order of the letters
//! round, begins a line or hides.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Text for people: what cannot be seen is written as its escape, such as `\u{202e}` or `\n`.
///
/// Those are controls (C0, DEL, C1), marks of direction, what has no width, separators but for the plain
/// space, marks that are drawn over the letter before them, and what Unicode has not assigned. A text that
/// went through this once stays as it is.
#[must_use]
pub fn text(from: &str) -> Cow<'_, str> {
    escape_but(from, |_| false, as_in_rust)
}

/// Text of several lines: each as [`text`] has it.
#[must_use]
pub fn lines(from: &str) -> Cow<'_, str> {
    escape_but(from, |c| c == '\n', as_in_rust)
}

/// Text of several lines, as [`lines`] has it but for ESC, which begins a colour: whatever of it is from outside
/// went through [`text()`] before.
#[must_use]
pub fn painted(from: &str) -> Cow<'_, str> {
    escape_but(from, |c| matches!(c, '\n' | '\u{1b}'), |out, c| out.extend(c.escape_debug()))
}

/// JSON, whole or a part of it, on one line or several: what [`text`] escapes is escaped as JSON does it, so
/// that it means what it did.
#[must_use]
pub fn json(from: &str) -> Cow<'_, str> {
    escape_but(
        from,
        |c| c == '\n',
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// The head of a text, of at most so many bytes.
#[must_use]
pub fn head(text: &str, most: usize) -> &str {
    let whole = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=most.min(text.len())).rev().find(whole).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn as_in_rust(out: &mut String, c: char) {
    match c {
        '\n' | '\r' | '\t' => out.extend(c.escape_default()),
        _ => out.extend(c.escape_unicode()),
    }
}

fn escape_but(
    from: &str,
    stays: impl Fn(char) -> bool,
    as_escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let unseen = |c: char| is_unseen(c) && !stays(c);
    if !from.contains(unseen) {
        return Cow::Borrowed(from);
    }
    let mut out = String::with_capacity(from.len() + 16);
    for c in from.chars() {
        if unseen(c) {
            as_escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The standard library knows what cannot be printed; to it quotes and backslashes are odd as well, the
/// fillers of Hangul are letters, and Braille without a dot is a pattern.
fn is_unseen(c: char) -> bool {
    let filler = matches!(c, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    filler || (!matches!(c, '\'' | '"' | '\\') && c.escape_debug().len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that a terminal obeys or does not show, by Unicode's kinds.
    fn odd() -> impl Iterator<Item = char> {
        let ranges = [
            0x0..=0x1f,
            0x7f..=0x9f,
            0xad..=0xad,
            0x34f..=0x34f,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x180b..=0x180e,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x2800..=0x2800,
            0x3164..=0x3164,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff9..=0xfffb,
            0xe0000..=0xe01ef,
        ];
        ranges.into_iter().flatten().filter_map(char::from_u32)
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for c in odd() {
            let from = format!("a{c}b");
            let (shown, as_json) = (text(&from), json(&format!("\"{from}\"")).into_owned());
            assert!(
                !shown.contains(c) && shown.starts_with("a\\") && shown.ends_with('b'),
                "{c:?}"
            );
            assert_eq!(text(&shown), shown, "once is enough");
            assert_eq!(lines(&from).contains(c), c == '\n', "{c:?}");
            if c != '\n' {
                assert!(!as_json.contains(c), "{c:?}");
                assert_eq!(serde_json::from_str::<String>(&as_json).unwrap(), from);
            }
        }
    }

    #[test]
    fn what_can_be_seen_stays() {
        for plain in ["", "{\"é\": 'à \\ b'}", "日本語 ├── ✓ 😀"] {
            assert!(matches!(text(plain), Cow::Borrowed(shown) if shown == plain), "{plain}");
            assert!(matches!(json(plain), Cow::Borrowed(_)) && lines(plain) == plain, "{plain}");
        }
    }
}
