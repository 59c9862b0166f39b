//! JSON as slices: a value is the very text that came, and is only decoded where it must be compared.
//!
//! serde_json does the checking. What it does not do is here: the limit on nesting (a raw value may
//! be nested 100 000 levels deep), texts with a lone surrogate (`"caf\udce9.txt"`), which it refuses to
//! decode into a `String` but gladly gives as bytes, and taking apart what has been checked (`walk`).

mod visit;
mod walk;
mod write;

pub use walk::{for_each, for_each_object};
pub use write::{push_on_line, push_string, push_text, string};

use serde::de::{Deserializer as _, IgnoredAny, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use visit::NestedVisitor;
use walk::after_string;

/// Why a text is not JSON that the gateway takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// Not UTF-8.
    #[error("not UTF-8 (byte {0})")]
    NotUtf8(usize),
    /// Nested deeper than the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    Syntax(String),
}

/// Checks that `bytes` are one JSON value, nested at most `max_depth` levels, and gives them as text.
///
/// # Errors
/// [`NotJson`] says what is wrong.
pub fn check(bytes: &[u8], max_depth: usize) -> Result<&str, NotJson> {
    let text = text(bytes, max_depth)?;
    check_syntax(text)?;
    Ok(text)
}

fn check_syntax(text: &str) -> Result<(), NotJson> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|e| NotJson::Syntax(e.to_string()))?;
    Ok(())
}

fn text(bytes: &[u8], max_depth: usize) -> Result<&str, NotJson> {
    let text = std::str::from_utf8(bytes).map_err(|e| NotJson::NotUtf8(e.valid_up_to()))?;
    if depth(bytes) > max_depth {
        return Err(NotJson::TooDeep(max_depth));
    }
    Ok(text)
}

/// A text, and what [`Object::parse`] says of it.
pub type Parsed<'p, 'a> = (&'a str, &'p Result<Object<'a>, NotAnObject>);

/// An object, and the object that is one of its members, if that is there.
pub type Nested<'a> = (Object<'a>, Option<Result<Object<'a>, NotAnObject>>);

/// What [`check`] and then [`Object::parse`] say, of an object and of its member `inner`; a good object,
/// which may be long, is read once for all.
///
/// # Errors
/// [`NotJson`], or why it is no object. The member may also be absent.
pub fn nested<'a>(
    bytes: &'a [u8],
    inner: &str,
    max_depth: usize,
) -> Result<Result<Nested<'a>, NotAnObject>, NotJson> {
    let text = text(bytes, max_depth)?;
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    let visitor = NestedVisitor { outside: &mut outside, inner, inside: &mut inside };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_map(visitor).and_then(|()| reader.end());
    if read.is_ok() && duplicate(&outside).is_none() && duplicate(&inside).is_none() {
        return Ok(Ok((Object(outside), Some(Ok(Object(inside))))));
    }
    // Something is wrong, or the member is absent or no object.
    check_syntax(text)?;
    Ok(Object::parse(text).map(|object| {
        let inside = object.get(inner).map(Object::parse);
        (object, inside)
    }))
}

/// How deep the brackets of a text go, strings left out. The text need not be JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut level, mut deepest) = (0usize, 0usize);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = after_string(bytes, at),
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A member of an object: its key as it stands in the text and decoded, and its value as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key with its quotes and escapes.
    pub raw_key: &'a str,
    /// The key decoded (WTF-8: a lone surrogate is kept).
    pub key: Cow<'a, [u8]>,
    /// The value, untouched.
    pub value: &'a str,
}

/// An object's members in their order. No key stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object<'a>(Vec<Member<'a>>);

/// Why a value is no object that the gateway takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// Another kind of value.
    #[error("not an object")]
    OtherKind,
    /// A key stands twice, and nothing says which of the two counts.
    #[error("the member {0:?} stands twice")]
    Duplicate(String),
}

impl NotAnObject {
    fn twice(key: &[u8]) -> Self {
        Self::Duplicate(String::from_utf8_lossy(key).into_owned())
    }
}

impl<'a> Object<'a> {
    /// Takes an object apart, one level deep. `text` is JSON that [`check`] has passed, or a part of it:
    /// it is not checked again.
    ///
    /// # Errors
    /// [`NotAnObject`]: another kind of value, or a key that stands twice.
    pub fn parse(text: &'a str) -> Result<Self, NotAnObject> {
        walk::members(text).map(Self)
    }

    /// An object without members.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|m| is(&m.key, key.as_bytes())).map(|m| m.value)
    }

    /// The members in their order.
    pub fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.0.iter()
    }
}

/// Whether two names are the same. Most differ in their first byte: in a long list that spares half the
/// comparing.
pub fn is(a: &[u8], b: &[u8]) -> bool {
    a.first() == b.first() && a == b
}

fn duplicate<'m>(members: &'m [Member<'_>]) -> Option<&'m [u8]> {
    const FEW: usize = 16;
    if members.len() <= FEW {
        let twice = |(i, m): (usize, &'m Member<'_>)| {
            members.iter().take(i).any(|other| is(&other.key, &m.key)).then_some(&*m.key)
        };
        return members.iter().enumerate().find_map(twice);
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|m| !seen.insert(&*m.key)).map(|m| &*m.key)
}

/// The text of a JSON string, decoded; `None` for any other value.
///
/// The bytes are UTF-8, but that a lone surrogate is kept in the three bytes that UTF-8 would give it
/// (WTF-8), so that two spellings of one name compare equal and an odd name is still itself.
#[must_use]
pub fn decode(raw: &str) -> Option<Cow<'_, [u8]>> {
    let inside = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.contains('\\') {
        return Some(Cow::Borrowed(inside.as_bytes()));
    }
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_bytes(Text).ok().map(Cow::Owned)
}

/// The text of a JSON string that is proper Unicode; `None` for any other value.
#[must_use]
pub fn decode_str(raw: &str) -> Option<Cow<'_, str>> {
    match decode(raw)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Whether two values are the same: strings by what they say, all else by how it is written.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    a == b || matches!((decode(a), decode(b)), (Some(a), Some(b)) if a == b)
}

/// Whether two values mean the same: members in any order, strings by what they say.
#[must_use]
pub fn equal(a: &str, b: &str) -> bool {
    if let (Ok(a), Ok(b)) = (Object::parse(a), Object::parse(b)) {
        let counterpart = |m: &Member<'_>| b.0.iter().find(|o| o.key == m.key);
        return a.0.len() == b.0.len()
            && a.0.iter().all(|m| counterpart(m).is_some_and(|o| equal(m.value, o.value)));
    }
    match (elements(a), elements(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| equal(a, b)),
        (None, None) => same(a, b),
        _ => false,
    }
}

fn elements(text: &str) -> Option<Vec<&str>> {
    let mut all = Vec::new();
    let mut add = |element| -> Result<(), ()> {
        all.push(element);
        Ok(())
    };
    let is_array = for_each(text, &mut add).ok()?;
    is_array.then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_surrogate_is_kept_as_it_is_and_can_be_compared() {
        let text = r#"{"a\udce9":"caf\udce9.txt","b":1.50e3}"#;
        assert!(check(text.as_bytes(), 8).is_ok());
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("b"), Some("1.50e3"));
        let odd: Vec<_> = object.members().map(|m| m.value).collect();
        assert_eq!(odd, [r#""caf\udce9.txt""#, "1.50e3"]);
        assert!(same(odd[0], r#""c\u0061f\uDCE9.txt""#));
        assert!(decode_str(odd[0]).is_none());
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(check(br#"{"a":"[[[[","b":[[]]}"#, 3).is_ok());
        assert_eq!(check(br#"[[[[]]]]"#, 3), Err(NotJson::TooDeep(3)));
        let deep = "[".repeat(100_000);
        assert_eq!(check(deep.as_bytes(), 128), Err(NotJson::TooDeep(128)));
    }

    #[test]
    fn what_is_not_json_is_said() {
        for bad in ["", "{", "{}x", "\u{feff}{}", "{\"a\":\"\u{1}\"}", "nul", "01"] {
            assert!(matches!(check(bad.as_bytes(), 8), Err(NotJson::Syntax(_))), "{bad:?}");
        }
        assert_eq!(check(b"{\"\xff\":1}", 8), Err(NotJson::NotUtf8(2)));
    }

    #[test]
    fn an_object_read_at_once_is_what_it_is_read_twice() {
        for text in [
            "",
            "{",
            "{}",
            " {} ",
            "{}x",
            "{} {}",
            "[1]",
            "[1]x",
            "{\"a\":01}",
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1}]"#,
            r#"{"\x":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"a":}"#,
            r#"{1:2}"#,
            "\"a\"",
            r#"{"\ud800":"\ud800"}"#,
            r#"{"a":{"b":[[[[]]]]}}"#,
            r#"{"a":nul}"#,
            r#"{"b":1,"a":{"c":1,"d":[]},"e":2}"#,
            r#"{"a":{"c":1,"c":2}}"#,
            r#"{"a":{},"a":{}}"#,
            r#"{"a":{"c":01}}"#,
            r#"{"a":1,}"#,
        ] {
            let twice = check(text.as_bytes(), 5).map(Object::parse);
            let nested = nested(text.as_bytes(), "a", 5);
            let inner =
                |o: &Object<'_>| o.get("a").map(|a| Object::parse(a).map_err(|_| ()).is_ok());
            let found = nested.map(|n| n.map(|n| n.1.map(|a| a.is_ok())));
            assert_eq!(found, twice.map(|o| o.map(|o| inner(&o))), "{text}");
        }
    }

    #[test]
    fn keys_stand_once_whatever_their_spelling() {
        let twice = r#"{"disk":"a","d\u0069sk":"b"}"#;
        assert_eq!(Object::parse(twice), Err(NotAnObject::Duplicate("disk".into())));
        let many: Vec<String> = (0..100).map(|i| format!("\"k{}\":0", i % 99)).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(Object::parse(&many), Err(NotAnObject::Duplicate("k0".into())));
        assert_eq!(Object::parse("[1]"), Err(NotAnObject::OtherKind));
    }

    #[test]
    fn strings_are_written_as_the_mvp_writes_them() {
        assert_eq!(string("copié \"\\\n\u{1F600}"), r#""copi\u00e9 \"\\\n\ud83d\ude00""#);
    }
}
