//! Bytes, cut into pieces as a few bytes of the input say.

/// The pieces of some bytes: none of them is empty.
#[derive(Debug, Clone)]
pub struct Cuts<'b> {
    rest: &'b [u8],
    lengths: [usize; 2],
    turn: usize,
}

impl<'b> Cuts<'b> {
    /// Pieces of two lengths in turn; 0 is all that is left.
    #[must_use]
    pub fn new(bytes: &'b [u8], one: u8, other: u8) -> Self {
        Self { rest: bytes, lengths: [one.into(), other.into()], turn: 0 }
    }
}

impl<'b> Iterator for Cuts<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.turn += 1;
        let length = match self.lengths[self.turn % 2] {
            0 => self.rest.len(),
            length => length.min(self.rest.len()),
        };
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(piece)
    }
}
