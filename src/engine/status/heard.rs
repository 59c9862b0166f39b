//! What is heard on a channel: which commands, responses and events, how often, last when.

use crate::engine::clock::Now;
use crate::engine::legacy::Kind;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// How many names one report has at most. A domain can invent as many as it likes.
const NAMES: usize = 64;
/// The most bytes of a name that are kept.
const NAME: usize = 64;
/// What stands for the names beyond [`NAMES`].
const OTHERS: &str = "(others)";

/// A kind of legacy message, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Spoke {
    /// `commande`
    #[serde(rename = "commande")]
    Command,
    /// `reponse`
    #[serde(rename = "reponse")]
    Response,
    /// `notification`
    #[serde(rename = "notification")]
    Notification,
    /// A line that is no message. A program of the MVP may have written it all the same.
    #[serde(rename = "unreadable")]
    Unreadable,
}

impl Spoke {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Command, Self::Response, Self::Notification, Self::Unreadable];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "commande",
            Self::Response => "reponse",
            Self::Notification => "notification",
            Self::Unreadable => "unreadable",
        }
    }
}

impl From<Kind> for Spoke {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Command => Self::Command,
            Kind::Response => Self::Response,
            Kind::Notification => Self::Notification,
        }
    }
}

/// What was heard under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utterance {
    /// The kind of message.
    pub spoke: Spoke,
    /// The command's or the event's name, or why a line is unreadable; at most 64 bytes.
    pub name: String,
    /// How often.
    pub count: u64,
    /// Last when, by the wall clock.
    pub last: SystemTime,
}

/// What was heard on a channel since it was last asked. It holds so many names, `NAMES`, and one more.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    here: bool,
    utterances: Vec<Utterance>,
}

impl Heard {
    /// The channel is connected anew.
    pub fn connected(&mut self) {
        self.here = false;
    }

    /// A line was heard.
    pub fn note(&mut self, spoke: Spoke, name: &str, now: Now) {
        self.here = true;
        let name = cut(name);
        let same = |u: &Utterance, name: &str| u.spoke == spoke && u.name == name;
        let full = self.utterances.len() >= NAMES;
        let known = self.utterances.iter().position(|u| same(u, name));
        let name = if known.is_none() && full { OTHERS } else { name };
        let at = known.or_else(|| self.utterances.iter().position(|u| u.name == name && full));
        match at.and_then(|at| self.utterances.get_mut(at)) {
            Some(utterance) => {
                utterance.count += 1;
                utterance.last = now.wall;
            }
            None => {
                let name = name.to_owned();
                self.utterances.push(Utterance { spoke, name, count: 1, last: now.wall });
            }
        }
    }

    /// Whether anything was heard since the channel was connected.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.here
    }

    /// Whether there is something to [`Heard::take`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.utterances.is_empty()
    }

    /// What was heard since this was last called.
    pub fn take(&mut self) -> Vec<Utterance> {
        std::mem::take(&mut self.utterances)
    }
}

/// A name's first bytes.
fn cut(name: &str) -> &str {
    let end = (0..=NAME.min(name.len())).rev().find(|&at| name.is_char_boundary(at));
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now(seconds: u64) -> Now {
        let monotonic = Duration::from_secs(seconds);
        Now { monotonic, wall: SystemTime::UNIX_EPOCH + monotonic }
    }

    #[test]
    fn names_are_counted_and_invented_ones_share_a_place() {
        let mut heard = Heard::default();
        assert!(!heard.is_heard() && heard.is_empty());
        for n in 0..1000 {
            heard.note(Spoke::Command, &format!("{n}{}", "é".repeat(1000)), now(n));
            heard.note(Spoke::Command, "liste_disques", now(n));
        }
        assert!(heard.is_heard());
        let all = heard.take();
        assert_eq!(all.len(), NAMES + 1);
        assert!(all.iter().all(|u| u.name.len() <= NAME));
        let count = |name: &str| all.iter().filter(|u| u.name == name).map(|u| u.count).sum();
        let counts: [u64; 2] = [count("liste_disques"), count(OTHERS)];
        assert_eq!(counts, [1000, 1000 - 63]);
        assert_eq!(all.iter().map(|u| u.count).sum::<u64>(), 2000);
        assert!(heard.is_heard() && heard.is_empty());
        heard.connected();
        assert!(!heard.is_heard());
    }
}
