//! Taking JSON apart that is known to be JSON: where its values end is looked for, and nothing else. A
//! long list is gone through two or three times as fast as by a reader that checks it again.
//!
//! With any other text nothing is promised but an end.

use super::{Member, NotAnObject, Object, decode, duplicate};

/// Goes through the inside of an object or an array.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Inside the object or array that the text is, by how that begins.
    fn into(text: &'a str, opening: u8) -> Option<Self> {
        let mut walk = Self { text, at: 0 };
        walk.enter(opening).then_some(walk)
    }

    /// The byte at which a value begins or an object or array ends. What stands between values, which
    /// is known to be right, is passed over.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|b| !is_between(b))?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn enter(&mut self, opening: u8) -> bool {
        let enters = self.next_byte() == Some(opening);
        self.at += usize::from(enters);
        enters
    }

    /// The next value, a key being one; `None` at the end of the object or array.
    fn value(&mut self) -> Option<&'a str> {
        let first = self.next_byte()?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let size = match first {
            b']' | b'}' => return None,
            b'"' => after_string(rest, 1),
            b'[' | b'{' => after_brackets(rest),
            _ => {
                let end = |b: &u8| is_between(b) || matches!(b, b']' | b'}');
                rest.iter().position(end).unwrap_or(rest.len())
            }
        };
        let value = self.text.get(self.at..self.at + size);
        self.at += size;
        value
    }

    /// An object's members. `members` may be those of another that is likely to have the same keys: these
    /// have been looked at already.
    fn members(&mut self, members: &mut Vec<Member<'a>>) -> Result<(), NotAnObject> {
        let (mut count, mut known) = (0, true);
        while let Some(raw_key) = self.value() {
            let value = self.value().ok_or(NotAnObject::OtherKind)?;
            match members.get_mut(count) {
                Some(member) if member.raw_key == raw_key => member.value = value,
                _ => {
                    let key = decode(raw_key).ok_or(NotAnObject::OtherKind)?;
                    members.truncate(count);
                    members.push(Member { raw_key, key, value });
                    known = false;
                }
            }
            count += 1;
        }
        members.truncate(count);
        if !known && let Some(key) = duplicate(members) {
            return Err(NotAnObject::twice(key));
        }
        Ok(())
    }
}

/// What stands between values.
fn is_between(byte: &u8) -> bool {
    matches!(byte, b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the string ends of which `at` is inside.
pub(super) fn after_string(bytes: &[u8], mut at: usize) -> usize {
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

/// How long the object or array is with which the bytes begin.
fn after_brackets(bytes: &[u8]) -> usize {
    let (mut level, mut at) = (0usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = after_string(bytes, at),
            b'[' | b'{' => level += 1,
            b']' | b'}' if level <= 1 => return at,
            b']' | b'}' => level -= 1,
            _ => {}
        }
    }
    bytes.len()
}

/// An object's members.
pub(super) fn members(text: &str) -> Result<Vec<Member<'_>>, NotAnObject> {
    let mut members = Vec::new();
    let mut walk = Walk::into(text, b'{').ok_or(NotAnObject::OtherKind)?;
    walk.members(&mut members)?;
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

type EachObject<'e, 'a, E> = &'e mut dyn FnMut(Result<&Object<'a>, NotAnObject>) -> Result<(), E>;

/// Hands each element of an array to `each`, taken apart, in order, without holding them. An element
/// that is no object is the last.
///
/// # Errors
/// As for [`for_each`].
pub fn for_each_object<'a, E>(text: &'a str, each: EachObject<'_, 'a, E>) -> Result<bool, E> {
    let Some(mut walk) = Walk::into(text, b'[') else { return Ok(false) };
    let mut object = Object::default();
    while let Some(first) = walk.next_byte().filter(|b| *b != b']') {
        let read = match first {
            b'{' => {
                walk.enter(b'{');
                walk.members(&mut object.0)
            }
            _ => Err(NotAnObject::OtherKind),
        };
        // Past its end.
        walk.at += 1;
        match read {
            Ok(()) => each(Ok(&object))?,
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
    use serde_json::Value;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            r#"[a-z"\\{}\[\],: é/]{0,40}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            let object = prop::collection::btree_map(r#"[a-d"\\:{]{0,3}"#, inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                object.prop_map(Value::from_iter),
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
            objects.push(object.map(|object| object.0.clone()));
            Ok::<_, ()>(())
        })
        .unwrap();
        let first = expected.iter().position(|element| members(element).is_err());
        let until = first.map_or(expected.len(), |at| at + 1);
        let apart: Vec<_> = expected[..until].iter().map(|element| members(element)).collect();
        assert_eq!(objects, apart, "{text}");
        found.into_iter().for_each(same);
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_a_reader_finds(value in values()) {
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
