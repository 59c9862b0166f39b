//! The MVP's envelope: `{"type":T,"source":S,"destination":D,"payload":P}`.

use super::json::{self, NotAnObject, Object, Value};
use super::refusal::Reason;
use super::steps;
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::ops::Range;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `commande`
    Command,
    /// `reponse`
    Response,
    /// `notification`
    Notification,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Command, Self::Response, Self::Notification];

    /// `type` on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "commande",
            Self::Response => "reponse",
            Self::Notification => "notification",
        }
    }

    /// The body of a message without one.
    fn no_body(self) -> &'static str {
        match self {
            Self::Response => "null",
            Self::Command | Self::Notification => "{}",
        }
    }

    /// The payload's members: the name's and the body's.
    fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Command => ("commande", "arguments"),
            Self::Response => ("commande", "data"),
            Self::Notification => ("evenement", "data"),
        }
    }
}

/// A message as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// Who it says it is from. Nothing has checked it.
    pub source: String,
    /// Who it is for. Nothing has checked it.
    pub destination: String,
    /// The command's or the event's name.
    pub name: String,
    /// `arguments` or `data`; what counts as it, where it is absent.
    pub body: Value<'a>,
}

/// Why a line is no message.
pub type Unreadable = (Reason, String);

/// Reads a line.
///
/// # Errors
/// `not_json`, `not_an_envelope` or `unknown_type`, and what is wrong.
pub fn parse(line: &[u8], max_depth: usize) -> Result<Message<'_>, Unreadable> {
    let values = json::read_inside(line, &[&["payload"], &["arguments", "data"]], max_depth);
    let mut values = values.map_err(|e| (Reason::NotJson, e.to_string()))?.into_iter();
    let bad = |what: String| (Reason::NotAnEnvelope, what);
    let object = values.next().map_or(Err(NotAnObject::OtherKind), |message| message.object);
    let object = object.map_err(|e| bad(format!("the message is {e}")))?;
    let string = |object: &Object<'_>, name: &str| {
        let raw = object.get(name).ok_or_else(|| bad(format!("{name:?} is missing")))?;
        json::decode_str(raw)
            .map(String::from)
            .ok_or_else(|| bad(format!("{name:?} is no proper text")))
    };
    let kind = string(&object, "type")?;
    let source = string(&object, "source")?;
    let destination = string(&object, "destination")?;
    let payload = values.next().ok_or_else(|| bad("\"payload\" is missing".into()))?;
    let Some(kind) = Kind::ALL.into_iter().find(|k| k.as_str() == kind) else {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        return Err((Reason::UnknownType, format!("type {kind:?} is none of {known}")));
    };
    let payload = payload.object.map_err(|e| bad(format!("the payload is {e}")))?;
    let (name, body) = kind.members();
    let name = string(&payload, name)?;
    let text = payload.get(body).unwrap_or(kind.no_body());
    // Which of the two counts the type says, which need not be the first member.
    let body = values.next().filter(|value| std::ptr::eq(value.text, text));
    let body = body.unwrap_or_else(|| Value::parse(text));
    Ok(Message { kind, source, destination, name, body })
}

/// How the messages begin that are looked for in a line that is not JSON.
const BEGINNING: &[u8] = b"{\"type\":\"";

/// A part of a line that is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Where it stands.
    pub range: Range<usize>,
    /// Whether it is a message of its own, though it need not be a good one.
    pub whole: bool,
}

/// Takes a line apart that is not JSON, into whole messages and what is between them. Messages without a line
/// end between them are glued. A program that ends in the middle of a line, a backend that discards, and an
/// echo that raw mode cuts off all leave a piece of a message before the next one. Within a message no text
/// looks like another's beginning: its quotes would be escaped.
#[must_use]
pub fn pieces(line: &[u8], max_depth: usize) -> Vec<Fragment> {
    /// What follows so many is one more, so that a long line does not become millions.
    const MOST: usize = 1000;
    // So many beginnings may turn out to be none: each may take going through the rest of the line.
    let mut tries = 8;
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(rest) = line.get(at..).map(<[u8]>::trim_ascii_start).filter(|r| !r.is_empty()) {
        let start = line.len() - rest.len();
        let whole = message_at(rest, max_depth);
        let torn = || before_a_message(rest, max_depth, &mut tries);
        let size = if all.len() < MOST { whole.or_else(torn) } else { None };
        at = start + size.unwrap_or(rest.len());
        all.push(Fragment { range: start..at, whole: whole.is_some() && size == whole });
    }
    all
}

/// How long the message is with which the bytes begin.
fn message_at(bytes: &[u8], max_depth: usize) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let read = values.next()?;
    let size = values.byte_offset();
    // A line has one line, so that a column is a place.
    steps::count(read.as_ref().map_or_else(serde_json::Error::column, |_| size));
    read.ok()?;
    let is_one = || bytes.get(..size).is_some_and(|value| parse(value, max_depth).is_ok());
    (begins(bytes) || is_one()).then_some(size)
}

fn begins(bytes: &[u8]) -> bool {
    let kind = bytes.strip_prefix(BEGINNING).unwrap_or_default();
    Kind::ALL.iter().any(|k| kind.starts_with(k.as_str().as_bytes()))
}

/// How many bytes there are before the first good message after the first byte.
fn before_a_message(bytes: &[u8], max_depth: usize, tries: &mut usize) -> Option<usize> {
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    let mut seen = 0;
    for at in memchr::memmem::find_iter(bytes, BEGINNING).filter(|at| *at > 0 && begins(rest(*at)))
    {
        steps::count(at - std::mem::replace(&mut seen, at));
        let message = message_at(rest(at), max_depth).and_then(|size| rest(at).get(..size));
        if message.is_some_and(|message| parse(message, max_depth).is_ok()) {
            return Some(at);
        }
        *tries = tries.checked_sub(1)?;
    }
    steps::count(bytes.len() - seen);
    None
}

/// Writes a message as the MVP does: compact, its members in their usual order, ended by `\n`.
#[must_use]
pub fn write(kind: Kind, source: &str, destination: &str, name: &str, body: &[u8]) -> Bytes {
    let mut out = begin(kind, source, destination, name, body.len());
    out.extend_from_slice(body);
    end(out)
}

/// The beginning of what [`write()`] writes: the body, of about `size` bytes, is appended to it, which may
/// be long and need not be copied then; [`end`] does the rest.
#[must_use]
pub fn begin(kind: Kind, source: &str, destination: &str, name: &str, size: usize) -> Vec<u8> {
    let (name_member, body_member) = kind.members();
    let mut out = Vec::with_capacity(size + 192);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    for (member, text) in [("source", source), ("destination", destination)] {
        let opening = if member == "source" { "\",\"" } else { ",\"" };
        out.extend_from_slice(opening.as_bytes());
        out.extend_from_slice(member.as_bytes());
        out.extend_from_slice(b"\":");
        json::push_string(&mut out, text);
    }
    out.extend_from_slice(b",\"payload\":{\"");
    out.extend_from_slice(name_member.as_bytes());
    out.extend_from_slice(b"\":");
    json::push_string(&mut out, name);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(body_member.as_bytes());
    out.extend_from_slice(b"\":");
    out
}

/// Ends a line that [`begin`] has begun. The body may have been on several.
#[must_use]
pub fn end(mut line: Vec<u8>) -> Bytes {
    json::join_lines(&mut line);
    line.extend_from_slice(b"}}\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let line = write(Kind::Command, "vm-gui", "sys-usb", "liste_disques", b"{}");
        let expected = br#"{"type":"commande","source":"vm-gui","destination":"sys-usb","payload":{"commande":"liste_disques","arguments":{}}}"#;
        assert_eq!(line.strip_suffix(b"\n").unwrap(), expected);
        let read = parse(&line, 8).unwrap();
        assert_eq!(
            (read.kind, read.name.as_str(), read.body.text),
            (Kind::Command, "liste_disques", "{}")
        );
    }

    #[test]
    fn a_message_is_found_after_a_piece_of_another() {
        let whole = r#"{"type":"reponse","source":"a","destination":"b","payload":{"commande":"c","data":{"files":[{"type":"file"},{"type":"file"}]}}}"#;
        let found = |line: String| {
            let pieces = pieces(line.as_bytes(), 8).into_iter();
            pieces.map(|p| (p.range.start, p.whole)).collect::<Vec<_>>()
        };
        for cut in 1..whole.len() {
            let (piece, end) = whole.split_at(cut);
            let expected = [(0, false), (cut, true), (cut + whole.len(), true)];
            assert_eq!(found(format!("{piece}{whole}{whole}")), expected, "{piece}");
            let at = whole.len();
            let expected = [(0, true), (at, false), (at + cut, true)];
            assert_eq!(found(format!("{whole}{piece}{whole}")), expected, "{piece}");
            // The end of one that has no beginning is none, and hides none.
            assert_eq!(found(end.to_owned()), [(0, false)], "{cut}");
            assert_eq!(found(piece.to_owned()), [(0, false)], "{piece}");
        }
        let many = found(format!(" {whole}").repeat(1200));
        assert_eq!((many.len(), many.last()), (1001, Some(&(1000 * (whole.len() + 1) + 1, false))));
        let quoted = serde_json::to_string(whole).unwrap();
        assert_eq!(found(format!("{{\"a\":{quoted}")), [(0, false)]);
    }

    #[test]
    fn each_fault_has_its_reason() {
        for (line, reason) in [
            ("this is not json", Reason::NotJson),
            ("[1,2]", Reason::NotAnEnvelope),
            ("{}", Reason::NotAnEnvelope),
            (r#"{"type":"zzz","source":"a","destination":"b","payload":{}}"#, Reason::UnknownType),
            (
                r#"{"type":"commande","type":"commande","source":"a","destination":"b","payload":{"commande":"c"}}"#,
                Reason::NotAnEnvelope,
            ),
            (
                r#"{"type":"commande","source":7,"destination":"b","payload":{"commande":"c"}}"#,
                Reason::NotAnEnvelope,
            ),
            (
                r#"{"type":"commande","source":"a","destination":"b","payload":{"evenement":"c"}}"#,
                Reason::NotAnEnvelope,
            ),
            (
                r#"{"type":"commande","source":"a","destination":"b","payload":[]}"#,
                Reason::NotAnEnvelope,
            ),
        ] {
            assert_eq!(parse(line.as_bytes(), 8).unwrap_err().0, reason, "{line}");
        }
    }
}
