//! What a channel carries: a domain that is still legacy writes JSON lines, one that is migrated
//! writes MQTT over the very same channel. The bytes tell, and may change their mind at any point.

use super::buffer::Buffer;
use super::connect::{self, Connect, Found};
use super::packets::{DISCONNECT, Packets, may_be_a_clients};
use crate::engine::bucket::Bucket;
use crate::engine::steps;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After so long without a byte, a packet that is not complete may have been left by its writer: see
/// [`Detector::was_no_silence`].
pub const STALL: Duration = Duration::from_secs(2);
/// How many CONNECTs a channel may carry a second, and how many at once. An honest domain has one for each
/// start of its program, and one for each time that it finds the broker away.
const CONNECTS: (usize, usize) = (4, 8);
/// How a legacy message begins.
const MESSAGE: &[u8] = b"{\"";

/// A stretch of what the channel carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of legacy lines.
    Legacy(Bytes),
    /// The line that has begun is none, nor are so many bytes after what was given of it.
    Torn(usize),
    /// A whole CONNECT: from here on it is MQTT, or another connection.
    Connect(Connect),
    /// Bytes of MQTT packets.
    Mqtt(Bytes),
    /// So many bytes belong to nothing. MQTT, if it was that, has lost its place.
    Skipped(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Carrying {
    /// Lines for ever.
    Lines,
    /// Lines. Before the first line's end it is not sure, unless it began as a message does: this may
    /// be the middle of anything.
    Legacy(Begun),
    /// Up to a newline that a `{` follows, or to a CONNECT.
    Skipping {
        /// Whether what comes next follows a newline.
        line: bool,
    },
    /// Packets.
    Mqtt(Packets),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Begun {
    Not,
    Unsure,
    Sure,
}

/// Tells what a channel carries, however its bytes are cut.
#[derive(Debug, Serialize, Deserialize)]
pub struct Detector {
    mode: Carrying,
    buffer: Buffer,
    last: Duration,
    /// Whether everything was made of what has come. Before, what is in the buffer need not be a packet
    /// that is incomplete.
    sorted: bool,
    /// Where in the buffer bytes begin that may have nothing to do with the incomplete packet before.
    anew: Option<usize>,
    /// The first byte of the last packet.
    packet: u8,
    /// The CONNECTs that it may carry. Nothing else begins a connection, nor MQTT anew after lines.
    connects: Bucket,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// A channel of which nothing is known. It begins as a legacy one.
    #[must_use]
    pub fn new() -> Self {
        let mode = Carrying::Legacy(Begun::Not);
        Self {
            mode,
            buffer: Buffer::default(),
            last: Duration::ZERO,
            sorted: true,
            anew: None,
            packet: 0,
            connects: Bucket::new(CONNECTS.0, CONNECTS.1),
        }
    }

    /// A channel that carries lines and nothing else, whatever they look like.
    #[must_use]
    pub fn of_lines() -> Self {
        Self { mode: Carrying::Lines, ..Self::new() }
    }

    /// A channel of which a line has begun.
    #[must_use]
    pub fn within_a_line() -> Self {
        Self { mode: Carrying::Legacy(Begun::Sure), ..Self::new() }
    }

    /// A channel that last carried MQTT, of which nothing can be made before its next CONNECT.
    #[must_use]
    pub fn mqtt() -> Self {
        Self { mode: Carrying::Skipping { line: true }, ..Self::new() }
    }

    /// What this channel carries when it is there again, or somebody else speaks on it.
    #[must_use]
    pub fn then(&self, next: Self) -> Self {
        Self { connects: self.connects.clone(), ..next }
    }

    /// Its time begins anew: that of another run of the gateway.
    pub fn begin_time(&mut self, now: Duration) {
        self.last = now;
        self.connects = Bucket::new(CONNECTS.0, CONNECTS.1);
    }

    /// Until when nothing more is to be read, nor made of what has come: there were too many CONNECTs.
    #[must_use]
    pub fn waits_until(&self, now: Duration) -> Option<Duration> {
        self.connects.owed_until(now)
    }

    /// Bytes as they came. A silence before them counts only if [`Detector::next`] has said `None`: whoever
    /// collects bytes to look at them later does not see where a packet was left.
    pub fn push(&mut self, bytes: &[u8], now: Duration) {
        if bytes.is_empty() {
            return;
        }
        let silent = self.sorted && now.saturating_sub(self.last) >= STALL;
        if silent && self.is_inside_a_packet() {
            self.anew = Some(self.buffer.bytes().len());
        }
        self.sorted = false;
        self.last = now;
        self.buffer.push(bytes);
    }

    /// There was no silence, whatever the clock says: nobody has looked for bytes, or what has begun is still
    /// waited for.
    pub fn was_no_silence(&mut self) {
        self.sorted = false;
    }

    /// How many bytes are held until more come: a part of a CONNECT, at most.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.bytes().len()
    }

    /// Whether the last that came is a DISCONNECT.
    #[must_use]
    pub fn has_said_goodbye(&self) -> bool {
        self.packet == DISCONNECT
            && matches!(self.mode, Carrying::Mqtt(packets) if packets.is_at_boundary())
    }

    fn is_inside_a_packet(&self) -> bool {
        let begun = matches!(self.mode, Carrying::Mqtt(packets) if !packets.is_at_boundary());
        begun || !self.buffer.bytes().is_empty()
    }

    /// The next stretch, if there is one.
    #[allow(
        clippy::should_implement_trait,
        reason = "it is no iterator: after `None` more may come"
    )]
    pub fn next(&mut self) -> Option<Piece> {
        let piece = self.sort();
        self.sorted = piece.is_none();
        piece
    }

    fn sort(&mut self) -> Option<Piece> {
        if self.buffer.bytes().is_empty() {
            return None;
        }
        if let Some(at) = self.anew {
            match self.begins_anew(at) {
                Found::More => return None,
                Found::No => self.anew = None,
                Found::Whole(_) => return Some(self.begin_anew(at)),
            }
        }
        match self.mode {
            Carrying::Lines => Some(Piece::Legacy(self.buffer.split_to(self.buffer.bytes().len()))),
            Carrying::Legacy(begun) => self.lines(begun),
            Carrying::Skipping { line } => self.skip(line),
            Carrying::Mqtt(packets) => self.packets(packets),
        }
    }

    /// Whether what came after a long silence begins something of its own.
    fn begins_anew(&self, at: usize) -> Found {
        let bytes = self.buffer.bytes().get(at..).unwrap_or_default();
        if bytes.len() < MESSAGE.len() && MESSAGE.starts_with(bytes) {
            Found::More
        } else if bytes.starts_with(MESSAGE) {
            Found::Whole(MESSAGE.len())
        } else {
            connect::find(bytes)
        }
    }

    /// Gives up the packet that its writer has left.
    fn begin_anew(&mut self, at: usize) -> Piece {
        self.anew = None;
        let was_legacy = matches!(self.mode, Carrying::Legacy(_));
        self.mode = Carrying::Skipping { line: true };
        self.buffer.pass_over(at);
        if was_legacy { Piece::Torn(at) } else { Piece::Skipped(at) }
    }

    fn lines(&mut self, begun: Begun) -> Option<Piece> {
        let first = self.buffer.bytes().first().copied()?;
        match self.buffer.connect() {
            Found::More => return None,
            Found::Whole(size) => return Some(self.begin_mqtt(size)),
            Found::No => {}
        }
        let end = self.buffer.before_connect();
        let begun = match begun {
            Begun::Not if first == b'{' => Begun::Sure,
            Begun::Not => Begun::Unsure,
            begun => begun,
        };
        if begun == Begun::Unsure {
            steps::count(end);
            let decides = |b: &u8| b.is_ascii_control() && *b != b'\t' && *b != b'\r';
            let known =
                self.buffer.bytes().get(..end).unwrap_or_default().iter().find(|b| decides(b));
            match known {
                Some(b'\n') => self.mode = Carrying::Legacy(Begun::Sure),
                Some(_) => {
                    self.mode = Carrying::Skipping { line: false };
                    return Some(Piece::Torn(0));
                }
                None => self.mode = Carrying::Legacy(Begun::Unsure),
            }
        } else {
            self.mode = Carrying::Legacy(begun);
        }
        Some(Piece::Legacy(self.buffer.split_to(end)))
    }

    fn skip(&mut self, mut line: bool) -> Option<Piece> {
        let mut size = 0;
        for &byte in self.buffer.bytes() {
            let may_begin = byte == connect::FIRST && self.buffer.may_begin(size);
            if may_begin || (line && byte == b'{') {
                break;
            }
            line = byte == b'\n';
            size += 1;
        }
        steps::count(size);
        self.mode = Carrying::Skipping { line };
        if size > 0 {
            self.buffer.pass_over(size);
            return Some(Piece::Skipped(size));
        }
        if self.buffer.bytes().first() == Some(&b'{') {
            return self.lines(Begun::Sure);
        }
        match self.buffer.connect() {
            Found::More => None,
            Found::Whole(size) => Some(self.begin_mqtt(size)),
            Found::No => {
                self.mode = Carrying::Skipping { line: false };
                self.buffer.pass_over(1);
                Some(Piece::Skipped(1))
            }
        }
    }

    fn packets(&mut self, mut packets: Packets) -> Option<Piece> {
        let mut taken = 0;
        while let Some(&first) = self.buffer.bytes().get(taken) {
            if packets.is_at_boundary() {
                if !may_be_a_clients(first) {
                    break;
                }
                self.packet = first;
            }
            let rest = self.buffer.bytes().get(taken..).unwrap_or_default();
            match packets.advance(rest) {
                Ok(size) => taken += size,
                Err(_) => {
                    self.mode = Carrying::Skipping { line: false };
                    let before = self.buffer.split_to(taken);
                    return if taken > 0 { Some(Piece::Mqtt(before)) } else { self.skip(false) };
                }
            }
        }
        self.mode = Carrying::Mqtt(packets);
        if taken > 0 {
            return Some(Piece::Mqtt(self.buffer.split_to(taken)));
        }
        if self.buffer.bytes().first() == Some(&b'{') {
            return self.lines(Begun::Sure);
        }
        match self.buffer.connect() {
            Found::More => None,
            Found::Whole(size) => Some(self.begin_mqtt(size)),
            Found::No => self.skip(false),
        }
    }

    fn begin_mqtt(&mut self, size: usize) -> Piece {
        self.mode = Carrying::Mqtt(Packets::default());
        self.packet = connect::FIRST;
        self.connects.owe(self.last);
        match Connect::read(self.buffer.split_to(size)) {
            Some(connect) => Piece::Connect(connect),
            None => Piece::Skipped(size),
        }
    }
}
