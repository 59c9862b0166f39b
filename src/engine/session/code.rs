//! The reason codes of MQTT 5 (2.4): their names, and what follows from them.

use crate::engine::refusal::Reason;

/// A name for every reason code that a broker may give.
const NAMES: &[(u8, &str)] = &[
    (0x00, "success"),
    (0x04, "disconnect with will message"),
    (0x10, "no matching subscribers"),
    (0x11, "no subscription existed"),
    (0x80, "unspecified error"),
    (0x81, "malformed packet"),
    (0x82, "protocol error"),
    (0x83, "implementation specific error"),
    (0x84, "unsupported protocol version"),
    (0x85, "client identifier not valid"),
    (0x86, "bad user name or password"),
    (0x87, "not authorized"),
    (0x88, "server unavailable"),
    (0x89, "server busy"),
    (0x8A, "banned"),
    (0x8B, "server shutting down"),
    (0x8C, "bad authentication method"),
    (0x8D, "keep alive timeout"),
    (0x8E, "session taken over"),
    (0x8F, "topic filter invalid"),
    (0x90, "topic name invalid"),
    (0x91, "packet identifier in use"),
    (0x92, "packet identifier not found"),
    (0x93, "receive maximum exceeded"),
    (0x94, "topic alias invalid"),
    (0x95, "packet too large"),
    (0x96, "message rate too high"),
    (0x97, "quota exceeded"),
    (0x98, "administrative action"),
    (0x99, "payload format invalid"),
    (0x9A, "retain not supported"),
    (0x9B, "QoS not supported"),
    (0x9C, "use another server"),
    (0x9D, "server moved"),
    (0x9E, "shared subscriptions not supported"),
    (0x9F, "connection rate exceeded"),
    (0xA0, "maximum connect time"),
    (0xA1, "subscription identifiers not supported"),
    (0xA2, "wildcard subscriptions not supported"),
];

/// What to do about a broker that refuses a connection: these wait for a person.
const TO_MEND: &[(u8, &str)] = &[
    (0x84, "it does not speak MQTT 5, which the gateway needs: use one that does"),
    (0x85, "have the broker allow this client id"),
    (0x86, "mend `broker.user`, the line in `broker.passwords`, or the broker's own password file"),
    (0x87, "have the broker allow this user and client id"),
    (0x8A, "lift the broker's ban"),
    (0x8C, "have the broker allow user names and passwords"),
];

/// These say of the broker, and not of who connects, that it takes nobody.
const TAKES_NOBODY: [u8; 8] = [0x84, 0x88, 0x89, 0x8B, 0x97, 0x9C, 0x9D, 0x9F];

/// Whether a broker that refuses a connection so would refuse any.
#[must_use]
pub fn takes_nobody(code: u8) -> bool {
    TAKES_NOBODY.contains(&code)
}

/// The session was taken over by another client with the same client id.
pub(super) const TAKEN_OVER: u8 = 0x8E;
/// The broker keeps no retained messages.
pub(super) const NO_RETAIN: u8 = 0x9A;
/// The broker takes QoS 0 alone.
pub(super) const NO_QOS: u8 = 0x9B;

/// What a PUBACK says of its publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The broker has taken it.
    Taken {
        /// Whether somebody subscribes to its topic.
        matched: bool,
    },
    /// It may be taken later.
    Later,
    /// It never is.
    Refused(Reason),
}

/// What each code in a PUBACK means. Those that are not here refuse for good, as
/// [`Reason::BrokerRefused`].
const ANSWERS: &[(u8, Outcome)] = &[
    (0x00, Outcome::Taken { matched: true }),
    (0x10, Outcome::Taken { matched: false }),
    (0x87, Outcome::Refused(Reason::NotAllowed)),
    (0x95, Outcome::Refused(Reason::LineTooLong)),
    (0x97, Outcome::Later),
];

/// What a PUBACK with this code says.
pub(super) fn answer(code: u8) -> Outcome {
    find(ANSWERS, code).unwrap_or(Outcome::Refused(Reason::BrokerRefused))
}

/// What a person can do about a CONNACK with this code, if the broker will not change its mind alone.
pub(super) fn to_mend(code: u8) -> Option<&'static str> {
    find(TO_MEND, code)
}

/// A code with its name: `0x97 (quota exceeded)`.
#[must_use]
pub fn named(code: u8) -> String {
    find(NAMES, code).map_or(format!("{code:#04x}"), |name| format!("{code:#04x} ({name})"))
}

fn find<T: Copy>(table: &[(u8, T)], code: u8) -> Option<T> {
    table.iter().find(|(known, _)| *known == code).map(|(_, found)| *found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_known_once_and_unknown_ones_are_shown() {
        assert!(NAMES.is_sorted_by(|(code, _), (next, _)| code < next));
        assert_eq!(named(0x97), "0x97 (quota exceeded)");
        assert_eq!(named(0xC3), "0xc3");
        assert_eq!(answer(0x83), Outcome::Refused(Reason::BrokerRefused));
    }
}
