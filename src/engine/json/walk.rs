//! Taking JSON apart that is known to be JSON: where its values end is looked for, and nothing else. A
//! long list is gone through two or three times as fast as by a reader that checks it again.
//!
//! With any other text nothing is promised but an end.

use super::{Member, NotAnObject, Object, Value, decode, duplicate, is};
use crate::engine::steps;

/// Goes through a text, into its objects and arrays or past them.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// How many objects and arrays it is inside of, and the most that there were.
    level: usize,
    deepest: usize,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, level: 0, deepest: 0 }
    }

    /// Inside the object or array that the text is, by how that begins.
    fn into(text: &'a str, opening: u8) -> Option<Self> {
        let mut walk = Self::new(text);
        walk.enter(opening).then_some(walk)
    }

    /// The byte at which a value begins or an object or array ends. What stands between values, which
    /// is known to be right, is passed over.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let between = rest.iter().position(|b| !is_between(b));
        steps::count(between.unwrap_or(rest.len()) + 1);
        self.at += between?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn enter(&mut self, opening: u8) -> bool {
        let enters = self.next_byte() == Some(opening);
        self.at += usize::from(enters);
        self.level += usize::from(enters);
        self.deepest = self.deepest.max(self.level);
        enters
    }

    /// Past the end of an object or array of which there is nothing left.
    fn leave(&mut self) {
        self.at += 1;
        self.level = self.level.saturating_sub(1);
    }

    /// The next value, a key being one; `None` at the end of the object or array.
    fn value(&mut self) -> Option<&'a str> {
        let first = self.next_byte()?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let size = match first {
            b']' | b'}' => return None,
            b'"' => after_string(rest, 1),
            b'[' | b'{' => {
                let (size, depth) = after_brackets(rest);
                self.deepest = self.deepest.max(self.level + depth);
                size
            }
            _ => {
                let end = |b: &u8| is_between(b) || matches!(b, b']' | b'}');
                rest.iter().position(end).unwrap_or(rest.len())
            }
        };
        steps::count(size);
        let value = self.text.get(self.at..self.at + size);
        self.at += size;
        value
    }

    /// An object's members; `value` goes past the value of a key. `members` may be those of another that is
    /// likely to have the same keys: these have been looked at already. Says whether it has.
    fn members(
        &mut self,
        members: &mut Vec<Member<'a>>,
        mut value: impl FnMut(&mut Self, &'a str) -> Option<&'a str>,
    ) -> Result<Keys, NotAnObject> {
        let (mut count, before) = (0, members.len());
        let mut keys = Keys::Same;
        while let Some(raw_key) = self.value() {
            let value = value(self, raw_key).ok_or(NotAnObject::OtherKind)?;
            match members.get_mut(count) {
                Some(member) if member.raw_key == raw_key => member.value = value,
                _ => {
                    let key = decode(raw_key).ok_or(NotAnObject::OtherKind)?;
                    members.truncate(count);
                    members.push(Member { raw_key, key, value });
                    keys = Keys::New;
                }
            }
            count += 1;
        }
        if keys == Keys::New
            && let Some(key) = duplicate(members)
        {
            return Err(NotAnObject::twice(key));
        }
        if count < before {
            members.truncate(count);
            keys = Keys::New;
        }
        Ok(keys)
    }

    /// The next value, taken apart, after those inside it that are on the path.
    fn values(&mut self, path: &[&[&str]], found: &mut Vec<Value<'a>>) -> Option<&'a str> {
        let first = self.next_byte()?;
        let start = self.at;
        let object = if first == b'{' {
            self.enter(b'{');
            let (names, further) = path.split_first().map_or((&[][..], path), |(n, f)| (*n, f));
            let (mut members, mut within) = (Vec::new(), false);
            let read = self.members(&mut members, |walk, raw_key| {
                let key = decode(raw_key).unwrap_or_default();
                if !within && names.iter().any(|name| is(name.as_bytes(), &key)) {
                    within = true;
                    walk.values(further, found)
                } else {
                    walk.value()
                }
            });
            self.leave();
            read.map(|_| Object(members))
        } else {
            self.value()?;
            Err(NotAnObject::OtherKind)
        };
        let text = self.text.get(start..self.at)?;
        found.push(Value { text, object });
        Some(text)
    }
}

/// What stands between values.
fn is_between(byte: &u8) -> bool {
    matches!(byte, b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the string ends of which `at` is inside.
fn after_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = next_of_string(bytes, at);
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            // Whatever is escaped is no end.
            Some(_) => at += 2,
        }
    }
}

/// Where the next quote or backslash is. Most strings are short: calling for help takes longer than
/// looking at eight bytes at a time.
fn next_of_string(bytes: &[u8], start: usize) -> usize {
    const SHORT: usize = 64;
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The highest bit of the first byte that is zero, and of none before it.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let rest = bytes.get(start..).unwrap_or_default();
    let (words, _) = rest.as_chunks::<8>();
    for (n, word) in words.iter().take(SHORT / 8).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return start + 8 * n + found.trailing_zeros() as usize / 8;
        }
    }
    let seen = (8 * words.len()).min(SHORT);
    let far = memchr::memchr2(b'"', b'\\', rest.get(seen..).unwrap_or_default());
    start + far.map_or(rest.len(), |at| seen + at)
}

/// How long the object or array is with which the bytes begin, and how deep its brackets go.
fn after_brackets(bytes: &[u8]) -> (usize, usize) {
    let (mut level, mut deepest, mut at) = (0usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = after_string(bytes, at),
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if level <= 1 => return (at, deepest),
            b']' | b'}' => level -= 1,
            _ => {}
        }
    }
    (bytes.len(), deepest)
}

/// The value that a text is and those inside it on the path, the outermost first; and how deep it is.
pub(super) fn values<'a>(text: &'a str, path: &[&[&str]]) -> (Vec<Value<'a>>, usize) {
    let (mut walk, mut found) = (Walk::new(text), Vec::new());
    walk.values(path, &mut found);
    found.reverse();
    (found, walk.deepest)
}

/// An object's members.
pub(super) fn members(text: &str) -> Result<Vec<Member<'_>>, NotAnObject> {
    let mut members = Vec::new();
    let mut walk = Walk::into(text, b'{').ok_or(NotAnObject::OtherKind)?;
    walk.members(&mut members, |walk, _| walk.value())?;
    Ok(members)
}

/// Hands each element of an array to `each`, in order, without holding them. `text` is as for
/// [`Object::parse`].
///
/// # Errors
/// `Ok(false)`: the value is no array. `Err`: what `each` said; the rest is not looked at.
pub fn for_each<'a, E>(
    text: &'a str,
    each: &mut dyn FnMut(&'a str) -> Result<(), E>,
) -> Result<bool, E> {
    let Some(mut walk) = Walk::into(text, b'[') else { return Ok(false) };
    while let Some(element) = walk.value() {
        each(element)?;
    }
    Ok(true)
}

/// Whether an object has the keys of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// The same, in the same order and spelling.
    Same,
    /// Others.
    New,
}

/// An element of an array, if it is an object.
type Element<'o, 'a> = Result<(&'o Object<'a>, Keys), NotAnObject>;

/// Hands each element of an array to `each`, taken apart, in order, without holding them. An element
/// that is no object is the last.
///
/// # Errors
/// As for [`for_each`].
pub fn for_each_object<'a, E>(
    text: &'a str,
    each: &mut dyn FnMut(Element<'_, 'a>) -> Result<(), E>,
) -> Result<bool, E> {
    let Some(mut walk) = Walk::into(text, b'[') else { return Ok(false) };
    let mut object = Object::default();
    while let Some(first) = walk.next_byte().filter(|b| *b != b']') {
        let read = match first {
            b'{' => {
                walk.enter(b'{');
                walk.members(&mut object.0, |walk, _| walk.value())
            }
            _ => Err(NotAnObject::OtherKind),
        };
        walk.leave();
        match read {
            Ok(keys) => each(Ok((&object, keys)))?,
            Err(error) => {
                each(Err(error))?;
                break;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value as Any;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn values() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            Just(Any::Null),
            any::<bool>().prop_map(Any::from),
            any::<f64>().prop_map(Any::from),
            r#"[a-z"\\{}\[\],: é/]{0,40}"#.prop_map(Any::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            let object = prop::collection::btree_map(r#"[a-d"\\:{]{0,3}"#, inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Any::from),
                object.prop_map(Any::from_iter),
            ]
        })
    }

    /// All that a walk finds is what serde_json finds.
    fn same(text: &str) {
        match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            Ok(expected) => {
                let found = members(text).unwrap();
                assert_eq!(found.len(), expected.len(), "{text}");
                for member in found {
                    let key: String = serde_json::from_str(member.raw_key).unwrap();
                    assert_eq!(member.key, key.as_bytes(), "{text}");
                    assert_eq!(member.value, expected[&key].get(), "{text}");
                    same(member.value);
                }
            }
            Err(_) => assert!(members(text).is_err(), "{text}"),
        }
        let (mut found, mut objects) = (Vec::new(), Vec::new());
        let was_array = for_each(text, &mut |element| {
            found.push(element);
            Ok::<_, ()>(())
        });
        let expected = serde_json::from_str::<Vec<&RawValue>>(text);
        assert_eq!(was_array, Ok(expected.is_ok()), "{text}");
        let expected: Vec<_> = expected.unwrap_or_default().iter().map(|e| e.get()).collect();
        assert_eq!(found, expected, "{text}");
        for_each_object(text, &mut |object| {
            objects.push(object.map(|(object, _)| object.0.clone()));
            Ok::<_, ()>(())
        })
        .unwrap();
        let first = expected.iter().position(|element| members(element).is_err());
        let until = first.map_or(expected.len(), |at| at + 1);
        let apart: Vec<_> = expected[..until].iter().map(|element| members(element)).collect();
        assert_eq!(objects, apart, "{text}");
        found.into_iter().for_each(same);
    }

    fn depth(value: &Any) -> usize {
        match value {
            Any::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
            Any::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_a_reader_finds(value in values()) {
            for path in [&[][..], &[&["a"][..], &["b", "c"]]] {
                let text = serde_json::to_string_pretty(&value).unwrap();
                let (found, deepest) = super::values(&text, path);
                assert_eq!((found[0].text, deepest), (&*text, depth(&value)));
            }
            same(&value.to_string());
            same(&serde_json::to_string_pretty(&value).unwrap());
            same(&value.to_string().replace('/', "\\/").replace('é', "\\u00e9"));
        }

        #[test]
        fn a_walk_of_any_text_ends(text in "[a{}\\[\\]\",:\\\\é \n\u{b}\u{c}\u{a0}]{0,60}") {
            let _ = members(&text);
            let _ = for_each(&text, &mut |_| Ok::<_, ()>(()));
            let _ = for_each_object(&text, &mut |_| Ok::<_, ()>(()));
        }
    }
}
