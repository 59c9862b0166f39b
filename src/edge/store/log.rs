//! One domain's log: appended to by its task, read again in order when memory has room.
//!
//! Everything here waits for the disk.

use super::budget::Share;
use super::ranges::Ranges;
use super::scan::{self, segment_path};
use super::since_boot;
use crate::edge::private;
use crate::engine::proxy::Room;
use crate::engine::store::{self, Record};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// After so many bytes a new segment begins.
const SEGMENT: usize = 1024 * 1024;
/// A log that holds nothing and is as long as that is cut.
const CUT: usize = 64 * 1024;
/// With more segments than that, what is left in the first is moved to the end.
const MANY: usize = 4;
/// The most files that wait to be forced to the disk.
const FILES: usize = 16;
/// The most bytes of marks that are kept while they cannot be written.
const MARKS: usize = 256 * 1024;

/// A log, and the segment that it writes to.
#[derive(Debug)]
pub(in crate::edge) struct StoreLog {
    pub(super) folder: PathBuf,
    pub(super) boot: Option<String>,
    pub(super) share: Share,
    pub(super) segments: VecDeque<Segment>,
    /// Files and folders that were written to, besides the last segment, and not forced to the disk.
    pub(super) unforced: Vec<File>,
    /// The last segment, if it is written to.
    pub(super) file: Option<File>,
    pub(super) next: u64,
    /// Calls whose requests the broker has.
    pub(super) landed: Ranges,
    /// Records that nobody needs any more.
    pub(super) over: Ranges,
    /// Records that were moved to a later segment.
    pub(super) moved: HashMap<u64, u64>,
    /// Where the first record is that is in the log alone.
    pub(super) cursor: Option<(u64, usize)>,
    /// The last segment when the first was last tried to be emptied.
    pub(super) tried: Option<u64>,
    pub(super) batch: Batch,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub number: u64,
    /// No record in it has a lower number, but for those that were moved there.
    pub first: u64,
    /// How many records in it are needed.
    pub live: usize,
    pub length: usize,
    /// Whether the times in it are this start's of the machine.
    pub timely: bool,
}

/// What is to be written next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<u8>,
    numbers: Vec<u64>,
    /// Where in it the first record is that is in the log alone.
    apart: Option<usize>,
    marks: Vec<u8>,
}

impl StoreLog {
    /// Appends a record at the next [`StoreLog::flush`]: its number. `apart` says that it is kept nowhere else.
    pub fn append(&mut self, record: &Record, apart: bool) -> u64 {
        let n = self.next;
        self.next = self.next.saturating_add(1);
        if apart && self.cursor.is_none() && self.batch.apart.is_none() {
            self.batch.apart = Some(self.batch.records.len());
        }
        store::append(&mut self.batch.records, n, record);
        self.batch.numbers.push(n);
        n
    }

    /// The broker has the request of a call.
    pub fn landed(&mut self, n: u64) {
        if self.landed.insert(n) {
            store::append(&mut self.batch.marks, n, &Record::Landed);
        }
    }

    /// Nobody needs a record any more.
    pub fn over(&mut self, n: u64) {
        if self.over.insert(n) {
            store::append(&mut self.batch.marks, n, &Record::Over);
            if !self.batch.numbers.contains(&n) {
                self.leave(n);
            }
        }
    }

    pub(super) fn leave(&mut self, n: u64) {
        let number = self.moved.remove(&n);
        let is_there = |s: &&mut Segment| number.map_or(s.first <= n, |number| s.number == number);
        if let Some(segment) = self.segments.iter_mut().rev().find(is_there) {
            segment.live = segment.live.saturating_sub(1);
        }
    }

    /// Whether there is something to be written.
    pub fn is_dirty(&self) -> bool {
        self.has_records() || self.marks() > 0
    }

    /// Whether records are to be written.
    pub fn has_records(&self) -> bool {
        !self.batch.records.is_empty()
    }

    /// How many bytes of marks are to be written.
    pub fn marks(&self) -> usize {
        self.batch.marks.len()
    }

    /// Writes what was appended since it was last called, all of it or nothing.
    ///
    /// # Errors
    /// Those of the disk, and that the budget is used up. Then the records are forgotten.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.is_dirty() {
            return Ok(());
        }
        let Batch { mut records, numbers, apart, marks } = std::mem::take(&mut self.batch);
        let only_marks = records.is_empty();
        let size = records.len();
        records.extend_from_slice(&marks);
        let written = match self.share.grow(self.size() + records.len()) || only_marks {
            true => self.write(&records, numbers.first().copied().unwrap_or(self.next)),
            false => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "`store.size` is used up")),
        };
        if let Err(error) = written {
            // The records are nowhere, but what is over stays over.
            if marks.len() <= MARKS {
                self.batch.marks = marks;
            }
            self.clean();
            return Err(error);
        }
        if let Some(segment) = self.segments.back_mut() {
            let start = segment.length - records.len();
            if let Some(apart) = apart.filter(|_| size > 0) {
                self.cursor = Some((segment.number, start + apart));
            }
            segment.live += numbers.iter().filter(|n| !self.over.contains(**n)).count();
            if segment.length >= SEGMENT {
                self.unforced.extend(self.file.take());
            }
        }
        self.clean();
        Ok(())
    }

    /// Looks whether what was written is where it was written: whoever removes a folder removes all that is in
    /// it. It is made anew then; what is to be written next goes there. Says how many records are lost.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn check(&mut self) -> io::Result<Option<usize>> {
        if self.is_there() {
            return Ok(None);
        }
        private::folder(&self.folder).map_err(|error| private::explained(&self.folder, error))?;
        let lost = self.live();
        let was_apart = self.cursor.take().is_some() && self.has_records();
        self.batch.apart = self.batch.apart.or(was_apart.then_some(0));
        self.segments.clear();
        self.unforced.clear();
        self.moved.clear();
        (self.file, self.tried) = (None, None);
        self.share.shrink(0);
        Ok(Some(lost))
    }

    fn is_there(&self) -> bool {
        let Some(last) = self.segments.back() else { return self.folder.is_dir() };
        let Ok(there) = segment_path(&self.folder, last.number).symlink_metadata() else {
            return false;
        };
        let is_it = |own: fs::Metadata| (own.dev(), own.ino()) == (there.dev(), there.ino());
        self.file.as_ref().is_none_or(|file| file.metadata().is_ok_and(is_it))
    }

    fn write(&mut self, bytes: &[u8], first: u64) -> io::Result<()> {
        if self.file.is_none() {
            self.begin_segment(first)?;
        }
        let (Some(file), Some(segment)) = (&mut self.file, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = file.write_all(bytes) {
            let length = u64::try_from(segment.length).unwrap_or(u64::MAX);
            if file.set_len(length).is_err() {
                // Whoever reads it finds a torn end; what comes next goes elsewhere.
                self.file = None;
            }
            return Err(error);
        }
        segment.length += bytes.len();
        Ok(())
    }

    fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        let mut number = self.segments.back().map_or(0, |s| s.number.saturating_add(1));
        let (path, mut file) = loop {
            let path = segment_path(&self.folder, number);
            match private::create(&path) {
                // Something that is no segment lies there.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number = number.checked_add(1).ok_or(error)?;
                }
                file => {
                    let explained = |error| private::explained(&self.folder, error);
                    break (path, file.map_err(explained)?);
                }
            }
        };
        let header = store::header(self.boot.as_deref());
        if let Err(error) = file.write_all(header.as_bytes()) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let (length, timely) = (header.len(), self.boot.is_some());
        let segment = Segment { number, first, live: 0, length, timely };
        self.segments.push_back(segment);
        self.file = Some(file);
        // A new name is forced to the disk by its folder.
        self.unforced.push(File::open(&self.folder)?);
        if self.unforced.len() > FILES {
            self.force()?;
        }
        Ok(())
    }

    /// Removes what nobody needs.
    pub(super) fn clean(&mut self) {
        let last = self.segments.back().map(|s| s.number).filter(|_| self.file.is_some());
        while let Some(first) = self.segments.front()
            && first.live == 0
            && Some(first.number) != last
        {
            // What cannot be removed holds nothing but what is over.
            let _ = fs::remove_file(segment_path(&self.folder, first.number));
            if self.cursor.is_some_and(|(number, _)| number == first.number) {
                self.cursor = self.segments.get(1).map(|s| (s.number, 0));
            }
            self.segments.pop_front();
        }
        if let (Some(segment), Some(file)) = (self.segments.front_mut(), &self.file)
            && (segment.live == 0 && segment.length > CUT)
            && let header = store::header(self.boot.as_deref()).len()
            && file.set_len(u64::try_from(header).unwrap_or(u64::MAX)).is_ok()
        {
            segment.length = header;
            self.cursor = None;
        }
        let oldest = self.segments.front().map_or(self.next, |s| s.first);
        let oldest = self.moved.keys().copied().min().unwrap_or(oldest).min(oldest);
        self.landed.forget(oldest);
        self.over.forget(oldest);
        self.share.shrink(self.size());
    }

    /// Moves what is left in the first segment to the end, so that it can go, if that is calls alone whose
    /// requests need not be sent: a call may wait for ten minutes, and much may be said in that time. To be
    /// called after a flush.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn compact(&mut self) -> io::Result<()> {
        let Some(first) = self.segments.front().filter(|s| s.live > 0) else { return Ok(()) };
        let last = self.segments.back().map(|s| s.number);
        if self.segments.len() <= MANY || !first.timely || self.tried == last {
            return Ok(());
        }
        self.tried = last;
        let mut moves = Vec::new();
        let mut only_calls = true;
        scan::read(&segment_path(&self.folder, first.number), |entry, _| {
            let mark = matches!(entry.is, Record::Landed | Record::Over);
            if mark || self.over.contains(entry.n) {
                return;
            }
            let landed = self.landed.contains(entry.n);
            only_calls &= matches!(&entry.is, Record::Message(m)
                if m.call.as_ref().is_some_and(|call| call.held || landed));
            moves.push(entry);
        })?;
        if !only_calls {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for entry in &moves {
            store::append(&mut bytes, entry.n, &entry.is);
            if self.landed.contains(entry.n) {
                store::append(&mut bytes, entry.n, &Record::Landed);
            }
        }
        self.write(&bytes, self.next)?;
        for entry in moves {
            self.leave(entry.n);
            if let Some(last) = self.segments.back_mut() {
                last.live += 1;
                self.moved.insert(entry.n, last.number);
            }
        }
        self.clean();
        Ok(())
    }

    /// How much room there is.
    pub fn room(&self) -> Room {
        Room { records: self.live(), ..self.share.room(self.size(), since_boot()) }
    }

    /// How many bytes it takes on disk.
    pub(super) fn size(&self) -> usize {
        self.segments.iter().map(|s| s.length).sum()
    }

    /// How many records in it are needed.
    pub fn live(&self) -> usize {
        self.segments.iter().map(|s| s.live).sum()
    }

    /// Forces what was written to the disk.
    ///
    /// # Errors
    /// Those of the disk. What was written may be there or not.
    pub fn force(&mut self) -> io::Result<()> {
        self.take_unforced()?.iter().try_for_each(File::sync_data)
    }

    /// What was written to and not forced to the disk, for whoever does that.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn take_unforced(&mut self) -> io::Result<Vec<File>> {
        let mut files = std::mem::take(&mut self.unforced);
        files.extend(self.file.as_ref().map(File::try_clone).transpose()?);
        Ok(files)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// It is elsewhere from now on.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn move_to(&mut self, folder: &Path) -> io::Result<()> {
        fs::rename(&self.folder, folder)?;
        folder.clone_into(&mut self.folder);
        Ok(())
    }

    /// Removes it, if nothing in it is needed.
    pub fn remove_if_empty(mut self) {
        if self.live() == 0 {
            self.file = None;
            for segment in &self.segments {
                let _ = fs::remove_file(segment_path(&self.folder, segment.number));
            }
            // With a segment that could not be read it stays.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}
