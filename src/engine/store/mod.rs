//! What the store holds, as bytes: a log of records for each domain. No file is touched here.
//!
//! A *segment* is a header and records after it:
//!
//! ```text
//! segment = "passerelle store 1 " boot "\n" record*
//! record  = length crc body        length, crc: 32 bits, little-endian
//! body    = size meta content      size: 32 bits, little-endian, that of meta
//! ```
//!
//! `length` is that of `body`, `crc` its CRC-32 (IEEE 802.3), `boot` the kernel's boot id or `-`. `meta` is
//! a JSON object: `n`, the record's number in its domain's log, and `is`, what it is (see [`Record`]).
//! `content` is a payload, a line or nothing. Numbers grow with each record that has one of its own;
//! `landed` and `over` have that of the record that they are about.

mod record;

pub use record::{
    Data, Half, IncomingRecord, IncomingState, Line, LinePurpose, LogEntry, MessageRecord,
    OutgoingRecord, Record, left,
};

/// What a segment begins with.
const TITLE: &str = "passerelle store 1 ";
/// The longest header.
const LONGEST_HEADER: usize = 128;
/// What stands before a body.
const FRAME: usize = 8;

/// A segment's header. Without a boot id, times in it are worth nothing later.
#[must_use]
pub fn header(boot: Option<&str>) -> String {
    format!("{TITLE}{}\n", boot.unwrap_or("-"))
}

/// Reads a segment's header: its length, and the boot id.
///
/// # Errors
/// What is wrong with it.
pub fn read_header(bytes: &[u8]) -> Result<(usize, Option<&str>), String> {
    let head = bytes.get(..LONGEST_HEADER).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', head).ok_or("it has no header")?;
    let text = head.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let boot = text.and_then(|text| text.strip_prefix(TITLE)).ok_or_else(|| {
        format!("it does not begin with {:?}: another version wrote it, or another program", TITLE)
    })?;
    Ok((end + 1, Some(boot).filter(|boot| *boot != "-")))
}

/// Appends a record to a log.
pub fn append(out: &mut Vec<u8>, n: u64, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME + 4]);
    // Names and texts: writing them to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, &record::Meta { n, is: record });
    let meta = out.len() - start - FRAME - 4;
    out.extend_from_slice(record.content());
    let Some((frame, body)) = out.get_mut(start..).and_then(|r| r.split_at_mut_checked(FRAME))
    else {
        return;
    };
    put(body, 0, meta);
    put(frame, 0, body.len());
    let crc = crc32fast::hash(body);
    put(frame, 4, usize::try_from(crc).unwrap_or_default());
}

fn put(bytes: &mut [u8], at: usize, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = bytes.get_mut(at..at + number.len()) {
        place.copy_from_slice(&number);
    }
}

/// What stands at a place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A record, and where the next one begins.
    Record(Box<LogEntry>, usize),
    /// A record that is none, and where the next one seems to begin.
    Damaged(String, usize),
    /// From here on there is nothing that could be a record.
    Torn(String),
    /// The log ends here.
    End,
}

/// How long the record is that begins here, if that can be said.
#[must_use]
pub fn size_of_record(bytes: &[u8]) -> Option<usize> {
    usize::try_from(number(bytes, 0)?).ok()?.checked_add(FRAME)
}

/// Reads what stands at `at`, which may be anything.
#[must_use]
pub fn read(bytes: &[u8], at: usize) -> Step {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Step::End;
    }
    let (Some(size), Some(crc)) = (size_of_record(rest), number(rest, 4)) else {
        return Step::Torn(format!("a record begins and ends after {} bytes", rest.len()));
    };
    if size < FRAME + 4 {
        return Step::Torn(format!("a record of {size} bytes cannot be"));
    }
    let Some(body) = rest.get(FRAME..size) else {
        return Step::Torn(format!("a record of {size} bytes ends after {}", rest.len()));
    };
    let next = at + size;
    let found = crc32fast::hash(body);
    if found != crc {
        return Step::Damaged(format!("its checksum is {found:08x} and not {crc:08x}"), next);
    }
    match entry(body) {
        Ok(entry) => Step::Record(Box::new(entry), next),
        Err(why) => Step::Damaged(why, next),
    }
}

fn entry(body: &[u8]) -> Result<LogEntry, String> {
    let size = number(body, 0).and_then(|size| usize::try_from(size).ok());
    let rest = body.get(4..).unwrap_or_default();
    let Some((meta, content)) = size.and_then(|size| rest.split_at_checked(size)) else {
        return Err("what says what it is does not fit into it".to_owned());
    };
    let mut entry: LogEntry = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
    entry.is.set_content(content)?;
    Ok(entry)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}
