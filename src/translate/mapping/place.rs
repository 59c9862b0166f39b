//! The two sides, and where a value stands on each.

use super::write::Body;
use crate::translate::json;
use std::ops::{Index, IndexMut};

/// The two sides of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Default, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
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
    pub(super) fn read<'a>(&self, body: &Body<'_, 'a>) -> Option<&'a str> {
        match self {
            Self::Whole => Some(body.text),
            Self::Members { written, read } => {
                written.iter().chain(read).find_map(|name| body.object.get(name))
            }
        }
    }

    /// Two names of one thing, of which only one is read, that say different things.
    pub(super) fn contradiction(&self, body: &Body<'_, '_>) -> Option<(&str, &str)> {
        let Self::Members { written, read } = self else { return None };
        if read.is_empty() {
            return None;
        }
        let value = |name: &String| body.object.get(name);
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
