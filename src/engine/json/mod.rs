//! JSON as slices: a value is the very text that came, and is only decoded where it must be compared.
//!
//! serde_json does the checking. What it does not do is here: the limit on nesting (a raw value may
//! be nested 100 000 levels deep), texts with a lone surrogate (`"caf\udce9.txt"`), which it refuses to
//! decode into a `String` but gladly gives as bytes, and taking apart what has been checked (`walk`).

mod walk;
mod write;

pub use walk::{Keys, for_each, for_each_object};
pub use write::{join_lines, push_string, push_text, string};

use super::steps;
use serde::de::{Deserializer as _, IgnoredAny, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

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

/// A value as it stands in the text, and taken apart if it is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its text, without the blanks around it.
    pub text: &'a str,
    /// Its members.
    pub object: Result<Object<'a>, NotAnObject>,
}

impl<'a> Value<'a> {
    /// A value of a text that has been read.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        Self { text, object: Object::parse(text) }
    }

    /// Its members; one that is no object has none.
    #[must_use]
    pub fn as_object(&self) -> &Object<'a> {
        const NONE: &Object<'_> = &Object::empty();
        self.object.as_ref().unwrap_or(NONE)
    }
}

/// Reads one JSON value, nested at most `max_depth` levels.
///
/// # Errors
/// [`NotJson`] says what is wrong.
pub fn read(bytes: &[u8], max_depth: usize) -> Result<Value<'_>, NotJson> {
    let mut values = read_inside(bytes, &[], max_depth)?;
    Ok(values.pop().unwrap_or(Value { text: "", object: Err(NotAnObject::OtherKind) }))
}

/// Reads one JSON value as [`read`] does, and values inside it while it is at it, for they may be long:
/// its first member that has one of the names that `path` begins with, in that the next, and so on as far
/// as they are there. The outermost is the first.
///
/// # Errors
/// As for [`read`].
pub fn read_inside<'a>(
    bytes: &'a [u8],
    path: &[&[&str]],
    max_depth: usize,
) -> Result<Vec<Value<'a>>, NotJson> {
    // Once for its characters, and once for its grammar.
    steps::count(2 * bytes.len());
    let text = std::str::from_utf8(bytes).map_err(|e| NotJson::NotUtf8(e.valid_up_to()))?;
    // It is taken apart first, whatever it is, and what was found counts if it is JSON.
    let (values, depth) = walk::values(text, path);
    if depth > max_depth {
        return Err(NotJson::TooDeep(max_depth));
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|e| NotJson::Syntax(e.to_string()))?;
    Ok(values)
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
    #[error("an object in which the member {0:?} stands twice")]
    Duplicate(String),
}

impl NotAnObject {
    fn twice(key: &[u8]) -> Self {
        Self::Duplicate(String::from_utf8_lossy(key).into_owned())
    }
}

impl<'a> Object<'a> {
    /// Takes an object apart, one level deep. `text` is JSON that [`read`] has read, or a value in it: it is
    /// not checked again.
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
        self.position(key).and_then(|at| self.0.get(at)).map(|m| m.value)
    }

    /// Which member it is.
    #[must_use]
    pub fn position(&self, key: &str) -> Option<usize> {
        let found = self.0.iter().position(|m| is(&m.key, key.as_bytes()));
        steps::count(found.unwrap_or(self.0.len()) + 1);
        found
    }

    /// The member at a position.
    #[must_use]
    pub fn member(&self, at: usize) -> Option<&Member<'a>> {
        self.0.get(at)
    }

    /// The members in their order.
    pub fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.0.iter()
    }
}

/// Adds to the text of an object the members of another that it has not.
pub fn merge(object: &mut Vec<u8>, more: &[u8]) {
    fn parse(text: &[u8]) -> Option<Object<'_>> {
        std::str::from_utf8(text).ok().and_then(|text| Object::parse(text).ok())
    }
    let mut extra = Vec::new();
    if let (Some(own), Some(more)) = (parse(object), parse(more)) {
        let known: HashSet<&[u8]> = own.members().map(|m| &*m.key).collect();
        for member in more.members().filter(|m| !known.contains(&*m.key)) {
            let comma = if known.is_empty() && extra.is_empty() { "" } else { "," };
            extra.extend([comma, member.raw_key, ":", member.value].concat().bytes());
        }
    }
    if !extra.is_empty() {
        object.pop();
        object.append(&mut extra);
        object.push(b'}');
    }
}

/// Whether two names are the same. Most differ in their first byte: in a long list that spares half the
/// comparing.
pub fn is(a: &[u8], b: &[u8]) -> bool {
    a.first() == b.first() && a == b
}

fn duplicate<'m>(members: &'m [Member<'_>]) -> Option<&'m [u8]> {
    const FEW: usize = 16;
    steps::count(members.len() * members.len().min(FEW));
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
    steps::count(raw.len());
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
    use serde_json::value::RawValue;

    #[test]
    fn a_lone_surrogate_is_kept_as_it_is_and_can_be_compared() {
        let text = r#"{"a\udce9":"caf\udce9.txt","b":1.50e3}"#;
        assert!(read(text.as_bytes(), 8).is_ok());
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("b"), Some("1.50e3"));
        let odd: Vec<_> = object.members().map(|m| m.value).collect();
        assert_eq!(odd, [r#""caf\udce9.txt""#, "1.50e3"]);
        assert!(same(odd[0], r#""c\u0061f\uDCE9.txt""#));
        assert!(decode_str(odd[0]).is_none());
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(read(br#"{"a":"[[[[","b":[[]]}"#, 3).is_ok());
        assert_eq!(read(br#"[[[[]]]]"#, 3), Err(NotJson::TooDeep(3)));
        let deep = "[".repeat(100_000);
        assert_eq!(read(deep.as_bytes(), 128), Err(NotJson::TooDeep(128)));
    }

    #[test]
    fn what_is_not_json_is_said() {
        for bad in ["", "{", "{}x", "\u{feff}{}", "{\"a\":\"\u{1}\"}", "nul", "01"] {
            assert!(matches!(read(bad.as_bytes(), 8), Err(NotJson::Syntax(_))), "{bad:?}");
        }
        assert_eq!(read(b"{\"\xff\":1}", 8), Err(NotJson::NotUtf8(2)));
    }

    #[test]
    fn what_is_read_at_once_is_what_is_read_one_after_the_other() {
        let path: &[&[&str]] = &[&["a", "b"], &["c"]];
        for text in [
            "",
            "{",
            "{}",
            " {} ",
            "{}x",
            "{} {}",
            "[1]",
            "[1]x",
            " 7 ",
            "{\"a\":01}",
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1}]"#,
            r#"{"\x":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"a":}"#,
            r#"{"a":{"c":1},"a":{"c":2}}"#,
            r#"{"a" {"c":1}}"#,
            r#"{1:2}"#,
            r#"{{}:2}"#,
            r#"{"a":{1:2}}"#,
            "\"a\"",
            r#"{"\ud800":"\ud800"}"#,
            r#"{"a":{"c":[[[[]]]]}}"#,
            r#"{"a":{"c":[[[]]]}}"#,
            r#"{"a":nul}"#,
            r#"{"x":1,"b":{"c" : 1 ,"d":[] } ,"a":{"c":[7]}}"#,
            r#"{"a":7,"b":{"c":1}}"#,
            r#"{"a":{"d":1}}"#,
            r#"{ "\u0061" :{"c":{"a":{}}}}"#,
            r#"{"a":{"c":1,"c":2}}"#,
            r#"{"a":{},"a":{}}"#,
            r#"{"a":{"c":01}}"#,
            r#"{"a":1,}"#,
        ] {
            let outermost = serde_json::from_str::<&RawValue>(text).ok();
            let mut expected: Vec<Value<'_>> =
                outermost.map(|raw| Value::parse(raw.get())).into_iter().collect();
            for names in path {
                let wanted = |m: &&Member<'_>| names.iter().any(|n| *m.key == *n.as_bytes());
                let around = expected.last().cloned();
                let inside =
                    around.and_then(|v| v.as_object().members().find(wanted).map(|m| m.value));
                expected.extend(inside.map(Value::parse));
            }
            match read_inside(text.as_bytes(), path, 5) {
                Ok(values) => {
                    // What is inside an object that is none does not count.
                    assert_eq!(values.get(..expected.len()), Some(&*expected), "{text}");
                    let last = expected.last().map(|v| &v.object);
                    let is_none = matches!(last, Some(Err(NotAnObject::Duplicate(_))));
                    assert!(is_none || values.len() == expected.len(), "{text}");
                }
                Err(NotJson::TooDeep(_)) => assert!(text.contains("[[[["), "{text}"),
                Err(_) => assert_eq!(expected, [], "{text}"),
            }
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
    fn an_object_gains_the_members_that_it_has_not() {
        for (own, more, merged) in [
            (r#"{"a":1}"#, r#"{"b":2,"a":3,"c":[]}"#, r#"{"a":1,"b":2,"c":[]}"#),
            ("{}", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":1}"#, r#"{"\u0061":2}"#, r#"{"a":1}"#),
            (r#"["a"]"#, r#"{"a":1}"#, r#"["a"]"#),
        ] {
            let mut object = own.as_bytes().to_vec();
            merge(&mut object, more.as_bytes());
            assert_eq!(String::from_utf8_lossy(&object), merged);
        }
    }

    #[test]
    fn strings_are_written_as_the_mvp_writes_them() {
        assert_eq!(string("copié \"\\\n\u{1F600}"), r#""copi\u00e9 \"\\\n\ud83d\ude00""#);
    }
}
