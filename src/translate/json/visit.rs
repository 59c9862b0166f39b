//! How serde_json's reader takes objects and arrays apart.

use super::{Member, NotAnObject, Object, decode, duplicate};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Takes an object apart, one level deep.
pub(super) struct MembersVisitor<'o, 'a> {
    pub members: &'o mut Vec<Member<'a>>,
}

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
            let raw_key = key.get();
            let key = decode(raw_key).ok_or_else(|| A::Error::custom("a key is a string"))?;
            self.members.push(Member { raw_key, key, value: value.get() });
        }
        Ok(())
    }
}

/// Takes an object apart, and one of its members too.
pub(super) struct NestedVisitor<'o, 'a> {
    pub outside: &'o mut Vec<Member<'a>>,
    pub inner: &'o str,
    pub inside: &'o mut Vec<Member<'a>>,
}

impl<'a> Visitor<'a> for NestedVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            let raw_key = key.get();
            let key = decode(raw_key).ok_or_else(|| A::Error::custom("a key is a string"))?;
            if !found && *key == *self.inner.as_bytes() {
                found = true;
                map.next_value_seed(Members(self.inside))?;
                self.outside.push(Member { raw_key, key, value: "" });
            } else {
                let value = map.next_value::<&'a RawValue>()?.get();
                self.outside.push(Member { raw_key, key, value });
            }
        }
        if found { Ok(()) } else { Err(A::Error::custom("it is not there")) }
    }
}

/// Takes a value apart that must be an object.
struct Members<'o, 'a>(&'o mut Vec<Member<'a>>);

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(MembersVisitor { members: self.0 })
    }
}

/// Hands each element of an array to `each`, in order, without holding them.
///
/// # Errors
/// `Ok(false)`: the value is no array. `Err`: what `each` said; the rest is not looked at.
pub fn for_each<'a, E>(
    text: &'a str,
    each: &mut dyn FnMut(&'a str) -> Result<(), E>,
) -> Result<bool, E> {
    let mut failed = None;
    let visitor = ElementsVisitor { each, failed: &mut failed };
    let done = serde_json::Deserializer::from_str(text).deserialize_seq(visitor).is_ok();
    match failed {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// Hands each element of an array to `each`, taken apart, in order, without holding them. An element
/// that is no object is the last.
///
/// # Errors
/// As for [`for_each`].
pub fn for_each_object<'a, E>(text: &'a str, each: EachObject<'_, 'a, E>) -> Result<bool, E> {
    let mut failed = None;
    let visitor = ObjectsVisitor { each, failed: &mut failed };
    let done = serde_json::Deserializer::from_str(text).deserialize_seq(visitor).is_ok();
    match failed {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

type EachObject<'v, 'a, E> = &'v mut dyn FnMut(Result<&Object<'a>, NotAnObject>) -> Result<(), E>;

struct ObjectsVisitor<'v, 'a, E> {
    each: EachObject<'v, 'a, E>,
    failed: &'v mut Option<E>,
}

impl<'a, F> Visitor<'a> for ObjectsVisitor<'_, 'a, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<(), A::Error> {
        let mut object = Object::default();
        loop {
            object.0.clear();
            // The text has been checked: what cannot be read is no object.
            let element = match sequence.next_element_seed(Members(&mut object.0)) {
                Ok(None) => return Ok(()),
                Ok(Some(())) => match duplicate(&object.0) {
                    None => Ok(&object),
                    Some(key) => Err(NotAnObject::twice(key)),
                },
                Err(_) => Err(NotAnObject::OtherKind),
            };
            let stop = element.is_err();
            if let Err(error) = (self.each)(element) {
                *self.failed = Some(error);
            } else if !stop {
                continue;
            }
            return Err(A::Error::custom("stopped"));
        }
    }
}

struct ElementsVisitor<'v, 'a, E> {
    each: &'v mut dyn FnMut(&'a str) -> Result<(), E>,
    failed: &'v mut Option<E>,
}

impl<'a, F> Visitor<'a> for ElementsVisitor<'_, 'a, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(element) = sequence.next_element::<&'a RawValue>()? {
            if let Err(error) = (self.each)(element.get()) {
                *self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
