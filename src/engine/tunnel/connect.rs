//! The CONNECT packet (MQTT 5, 3.1): found, read as far as the gateway must, and made to say who it is
//! from.

use super::packet::{after_properties, field, length, push_field, push_length};
use crate::engine::name::DomainName;
use crate::engine::password::Password;
use crate::engine::steps;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// The largest CONNECT that is taken for one. Its five fields have 64 KiB at most, each.
pub const LARGEST: usize = 512 * 1024;
/// The first byte of a CONNECT. It never stands in JSON.
pub const FIRST: u8 = 0x10;

/// The version of the protocol, as far as answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// MQTT 3.1 and 3.1.1.
    V3,
    /// MQTT 5.
    V5,
    /// One that is not known.
    Unknown,
}

/// The flags of a CONNECT (MQTT 5, 3.1.2.3).
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A whole CONNECT.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Its bytes.
    pub packet: Bytes,
    /// The version that the client speaks.
    pub version: Version,
    /// The client id; empty if the broker is to choose one.
    pub client_id: String,
    /// Whether the broker is to forget what it had of this client.
    pub clean_start: bool,
    /// Where its flags are in the packet.
    flags: usize,
    /// Where its user name and password begin, or would begin.
    login: usize,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The packet has the domain's password.
        let mut out = f.debug_struct("Connect");
        out.field("version", &self.version).field("client_id", &self.client_id);
        out.field("clean_start", &self.clean_start).finish_non_exhaustive()
    }
}

/// Why the gateway itself ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The client id is somebody else's.
    ClientId,
    /// The version is not known.
    Version,
    /// The broker is out of reach.
    Unavailable,
}

/// What the beginning of some bytes is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No CONNECT.
    No,
    /// It may become one.
    More,
    /// A whole one, and its length.
    Whole(usize),
}

/// Whether `bytes` begin with a CONNECT.
#[must_use]
pub fn find(bytes: &[u8]) -> Found {
    if bytes.first() != Some(&FIRST) {
        return Found::No;
    }
    steps::count(1);
    let Some((length, header)) = length(bytes.get(1..).unwrap_or_default()) else {
        // A length that goes on after four bytes is none.
        return if bytes.len() > 4 { Found::No } else { Found::More };
    };
    let header = 1 + header;
    let body = bytes.get(header..).unwrap_or_default();
    let begins = |name: &[u8]| {
        let known = name.len().min(body.len());
        name.len() <= length && name.get(..known) == body.get(..known)
    };
    if length > LARGEST || !(begins(b"\0\x04MQTT") || begins(b"\0\x06MQIsdp")) {
        Found::No
    } else if body.len() < length {
        Found::More
    } else {
        Found::Whole(header + length)
    }
}

impl Connect {
    /// The same, without what it came in, which is larger.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { packet: Bytes::copy_from_slice(&self.packet), ..self.clone() }
    }

    /// How long the client may say nothing, by its own word; zero: for ever.
    #[must_use]
    pub fn keep_alive(&self) -> Duration {
        let seconds = self.packet.get(self.flags + 1..).and_then(|rest| rest.first_chunk());
        Duration::from_secs(u64::from(seconds.map_or(0, |two| u16::from_be_bytes(*two))))
    }

    /// Whether a CONNACK says if the broker has kept a session (MQTT 3.1 has no such thing).
    #[must_use]
    pub fn is_told_of_sessions(&self) -> bool {
        let level = self.flags.checked_sub(1).and_then(|at| self.packet.get(at));
        level.is_some_and(|level| level & 0x7F > 3)
    }

    /// Reads a packet that [`find`] found whole. `None`: it is broken.
    #[must_use]
    pub fn read(packet: Bytes) -> Option<Self> {
        let Places { version, id, flags, login } = places(&packet)?;
        let clean_start = packet.get(flags)? & CLEAN_START != 0;
        let client_id = str::from_utf8(packet.get(id)?).ok()?.to_owned();
        Some(Self { packet, version, client_id, clean_start, flags, login })
    }

    /// The packet as the broker is to have it: from this user, with this password or none, whatever the
    /// client said. Everything else is as it came, byte for byte.
    #[must_use]
    pub fn as_user(&self, user: &DomainName, password: Option<&Password>) -> Vec<u8> {
        let header = 1 + length(self.packet.get(1..).unwrap_or_default()).map_or(0, |(_, n)| n);
        let mut body = self.packet.get(header..self.login).unwrap_or_default().to_vec();
        if let Some(flags) = self.flags.checked_sub(header).and_then(|at| body.get_mut(at)) {
            *flags = *flags & !PASSWORD | USER_NAME | if password.is_some() { PASSWORD } else { 0 };
        }
        push_field(&mut body, user.as_str().as_bytes());
        if let Some(password) = password {
            push_field(&mut body, password.reveal().as_bytes());
        }
        let mut packet = vec![FIRST];
        push_length(&mut packet, body.len());
        packet.extend_from_slice(&body);
        packet
    }
}

/// Whether a packet that [`find`] found whole can be read.
///
/// # Errors
/// It cannot. So many of its bytes have been looked at to know that.
pub fn is_sound(packet: &[u8]) -> Result<(), usize> {
    let Some(Places { id, .. }) = places(packet) else { return Err(1) };
    let read = str::from_utf8(packet.get(id.clone()).unwrap_or_default());
    let looked_at = read.map_or_else(|error| error.valid_up_to() + 1, str::len);
    steps::count(looked_at);
    read.map(drop).map_err(|_| id.start + looked_at)
}

/// Where in a CONNECT things are.
struct Places {
    version: Version,
    id: Range<usize>,
    flags: usize,
    login: usize,
}

/// Takes a packet apart, up to its user name. MQTT 3.1 lets a client set the flags of a name and a
/// password that it then leaves out. It looks at lengths alone: of what is no CONNECT, as few bytes as of
/// what is one.
fn places(packet: &[u8]) -> Option<Places> {
    let (_, header) = length(packet.get(1..)?)?;
    let (_, rest) = field(packet.get(1 + header..)?)?;
    let flags = packet.len() - rest.len() + 1;
    let (&[level, bits, _, _], mut rest) = rest.split_first_chunk()?;
    // Bridges of Mosquitto's set the highest bit.
    let version = match level & 0x7F {
        3 | 4 => Version::V3,
        5 => Version::V5,
        _ => {
            return Some(Places {
                version: Version::Unknown,
                id: flags..flags,
                flags,
                login: flags,
            });
        }
    };
    if version == Version::V5 {
        rest = after_properties(rest)?;
    }
    let (id, mut rest) = field(rest)?;
    let end = packet.len() - rest.len();
    if bits & WILL != 0 {
        if version == Version::V5 {
            rest = after_properties(rest)?;
        }
        // Its topic and its payload.
        rest = field(field(rest)?.1)?.1;
    }
    let login = packet.len() - rest.len();
    Some(Places { version, id: end - id.len()..end, flags, login })
}

/// The CONNACK that denies a connection (MQTT 5, 3.2.2.2; MQTT 3.1.1, 3.2.2.3).
#[must_use]
pub fn denial(version: Version, why: Denial) -> Vec<u8> {
    let (v3, v5) = match why {
        Denial::Version => (1, 0x84),
        Denial::ClientId => (2, 0x85),
        Denial::Unavailable => (3, 0x88),
    };
    match version {
        Version::V5 => vec![0x20, 3, 0, v5, 0],
        Version::V3 | Version::Unknown => vec![0x20, 2, 0, v3],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A CONNECT as clients write it.
    pub fn connect(level: u8, flags: u8, id: &str) -> Vec<u8> {
        let name: &[u8] = if level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
        let mut body = [name, &[level, flags, 0, 10]].concat();
        if level == 5 {
            body.extend_from_slice(&[5, 0x11, 0, 0, 0, 60]);
        }
        body.extend_from_slice(&u16::try_from(id.len()).unwrap().to_be_bytes());
        body.extend_from_slice(id.as_bytes());
        [&[FIRST, u8::try_from(body.len()).unwrap()][..], &body].concat()
    }

    #[test]
    fn every_version_is_read() {
        for (level, version) in [(3, Version::V3), (4, Version::V3), (5, Version::V5)] {
            for (flags, clean) in [(0, false), (2, true)] {
                let packet = connect(level, flags, "vm-gui");
                assert_eq!(find(&packet), Found::Whole(packet.len()));
                let read = Connect::read(packet.into()).unwrap();
                let found = (read.version, read.client_id.as_str(), read.clean_start);
                assert_eq!(found, (version, "vm-gui", clean));
                assert_eq!(read.keep_alive(), Duration::from_secs(10));
            }
        }
        let unknown = Connect::read(connect(6, 2, "").into()).unwrap();
        assert_eq!(unknown.version, Version::Unknown);
    }

    #[test]
    fn a_part_of_one_may_become_one_and_nothing_else_does() {
        let packet = connect(5, 2, "vm-gui");
        for end in 1..packet.len() {
            assert_eq!(find(&packet[..end]), Found::More, "{end}");
        }
        for bytes in [
            &b"{\"type\""[..],
            b"\x10",
            b"\x10\x0c\0\x04MQTX",
            b"\x10\0",
            b"\x10\x05\0\x04MQT",
            b"\x10{\"type\"",
            b"\x10\xff\xff\xff\xff\x01",
        ] {
            let expected = if bytes == b"\x10" { Found::More } else { Found::No };
            assert_eq!(find(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_broken_one_is_none() {
        let whole = connect(5, 2, "vm-gui");
        for cut in 2..whole.len() - 2 {
            let mut packet = whole[..cut].to_vec();
            packet[1] = u8::try_from(cut - 2).unwrap();
            assert_eq!(Connect::read(packet.into()), None, "{cut}");
        }
    }

    /// A CONNECT with a will and a login, or without, and where its login begins.
    fn with(
        level: u8,
        will: bool,
        login: Option<(&str, &[u8])>,
        padding: usize,
    ) -> (Vec<u8>, usize) {
        let name: &[u8] = if level & 0x7F == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
        let flags = 0x02 | if will { 0x2C } else { 0 } | if login.is_some() { 0xC0 } else { 0 };
        let mut body = [name, &[level, flags, 0, 60]].concat();
        if level == 5 {
            // Session expiry, and a user property.
            body.extend(b"\x0d\x11\0\0\0\x3c\x26\0\x01k\0\x02vv");
        }
        push_field(&mut body, b"app-1");
        if will {
            if level == 5 {
                body.extend(b"\x05\x18\0\0\0\x01");
            }
            push_field(&mut body, b"gone");
            push_field(&mut body, &vec![b'w'; padding]);
        }
        let size = body.len();
        if let Some((user, password)) = login {
            push_field(&mut body, user.as_bytes());
            push_field(&mut body, password);
        }
        let mut packet = vec![FIRST];
        push_length(&mut packet, body.len());
        let at = packet.len() + size;
        packet.extend(body);
        (packet, at)
    }

    fn body(packet: &[u8]) -> &[u8] {
        let (size, digits) = length(&packet[1..]).unwrap();
        assert_eq!(packet.len(), 1 + digits + size, "the remaining length");
        &packet[1 + digits..]
    }

    #[test]
    fn a_connect_is_from_its_channels_domain_and_else_as_it_came() {
        let user = DomainName::parse("vm-gui").unwrap();
        let password = Password::parse("s3cret".into()).unwrap();
        let logins: [Option<(&str, &[u8])>; 3] = [None, Some(("Dom0", b"x")), Some(("", &[0xFF]))];
        for level in [3, 4, 5, 0x84] {
            for (will, padding) in [(false, 0), (true, 0), (true, 100), (true, 20_000)] {
                for login in logins {
                    let (packet, at) = with(level, will, login, padding);
                    let connect = Connect::read(packet.clone().into()).unwrap();
                    for password in [None, Some(&password)] {
                        let made = connect.as_user(&user, password);
                        let again = Connect::read(made.clone().into()).unwrap();
                        let kept = &body(&packet)[..at - (packet.len() - body(&packet).len())];
                        let mut wanted = kept.to_vec();
                        let flags = if level == 3 { 9 } else { 7 };
                        wanted[flags] &= 0x3F;
                        wanted[flags] |= if password.is_some() { 0xC0 } else { 0x80 };
                        push_field(&mut wanted, b"vm-gui");
                        if password.is_some() {
                            push_field(&mut wanted, b"s3cret");
                        }
                        assert_eq!(body(&made), wanted);
                        assert_eq!(again.as_user(&user, password), made, "said twice");
                        let read = (again.version, &*again.client_id, again.clean_start);
                        assert_eq!(read, (connect.version, "app-1", true));
                    }
                }
            }
        }
    }

    #[test]
    fn flags_of_a_login_that_is_left_out_or_torn_do_no_harm() {
        let user = DomainName::parse("vm-gui").unwrap();
        for level in [3, 4, 5] {
            let (packet, at) = with(level, true, Some(("u", b"p")), 3);
            let wanted = Connect::read(packet.clone().into()).unwrap().as_user(&user, None);
            for end in at..packet.len() {
                let mut cut = packet[..end].to_vec();
                cut[1] = u8::try_from(end - 2).unwrap();
                assert_eq!(Connect::read(cut.into()).unwrap().as_user(&user, None), wanted);
            }
        }
    }

    #[test]
    fn a_torn_will_makes_it_a_broken_one() {
        for level in [3, 4, 5] {
            let (packet, at) = with(level, true, None, 3);
            let begin = packet.windows(5).position(|w| w == b"app-1").unwrap() + 5;
            for end in begin..at {
                let mut cut = packet[..end].to_vec();
                cut[1] = u8::try_from(end - 2).unwrap();
                assert_eq!(Connect::read(cut.into()), None, "{level} {end}");
            }
        }
    }

    #[test]
    fn no_password_is_ever_printed() {
        let (packet, _) = with(5, false, Some(("u", b"s3cret")), 0);
        let shown = format!("{:?}", Connect::read(packet.into()).unwrap());
        assert!(shown.contains("app-1") && !shown.contains("115") && !shown.contains("s3cret"));
    }
}
