//! The MVP's envelope: `{"type":T,"source":S,"destination":D,"payload":P}`.

use super::json::{self, NotAnObject, Object, Value};
use super::refusal::Reason;
use bytes::Bytes;

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

/// Where a whole message begins in a line that is not JSON. A program that ends in the middle of a line,
/// a backend that discards, and an echo that raw mode cuts off all leave a piece of a message before the
/// next one. Within a message no text looks like another's beginning: its quotes would be escaped.
#[must_use]
pub fn after_a_tear(line: &[u8], max_depth: usize) -> Option<usize> {
    const BEGINNING: &[u8] = b"{\"type\":\"";
    /// A listing has many objects with a `type`, but no more than one message is looked for.
    const TRIES: usize = 4;
    let begins = |at: &usize| {
        let rest = line.get(at + BEGINNING.len()..).unwrap_or_default();
        *at > 0 && Kind::ALL.iter().any(|kind| rest.starts_with(kind.as_str().as_bytes()))
    };
    let whole = |at: &usize| line.get(*at..).is_some_and(|rest| parse(rest, max_depth).is_ok());
    memchr::memmem::rfind_iter(line, BEGINNING).filter(begins).take(TRIES).find(whole)
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
        let after = |line: String| after_a_tear(line.as_bytes(), 8);
        for cut in 1..whole.len() {
            let piece = &whole[..cut];
            assert_eq!(after(format!("{piece}{whole}")), Some(cut), "{piece}");
            // The end of one that has no beginning is none, and hides none.
            assert_eq!(after(whole[cut..].to_owned()), None, "{cut}");
            assert_eq!(after(piece.to_owned()), None, "{piece}");
        }
        let quoted = serde_json::to_string(whole).unwrap();
        assert_eq!(after(format!("{{\"a\":{quoted}")), None);
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
