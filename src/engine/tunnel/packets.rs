//! Where MQTT packets begin and end, and nothing more of them (MQTT 5, 2.1).

use crate::engine::steps;
use serde::{Deserialize, Serialize};

/// The first byte of a DISCONNECT.
pub const DISCONNECT: u8 = 0xE0;

/// Follows a stream of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Packets {
    place: PacketPlace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum PacketPlace {
    /// Between two packets.
    #[default]
    Boundary,
    /// In the remaining length: what of it is known, and for how many bits.
    Length { known: u32, bits: u32 },
    /// So many bytes before the packet's end.
    Body(u32),
}

/// A remaining length of more than four bytes: this is no MQTT, or the place in it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Packets {
    /// Whether the stream is between two packets.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.place == PacketPlace::Boundary
    }

    /// Goes on to the end of the packet that has begun or begins here. Says how many bytes of `bytes`
    /// are its: all of them, if it does not end here.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            steps::count(1);
            self.place = match self.place {
                PacketPlace::Boundary => PacketPlace::Length { known: 0, bits: 0 },
                PacketPlace::Length { known, bits } => {
                    let known = known | u32::from(byte & 0x7F) << bits;
                    match byte & 0x80 {
                        0 if known == 0 => PacketPlace::Boundary,
                        0 => PacketPlace::Body(known),
                        _ if bits == 21 => return Err(Malformed),
                        _ => PacketPlace::Length { known, bits: bits + 7 },
                    }
                }
                PacketPlace::Body(left) => {
                    let here = u32::try_from(bytes.len() - taken).unwrap_or(u32::MAX).min(left);
                    taken += usize::try_from(here).unwrap_or(usize::MAX);
                    match left - here {
                        0 => {
                            self.place = PacketPlace::Boundary;
                            return Ok(taken);
                        }
                        left => self.place = PacketPlace::Body(left),
                    }
                    continue;
                }
            };
            taken += 1;
            if self.is_at_boundary() {
                return Ok(taken);
            }
        }
        Ok(taken)
    }
}

/// Whether a packet of this first byte may come from a client (MQTT 5, 2.1.2 and 2.1.3). MQTT 3.1 also
/// marks repeats of what later versions send once.
#[must_use]
pub fn may_be_a_clients(first: u8) -> bool {
    match first {
        0x30..=0x3F => first & 0x06 != 0x06,
        0x40 | 0x50 | 0x62 | 0x6A | 0x70 | 0x82 | 0x8A | 0xA2 | 0xAA | 0xC0 | 0xE0 | 0xF0 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_end_where_their_length_says() {
        let long = [&[0x30, 0x80, 0x01][..], &[b'x'; 128]].concat();
        let stream = [&[0xC0, 0x00][..], &long, &[0x40, 0x02, 0, 1]].concat();
        for cut in 0..=stream.len() {
            let mut packets = Packets::default();
            let mut ends = Vec::new();
            let mut at = 0;
            for part in [&stream[..cut], &stream[cut..]] {
                let mut rest = part;
                while !rest.is_empty() {
                    let taken = packets.advance(rest).unwrap();
                    at += taken;
                    rest = &rest[taken..];
                    if packets.is_at_boundary() {
                        ends.push(at);
                    }
                }
            }
            assert_eq!(ends, [2, 133, 137], "cut at {cut}");
        }
    }

    #[test]
    fn a_length_has_four_bytes_at_most() {
        let longest = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
        assert_eq!(Packets::default().advance(&longest), Ok(5));
        assert_eq!(Packets::default().advance(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Malformed));
    }

    #[test]
    fn no_line_of_json_looks_like_a_packet() {
        for first in [b'{', b'\n', b'"', b'[', b't', 0x10, 0x00, 0x36, 0xD0] {
            assert!(!may_be_a_clients(first), "{first:#x}");
        }
    }
}
