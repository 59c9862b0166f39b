//! A secret: it can be given to the broker, and is never printed.

use super::name::DomainName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A password of a domain's, or of the gateway's own. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl Password {
    /// Checks a password: MQTT has room for 65 535 bytes (MQTT 5, 1.5.6).
    ///
    /// # Errors
    /// What is wrong with it, without saying it.
    pub fn parse(text: String) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("the password is empty");
        }
        if text.len() > usize::from(u16::MAX) {
            return Err("the password is longer than 65535 bytes");
        }
        Ok(Self(text.into()))
    }

    /// The secret itself, for the broker alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// As stars: as long as it is, and nothing else of it.
impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&"*".repeat(self.0.len()))
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_printed() {
        let shown = format!("{:?}", Password::parse("s3cret".into()));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_mqtt_has_no_room_for_is_none() {
        assert!(Password::parse(String::new()).is_err());
        assert!(Password::parse("x".repeat(65_536)).is_err());
        assert!(Password::parse("x".repeat(65_535)).is_ok());
    }
}

/// What the session logs in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The secret, if there is one.
    pub password: Option<Password>,
}

/// What everyone of a gateway logs in with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Logins {
    /// The gateway itself, and everyone else unless each has its own.
    pub own: Option<Credentials>,
    /// Passwords by the name on the broker. `None`: everyone logs in as the gateway.
    pub domains: Option<BTreeMap<String, Password>>,
}

impl Logins {
    /// What the gateway itself logs in with.
    #[must_use]
    pub fn own(&self) -> Option<Credentials> {
        self.own.clone()
    }

    /// What the session of a channel logs in with: as the domain itself, or else as the gateway.
    #[must_use]
    pub fn of_session(&self, domain: &DomainName) -> Option<Credentials> {
        match self.domains {
            Some(_) => {
                let (user, password) = (domain.as_str().to_owned(), self.password(domain));
                Some(Credentials { user, password })
            }
            None => self.own(),
        }
    }

    /// A domain's own password: a tunnel is never given the gateway's.
    #[must_use]
    pub fn password(&self, domain: &DomainName) -> Option<Password> {
        self.domains.as_ref()?.get(domain.as_str()).cloned()
    }

    /// The domains that have a password.
    #[must_use]
    pub fn domains(&self) -> BTreeSet<DomainName> {
        let names = self.domains.iter().flat_map(BTreeMap::keys);
        names.filter_map(|name| DomainName::parse(name).ok()).collect()
    }

    /// Whether the domain is to log in as itself, and there is no password for it.
    #[must_use]
    pub fn lacks(&self, domain: &DomainName) -> bool {
        self.domains.is_some() && self.password(domain).is_none()
    }
}
