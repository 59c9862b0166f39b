//! What a channel carries: every byte comes out once or is held, and the same is found in it however
//! it is cut. Packets end where a naive reader says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::engine::tunnel::connect::{Connect, FIRST, Found, LARGEST, find};
use passerelle::engine::tunnel::detector::{Detector, Piece, STALL};
use passerelle::engine::tunnel::packets::{Malformed, Packets};
use passerelle_fuzz::cuts::Cuts;
use passerelle_fuzz::packets::ends;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Line(Vec<u8>),
    Connect(Vec<u8>),
    Mqtt(Vec<u8>),
}

/// What the pieces say, put together again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    said: Vec<Said>,
    /// A line that has begun.
    line: Vec<u8>,
}

impl Heard {
    fn hear(&mut self, piece: Piece) {
        match piece {
            Piece::Legacy(bytes) => {
                for &byte in &bytes {
                    self.line.push(byte);
                    if byte == b'\n' {
                        self.said.push(Said::Line(std::mem::take(&mut self.line)));
                    }
                }
            }
            Piece::Torn(_) => self.line.clear(),
            Piece::Skipped(_) => self.forget_half_a_length(),
            Piece::Connect(connect) => {
                self.line.clear();
                self.said.push(Said::Connect(connect.packet.to_vec()));
            }
            Piece::Mqtt(bytes) => match self.said.last_mut() {
                Some(Said::Mqtt(all)) => all.extend(bytes),
                _ => self.said.push(Said::Mqtt(bytes.to_vec())),
            },
        }
    }
}

impl Heard {
    /// A packet whose length does not end is none; of it the bytes went through that came before that
    /// was known.
    fn forget_half_a_length(&mut self) {
        let Some(Said::Mqtt(all)) = self.said.last_mut() else { return };
        let (ends, _) = ends(all);
        let end = ends.last().copied().unwrap_or_default();
        if all.len() - end <= 4 && all.iter().skip(end + 1).all(|b| b & 0x80 != 0) {
            all.truncate(end);
        }
        if all.is_empty() {
            self.said.pop();
        }
    }
}

/// Gives the pieces of a stream to a carrier, with a silence before each so many of them.
fn carry<'b>(stream: &[u8], pieces: impl Iterator<Item = &'b [u8]>, silences: u8) -> Heard {
    let (mut carrier, mut heard) = (Detector::new(), Heard::default());
    let (mut pushed, mut at, mut now) = (0, 0, Duration::ZERO);
    let mut is_mqtt = false;
    for (i, piece) in pieces.enumerate() {
        if silences > 0 && i % usize::from(silences) == 0 {
            now += STALL;
        }
        carrier.push(piece, now);
        pushed += piece.len();
        while let Some(piece) = carrier.next() {
            let (size, bytes) = match &piece {
                Piece::Legacy(bytes) | Piece::Mqtt(bytes) => (bytes.len(), Some(&bytes[..])),
                Piece::Connect(connect) => (connect.packet.len(), Some(&connect.packet[..])),
                Piece::Torn(size) | Piece::Skipped(size) => (*size, None),
            };
            assert!(bytes.is_none_or(|bytes| bytes == &stream[at..at + size]), "word for word");
            assert!(is_mqtt || !matches!(piece, Piece::Mqtt(_)), "MQTT begins with a CONNECT");
            is_mqtt = matches!(piece, Piece::Connect(_) | Piece::Mqtt(_));
            at += size;
            heard.hear(piece);
        }
        assert_eq!(at + carrier.held(), pushed, "a byte is in one piece, or held");
        assert!(carrier.held() <= LARGEST + 8);
        if silences == 0 && carrier.held() > 0 {
            assert_eq!(find(&stream[at..pushed]), Found::More, "only a CONNECT is waited for");
        }
    }
    heard
}

/// Packets end where they end, however they are cut.
fn follow<'b>(stream: &[u8], pieces: impl Iterator<Item = &'b [u8]>) {
    let (mut packets, mut at, mut found) = (Packets::default(), 0, Vec::new());
    let expected = ends(stream);
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let Ok(taken) = packets.advance(rest) else {
                assert_eq!(expected, (found, Err(Malformed)));
                return;
            };
            assert!(taken > 0);
            at += taken;
            rest = &rest[taken..];
            if packets.is_at_boundary() {
                found.push(at);
            }
        }
    }
    assert_eq!(expected, (found, Ok(())));
}

/// What a CONNECT is found to be changes as more of it comes, but never back.
fn grow<'b>(stream: &[u8], pieces: impl Iterator<Item = &'b [u8]>) {
    let Some(start) = stream.iter().position(|b| *b == FIRST) else { return };
    let stream = &stream[start..];
    let whole = find(stream);
    if let Found::Whole(size) = whole {
        let packet = &stream[..size];
        if let Some(connect) = Connect::read(bytes::Bytes::copy_from_slice(packet)) {
            assert_eq!(connect.packet, packet);
            assert!(memchr::memmem::find(packet, connect.client_id.as_bytes()).is_some());
        }
    }
    let mut known = 0;
    for piece in pieces {
        known = stream.len().min(known + piece.len());
        let found = find(&stream[..known]);
        let fits = match &whole {
            Found::Whole(size) if known < *size => found == Found::More,
            Found::Whole(_) => found == whole,
            Found::More => found == Found::More,
            Found::No => !matches!(found, Found::Whole(_)),
        };
        assert!(fits, "{found:?} in {known} bytes, {whole:?} in all");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((setting, stream)) = data.split_first_chunk::<3>() else { return };
    let pieces = || Cuts::new(stream, setting[0], setting[1]);
    let whole = carry(stream, std::iter::once(stream).filter(|s| !s.is_empty()), 0);
    assert_eq!(carry(stream, pieces(), 0), whole, "the same, however it is cut");
    assert_eq!(carry(stream, stream.chunks(1), 0), whole, "the same, byte by byte");
    if setting[2] > 0 {
        carry(stream, pieces(), setting[2]);
    }
    follow(stream, pieces());
    grow(stream, pieces());
});
