//! A log is opened: what an earlier run has left in it.

use super::budget::Share;
use super::log::{Batch, Segment, StoreLog};
use super::ranges::Ranges;
use super::scan::{self, segment_path, segments};
use super::since_boot;
use crate::edge::{private, regular};
use crate::engine::store::{self, MessageRecord, Record};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

/// What an earlier run has left in a log.
#[derive(Debug, Default)]
pub(in crate::edge) struct FoundLog {
    /// How many messages wait for the broker, and how many of them are counted.
    pub apart: (usize, u64),
    /// Calls on MQTT that wait for their answers, and whether the broker has their requests.
    pub calls: BTreeMap<u64, (MessageRecord, bool, Duration)>,
    /// What the last run was about, with the time by which it counts.
    pub suspended: Vec<(u64, Record, Option<Duration>)>,
    /// What is wrong with the log.
    pub faults: Vec<String>,
}

impl StoreLog {
    /// Opens a log, which need not be there.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(folder: &Path, share: Share, boot: Option<String>) -> io::Result<(Self, FoundLog)> {
        private::folder(folder)?;
        // The folder may be new.
        let parent = folder.parent().and_then(|parent| File::open(parent).ok());
        let mut log = Self {
            folder: folder.to_owned(),
            boot,
            share,
            segments: VecDeque::new(),
            unforced: parent.into_iter().collect(),
            file: None,
            next: 0,
            landed: Ranges::default(),
            over: Ranges::default(),
            moved: HashMap::new(),
            cursor: None,
            tried: None,
            batch: Batch::default(),
        };
        let mut found = FoundLog::default();
        log.find_marks(&mut found)?;
        log.find_records(&mut found)?;
        if found.apart.0 > 0 {
            log.cursor = log.segments.front().map(|s| (s.number, 0));
        }
        log.clean();
        log.share.grow_as_far_as_it_goes(log.size());
        Ok((log, found))
    }

    /// Finds the segments and what they say is over; cuts off what is torn.
    fn find_marks(&mut self, found: &mut FoundLog) -> io::Result<()> {
        let all = segments(&self.folder)?;
        let last = all.last().map(|(number, _)| *number);
        for (number, path) in all {
            let first = self.next;
            let read = scan::read(&path, |entry, _| {
                // A record that was never written may have been said to be over: its number is used up.
                self.next = self.next.max(entry.n.saturating_add(1));
                match entry.is {
                    Record::Landed => drop(self.landed.insert(entry.n)),
                    Record::Over => drop(self.over.insert(entry.n)),
                    _ => {}
                }
            });
            let segment = match read {
                Err(error) if regular::is_none(&error) => {
                    found.faults.push(format!("{}: {error}", path.display()));
                    continue;
                }
                read => read?,
            };
            if segment.length + segment.torn == 0 {
                found.faults.extend(scan::empty(&path, Some(number) == last));
                fs::remove_file(&path)?;
                continue;
            }
            let name = path.display();
            found.faults.extend(segment.faults.iter().map(|why| format!("{name}: {why}")));
            if segment.length == 0 {
                fs::rename(&path, path.with_extension("unreadable"))?;
                continue;
            }
            if segment.torn > 0 {
                let length = u64::try_from(segment.length).unwrap_or(u64::MAX);
                regular::open(&path, File::options().write(true))?.set_len(length)?;
            }
            let timely = segment.boot.is_some() && segment.boot == self.boot;
            let length = segment.length;
            self.segments.push_back(Segment { number, first, live: 0, length, timely });
        }
        Ok(())
    }

    fn find_records(&mut self, found: &mut FoundLog) -> io::Result<()> {
        let places: Vec<_> = self.segments.iter().map(|s| (s.number, s.first, s.timely)).collect();
        for (at, (number, first, timely)) in places.into_iter().enumerate() {
            let time = timely.then(since_boot);
            let mut entries = Vec::new();
            scan::read(&segment_path(&self.folder, number), |entry, _| {
                if !matches!(entry.is, Record::Landed | Record::Over)
                    && !self.over.contains(entry.n)
                {
                    entries.push((entry.n, self.found(entry.n, entry.is, time, found)));
                }
            })?;
            for (n, again) in entries {
                if again {
                    self.leave(n);
                }
                if again || n < first {
                    self.moved.insert(n, number);
                }
                if let Some(segment) = self.segments.get_mut(at) {
                    segment.live += 1;
                }
            }
        }
        Ok(())
    }

    /// Enters a record that is needed. Says whether it was found before: then it was being moved.
    fn found(&self, n: u64, record: Record, time: Option<Duration>, found: &mut FoundLog) -> bool {
        match record {
            Record::Message(mut message) => {
                let landed = self.landed.contains(n);
                let held = message.call.as_ref().is_some_and(|call| call.held);
                if found.calls.contains_key(&n) {
                    return true;
                }
                if !landed && !held {
                    found.apart.0 += 1;
                    found.apart.1 += u64::from(message.counted);
                }
                if let Some(call) = &message.call {
                    let left = store::left(call.until, time);
                    if !held {
                        message.payload = bytes::Bytes::new();
                    }
                    found.calls.insert(n, (*message, landed, left));
                }
            }
            other => found.suspended.push((n, other, time)),
        }
        false
    }
}
