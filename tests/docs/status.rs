//! docs/monitoring.md has every member of the status, and no other.

use crate::keys::tables;
use crate::page::Page;
use passerelle::engine::clock::Now;
use passerelle::engine::name::DomainName;
use passerelle::engine::refusal::Counters;
use passerelle::engine::status::{About, Board, Losses, Process, Report, State, StoreUse};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// The states that the status has, in which a new one has to be named.
fn states() -> BTreeSet<String> {
    use State::{Absent, Contested, Legacy, Mqtt, Silent, Unavailable, WaitingForConnect};
    let all = [Absent, Silent, Legacy, Mqtt, Contested, WaitingForConnect, Unavailable];
    let known = |state: &State| match state {
        Absent | Silent | Legacy | Mqtt | Contested | WaitingForConnect | Unavailable => true,
    };
    assert!(all.iter().all(known));
    assert_eq!(all, State::ALL);
    let text = |state: State| serde_json::to_value(state).unwrap().as_str().unwrap().to_owned();
    all.map(text).into_iter().collect()
}

#[test]
fn every_member_of_the_status_is_explained_and_no_other() {
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let about = About {
        instance: "dom0".into(),
        version: "1.2.3".into(),
        mappings: Vec::new(),
        memory_error: None,
        store_error: None,
        process: Process::default(),
    };
    let mut board = Board::new(about, now);
    board.connected(now);
    let state = State::Silent;
    let counters = Counters::default();
    let report = Report {
        state,
        cause: None,
        calls: 0,
        held: 0,
        counters,
        dropped: 0,
        published: 0,
        store: StoreUse::default(),
        losses: Losses::default(),
        heard: Vec::new(),
        ended: false,
    };
    board.report(&DomainName::parse("vm-gui").unwrap(), &report, None, now);
    let mut published: Vec<_> = board.take_publishes().into_iter().map(|p| p.payload).collect();
    published.push(Board::will().into());
    let members = |payload: &bytes::Bytes| -> BTreeSet<String> {
        let value: Value = serde_json::from_slice(payload).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    // The state is published anew, with the domain in its list.
    published.remove(0);
    let [gateway, domain, will] = &published[..] else { panic!("{published:?}") };
    let page = Page::read("docs/monitoring.md");
    let explained = tables(&page, "Status");
    assert_eq!(explained[0], members(gateway).union(&members(will)).cloned().collect());
    assert_eq!(explained[1], members(domain));
    assert_eq!(explained[2], states());
}
