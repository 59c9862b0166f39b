//! What is in a log alone comes back, one by one and in order.

use super::log::StoreLog;
use super::scan::segment_path;
use super::since_boot;
use crate::engine::store::{self, MessageRecord, Record, Step};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// How many messages come back at a time, and about how many bytes of them, at most.
const FEW: (usize, usize) = (32, 256 * 1024);

/// A message that comes back: its number, and what is left of its time.
pub(in crate::edge) type Back = (u64, Box<MessageRecord>, Option<Duration>);

impl StoreLog {
    /// The next few messages that are in the log alone, and whether there are no others.
    ///
    /// # Errors
    /// Those of the disk; the next call goes on behind.
    pub fn next_few(&mut self) -> io::Result<(Vec<Back>, bool)> {
        let (mut few, mut size) = (Vec::new(), 0);
        while few.len() < FEW.0 && size < FEW.1 {
            let before = self.cursor;
            match self.next_apart() {
                Ok(Some(back)) => {
                    size += back.1.size();
                    few.push(back);
                }
                Ok(None) => return Ok((few, true)),
                Err(error) if few.is_empty() => return Err(error),
                Err(_) => {
                    // It is told when those before it are through.
                    self.cursor = before;
                    break;
                }
            }
        }
        Ok((few, false))
    }

    fn next_apart(&mut self) -> io::Result<Option<Back>> {
        while let Some((number, at)) = self.cursor {
            let Some(segment) = self.segments.iter().find(|s| s.number >= number) else { break };
            let at = if segment.number > number { 0 } else { at };
            if at >= segment.length {
                let next = self.segments.iter().find(|s| s.number > segment.number);
                self.cursor = next.map(|s| (s.number, 0));
                continue;
            }
            let (number, first, timely) = (segment.number, segment.first, segment.timely);
            let path = segment_path(&self.folder, number);
            let length = segment.length;
            let after = (number, length);
            let step = if at == 0 { read_header(&path) } else { read_at(&path, at, length) };
            match step {
                Ok(Read::Header(size)) => self.cursor = Some((number, size)),
                Ok(Read::Step(Step::Record(entry, next))) => {
                    self.cursor = Some((number, next));
                    // What was moved here, and is not known any more, is over.
                    let gone = entry.n < first && !self.moved.contains_key(&entry.n);
                    let over = self.over.contains(entry.n) || self.landed.contains(entry.n) || gone;
                    if let (Record::Message(message), false) = (entry.is, over)
                        && !message.call.as_ref().is_some_and(|call| call.held)
                    {
                        let left = message.left(timely.then(since_boot));
                        return Ok(Some((entry.n, message, left)));
                    }
                }
                Ok(Read::Step(Step::Damaged(_, next))) => self.cursor = Some((number, next)),
                Ok(Read::Step(Step::Torn(_) | Step::End)) => self.cursor = Some(after),
                Err(error) => {
                    self.cursor = Some(after);
                    return Err(error);
                }
            }
        }
        self.cursor = None;
        Ok(None)
    }

    /// All that is needed comes back again, from the first on.
    pub fn rewind(&mut self) {
        self.cursor = self.segments.front().map(|s| (s.number, 0));
    }
}

enum Read {
    Header(usize),
    Step(Step),
}

fn read_header(path: &Path) -> io::Result<Read> {
    let mut bytes = [0; 128];
    let size = File::open(path)?.read_at(&mut bytes, 0)?;
    let header = store::read_header(bytes.get(..size).unwrap_or_default());
    let (size, _) = header.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    Ok(Read::Header(size))
}

/// Reads one record, without the rest of its segment, which is `length` bytes long.
fn read_at(path: &Path, at: usize, length: usize) -> io::Result<Read> {
    const MOST: usize = 16 * 1024;
    let file = File::open(path)?;
    let offset = u64::try_from(at).unwrap_or(u64::MAX);
    let rest = length.saturating_sub(at);
    let mut bytes = vec![0; rest.min(MOST)];
    file.read_exact_at(&mut bytes, offset)?;
    if let Some(size) = store::size_of_record(&bytes)
        && size > bytes.len()
        && size <= rest
    {
        bytes.resize(size, 0);
        file.read_exact_at(&mut bytes, offset)?;
    }
    Ok(Read::Step(match store::read(&bytes, 0) {
        Step::Record(entry, size) => Step::Record(entry, at + size),
        Step::Damaged(why, size) => Step::Damaged(why, at + size),
        end => end,
    }))
}
