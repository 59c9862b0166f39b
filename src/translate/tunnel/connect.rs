//! The CONNECT packet (MQTT 5, 3.1): found, and read as far as the gateway must.

use bytes::Bytes;

/// The largest CONNECT that is taken for one. Its five fields have 64 KiB at most, each.
pub const LARGEST: usize = 512 * 1024;
/// The first byte of a CONNECT. It never stands in JSON.
pub const FIRST: u8 = 0x10;

/// The version of the protocol, as far as answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1 and 3.1.1.
    V3,
    /// MQTT 5.
    V5,
    /// One that is not known.
    Unknown,
}

/// A whole CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Its bytes.
    pub packet: Bytes,
    /// The version that the client speaks.
    pub version: Version,
    /// The client id; empty if the broker is to choose one.
    pub client_id: String,
    /// Whether the broker is to forget what it had of this client.
    pub clean_start: bool,
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

/// Reads a remaining length, or any number of MQTT's that is written so, and how many bytes it takes.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

impl Connect {
    /// Reads a packet that [`find`] found whole. `None`: it is broken.
    #[must_use]
    pub fn read(packet: Bytes) -> Option<Self> {
        let (version, client_id, clean_start) = fields(&packet)?;
        let client_id = client_id.to_owned();
        Some(Self { version, client_id, clean_start, packet })
    }
}

/// Whether a packet that [`find`] found whole can be read.
#[must_use]
pub fn is_sound(packet: &[u8]) -> bool {
    fields(packet).is_some()
}

/// The version, the client id and whether the session is to be a new one.
fn fields(packet: &[u8]) -> Option<(Version, &str, bool)> {
    let (_, header) = length(packet.get(1..)?)?;
    let (_, rest) = field(packet.get(1 + header..)?)?;
    let (&[level, flags, _, _], mut rest) = rest.split_first_chunk()?;
    // Bridges of Mosquitto's set the highest bit.
    let version = match level & 0x7F {
        3 | 4 => Version::V3,
        5 => Version::V5,
        _ => Version::Unknown,
    };
    if version == Version::V5 {
        let (properties, size) = length(rest)?;
        rest = rest.get(size + properties..)?;
    }
    let client_id = match version {
        Version::Unknown => "",
        Version::V3 | Version::V5 => str::from_utf8(field(rest)?.0).ok()?,
    };
    Some((version, client_id, flags & 0x02 != 0))
}

/// A field with its length before it, and what follows.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))
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
}
