//! The frame decoder: its lines are those of a split at `\n`, however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::engine::frame::{Decoder, Frame};
use passerelle_fuzz::cuts::Cuts;

/// What a decoder must find, seen all at once.
fn expected(bytes: &[u8], limit: usize) -> Vec<Option<&[u8]>> {
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    // The last one has no end: it counts only where it is too long already.
    let rest = lines.pop().filter(|rest| rest.len() > limit);
    let mut found = Vec::new();
    for line in lines {
        let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |last| last + 1);
        if line.len() > limit {
            found.push(None);
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            found.push(Some(&line[..end]));
        }
    }
    found.extend(rest.map(|_| None));
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((setting, bytes)) = data.split_first_chunk::<3>() else { return };
    let limit = 1 + usize::from(setting[0]) * 4;
    let mut decoder = Decoder::new(limit);
    let mut found = Vec::new();
    for part in Cuts::new(bytes, setting[1], setting[2]) {
        decoder.push(part);
        while let Some(frame) = decoder.next() {
            found.push(match frame {
                Frame::Line(line) => Some(line),
                Frame::TooLong(head) => {
                    assert!(head.len() <= 256 && !head.is_empty());
                    assert!(memchr::memmem::find(bytes, &head).is_some());
                    None
                }
            });
        }
        assert!(decoder.held() <= limit, "{} bytes held", decoder.held());
    }
    let found: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, expected(bytes, limit));
    let inside = bytes.last().is_some_and(|b| *b != b'\n');
    assert_eq!(decoder.is_inside_a_line(), inside);
    decoder.reset();
    assert_eq!((decoder.held(), decoder.is_inside_a_line()), (0, false));
});
