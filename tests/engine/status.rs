//! The board and the memory: what is published and written, when, and what is concluded from it.

use crate::kit::{self, name};
use passerelle::engine::clock::Now;
use passerelle::engine::durations::Durations;
use passerelle::engine::identity::Identity;
use passerelle::engine::limits::Limits;
use passerelle::engine::proxy::Proxy;
use passerelle::engine::publish::Publish;
use passerelle::engine::refusal::{Counters, Reason};
use passerelle::engine::status::{
    About, Board, Losses, MappingFile, Memory, Process, Reloaded, Report, SeenRecord, Spoke, State,
    StoreUse, Utterance,
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const DAY: u64 = 24 * 60 * 60;

/// So many seconds after the start, on 2026-01-01.
fn at(seconds: u64) -> Now {
    let monotonic = Duration::from_secs(seconds);
    Now { monotonic, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) + monotonic }
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

fn report(state: State, received: u64) -> Report {
    let counters = Counters { received, ..Counters::default() };
    Report {
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
    }
}

fn board() -> Board {
    let about = About {
        instance: "dom0".into(),
        version: "1.2.3".into(),
        mappings: vec![MappingFile { file: "psec.toml".into(), sha256: "ab".into() }],
        memory_error: None,
        store_error: None,
        process: Process::default(),
    };
    let mut board = Board::new(about, at(0));
    board.connected(at(0));
    assert_eq!(board.take_publishes().len(), 1);
    board
}

/// What the board publishes: topics less their beginning, and payloads.
fn published(board: &mut Board) -> Vec<(String, Value)> {
    let show = |p: Publish| {
        assert!(p.retain);
        let topic = p.topic.strip_prefix("passerelle/dom0/").unwrap().to_owned();
        (topic, serde_json::from_slice(&p.payload).unwrap_or_default())
    };
    board.take_publishes().into_iter().map(show).collect()
}

/// The same, without the gateway's own state.
fn of_domains(board: &mut Board) -> Vec<(String, Value)> {
    let mut all = published(board);
    all.retain(|(topic, _)| topic != "state");
    all
}

#[test]
fn the_gateways_state_lists_its_domains() {
    let mut board = board();
    for (domain, n) in [("vm-gui", 1), ("vm-gui", 2), ("sys-usb", 3)] {
        board.report(&name(domain), &report(State::Silent, n), None, at(n));
    }
    board.ended(at(4));
    let states: Vec<_> = published(&mut board).into_iter().filter(|(t, _)| t == "state").collect();
    let lists: Vec<_> = states.iter().map(|(_, state)| &state["domains"]).collect();
    let both = json!(["sys-usb", "vm-gui"]);
    assert_eq!(lists, [&json!(["vm-gui"]), &both, &both]);
    let topics = ["passerelle/dom0/domains/sys-usb", "passerelle/dom0/domains/vm-gui"];
    let last = states.last().unwrap().1.to_string();
    assert_eq!(Board::listed("dom0", last.as_bytes()), topics);
    for other in ["", "1", "{\"domains\":1}", "{\"domains\":[\"+\",\"#\",\"a/b\",1]}"] {
        assert!(Board::listed("dom0", other.as_bytes()).is_empty(), "{other}");
    }
}

#[test]
fn a_state_goes_at_once_and_figures_every_ten_seconds() {
    let (mut board, gui) = (board(), name("vm-gui"));
    board.report(&gui, &report(State::Silent, 0), None, at(1));
    board.report(&gui, &report(State::Legacy, 1), Some("T1"), at(2));
    let states = of_domains(&mut board);
    assert_eq!(states.len(), 2);
    assert_eq!(states[0].1["state"], "silent");
    assert_eq!(
        states[1],
        (
            "domains/vm-gui".into(),
            json!({"state": "legacy", "since": "2026-01-01T00:00:02Z", "cause": null,
                   "last_legacy": "T1", "calls_pending": 0, "held_bytes": 0,
                   "call_seconds": Durations::default().shown(),
                   "mqtt_bytes_dropped": 0, "mqtt_published": 0, "store_bytes": 0, "store_records": 0,
                   "store_since": null,
                   "heard": {"commande": 0, "reponse": 0, "notification": 0, "unreadable": 0},
                   "mqtt_losses": {"healed": 0, "told": 0, "why": null, "repeated": 0,
                                   "subscribed": 0},
                   "counters": {"received": 1, "delivered": 0, "answered": 0, "stored": 0,
                                "ignored": {}, "refused": {}}})
        )
    );
    board.report(&gui, &report(State::Legacy, 5), Some("T2"), at(3));
    board.report(&gui, &report(State::Legacy, 7), Some("T3"), at(4));
    assert_eq!((published(&mut board), board.deadline()), (vec![], seconds(12)));
    board.wake(at(11));
    assert_eq!(published(&mut board), []);
    board.wake(at(12));
    let figures = published(&mut board);
    assert_eq!((figures.len(), &figures[0].1["counters"]["received"]), (1, &json!(7)));
    assert_eq!(figures[0].1["since"], "2026-01-01T00:00:02Z");
    // Idle: nothing to wake up for. After a pause the first figure goes at once.
    assert_eq!(board.deadline(), None);
    board.report(&gui, &report(State::Legacy, 8), Some("T4"), at(60));
    assert_eq!((published(&mut board).len(), board.deadline()), (1, None));
}

#[test]
fn without_a_broker_nothing_piles_up_and_then_everything_is_said() {
    let mut board = board();
    for n in 0..100 {
        board.report(&name("vm-gui"), &report(State::Legacy, n), None, at(n));
    }
    board.report(&name("vm-old"), &report(State::Absent, 0), None, at(100));
    assert_eq!(of_domains(&mut board).len(), 10 + 1);
    board.lost();
    for n in 100..200 {
        board.report(&name("vm-gui"), &report(State::Legacy, n), None, at(n));
    }
    assert_eq!((published(&mut board), board.deadline()), (vec![], None));
    board.connected(at(200));
    let all: Vec<_> = published(&mut board).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(all, ["state", "domains/vm-gui", "domains/vm-old"]);
}

#[test]
fn one_message_a_topic_waits_for_the_broker() {
    let mut board = board();
    let mut tokens = Vec::new();
    for n in 0..10 {
        let state = if n % 2 == 0 { State::Legacy } else { State::Absent };
        board.report(&name("vm-gui"), &report(state, n), None, at(n));
        let of_domain = |p: &Publish| p.topic.ends_with("vm-gui");
        tokens.extend(board.take_publishes().into_iter().filter(of_domain).map(|p| p.token));
    }
    assert_eq!(tokens.len(), 10);
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
}

#[test]
fn counters_go_on_when_a_proxy_begins_anew() {
    let (mut board, gui) = (board(), name("vm-gui"));
    let mut last = report(State::Absent, 5);
    last.ended = true;
    last.counters.refused.insert(Reason::Expired, 2);
    last.dropped = 7;
    last.losses = Losses { healed: 2, told: 1, why: Some("why"), repeated: 3, subscribed: 4 };
    board.report(&gui, &last, None, at(0));
    board.report(&gui, &report(State::Silent, 0), None, at(20));
    board.report(&gui, &report(State::Legacy, 3), None, at(40));
    let all = of_domains(&mut board);
    let counts: Vec<_> = all.iter().map(|(_, v)| v["counters"]["received"].as_u64()).collect();
    assert_eq!(counts, [Some(5), Some(5), Some(8)]);
    assert_eq!(all[2].1["counters"]["refused"], json!({"expired": 2}));
    assert_eq!(all[2].1["mqtt_bytes_dropped"], 7);
    assert_eq!(all[2].1["mqtt_losses"], json!(last.losses));
}

#[test]
fn what_an_earlier_run_has_left_is_cleared() {
    let mut board = board();
    board.report(&name("vm-gui"), &report(State::Silent, 0), None, at(0));
    published(&mut board);
    for (topic, is_domains) in [
        ("passerelle/dom0/domains/vm-old", true),
        ("passerelle/dom0/domains/vm-gui", true),
        ("passerelle/dom0/domains/a b", true),
        ("passerelle/dom0/state", false),
        ("passerelle/dom01/domains/vm-old", false),
    ] {
        assert_eq!(board.is_domains(topic), is_domains, "{topic}");
        if is_domains {
            board.found(topic, false);
            board.found(topic, true);
        }
    }
    let cleared = [("domains/vm-old".to_owned(), Value::Null), ("domains/a b".into(), Value::Null)];
    assert_eq!(published(&mut board), cleared);
}

#[test]
fn a_reload_and_the_end_are_told() {
    let mut board = board();
    board.reloaded(Reloaded::Refused(vec!["a.toml:1: no".into()]), at(5));
    let mappings = vec![MappingFile { file: "b.toml".into(), sha256: "cd".into() }];
    board.reloaded(Reloaded::Applied(mappings), at(6));
    board.ended(at(7));
    // A connection that is lost and made again in the end does not bring it back to life.
    board.lost();
    board.connected(at(8));
    let all = published(&mut board);
    let (old, new, ended, again) = (&all[0].1, &all[1].1, &all[2].1, &all[3].1);
    let refused =
        json!({"at": "2026-01-01T00:00:05Z", "outcome": "refused", "findings": ["a.toml:1: no"]});
    assert_eq!((&old["reload"], &old["mappings"][0]["file"]), (&refused, &json!("psec.toml")));
    assert_eq!(new["reload"]["outcome"], "applied");
    assert_eq!(new["mappings"], json!([{"file": "b.toml", "sha256": "cd"}]));
    assert_eq!(
        (&ended["state"], &ended["since"]),
        (&json!("offline"), &json!("2026-01-01T00:00:07Z"))
    );
    assert_eq!(ended, again);
}

#[test]
fn the_number_of_domains_is_bounded_and_who_is_absent_makes_room() {
    let mut board = board();
    for n in 0..2000 {
        board.report(&name(&format!("vm-{n}")), &report(State::Absent, 0), None, at(n));
    }
    board.take_publishes();
    board.connected(at(9999));
    assert_eq!(board.take_publishes().len(), 1024 + 1);
}

fn said(name: &str, now: Now) -> Vec<Utterance> {
    vec![Utterance { spoke: Spoke::Command, name: name.into(), count: 1, last: now.wall }]
}

/// A memory that begins when the system's clock shows 1000 s.
fn memory(earlier: Option<SeenRecord>, now: Now) -> Memory {
    Memory::new("run".into(), Duration::from_secs(1000), earlier, now)
}

/// What is concluded so many seconds after the gateway's start.
fn is_ready(record: &SeenRecord, now: u64, quiet_for: u64) -> bool {
    let monotonic = Duration::from_secs(1000 + now);
    record.verdict(Some(monotonic), Duration::from_secs(quiet_for)).is_ready()
}

#[test]
fn it_is_ready_when_it_has_watched_and_heard_nothing_for_long_enough() {
    let mut memory = memory(None, at(0));
    let record = memory.take(at(0));
    assert!(!is_ready(&record, 99, 100) && is_ready(&record, 100, 100));
    memory.heard(&name("vm-gui"), &said("a", at(50)), at(50));
    memory.heard(&name("sys-usb"), &said("b", at(60)), at(60));
    memory.heard(&name("vm-gui"), &said("c", at(70)), at(70));
    let record = memory.take(at(80));
    let verdict = record.verdict(seconds(1000 + 140), Duration::from_secs(85));
    let speaking: Vec<_> =
        verdict.speaking.iter().map(|(n, all)| (n.as_str(), all.len())).collect();
    assert_eq!(speaking, [("vm-gui", 1), ("sys-usb", 1)]);
    assert_eq!(verdict.speaking[0].1[0].age, Duration::from_secs(70));
    assert_eq!(verdict.speaking[0].1[0].seen.last, "2026-01-01T00:01:10Z");
    assert!(!is_ready(&record, 169, 100) && is_ready(&record, 170, 100));
    // Without a gateway no time is watched.
    let stopped = record.verdict(None, Duration::from_secs(15));
    assert_eq!((stopped.watched, stopped.speaking.len()), (Duration::from_secs(80), 1));
}

#[test]
fn it_is_written_after_a_change_and_not_too_often() {
    let mut memory = memory(None, at(0));
    assert!(memory.take_due(at(0)).is_some());
    assert_eq!(memory.deadline(), None);
    memory.heard(&name("vm-gui"), &[], at(1));
    assert_eq!(memory.deadline(), None);
    memory.heard(&name("vm-gui"), &said("a", at(1)), at(1));
    assert_eq!((memory.deadline(), memory.take_due(at(1))), (seconds(5), None));
    assert!(memory.take_due(at(5)).is_some());
    memory.heard(&name("vm-gui"), &said("a", at(60)), at(60));
    assert_eq!(memory.take_due(at(60)).map(|r| r.domains["vm-gui"][0].count), Some(2));
    // What happens when nothing was written for long is worth a writing, too.
    memory.heard(&name("vm-gui"), &[], at(659));
    assert_eq!(memory.deadline(), None);
    memory.heard(&name("vm-gui"), &[], at(660));
    assert_eq!(memory.take_due(at(660)).map(|r| r.watched), Some(660));
    assert_eq!(memory.last(&name("vm-gui")), Some("2026-01-01T00:01:00Z"));
}

#[test]
fn what_a_channel_carries_is_written_at_once_and_known_to_the_next_run() {
    let mut memory = memory(None, at(0));
    assert!(memory.take_due(at(0)).is_some());
    memory.carries(&name("vm-gui"), State::Mqtt);
    memory.carries(&name("sys-usb"), State::Silent);
    let record = memory.take_due(at(1)).unwrap();
    for state in [State::Absent, State::Silent, State::WaitingForConnect] {
        memory.carries(&name("vm-gui"), state);
        assert_eq!(memory.deadline(), None, "{state:?}");
    }
    let next = self::memory(Some(record), begins(1));
    assert_eq!(next.on_mqtt(), &[name("vm-gui")].into());
    memory.carries(&name("vm-gui"), State::Legacy);
    assert!(memory.take_due(at(2)).is_some_and(|record| record.mqtt.is_empty()));
}

#[test]
fn the_traffic_is_remembered_by_hour_and_by_day_and_bounded() {
    const HOUR: u64 = 3600;
    let mut memory = memory(None, at(0));
    let (gui, usb) = (name("vm-gui"), name("sys-usb"));
    for hour in 0..100 * 24 {
        memory.heard(&gui, &said("a", at(hour * HOUR)), at(hour * HOUR));
    }
    // Two tunnels, one after the other; what was counted is not counted again.
    for (all, ended) in [(3, false), (5, false), (6, true), (2, false)] {
        memory.published(&usb, all, ended, at(99 * DAY));
    }
    let record = memory.take(at(100 * DAY));
    let traffic = &record.traffic;
    assert_eq!((traffic.hours.len(), traffic.days.len()), (48, 90));
    let (last, sums) = traffic.days.last_key_value().unwrap();
    assert_eq!((last.as_str(), sums.legacy, sums.mqtt), ("2026-04-10", 24, 8));
    // The next run goes on with it; an older one has none.
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(SeenRecord::parse(text.as_bytes()).as_ref(), Ok(&record));
    let mut older = serde_json::to_value(&record).unwrap();
    older.as_object_mut().unwrap().remove("traffic");
    let older = SeenRecord::parse(older.to_string().as_bytes()).unwrap();
    assert_eq!(older.traffic, passerelle::engine::status::History::default());
}

/// A record of a gateway that has watched for a day, and heard `vm-gui` after an hour of it.
fn earlier() -> SeenRecord {
    let mut memory = memory(None, at(0));
    memory.heard(&name("vm-gui"), &said("a", at(3600)), at(3600));
    let record = memory.take(at(DAY));
    let text = serde_json::to_vec(&record).unwrap();
    assert_eq!(SeenRecord::parse(&text), Ok(record.clone()));
    record
}

/// The clock of a run that begins when the wall clock shows so many seconds after 2026 began.
fn begins(wall: i64) -> Now {
    let start = at(0).wall;
    let span = Duration::from_secs(wall.unsigned_abs());
    Now { monotonic: Duration::ZERO, wall: if wall < 0 { start - span } else { start + span } }
}

#[test]
fn a_short_absence_does_not_count_and_after_a_long_one_the_watch_begins_anew() {
    let day = i64::try_from(DAY).unwrap();
    let after = |wall| memory(Some(earlier()), begins(wall)).take(begins(wall));
    // Ten minutes: it is as it was.
    let record = after(day + 600);
    assert_eq!((record.watched, record.watching_since.as_str()), (DAY, "2026-01-01T00:00:00Z"));
    assert!(is_ready(&record, 0, DAY - 3600) && !is_ready(&record, 0, DAY - 3599));
    // A month, or a clock that was set back: everything may have been said meanwhile.
    for wall in [31 * day, day - 1, -day] {
        let record = after(wall);
        assert_eq!(record.watched, 0, "{wall}");
        assert!(!is_ready(&record, 99, 100) && is_ready(&record, 100, 100), "{wall}");
        assert_eq!(record.domains["vm-gui"][0].last, "2026-01-01T01:00:00Z");
        assert_eq!(record.verdict(seconds(1050), Duration::from_secs(100)).speaking.len(), 1);
    }
}

#[test]
fn a_wall_clock_that_jumps_makes_nobody_ready() {
    let mut memory = memory(None, at(0));
    memory.heard(&name("vm-gui"), &said("a", at(10)), at(10));
    // It starts in 1970, and is set to the year 2100.
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    let record = memory.take(Now { monotonic: Duration::from_secs(20), wall });
    assert!(!is_ready(&record, 20, 11));
    assert!(is_ready(&record, 21, 11));
}

#[test]
fn what_hostile_domains_invent_is_bounded() {
    let mut memory = memory(None, at(0));
    for n in 0..1000 {
        memory.heard(&name("vm-evil"), &said(&format!("invented-{n}"), at(n)), at(n));
        memory.heard(&name("vm-evil"), &said("real", at(n)), at(n));
    }
    let record = memory.take(at(1000));
    let all = &record.domains["vm-evil"];
    assert_eq!(all.len(), 128);
    assert_eq!(all.iter().find(|s| s.name == "real").map(|s| s.count), Some(1000));
    for n in 0..2000 {
        memory.heard(&name(&format!("vm-{n}")), &said("a", at(n)), at(2000 + n));
    }
    let record = memory.take(at(4000));
    assert_eq!(record.domains.len(), 1024);
    assert!(!record.domains.contains_key("vm-evil") && record.domains.contains_key("vm-1999"));
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_refused() {
    let good = serde_json::to_value(earlier()).unwrap();
    let with = |key: &str, value: Value| {
        let mut bad = good.clone();
        bad[key] = value;
        SeenRecord::parse(bad.to_string().as_bytes()).unwrap_err()
    };
    assert_eq!(with("format", json!(2)), "its format is 2, not 1");
    assert_eq!(with("domains", json!({"a/b": []})), "\"a/b\" is no domain's name");
    assert!(with("watched", json!(-1)).contains("invalid value"));
    let whole = good.to_string();
    for cut in 0..whole.len() {
        assert!(SeenRecord::parse(&whole.as_bytes()[..cut]).is_err());
    }
}

#[test]
fn a_proxy_hears_every_line_of_its_channel() {
    let setting = kit::setting(kit::seed(), Limits { line: 1000, ..Limits::default() });
    let mut proxy = Proxy::new(Identity::Domain(name("vm-gui")), &setting, Duration::ZERO);
    proxy.connected(at(0));
    assert!(!proxy.view(true).is_heard);
    let ask = kit::command("vm-gui", "sys-usb", "liste_disques", "{}");
    let lines = [ask.as_str(), &ask, "not json", "{}", &"x".repeat(2000)].map(|l| format!("{l}\n"));
    proxy.receive(lines.concat().as_bytes(), at(1));
    let view = proxy.view(true);
    assert!(view.is_heard && view.has_news);
    assert_eq!((view.calls, view.counters.received), (2, 5));
    let heard = proxy.take_heard();
    let heard: Vec<_> = heard.iter().map(|u| (u.spoke, u.name.as_str(), u.count)).collect();
    let expected = [
        (Spoke::Command, "liste_disques", 2),
        (Spoke::Unreadable, "not_json", 1),
        (Spoke::Unreadable, "not_an_envelope", 1),
        (Spoke::Unreadable, "line_too_long", 1),
    ];
    assert_eq!(heard, expected);
    // On the next connection somebody else may have the socket.
    proxy.disconnected(at(2));
    proxy.connected(at(3));
    assert!(!proxy.view(true).is_heard && !proxy.view(true).has_news);
}
