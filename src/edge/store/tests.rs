//! Logs on a real disk, whole, torn and damaged.

use super::budget::Budget;
use super::log::StoreLog;
use super::open::FoundLog;
use super::scan::segments;
use crate::engine::name::DomainName;
use crate::engine::store::{self, MessageRecord, OutgoingRecord, Record};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BOOT: &str = "this-start-of-the-machine";

/// A message, and a call that waits for ever.
pub(in crate::edge) fn message(text: &str, call: bool) -> Record {
    let name = DomainName::parse("vm-gui").expect("a name");
    let call = call.then(|| OutgoingRecord {
        dialect: "psec".into(),
        row: "LISTE_DISQUES".into(),
        root: "system/disks/list_disks".into(),
        requester: name.clone(),
        handler: name.clone(),
        values: vec![("disk".into(), "\"KEY\"".into())],
        until: u64::MAX,
        extra: false,
        held: false,
        head: text.into(),
    });
    Record::Message(Box::new(MessageRecord {
        id: text.into(),
        topic: "system/events/error/notification".into(),
        qos: 1,
        response_topic: None,
        correlation: None,
        source: None,
        mark: None,
        until: None,
        made: 1,
        counted: true,
        to: None,
        from: name,
        head: String::new(),
        call,
        payload: bytes::Bytes::copy_from_slice(text.as_bytes()),
    }))
}

struct Store {
    _directory: tempfile::TempDir,
    folder: PathBuf,
    budget: Budget,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("vm-gui");
        Self { _directory: directory, folder, budget: Budget::new(64 * 1024 * 1024) }
    }

    fn open(&self) -> (StoreLog, FoundLog) {
        self.open_in(BOOT)
    }

    fn open_in(&self, boot: &str) -> (StoreLog, FoundLog) {
        StoreLog::open(&self.folder, self.budget.share(), Some(boot.into())).expect("a log")
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.folder).expect("segments").into_iter().map(|(_, path)| path).collect()
    }
}

fn write(log: &mut StoreLog, texts: &[&str]) -> Vec<u64> {
    let numbers = texts.iter().map(|text| log.append(&message(text, false), true)).collect();
    log.flush().expect("room");
    numbers
}

fn rest(log: &mut StoreLog) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let (few, last) = log.next_few().expect("a readable log");
        let payloads = few.iter().map(|(_, message, _)| &message.payload);
        texts.extend(payloads.map(|payload| String::from_utf8_lossy(payload).into_owned()));
        if last {
            return texts;
        }
    }
}

#[test]
fn what_is_not_over_comes_back_in_order_in_this_run_and_the_next() {
    let store = Store::new();
    let (mut log, _) = store.open();
    let numbers = write(&mut log, &["a", "b", "c"]);
    assert_eq!(rest(&mut log), ["a", "b", "c"]);
    log.over(numbers[1]);
    let more = write(&mut log, &["d", "e"]);
    assert_eq!(rest(&mut log), ["d", "e"]);
    log.over(more[0]);
    log.flush().expect("room");
    let (mut log, found) = store.open();
    assert_eq!((found.apart, found.faults.len()), ((3, 3), 0));
    write(&mut log, &["f"]);
    assert_eq!(rest(&mut log), ["a", "c", "e", "f"]);
}

#[test]
fn a_log_that_is_torn_anywhere_has_what_stands_before() {
    let texts = ["first", "second", "third"];
    let whole = Store::new();
    write(&mut whole.open().0, &texts);
    let bytes = fs::read(&whole.segments()[0]).expect("a segment");
    let start = store::header(Some(BOOT)).len();
    let mut ends = vec![start];
    while let store::Step::Record(_, next) = store::read(&bytes, ends[ends.len() - 1]) {
        ends.push(next);
    }
    for cut in 1..bytes.len() {
        let store = Store::new();
        fs::create_dir(&store.folder).expect("a folder");
        fs::write(store.folder.join("0000000000000000.log"), &bytes[..cut]).expect("a segment");
        let (mut log, found) = store.open();
        let there = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(
            found.faults.is_empty(),
            ends.contains(&cut),
            "cut at {cut}: {:?}",
            found.faults
        );
        write(&mut log, &["new"]);
        let expected = [&texts[..there], &["new"]].concat();
        assert_eq!(rest(&mut log), expected, "cut at {cut}");
        let (mut log, found) = store.open();
        assert_eq!(
            (rest(&mut log), found.faults),
            (expected.iter().map(|t| (*t).to_owned()).collect(), vec![])
        );
    }
}

#[test]
fn a_damaged_byte_costs_no_more_than_its_record_or_what_follows_its_length() {
    let texts = ["first", "second", "third"];
    let whole = Store::new();
    write(&mut whole.open().0, &texts);
    let bytes = fs::read(&whole.segments()[0]).expect("a segment");
    for at in store::header(Some(BOOT)).len()..bytes.len() {
        let store = Store::new();
        fs::create_dir(&store.folder).expect("a folder");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(store.folder.join("0000000000000000.log"), &damaged).expect("a segment");
        let (mut log, found) = store.open();
        assert!(!found.faults.is_empty(), "at {at}");
        let left = rest(&mut log);
        assert!(
            left.len() < 3 && left.iter().all(|text| texts.contains(&text.as_str())),
            "{left:?}"
        );
    }
}

#[test]
fn a_file_of_somebody_elses_is_put_aside() {
    let store = Store::new();
    fs::create_dir(&store.folder).expect("a folder");
    fs::write(store.folder.join("0000000000000007.log"), "what is this?\n").expect("a file");
    let (mut log, found) = store.open();
    assert!(found.faults[0].contains("does not begin with"), "{:?}", found.faults);
    write(&mut log, &["a"]);
    assert_eq!(rest(&mut log), ["a"]);
    assert!(store.folder.join("0000000000000007.unreadable").exists());
}

#[test]
fn a_call_that_waits_for_long_does_not_keep_all_that_comes_after_it() {
    let store = Store::new();
    let (mut log, _) = store.open();
    let call = log.append(&message("call", true), false);
    log.landed(call);
    let text = "x".repeat(64 * 1024);
    for _ in 0..200 {
        let n = log.append(&message(&text, false), false);
        log.flush().expect("room");
        log.over(n);
        log.flush().expect("room");
        log.compact().expect("room");
    }
    assert!(store.segments().len() <= 6, "{:?}", store.segments());
    let (log, found) = store.open();
    assert_eq!((found.apart.0, log.live()), (0, 1));
    let (kept, landed, left) = &found.calls[&call];
    assert!(kept.id == "call" && *landed && *left > Duration::from_secs(3600));
    // Another start of the machine: nobody can tell how late it is.
    let (_, found) = store.open_in("another");
    assert_eq!(found.calls[&call].2, Duration::ZERO);
}

#[test]
fn a_log_that_holds_nothing_stays_short() {
    let store = Store::new();
    let (mut log, _) = store.open();
    for _ in 0..2000 {
        let n = log.append(&message("a message like any other", false), false);
        log.flush().expect("room");
        log.over(n);
    }
    log.flush().expect("room");
    let size = |path: &PathBuf| fs::metadata(path).expect("a segment").len();
    assert!(store.segments().iter().map(size).sum::<u64>() < 128 * 1024);
    log.remove_if_empty();
    assert!(!Path::new(&store.folder).exists());
}

#[test]
fn what_finds_no_room_is_forgotten_and_what_is_over_stays_over() {
    let store = Store::new();
    let small = Budget::new(48 * 1024);
    let open = || StoreLog::open(&store.folder, small.share(), Some(BOOT.into())).expect("a log").0;
    let mut log = open();
    let numbers = write(&mut log, &["a", "b"]);
    log.append(&message(&"x".repeat(64 * 1024), false), true);
    log.over(numbers[0]);
    assert!(log.flush().is_err());
    assert!(log.room().events < 64 * 1024);
    write(&mut log, &["c"]);
    drop(log);
    assert_eq!(rest(&mut open()), ["b", "c"]);
}

/// A call that was moved, and whose first place is gone, is where it is: another's end is not its own.
#[test]
fn a_call_that_was_moved_is_found_and_ends_after_another_start() {
    let store = Store::new();
    let (mut log, _) = store.open();
    let call = log.append(&message("call", true), false);
    log.landed(call);
    let text = "x".repeat(64 * 1024);
    let mut event = None;
    while store.segments().first().is_none_or(|first| first.ends_with("0000000000000000.log")) {
        if store.segments().len() == 2 && event.is_none() {
            event = Some(write(&mut log, &["a"])[0]);
        }
        let n = log.append(&message(&text, false), false);
        log.flush().expect("room");
        log.over(n);
        log.flush().expect("room");
        log.compact().expect("room");
    }
    let event = event.expect("an event");
    let (mut log, found) = store.open();
    assert!(found.calls.contains_key(&call) && found.apart.0 == 1);
    log.over(call);
    log.flush().expect("room");
    assert_eq!((log.live(), rest(&mut log)), (1, vec!["a".to_owned()]));
    let (mut log, found) = store.open();
    assert_eq!((found.calls.len(), rest(&mut log)), (0, vec!["a".to_owned()]));
    log.over(event);
    log.flush().expect("room");
    log.remove_if_empty();
    assert!(!store.folder.exists());
}

/// A record that found no room and is over at once leaves its number to nobody.
#[test]
fn a_number_is_used_once() {
    let store = Store::new();
    let small = Budget::new(48 * 1024);
    let open = || StoreLog::open(&store.folder, small.share(), Some(BOOT.into())).expect("a log");
    let (mut log, _) = open();
    write(&mut log, &["a"]);
    let lost = log.append(&message(&"x".repeat(64 * 1024), false), false);
    log.over(lost);
    log.flush().expect_err("no room");
    log.flush().expect("room for what is over");
    drop(log);
    let (mut log, _) = open();
    assert!(write(&mut log, &["b"])[0] > lost);
    drop(log);
    assert_eq!(rest(&mut open().0), ["a", "b"]);
}

/// What a domain is called is no way out of the store.
#[tokio::test]
async fn every_name_has_a_folder_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().join("store");
    let config =
        crate::config::Store { dir: dir.clone(), size: 1 << 20, sync: crate::config::Sync::Always };
    let folder = super::StoreFolder::open(&config).await.expect("a folder");
    let names = [".", "..", "lock", "a", "A-1"].map(|n| DomainName::parse(n).expect("a name"));
    for name in &names {
        let (mut log, _) = folder.log(folder.of(name)).await.expect("a log");
        write(&mut log, &["a"]);
        let path = folder.of(name).canonicalize().expect("a path");
        assert_eq!(path.parent(), Some(&*dir), "{name}");
        assert!(path.is_dir(), "{name}");
    }
    let mut left = folder.left(|name| name.as_str() == "a").expect("logs");
    left.sort();
    assert_eq!(
        left.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        [".", "..", "A-1", "lock"]
    );
    let shown = super::list(&dir).expect("a store");
    assert_eq!((shown.domains.len(), shown.running), (5, true));
    drop(folder);
    let name = DomainName::parse("..").expect("a name");
    assert_eq!(super::drop_domain(&dir, &name), Ok(Some(1)));
    assert!(dir.exists() && super::list(&dir).expect("a store").domains.len() == 4);
}

#[test]
fn a_folder_that_is_removed_is_made_anew_and_told() {
    for removed in [true, false] {
        let store = Store::new();
        let (mut log, _) = store.open();
        write(&mut log, &["one", "two"]);
        assert_eq!(log.check().expect("a folder"), None);
        let gone = match removed {
            true => fs::remove_dir_all(&store.folder),
            false => fs::rename(&store.folder, store.folder.with_extension("old")),
        };
        gone.expect("it is there");
        log.append(&message("three", false), true);
        assert_eq!(log.check().expect("a folder"), Some(2));
        log.flush().expect("room");
        assert_eq!(log.check().expect("a folder"), None);
        let (log, found) = store.open();
        assert_eq!((log.live(), found.faults.len()), (1, 0));
    }
}

#[test]
fn an_empty_segment_in_the_middle_and_what_is_none_are_told() {
    let store = Store::new();
    let (mut log, _) = store.open();
    write(&mut log, &["one"]);
    drop(log);
    let at = |number: u64| super::scan::segment_path(&store.folder, number);
    mknodat(CWD, at(1), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
    std::os::unix::fs::symlink("/dev/zero", at(2)).expect("a link");
    fs::create_dir(at(3)).expect("a folder");
    fs::write(at(4), "").expect("a file");
    fs::copy(at(0), at(5)).expect("a copy");
    fs::write(at(6), "").expect("a file");
    let (mut log, found) = store.open();
    let told: Vec<_> = found.faults.iter().map(|f| f.rsplit_once("/").expect("a path").1).collect();
    let none = |n: u64| format!("{n:016}.log: it is no regular file: remove it");
    let empty = "0000000000000004.log: it is empty: what was in it is lost".to_owned();
    assert_eq!(told, [none(1), none(2), none(3), empty]);
    // The next segment goes where nothing lies.
    write(&mut log, &["two"]);
    assert!(store.open().0.live() >= 2);
}
