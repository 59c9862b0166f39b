//! The watch for sockets, in a directory of one's own.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use passerelle::edge::watch::{Change, Watch};
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::time::timeout;

async fn any(watch: &mut Watch) -> Change {
    timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap()
}

/// The next change of a socket.
async fn next(watch: &mut Watch) -> Change {
    loop {
        match any(watch).await {
            Change::Failing(..) => {}
            change => return change,
        }
    }
}

#[tokio::test]
async fn sockets_appear_disappear_and_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let _there = UnixListener::bind(at("vm-gui-msg.sock")).unwrap();
    let _other = UnixListener::bind(at("other.sock")).unwrap();
    let mut watch = Watch::new(&at("*-msg.sock")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("vm-gui-msg.sock")));

    let usb = UnixListener::bind(at("sys-usb-msg.sock")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("sys-usb-msg.sock")));
    drop(usb);
    fs::remove_file(at("sys-usb-msg.sock")).unwrap();
    let _again = UnixListener::bind(at("sys-usb-msg.sock")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("sys-usb-msg.sock")));
    assert_eq!(next(&mut watch).await, Change::Appeared(at("sys-usb-msg.sock")));

    // Renamed into place, over one that is there, and away.
    let _new = UnixListener::bind(at("new")).unwrap();
    fs::rename(at("new"), at("vm-gui-msg.sock")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("vm-gui-msg.sock")));
    assert_eq!(next(&mut watch).await, Change::Appeared(at("vm-gui-msg.sock")));
    fs::rename(at("vm-gui-msg.sock"), at("old")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("vm-gui-msg.sock")));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(&directory.path().join("*.sock")).unwrap();
    for n in 0..200 {
        fs::write(directory.path().join(format!("{n}.sock")), "").unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 200 {
        tokio::select! {
            biased;
            change = watch.next() => got.push(change.unwrap()),
            () = tokio::task::yield_now() => {}
        }
    }
    let expected = (0..200).map(|n| Change::Appeared(directory.path().join(format!("{n}.sock"))));
    assert_eq!(got, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn lost_events_are_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("goes.sock"), "").unwrap();
    let mut watch = Watch::new(&at("*.sock")).unwrap();
    // More than the kernel queues for one watcher; names that repeat would be merged.
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = text.trim().parse().unwrap();
    for _ in 0..most {
        fs::write(at("noise"), "").unwrap();
        fs::remove_file(at("noise")).unwrap();
    }
    fs::remove_file(at("goes.sock")).unwrap();
    fs::write(at("comes.sock"), "").unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("goes.sock")));
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("goes.sock")));
    assert_eq!(next(&mut watch).await, Change::Appeared(at("comes.sock")));
}

#[tokio::test]
async fn a_directory_behind_a_link_is_watched_and_a_missing_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    fs::create_dir(directory.path().join("run")).unwrap();
    std::os::unix::fs::symlink("run", &link).unwrap();
    let mut watch = Watch::new(&link.join("*.sock")).unwrap();
    fs::write(directory.path().join("run/a.sock"), "").unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(link.join("a.sock")));

    let error = Watch::new(&directory.path().join("missing/*.sock")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn a_directory_that_another_takes_the_place_of_is_watched_anew() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let fill = |directory: &str, name: &str| {
        fs::create_dir(at(directory)).unwrap();
        fs::write(at(directory).join(name), "").unwrap();
    };
    fill("run", "a.sock");
    let mut watch = Watch::new(&at("run/*.sock")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("run/a.sock")));
    // Removed, and made anew with what is in it.
    fs::remove_dir_all(at("run")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("run/a.sock")));
    let failing = any(&mut watch).await;
    assert!(matches!(&failing, Change::Failing(run, Some(_)) if *run == at("run")), "{failing:?}");
    fill("new", "b.sock");
    fs::rename(at("new"), at("run")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("run/b.sock")));
    assert_eq!(any(&mut watch).await, Change::Failing(at("run"), None));
    // Moved away, with another one in its place at once.
    fill("other", "b.sock");
    fs::rename(at("run"), at("old")).unwrap();
    fs::rename(at("other"), at("run")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("run/b.sock")));
    assert_eq!(next(&mut watch).await, Change::Appeared(at("run/b.sock")));
    // A link that leads elsewhere.
    fs::rename(at("run"), at("older")).unwrap();
    std::os::unix::fs::symlink("old", at("run")).unwrap();
    assert_eq!(next(&mut watch).await, Change::Disappeared(at("run/b.sock")));
    assert_eq!(next(&mut watch).await, Change::Appeared(at("run/b.sock")));
    // It goes on as before.
    fs::write(at("old/c.sock"), "").unwrap();
    assert_eq!(next(&mut watch).await, Change::Appeared(at("run/c.sock")));
}
