//! A secret: it can be given to the broker, and is never printed.

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
