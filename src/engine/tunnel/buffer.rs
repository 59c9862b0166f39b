//! The bytes of a channel that nothing was made of yet, and where in them a CONNECT begins. The work is
//! bounded by the bytes, whatever they are.

use super::connect::{FIRST, Found, find, is_sound};
use crate::engine::steps;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Bytes of a channel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Buffer {
    bytes: BytesMut,
    /// No CONNECT begins in so many of the first bytes: they were looked at already.
    no_connect: usize,
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn push(&mut self, bytes: &[u8]) {
        steps::count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a CONNECT that is whole and sound begins here. What an unsound one was looked at for is not
    /// looked at again: another that seems to begin there would cost as much, and so would the next.
    pub fn connect(&mut self) -> Found {
        if self.no_connect > 0 {
            return Found::No;
        }
        let found = find(&self.bytes);
        let Found::Whole(size) = found else { return found };
        match is_sound(self.bytes.get(..size).unwrap_or_default()) {
            Err(looked_at) => {
                self.no_connect = looked_at;
                Found::No
            }
            Ok(()) => found,
        }
    }

    /// Whether a CONNECT may begin there. A run of bytes that only look like that is passed over as one.
    pub fn may_begin(&self, at: usize) -> bool {
        at >= self.no_connect && find(self.bytes.get(at..).unwrap_or_default()) != Found::No
    }

    /// How many bytes there are before the next that may begin a CONNECT. What begins here was looked at.
    pub fn before_connect(&mut self) -> usize {
        let from = self.no_connect.max(1);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let may_begin = |at: &usize| find(rest.get(*at..).unwrap_or_default()) != Found::No;
        let found = memchr::memchr_iter(FIRST, rest).find(may_begin);
        steps::count(found.unwrap_or(rest.len()));
        found.map_or(self.bytes.len(), |at| from + at)
    }

    pub fn split_to(&mut self, size: usize) -> Bytes {
        self.no_connect = self.no_connect.saturating_sub(size);
        self.bytes.split_to(size).freeze()
    }

    pub fn pass_over(&mut self, size: usize) {
        self.no_connect = self.no_connect.saturating_sub(size);
        self.bytes.advance(size);
    }
}
