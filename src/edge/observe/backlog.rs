//! What a domain has said and its router has not read yet: bounded, and thrown away by whole lines.

use bytes::{Buf as _, BytesMut};

/// What goes by without being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// The rest of a line, its end included.
    Line,
    /// The rest of a line whose beginning the router has; its end is kept, so that the next line is
    /// not glued to it.
    UpToTheEnd,
}

/// Bytes that wait for a reader. A console's backend tears and glues lines when it has too much; here
/// those lines that find no room are left out whole, the newest first.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: BytesMut,
    limit: usize,
    /// The reader has had the beginning of what comes next.
    inside: bool,
    skip: Skip,
    discarded: u64,
}

impl Backlog {
    /// One that holds about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), limit, inside: false, skip: Skip::Nothing, discarded: 0 }
    }

    /// Adds what the domain says.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip != Skip::Nothing {
                bytes = self.skip(bytes);
                continue;
            }
            let room = self.limit.saturating_sub(self.bytes.len()).min(bytes.len());
            let (fits, rest) = bytes.split_at(room);
            self.bytes.extend_from_slice(fits);
            bytes = rest;
            if !bytes.is_empty() {
                self.cut();
            }
        }
    }

    /// Leaves out the rest of a line; gives what comes after it.
    fn skip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.discard(bytes.len());
            return &[];
        };
        if std::mem::replace(&mut self.skip, Skip::Nothing) == Skip::UpToTheEnd {
            self.bytes.extend_from_slice(b"\n");
            self.discard(end);
        } else {
            self.discard(end + 1);
        }
        bytes.get(end + 1..).unwrap_or_default()
    }

    /// There is no room for the rest of the last line.
    fn cut(&mut self) {
        let begins = memchr::memrchr(b'\n', &self.bytes).map(|at| at + 1);
        match begins.or((!self.inside).then_some(0)) {
            Some(at) => {
                self.discard(self.bytes.len() - at);
                self.bytes.truncate(at);
                self.skip = Skip::Line;
            }
            None => self.skip = Skip::UpToTheEnd,
        }
    }

    fn discard(&mut self, count: usize) {
        self.discarded += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// What the reader gets next.
    pub fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    /// The reader has taken so many bytes of [`Backlog::chunk`].
    pub fn taken(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        if let Some(last) = count.checked_sub(1).and_then(|at| self.bytes.get(at)) {
            self.inside = *last != b'\n';
        }
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            // What grew for a burst is given back.
            self.bytes = BytesMut::new();
        }
    }

    /// The reader is gone: the next one begins with a whole line.
    pub fn reader_left(&mut self) {
        if !std::mem::take(&mut self.inside) {
            return;
        }
        match memchr::memchr(b'\n', &self.bytes) {
            Some(end) => {
                self.discard(end + 1);
                self.bytes.advance(end + 1);
            }
            None => {
                self.discard(self.bytes.len());
                self.bytes.clear();
                self.skip = Skip::Line;
            }
        }
    }

    /// How many bytes were thrown away since this was last asked.
    pub fn take_discarded(&mut self) -> u64 {
        std::mem::take(&mut self.discarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(backlog: &Backlog) -> String {
        String::from_utf8(backlog.chunk().to_vec()).unwrap()
    }

    #[test]
    fn lines_that_find_no_room_are_left_out_whole() {
        let mut backlog = Backlog::new(10);
        for bytes in ["one\ntw", "o\nthree", "\nfour\n", "5\n"] {
            backlog.push(bytes.as_bytes());
        }
        assert_eq!((text(&backlog), backlog.take_discarded()), ("one\ntwo\n5\n".into(), 11));
        backlog.taken(4);
        backlog.push(b"six\nseven\n");
        assert_eq!((text(&backlog), backlog.take_discarded()), ("two\n5\nsix\n".into(), 6));
    }

    #[test]
    fn a_line_whose_beginning_is_gone_is_cut_short_and_ended() {
        let mut backlog = Backlog::new(4);
        backlog.push(b"long");
        backlog.taken(4);
        backlog.push(b" and longer");
        backlog.push(b"\n");
        assert_eq!((text(&backlog), backlog.take_discarded()), (" and\n".into(), 7));
        backlog.taken(5);
        backlog.push(b"x\n");
        assert_eq!(text(&backlog), "x\n");
    }

    #[test]
    fn the_next_reader_begins_with_a_whole_line() {
        let mut backlog = Backlog::new(100);
        backlog.push(b"one\ntwo\nthr");
        backlog.taken(2);
        backlog.reader_left();
        assert_eq!((text(&backlog), backlog.take_discarded()), ("two\nthr".into(), 2));
        backlog.taken(7);
        backlog.reader_left();
        backlog.push(b"ee");
        backlog.push(b"\nfour\n");
        assert_eq!((text(&backlog), backlog.take_discarded()), ("four\n".into(), 3));
        backlog.reader_left();
        assert_eq!(text(&backlog), "four\n");
    }

    proptest! {
        #[test]
        fn nothing_is_torn_glued_or_out_of_order_whatever_comes_when(
            steps in proptest::collection::vec((0usize..40, 0usize..12, any::<bool>()), 1..60),
        ) {
            let mut backlog = Backlog::new(24);
            let (mut sent, mut got) = (0u64, Vec::new());
            let mut stream = (0..).flat_map(|i: u32| {
                let tail = "x".repeat(usize::try_from(i % 7).unwrap_or_default());
                format!("{i}{tail}.\n").into_bytes()
            });
            let mut discarded = 0;
            for (said, read, leaves) in steps {
                let bytes: Vec<u8> = stream.by_ref().take(said).collect();
                sent += bytes.len() as u64;
                backlog.push(&bytes);
                let read = read.min(backlog.chunk().len());
                got.extend_from_slice(&backlog.chunk()[..read]);
                backlog.taken(read);
                if leaves {
                    backlog.reader_left();
                    got.extend_from_slice(b"|");
                }
                prop_assert!(backlog.chunk().len() <= 25);
                discarded += backlog.take_discarded();
            }
            let kept = got.iter().filter(|b| **b != b'|').count() + backlog.chunk().len();
            prop_assert_eq!(sent, discarded + kept as u64);
            // Every line that a reader saw from its beginning to its end is one that was said, in order.
            let got = String::from_utf8(got).unwrap();
            let mut last = None;
            for reader in got.split('|') {
                for line in reader.split_inclusive('\n').filter(|l| l.ends_with(".\n")) {
                    let digits = line.trim_end_matches(|c: char| !c.is_ascii_digit());
                    let number: u32 = digits.parse().unwrap();
                    prop_assert!(last.is_none_or(|l| l < number), "{}", got);
                    last = Some(number);
                }
            }
        }
    }
}
