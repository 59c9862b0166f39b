//! Writing JSON as the MVP does: compact, in ASCII, on one line.

use std::io;

/// Appends `text` as a JSON string in ASCII, as the MVP's own writers do.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_text(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of such a string, or a part of it.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    struct Inside;
    impl serde_json::ser::Formatter for Inside {
        fn begin_string<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
            Ok(())
        }

        fn end_string<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
            Ok(())
        }

        fn write_string_fragment<W: ?Sized + io::Write>(
            &mut self,
            writer: &mut W,
            fragment: &str,
        ) -> io::Result<()> {
            let escaped = |c: char| !c.is_ascii() || c == '\u{7f}';
            let mut rest = fragment;
            while let Some((at, c)) = rest.char_indices().find(|(_, c)| escaped(*c)) {
                let (plain, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
                writer.write_all(plain.as_bytes())?;
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
                rest = after.get(c.len_utf8()..).unwrap_or_default();
            }
            writer.write_all(rest.as_bytes())
        }
    }
    if is_plain(text.as_bytes()) {
        return out.extend_from_slice(text.as_bytes());
    }
    let mut serializer = serde_json::Serializer::with_formatter(out, Inside);
    // Writing a string to memory has nothing to fail at.
    let _ = serde::Serialize::serialize(text, &mut serializer);
}

/// Whether bytes stand for themselves in a string. It may be long: a block of them is looked at as a
/// whole, which a processor does in a few steps.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |b: &u8| matches!(b, b' '..=b'~') & (*b != b'"') & (*b != b'\\');
    let (blocks, rest) = bytes.as_chunks::<64>();
    let plain_block = |block: &[u8; 64]| block.iter().fold(true, |all, b| all & plain(b));
    blocks.iter().all(plain_block) && rest.iter().all(plain)
}

/// `text` as a JSON string in ASCII.
#[must_use]
pub fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Makes JSON one line: line ends between tokens, which JSON allows and a line does not, are taken out.
/// Inside a string JSON allows none, so nothing that counts is lost.
pub fn join_lines(json: &mut Vec<u8>) {
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        json.retain(|b| !matches!(b, b'\n' | b'\r'));
    }
}
