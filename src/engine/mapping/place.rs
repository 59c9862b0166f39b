//! The two sides, and where a value stands on each.

use super::shape::Shape;
use crate::engine::json::{self, Object};
use serde::{Deserialize, Serialize};
use std::ops::{Index, IndexMut};

/// The two sides of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The MVP's lines.
    Legacy,
    /// MQTT's messages.
    Mqtt,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Legacy => Self::Mqtt,
            Self::Mqtt => Self::Legacy,
        }
    }
}

/// One thing for each side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Both<T> {
    /// The legacy side's.
    pub legacy: T,
    /// MQTT's.
    pub mqtt: T,
}

impl<T> Index<Side> for Both<T> {
    type Output = T;
    fn index(&self, side: Side) -> &T {
        match side {
            Side::Legacy => &self.legacy,
            Side::Mqtt => &self.mqtt,
        }
    }
}

impl<T> IndexMut<Side> for Both<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Legacy => &mut self.legacy,
            Side::Mqtt => &mut self.mqtt,
        }
    }
}

/// Where a value stands on one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Place {
    /// It is the whole body.
    Whole,
    /// It is a member. The first name that is there is read.
    Members {
        /// The names that are written.
        written: Vec<String>,
        /// More names that are only read.
        read: Vec<String>,
    },
}

impl Place {
    /// Which member it is. The whole body is none.
    fn find(&self, object: &Object<'_>) -> Option<usize> {
        self.names().find_map(|name| object.position(name))
    }

    /// Two names of one thing, of which only one is read, that say different things.
    pub(super) fn contradiction(&self, object: &Object<'_>) -> Option<(&str, &str)> {
        let Self::Members { written, read } = self else { return None };
        if read.is_empty() {
            return None;
        }
        let value = |name: &String| object.get(name);
        let first = written.iter().chain(read).find(|n| value(n).is_some())?;
        let differs =
            |n: &&String| value(n).is_some_and(|v| value(first).is_some_and(|f| !json::same(f, v)));
        read.iter().find(differs).map(|other| (first.as_str(), other.as_str()))
    }

    /// All names under which it is read or written.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let (written, read): (&[String], &[String]) = match self {
            Self::Whole => (&[], &[]),
            Self::Members { written, read } => (written, read),
        };
        written.iter().chain(read)
    }
}

/// A list that an answer on MQTT has had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// The root of the answer's topic.
    pub root: String,
    /// The answer's member.
    pub member: String,
    /// The topic of a notification upon which the list holds no longer.
    pub until: Option<String>,
}

/// Where the values of a shape stand in an object: it is the same for every object with the same keys, of
/// which a list may have very many.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// For each rule, the member that it reads.
    pub read: Vec<Option<usize>>,
    /// The members that the shape does not name.
    pub rest: Vec<usize>,
}

impl Layout {
    pub fn new(shape: &Shape, from: Side, object: &Object<'_>) -> Self {
        let read = shape.rules.iter().map(|rule| rule.place[from].find(object)).collect();
        let rest = object.members().enumerate().filter(|(_, m)| !shape.knows(from, &m.key));
        Self { read, rest: rest.map(|(at, _)| at).collect() }
    }
}
