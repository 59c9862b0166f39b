//! JSON as the MVP writes it: compact, ASCII only, with lone surrogates for what is not UTF-8.
//!
//! A `String` cannot hold a lone surrogate, so here each of the 128 that the MVP can write
//! (`\udc80` to `\udcff`, one for each byte that is not UTF-8) has a stand-in: a character of the
//! last private plane.

use serde::Serialize as _;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

const STAND_IN: u32 = 0x10_F000;

/// Reads JSON that may hold lone surrogates; `None` if it is not JSON.
pub fn decode(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(&with_stand_ins(text)).ok()
}

/// Writes compact ASCII JSON.
pub fn encode(value: &Value) -> String {
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Ascii);
    match value.serialize(&mut writer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(e) => unreachable!("a Value is always JSON: {e}"),
    }
}

/// A file's name as text, with stand-ins for what is not UTF-8.
pub fn text_of(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk.invalid().iter().filter_map(|&byte| char::from_u32(STAND_IN + u32::from(byte))),
        );
    }
    text
}

/// The reverse of [`text_of`].
pub fn name_of(text: &str) -> OsString {
    let mut bytes = Vec::new();
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

fn byte_of(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(STAND_IN)?).ok().filter(|byte| *byte >= 0x80)
}

fn with_stand_ins(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(lone @ 0xDC80..=0xDCFF), _) => {
                let c = char::from_u32(STAND_IN + lone - 0xDC00).unwrap_or_default();
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            _ => 2,
        };
        let (whole, after) = escape.split_at(length.min(escape.len()));
        out.extend_from_slice(whole);
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

/// The UTF-16 unit of an escape that begins here.
fn unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        for c in text.chars() {
            if c.is_ascii() {
                out.write_all(&[c as u8])?;
            } else if let Some(byte) = byte_of(c) {
                write!(out, "\\udc{byte:02x}")?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            r#"["caf\udce9.txt","Cl\u00e9 \u00c9l\u00e8ve","\ud83d\ude00"]"#,
            r#"["\\udce9","\ud83d\ude00\udcff","\"\\"]"#,
        ] {
            assert_eq!(decode(text.as_bytes()).map(|v| encode(&v)).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_survives() {
        let name = OsStr::from_bytes(b"caf\xe9 \xc3\xa9.txt");
        assert_eq!(name_of(&text_of(name)), name);
        assert_eq!(encode(&Value::String(text_of(name))), r#""caf\udce9 \u00e9.txt""#);
    }
}
