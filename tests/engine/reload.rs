//! Another mapping and other limits, while calls are pending.

use crate::kit::{
    self, Play, assert_ledger, command, name, notification, request, response, with_limits,
};
use passerelle::diagnostic::Source;
use passerelle::engine::clock::Now;
use passerelle::engine::identity::Identity;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::proxy::{Action, Forwarded, Proxy, Setting};
use passerelle::engine::publish::{Publish, Received};
use passerelle::engine::roster::Roster;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn table(rows: &str) -> Table {
    let text = format!("dialect = \"psec\"\nrequester_member = \"source\"\n{rows}");
    let source = Arc::new(Source { name: "own.toml".into(), text });
    Table::compile(&[source], &Speaks::default()).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<String>())
    })
}

/// A row whose topic, answer and members are called by a version.
fn scan(version: &str, more: &str) -> String {
    format!(
        r#"
[[command]]
name = "SCAN"
legacy = "scan"
topic = "business/scan/{version}"
handler = "vm-scan"
request.members = {{ file = "fichier_{version}" }}
{more}
[[command.answer]]
reponse = "scan_{version}"
members = {{ verdict = "verdict_{version}" }}
"#
    )
}

fn play(rows: &str, legacy: &[&str]) -> Play {
    Play::with(with_limits(table(rows), legacy, Limits::default()))
}

fn reload(play: &mut Play, rows: &str) -> Vec<String> {
    play.gateway.reload(Arc::new(table(rows)), Limits::default());
    play.effects()
}

/// An answer to the call of this number, on the topic of a version.
fn verdict(version: &str, correlation: Option<&str>) -> Received {
    Received {
        topic: format!("business/scan/{version}/response/vm-gui"),
        payload: r#"{"verdict":"clean"}"#.into(),
        correlation: correlation.map(|c| c.to_owned().into()),
        source: Some("vm-scan".into()),
        ..Received::default()
    }
}

fn asks(version: &str) -> String {
    command("vm-gui", "vm-scan", "scan", &format!(r#"{{"fichier_{version}":"f"}}"#))
}

fn starts(effects: &[String], start: &str) -> bool {
    matches!(effects, [effect] if effect.starts_with(start))
}

#[test]
fn a_legacy_domains_call_is_answered_by_the_rules_that_it_began_with() {
    let mut play = play(&scan("old", ""), &["vm-gui"]);
    let asked = play.line(&asks("old"));
    assert!(starts(&asked, r#"{"publish":"business/scan/old/request""#), "{asked:?}");
    assert_eq!(reload(&mut play, &scan("new", "")), [""; 0]);

    let asked = play.line(&asks("new"));
    assert!(starts(&asked, r#"{"publish":"business/scan/new/request""#), "{asked:?}");
    let old = play.mqtt(&verdict("old", Some("call-dom0-vm-gui-1/vm-scan")));
    assert!(old.len() == 1 && old[0].contains(r#""commande":"scan_old","data":{"verdict_old":"#));
    let new = play.mqtt(&verdict("new", Some("call-dom0-vm-gui-2/vm-scan")));
    assert!(new.len() == 1 && new[0].contains(r#""commande":"scan_new","data":{"verdict_new":"#));
    assert_eq!(play.gateway.ledger().1, 0);

    // Its last call ended, so nobody subscribes to the old topic any more.
    let nobody = play.mqtt(&verdict("old", None));
    assert!(starts(&nobody, r#"{"refused":"not_mapped""#), "{nobody:?}");
}

#[test]
fn a_call_from_mqtt_is_answered_by_the_rules_that_it_began_with() {
    let mut play = play(&scan("old", ""), &["vm-scan"]);
    let ask = |version: &str| {
        request(&format!("business/scan/{version}"), "vm-far", version, r#"{"file":"f"}"#)
    };
    assert!(play.mqtt(&ask("old"))[0].contains(r#""arguments":{"fichier_old":"f"}"#));
    assert_eq!(reload(&mut play, &scan("new", "")), [""; 0]);
    assert!(play.mqtt(&ask("new"))[0].contains(r#""arguments":{"fichier_new":"f"}"#));
    for version in ["old", "new"] {
        let data = format!(r#"{{"verdict_{version}":"clean"}}"#);
        let said = response("vm-scan", "vm-far", &format!("scan_{version}"), &data);
        let published = play.line(&said);
        let expected = format!(
            r#"{{"publish":"business/scan/{version}/response/vm-far","payload":{{"verdict":"clean"}},"qos":1,"as":"vm-scan","correlation":"{version}""#
        );
        assert!(starts(&published, &expected), "{published:?}");
    }
    // Nobody has asked for this one, and nobody knows it.
    let late = play.line(&response("vm-scan", "vm-far", "scan_old", r#"{"verdict_old":"x"}"#));
    assert!(late[0].starts_with(r#"{"refused":"not_mapped""#), "{late:?}");
    assert_eq!(play.gateway.ledger().1, 0);
}

#[test]
fn a_call_runs_out_when_it_said_at_first() {
    let mut play = play(&scan("old", "timeout = \"5s\""), &["vm-gui", "vm-scan"]);
    play.mqtt(&request("business/scan/old", "vm-far", "1", r#"{"file":"f"}"#));
    play.line(&command("vm-gui", "vm-far", "scan", r#"{"fichier_old":"f"}"#));
    reload(&mut play, "");
    assert_eq!(play.elapse(4), [""; 0]);
    let effects = play.elapse(1);
    let expired = |e: &&String| e.contains("has not answered SCAN in 5s");
    assert_eq!(effects.iter().filter(|e| e.starts_with("{\"refused\"")).filter(expired).count(), 2);
    assert_eq!(play.gateway.ledger().1, 0);
}

#[test]
fn calls_that_wait_for_each_other_go_on_whatever_the_rows_say_by_then() {
    for (before, after) in [
        ("one_at_a_time = true", "one_at_a_time = false"),
        ("one_at_a_time = false", "one_at_a_time = true"),
        ("one_at_a_time = true", "one_at_a_time = true"),
    ] {
        let mut play = play(&scan("v", before), &["vm-gui"]);
        let mut published = 0;
        let count =
            |effects: &[String]| effects.iter().filter(|e| e.contains("/request\"")).count();
        published += count(&play.line(&asks("v")));
        published += count(&play.line(&asks("v")));
        reload(&mut play, &scan("v", after));
        published += count(&play.line(&asks("v")));
        for _ in 0..3 {
            published += count(&play.mqtt(&verdict("v", None)));
        }
        assert_eq!((published, play.gateway.ledger().1), (3, 0), "{before}, then {after}");
    }
}

#[test]
fn exclusive_calls_wait_for_those_of_before() {
    let mut play = play(&scan("old", "exclusive = true"), &["vm-gui", "vm-scan"]);
    let writes = |effects: &[String]| {
        effects.iter().filter(|e| e.starts_with("{\"write\":\"vm-scan\"")).count()
    };
    assert_eq!(writes(&play.line(&asks("old"))), 1);
    reload(&mut play, &scan("new", "exclusive = true"));
    assert_eq!(writes(&play.line(&asks("new"))), 0);
    let answer = |version: &str| response("vm-scan", "vm-gui", &format!("scan_{version}"), "{}");
    assert_eq!(writes(&play.line(&answer("old"))), 1);
    play.line(&answer("new"));
    assert_eq!(play.gateway.ledger().1, 0);
}

const EVENT: &str = r#"
[[event]]
name = "DONE"
legacy = "fini"
topic = "business/done"
"#;

const ANNOUNCED: &str = r#"
[[command]]
name = "COPY"
legacy = "copie"
topic = "business/copy"
handler = "vm-far"
timeout = "1m"
request.members = { file = "fichier" }
[[command.announced]]
topic = "business/done/notification"
repeats = { file = "file" }
ends = true
"#;

#[test]
fn a_call_waits_for_a_notification_that_only_an_earlier_mapping_has() {
    let mut play = play(&format!("{ANNOUNCED}{EVENT}"), &["vm-gui", "vm-scan"]);
    play.line(&command("vm-gui", "vm-far", "copie", r#"{"fichier":"f"}"#));
    play.line(&command("vm-gui", "vm-far", "copie", r#"{"fichier":"g"}"#));
    let done = |file: &str| Received {
        topic: "business/done/notification".into(),
        payload: format!(r#"{{"file":"{file}"}}"#).into(),
        ..Received::default()
    };
    assert_eq!(play.mqtt(&done("x")).len(), 2, "everyone is told");
    reload(&mut play, &scan("new", ""));
    let told = play.mqtt(&done("f"));
    assert!(starts(&told, r#"{"write":"vm-gui""#), "only who waits is told: {told:?}");
    assert_eq!(play.gateway.ledger().1, 1);
    assert_eq!(play.mqtt(&done("x")), [""; 0]);
    play.elapse(61);
    assert_eq!(play.gateway.ledger().1, 0);
    let nobody = play.mqtt(&done("g"));
    assert!(starts(&nobody, r#"{"refused":"not_mapped""#), "{nobody:?}");
}

#[test]
fn a_notification_of_before_ends_its_call_and_is_no_fault() {
    let rows = format!(
        "{}[[command.answer]]\nevenement = \"fini\"\nonly = \"to_mqtt\"\nrepeats.legacy = {{ fichier = \"file\" }}\n{EVENT}",
        scan("old", "")
    );
    let mut play = play(&rows, &["vm-scan"]);
    play.mqtt(&request("business/scan/old", "vm-far", "1", r#"{"file":"f"}"#));
    reload(&mut play, &scan("new", ""));
    let effects = play.line(&notification("vm-scan", "Dom0", "fini", r#"{"fichier":"f"}"#));
    assert!(starts(&effects, r#"{"publish":"business/scan/old/response/vm-far""#), "{effects:?}");
    assert_eq!(play.gateway.ledger().1, 0);
}

// --- One proxy alone, whose table is older or newer than the others' ---------------------------------

fn setting(rows: &str, limits: Limits) -> Setting {
    kit::setting(table(rows), limits)
}

fn now() -> Now {
    Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }
}

fn proxy(domain: &str, setting: &Setting) -> Proxy {
    let mut proxy = Proxy::new(Identity::Domain(name(domain)), setting, Duration::ZERO);
    let legacy = ["vm-gui", "vm-scan"].map(name).into();
    proxy.set_roster(Arc::new(Roster { legacy, ..Roster::default() }));
    proxy.connected(now());
    proxy
}

fn line(proxy: &mut Proxy, line: &str) -> Vec<Action> {
    proxy.receive(format!("{line}\n").as_bytes(), now());
    proxy.take_actions()
}

#[test]
fn what_passes_between_domains_carries_its_row() {
    let old = setting(&scan("old", "exclusive = true"), Limits::default());
    let new = setting("", Limits::default());
    let (mut gui, mut server) = (proxy("vm-gui", &old), proxy("vm-scan", &old));
    server.reload(&new, now());
    server.take_actions();
    for _ in 0..2 {
        let mut actions = line(&mut gui, &asks("old"));
        let Some(Action::Pass(_, passed @ Forwarded::Line { .. })) = actions.pop() else {
            panic!("{actions:?}");
        };
        server.accept(passed, now());
    }
    let written = server.chunk().map(<[u8]>::len).expect("the first");
    server.written(written, now());
    assert_eq!(server.chunk(), None, "the second waits for the answer to the first");
    line(&mut server, &response("vm-scan", "vm-gui", "scan_old", "{}"));
    assert!(server.chunk().is_some());
}

fn published(actions: &[Action]) -> Vec<&Publish> {
    let mut all = Vec::new();
    for action in actions {
        if let Action::Publish(publish) = action {
            all.push(publish);
        }
    }
    all
}

#[test]
fn what_waits_is_weighed_by_the_limits_that_hold() {
    let rows = scan("v", "");
    let mut gui = proxy("vm-gui", &setting(&rows, Limits::default()));
    let ask = command("vm-gui", "vm-far", "scan", r#"{"fichier_v":"f"}"#);
    let first = line(&mut gui, &ask);
    let tokens: Vec<_> = published(&first).iter().map(|p| p.token).collect();
    assert_eq!(tokens.len(), 1);
    let told = notification("x", "x", "x", "{}").len();
    gui.accept(Forwarded::Copy(vec![b'x'; told].into()), now());

    let tight = Limits { outbox: 1, queue: 1, line: 10, calls: 1, ..Limits::default() };
    gui.reload(&setting(&rows, tight), now());
    assert!(published(&line(&mut gui, &ask)).is_empty(), "a line is too long now");
    let mut roomy = Limits { outbox: 1, queue: 1, ..Limits::default() };
    gui.reload(&setting(&rows, roomy.clone()), now());
    assert!(published(&line(&mut gui, &ask)).is_empty(), "the outbox is full now");
    roomy.outbox = Limits::default().outbox;
    gui.reload(&setting(&rows, roomy), now());
    assert_eq!(published(&line(&mut gui, &ask)).len(), 1);
    for token in tokens {
        gui.acknowledged(token, true, now());
    }
    let written = gui.chunk().map(<[u8]>::len).expect("what waited before");
    assert_eq!(written, told);
    while let Some(left) = gui.chunk().map(<[u8]>::len) {
        gui.written(left, now());
    }
    assert_eq!(gui.counters().refused.values().sum::<u64>(), 2);
}

#[test]
fn a_session_is_subscribed_to_what_the_mapping_and_the_pending_calls_need() {
    let filters = |actions: &[Action]| match actions {
        [Action::Subscribe(filters)] => filters.clone(),
        other => panic!("{other:?}"),
    };
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let [old, new] = ["old", "new"].map(|v| setting(&scan(v, ""), Limits::default()));
    let mut gui = proxy("vm-gui", &old);
    line(&mut gui, &command("vm-gui", "vm-far", "scan", r#"{"fichier_old":"f"}"#));
    gui.reload(&new, now());
    let needed = ["business/scan/new/response/vm-gui", "business/scan/old/response/vm-gui"];
    assert_eq!(filters(&gui.take_actions()), set(&needed));
    gui.deliver(verdict("old", None), 1, now());
    let last = gui.take_actions().pop();
    assert_eq!(last, Some(Action::Subscribe(set(&needed[..1]))));
    // Back, with nothing pending.
    gui.reload(&old, now());
    assert_eq!(filters(&gui.take_actions()), set(&needed[1..]));
}

#[test]
fn a_reload_under_load_loses_nothing() {
    let rows =
        [scan("old", "exclusive = true"), scan("new", "one_at_a_time = true"), String::new()];
    let mut play = play(&rows[0], &["vm-gui", "vm-scan"]);
    for round in 0..60 {
        for version in ["old", "new"] {
            play.line(&asks(version));
            play.line(&command(
                "vm-gui",
                "vm-far",
                "scan",
                &format!(r#"{{"fichier_{version}":1}}"#),
            ));
            let from_mqtt = request(
                &format!("business/scan/{version}"),
                "vm-x",
                &round.to_string(),
                r#"{"file":1}"#,
            );
            play.mqtt(&from_mqtt);
            if round % 3 > 0 {
                play.line(&response("vm-scan", "vm-gui", &format!("scan_{version}"), "{}"));
                let data = format!(r#"{{"verdict_{version}":"v"}}"#);
                play.line(&response("vm-scan", "vm-x", &format!("scan_{version}"), &data));
                play.mqtt(&verdict(version, None));
            }
        }
        reload(&mut play, &rows[round % rows.len()]);
        assert_ledger(&play.gateway);
    }
    // Each call that was not answered runs out, or waits for one that does.
    play.elapse(200 * 30);
    assert_eq!(play.gateway.ledger().1, 0);
}
