//! Bytes to lines: one message a line, ended by `\n`, however the bytes are cut.

use super::steps;
use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// What the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A line without its end (`\n` or `\r\n`). Never blank.
    Line(Bytes),
    /// A line over the limit, given up; its first bytes, for the record.
    TooLong(Bytes),
}

/// How many bytes of a line that was given up are kept.
const HEAD: usize = 256;

/// A line as long as that is not to be kept for what follows it.
const LONG: usize = 64 * 1024;

/// Cuts a byte stream into lines. "More bytes needed" is `None`, not an error.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decoder {
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
    limit: usize,
    /// Set while the rest of a line that was given up goes by.
    skipping: bool,
}

impl Decoder {
    /// A decoder that holds at most `limit` bytes of one line.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit, skipping: false }
    }

    /// Holds at most so many bytes of one line from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds bytes as they came. Call [`Decoder::next`] until it says `None` before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        steps::count(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line, if there is a whole one.
    #[allow(
        clippy::should_implement_trait,
        reason = "it is no iterator: after `None` more may come"
    )]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let found = memchr::memchr(b'\n', unsearched);
            steps::count(found.unwrap_or(unsearched.len()));
            let Some(at) = found.map(|i| self.searched + i) else {
                self.searched = self.buffer.len();
                return self.give_up_if_too_long();
            };
            let mut line = self.buffer.split_to(at);
            self.buffer.advance(1);
            self.searched = 0;
            if line.len() > LONG {
                // Else what follows would keep the memory of the line for as long as it is there itself.
                steps::count(self.buffer.len());
                self.buffer = BytesMut::from(&*self.buffer);
            }
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.limit {
                line.truncate(HEAD);
                return Some(Frame::TooLong(line.freeze()));
            }
            while line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            steps::count(line.len());
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Frame::Line(line.freeze()));
            }
        }
    }

    fn give_up_if_too_long(&mut self) -> Option<Frame> {
        if self.skipping {
            self.buffer.clear();
            self.searched = 0;
            return None;
        }
        if self.buffer.len() <= self.limit {
            return None;
        }
        let head = Bytes::copy_from_slice(self.buffer.get(..HEAD).unwrap_or(&self.buffer));
        self.buffer = BytesMut::new();
        self.searched = 0;
        self.skipping = true;
        Some(Frame::TooLong(head))
    }

    /// Bytes are missing here: what has begun is forgotten, and the next whole line is looked for.
    pub fn skip_line(&mut self) {
        self.reset();
        self.skipping = true;
    }

    /// Whether a line has begun and not ended.
    #[must_use]
    pub fn is_inside_a_line(&self) -> bool {
        self.skipping || !self.buffer.is_empty()
    }

    /// What has come of a line that has begun, and whether the line was given up.
    #[must_use]
    pub fn begun(&self) -> Option<(&[u8], bool)> {
        self.is_inside_a_line().then_some((&*self.buffer, self.skipping))
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets a line that has begun, for its sender is gone. Says how many bytes that were.
    pub fn reset(&mut self) -> usize {
        let held = self.buffer.len();
        *self = Self::new(self.limit);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next()).collect()
    }

    fn line(text: &'static str) -> Frame {
        Frame::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let bytes = b"one\r\n\n\r\ntwo\nx\0y\nthe rest";
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new(16);
            let mut found = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                found.extend(all(&mut decoder));
            }
            assert_eq!(found, [line("one"), line("two"), line("x\0y")], "cut at {cut}");
            assert!(decoder.is_inside_a_line());
            assert_eq!(decoder.reset(), 8);
        }
    }

    #[test]
    fn a_line_over_the_limit_costs_only_itself() {
        let mut decoder = Decoder::new(4);
        let mut found = Vec::new();
        for byte in b"12345678\n1234\n12345\nok\n" {
            decoder.push(&[*byte]);
            found.extend(all(&mut decoder));
            assert!(decoder.held() <= 5);
        }
        let too_long = Frame::TooLong(Bytes::from_static(b"12345"));
        assert_eq!(found, [too_long.clone(), line("1234"), too_long, line("ok")]);
    }

    #[test]
    fn a_whole_line_over_the_limit_is_given_up_too() {
        let mut decoder = Decoder::new(4);
        decoder.push(b"12345\nok\n");
        assert_eq!(all(&mut decoder), [Frame::TooLong(Bytes::from_static(b"12345")), line("ok")]);
    }
}
