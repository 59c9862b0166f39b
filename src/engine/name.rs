//! Names, checked once: past the edge there is no bare string for a domain.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The most bytes that a domain's name may have.
pub const MAX_NAME: usize = 64;

/// The name of a domain: letters, digits, `.`, `_` and `-`, 1 to 64 bytes.
///
/// `Dom0` has one spelling whatever the case it was written in: the seed's documents write both.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(Arc<str>);

/// The names that mean something here, and what: no domain can have one of them.
const MEANINGS: [(&str, &str); 4] = [
    (EVERYONE, "everyone on the legacy wire"),
    (ANONYMOUS, "whoever does not say on MQTT who it is"),
    (DOM0, "this machine's own"),
    (GATEWAY, "the gateway's own"),
];
const EVERYONE: &str = "tous";
const ANONYMOUS: &str = "mqtt";
const DOM0: &str = "Dom0";
/// Who says the gateway's notices.
pub(in crate::engine) const GATEWAY: &str = "passerelle";
/// How the client ids of the gateway's own sessions begin.
pub const GATEWAYS: &str = "passerelle-";

/// A name that breaks the rule of [`DomainName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no domain name: 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct BadName(pub String);

impl DomainName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadName`], with the head of the text that was given.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(legal) {
            return Err(BadName(text.chars().take(MAX_NAME).collect()));
        }
        if text.eq_ignore_ascii_case("dom0") {
            return Ok(Self::dom0());
        }
        Ok(Self(text.into()))
    }

    /// The control domain.
    #[must_use]
    pub fn dom0() -> Self {
        Self(DOM0.into())
    }

    /// What a requester is called on the legacy wire that does not say its name on MQTT.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(ANONYMOUS.into())
    }

    /// Everyone, as a destination on the legacy wire.
    #[must_use]
    pub fn everyone() -> Self {
        Self(EVERYONE.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the control domain.
    #[must_use]
    pub fn is_dom0(&self) -> bool {
        &*self.0 == DOM0
    }

    /// Whether this stands for everyone.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        &*self.0 == EVERYONE
    }

    /// What the name means here, if it means something: then it is no domain's. `Dom0` is nobody else's, but may
    /// be asked and told.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        let found = MEANINGS.into_iter().find(|(name, _)| *name == &*self.0);
        let gateways = || self.0.starts_with(GATEWAYS).then_some("a gateway's own");
        found.map(|(_, meaning)| meaning).or_else(gateways)
    }
}

impl TryFrom<String> for DomainName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dom0_has_one_spelling() {
        for text in ["dom0", "Dom0", "DOM0"] {
            assert_eq!(DomainName::parse(text), Ok(DomainName::dom0()));
        }
    }

    #[test]
    fn names_that_mean_something_are_nobodys() {
        let parse = |text| DomainName::parse(text).unwrap();
        for text in ["tous", "mqtt", "dom0", "Dom0", "passerelle", "passerelle-dom0", "passerelle-"]
        {
            assert!(parse(text).meaning().is_some(), "{text}");
        }
        for text in ["vm-gui", "Tous", "mqtt5", "vm-passerelle", "dom01", "passerelle2"] {
            assert_eq!(parse(text).meaning(), None, "{text}");
        }
    }

    #[test]
    fn names_that_could_be_topics_or_paths_are_refused() {
        for text in ["", "vm/gui", "+", "#", "a\0", "é", " ", "vm gui", &"x".repeat(65)] {
            assert!(DomainName::parse(text).is_err(), "{text:?}");
        }
        assert!(DomainName::parse(&"x".repeat(64)).is_ok());
    }
}
