//! The store's reader: whatever stands in a log, each record of it is read or told of, and reading goes on
//! behind it; what is written is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use passerelle::engine::store::{self, LogEntry, Step};

/// Everything up to the end: the records, and whether the end is one.
fn all(bytes: &[u8], start: usize) -> (Vec<LogEntry>, bool) {
    let (mut at, mut entries) = (start, Vec::new());
    loop {
        let next = match store::read(bytes, at) {
            Step::Record(entry, next) => {
                entries.push(*entry);
                next
            }
            Step::Damaged(why, next) => {
                assert!(!why.is_empty());
                next
            }
            Step::Torn(why) => {
                assert!(!why.is_empty() && at < bytes.len());
                return (entries, false);
            }
            Step::End => {
                assert!(at >= bytes.len());
                return (entries, true);
            }
        };
        assert!(at < next && next <= bytes.len(), "from {at} to {next} of {}", bytes.len());
        assert_eq!(store::size_of_record(&bytes[at..]), Some(next - at));
        at = next;
    }
}

/// Gives every record the length and the checksum that it should have, so that what is in it is looked at.
fn mend(bytes: &mut [u8], start: usize) {
    let mut rest = &mut bytes[start..];
    while rest.len() > 12 {
        let length = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let length = length.clamp(4, rest.len() - 8);
        let (record, others) = rest.split_at_mut(8 + length);
        let meta = usize::from(u16::from_le_bytes([record[8], record[9]])).min(length - 4);
        record[8..12].copy_from_slice(&u32::try_from(meta).unwrap_or_default().to_le_bytes());
        record[..4].copy_from_slice(&u32::try_from(length).unwrap_or_default().to_le_bytes());
        let crc = crc32fast::hash(&record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        rest = others;
    }
}

fuzz_target!(|data: &[u8]| {
    let start = match store::read_header(data) {
        Ok((start, boot)) => {
            assert_eq!(store::header(boot).as_bytes(), &data[..start]);
            start
        }
        Err(why) => {
            assert!(!why.is_empty());
            0
        }
    };
    all(data, start);
    let mut mended = data.to_vec();
    mend(&mut mended, start);
    let (entries, _) = all(&mended, start);
    let mut again = Vec::new();
    for entry in &entries {
        store::append(&mut again, entry.n, &entry.is);
    }
    assert_eq!(all(&again, 0), (entries, true));
});
