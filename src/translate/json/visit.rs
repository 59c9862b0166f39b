//! How serde_json's reader takes objects apart, and checks them.

use super::{Member, decode};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
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
