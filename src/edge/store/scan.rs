//! A log as it is found: its segments, and every record in them.

use crate::edge::regular;
use crate::engine::store::{self, LogEntry, Step};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How segments are called, after their number.
const SUFFIX: &str = ".log";

/// The segments in a folder, in their order: their numbers and paths.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).and_then(|n| n.strip_suffix(SUFFIX));
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}{SUFFIX}"))
}

/// What is wrong with a segment that has nothing in it, unless it is the last: nothing may have been written to
/// that one yet.
pub(super) fn empty(path: &Path, is_last: bool) -> Option<String> {
    let told = || format!("{}: it is empty: what was in it is lost", path.display());
    (!is_last).then(told)
}

/// A segment that was read.
pub(super) struct ScannedSegment {
    /// The start of the machine in which it was written.
    pub boot: Option<String>,
    /// How long its good part is.
    pub length: usize,
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// How many bytes after its good part are worth nothing.
    pub torn: usize,
}

/// Reads a segment, and gives each record of it with its place.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(LogEntry, usize),
) -> io::Result<ScannedSegment> {
    let bytes = regular::read(path)?;
    let mut faults = Vec::new();
    let (start, boot) = match store::read_header(&bytes) {
        Ok((start, boot)) => (start, boot.map(str::to_owned)),
        Err(why) => {
            let torn = bytes.len();
            return Ok(ScannedSegment { boot: None, length: 0, faults: vec![why], torn });
        }
    };
    let (mut at, mut good) = (start, start);
    let mut doubtful = Vec::new();
    loop {
        match store::read(&bytes, at) {
            Step::Record(entry, next) => {
                faults.append(&mut doubtful);
                each(*entry, at);
                (at, good) = (next, next);
            }
            Step::Damaged(why, next) => {
                doubtful.push(format!("the record at byte {at} is lost: {why}"));
                at = next;
            }
            Step::Torn(why) => {
                doubtful.push(format!("its end is cut off from byte {good} on: {why}"));
                break;
            }
            Step::End => break,
        }
    }
    let torn = bytes.len() - good;
    faults.append(&mut doubtful);
    Ok(ScannedSegment { boot, length: good, faults, torn })
}
