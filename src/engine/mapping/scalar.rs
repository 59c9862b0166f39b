//! Constants and conditions of a mapping.

use crate::engine::json;
use serde::{Deserialize, Serialize};

/// A constant as a mapping file writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
}

impl Scalar {
    /// Whether a JSON value says this.
    #[must_use]
    pub fn is(&self, raw: &str) -> bool {
        match self {
            Self::Text(text) => json::decode(raw).is_some_and(|b| *b == *text.as_bytes()),
            Self::Integer(number) => raw.parse() == Ok(*number),
            Self::Bool(flag) => raw == if *flag { "true" } else { "false" },
        }
    }

    /// Appends it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::push_string(out, text),
            Self::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        }
    }

    /// The constant as JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// What a member must be like for a row or an answer to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The member's name.
    pub member: String,
    /// What is asked of it.
    pub test: Test,
}

/// What is asked of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// It has one of these values; the first is what is written in the other direction.
    OneOf {
        /// The values.
        values: Vec<Scalar>,
        /// Whether it may also be absent.
        or_absent: bool,
    },
    /// It is there, or is not.
    Present(bool),
}

impl Condition {
    /// Whether the member's value, if it has one, is as asked.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        match (&self.test, value) {
            (Test::OneOf { values, .. }, Some(raw)) => values.iter().any(|v| v.is(raw)),
            (Test::OneOf { or_absent, .. }, None) => *or_absent,
            (Test::Present(wanted), found) => *wanted == found.is_some(),
        }
    }

    /// Whether whatever satisfies `narrow` satisfies this as well.
    #[must_use]
    pub fn covers(&self, narrow: &Self) -> bool {
        self.member == narrow.member
            && match (&self.test, &narrow.test) {
                (
                    Test::OneOf { values: a, or_absent: a_absent },
                    Test::OneOf { values: b, or_absent: b_absent },
                ) => b.iter().all(|v| a.contains(v)) && (*a_absent || !b_absent),
                (Test::Present(true), Test::OneOf { or_absent, .. }) => !or_absent,
                (Test::OneOf { or_absent, .. }, Test::Present(false)) => *or_absent,
                (a, b) => a == b,
            }
    }

    /// Whether no value can satisfy both.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        if self.member != other.member {
            return false;
        }
        match (&self.test, &other.test) {
            (
                Test::OneOf { values: a, or_absent: a_absent },
                Test::OneOf { values: b, or_absent: b_absent },
            ) => !(a.iter().any(|v| b.contains(v)) || *a_absent && *b_absent),
            (Test::Present(a), Test::Present(b)) => a != b,
            (Test::Present(present), Test::OneOf { or_absent, .. })
            | (Test::OneOf { or_absent, .. }, Test::Present(present)) => !present && !or_absent,
        }
    }
}

/// Whether every condition holds; `get` gives a member's value.
pub fn all_hold<'a>(conditions: &[Condition], get: impl Fn(&str) -> Option<&'a str>) -> bool {
    conditions.iter().all(|c| c.holds(get(&c.member)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of(number: i64, or_absent: bool) -> Condition {
        let test = Test::OneOf { values: vec![Scalar::Integer(number)], or_absent };
        Condition { member: "m".into(), test }
    }

    fn present(wanted: bool) -> Condition {
        Condition { member: "m".into(), test: Test::Present(wanted) }
    }

    #[test]
    fn a_member_that_may_be_absent_is_not_another_that_may() {
        assert!(one_of(1, true).holds(None) && !one_of(1, false).holds(None));
        assert!(!one_of(1, true).holds(Some("2")));
        assert!(one_of(1, true).excludes(&one_of(2, false)));
        assert!(!one_of(1, true).excludes(&one_of(2, true)));
        assert!(one_of(1, false).excludes(&present(false)));
        assert!(!one_of(1, true).excludes(&present(false)));
        assert!(!one_of(1, true).excludes(&present(true)));
    }

    #[test]
    fn the_wider_condition_covers_the_narrower() {
        assert!(one_of(1, true).covers(&one_of(1, false)));
        assert!(!one_of(1, false).covers(&one_of(1, true)));
        assert!(one_of(1, true).covers(&present(false)));
        assert!(present(true).covers(&one_of(1, false)));
        assert!(!present(true).covers(&one_of(1, true)));
    }
}
