//! How the engine's state is written and read: `serde` derives nearly all of it. Here is what JSON and `serde`
//! have no form for.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

thread_local! {
    /// Whether a state or a recording is being written.
    static WRITING: Cell<bool> = const { Cell::new(false) };
    /// What was written already, by its address, and its number.
    static WRITTEN: RefCell<HashMap<usize, usize>> = RefCell::default();
    /// What was read already, in the order of the numbers.
    static READ: RefCell<Vec<Arc<dyn Any + Send + Sync>>> = RefCell::default();
}

/// Writes or reads one line of a recording: nothing that another one shares is taken for this one's.
pub(super) fn whole<R>(work: impl FnOnce() -> R) -> R {
    let begin = |writing| {
        WRITING.set(writing);
        WRITTEN.take();
        READ.take();
    };
    begin(true);
    let result = work();
    begin(false);
    result
}

/// Whether what is written is no recording: a log has the content of its records after what is JSON.
pub(super) fn is_not_written(_content: &::bytes::Bytes) -> bool {
    !WRITING.get()
}

#[derive(Serialize, Deserialize)]
enum Shared<T> {
    New(T),
    /// The one that has this number, in the order in which they end.
    Same(usize),
}

/// What many have a part in is written once, and is one again: a mapping for each of 300 domains would be large.
pub(crate) mod shared {
    use super::*;

    pub fn serialize<T: Serialize, S: Serializer>(arc: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        let address = Arc::as_ptr(arc).addr();
        if let Some(number) = WRITTEN.with_borrow(|written| written.get(&address).copied()) {
            return Shared::<&T>::Same(number).serialize(to);
        }
        let done = Shared::New(&**arc).serialize(to)?;
        WRITTEN.with_borrow_mut(|written| written.insert(address, written.len()));
        Ok(done)
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<Arc<T>, D::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        D: Deserializer<'de>,
    {
        match Shared::<T>::deserialize(from)? {
            Shared::New(value) => {
                let arc = Arc::new(value);
                READ.with_borrow_mut(|read| {
                    read.push(Arc::clone(&arc) as Arc<dyn Any + Send + Sync>)
                });
                Ok(arc)
            }
            Shared::Same(number) => {
                let found = READ.with_borrow(|read| read.get(number).cloned());
                let same = found.and_then(|arc| arc.downcast().ok());
                same.ok_or_else(|| D::Error::custom(format!("there is no {number} of this kind")))
            }
        }
    }
}

/// Bytes as a text where they are one, and otherwise as Base64: a person reads them.
pub(crate) mod bytes {
    use super::*;
    use ::bytes::Bytes;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::borrow::Cow;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written<'w> {
        Text(Cow<'w, str>),
        Bytes { base64: String },
    }

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        let written = match std::str::from_utf8(bytes) {
            Ok(text) => Written::Text(text.into()),
            Err(_) => Written::Bytes { base64: STANDARD.encode(bytes) },
        };
        written.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        match Written::deserialize(from)? {
            Written::Text(text) => Ok(text.into_owned().into()),
            Written::Bytes { base64 } => {
                STANDARD.decode(base64).map(Bytes::from).map_err(D::Error::custom)
            }
        }
    }
}

/// A map whose keys are no texts, as a list of pairs.
pub(crate) mod pairs {
    use super::*;

    pub fn serialize<'m, M, K, V, S>(map: &'m M, to: S) -> Result<S::Ok, S::Error>
    where
        &'m M: IntoIterator<Item = (&'m K, &'m V)>,
        K: Serialize + 'm,
        V: Serialize + 'm,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, M, K, V, D>(from: D) -> Result<M, D::Error>
    where
        M: FromIterator<(K, V)>,
        K: Deserialize<'de>,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

/// One of the engine's own words. (`serde` would take a plain reference for one into what is read.)
pub(crate) type Word = &'static str;

/// Writes and reads a [`Word`].
pub(crate) mod word {
    use super::*;

    pub fn serialize<S: Serializer>(word: &Option<Word>, to: S) -> Result<S::Ok, S::Error> {
        word.serialize(to)
    }

    /// There are a few of them, and a state is read once by a process: they stay.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Word>, D::Error> {
        let word: Option<String> = Deserialize::deserialize(from)?;
        Ok(word.map(|word| &*word.leak()))
    }
}
