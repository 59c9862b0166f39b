//! The rules of who is told what, and what the limits promise: one test for each thing that went wrong.

use crate::kit::{
    Play, assert_ledger, command, name, notification, request, response, seed, seed_and, setting,
    with_limits,
};
use passerelle::engine::clock::Now;
use passerelle::engine::identity::Identity;
use passerelle::engine::limits::Limits;
use passerelle::engine::proxy::{Action, Forwarded, Pace, Proxy, Room};
use passerelle::engine::publish::Received;
use passerelle::engine::refusal::Reason;
use std::time::{Duration, SystemTime};

#[test]
fn a_message_of_very_many_members_crosses_whole() {
    // With a scan of all of them for each of them, this takes minutes.
    let members: Vec<_> = (0..200_000).map(|i| format!("\"m{i}\":{i}")).collect();
    let arguments = format!("{{{}}}", members.join(","));
    let mut play = Play::new(&["vm-gui"]);
    let effects = play.line(&command("vm-gui", "sys-usb", "liste_disques", &arguments));
    assert!(effects[0].contains("\"m0\":0,") && effects[0].contains("\"m199999\":199999"));
}

#[test]
fn a_domain_that_holds_more_than_its_share_is_refused_until_there_is_room_again() {
    let setting = setting(seed(), Limits::default());
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let mut proxy = Proxy::new(Identity::Domain(name("vm-gui")), &setting, Duration::ZERO);
    proxy.connected(now);
    let arguments = format!(r#"{{"nom_disque":"{}"}}"#, "x".repeat(2000));
    let line = command("vm-gui", "sys-usb", "liste_fichiers", &arguments) + "\n";
    let published = |proxy: &mut Proxy| {
        proxy.receive(line.as_bytes(), now);
        let actions = proxy.take_actions();
        actions.iter().any(|a| matches!(a, Action::Publish(_)))
    };
    proxy.set_level(Some(3000), now);
    assert!(published(&mut proxy), "there is room for one");
    assert!(!published(&mut proxy), "not for two");
    assert_eq!(proxy.counters().refused.get(&Reason::StoreFull), Some(&1));
    proxy.set_level(None, now);
    assert!(published(&mut proxy), "all together hold little again");
    proxy.receive(&[b'x'; 4000], now);
    proxy.set_level(Some(4000), now);
    assert_eq!(proxy.counters().refused.get(&Reason::LineTooLong), None);
    proxy.set_level(Some(3999), now);
    assert_eq!(proxy.counters().refused.get(&Reason::LineTooLong), Some(&1), "it says no more");
    proxy.set_level(None, now);
    proxy.receive(b"\n", now);
    assert!(published(&mut proxy), "the rest of it is gone");
    assert_eq!(proxy.counters().refused.get(&Reason::LineTooLong), Some(&1));
}

#[test]
fn what_is_more_than_a_domains_share_is_refused_and_the_others_have_theirs() {
    let limits = Limits { rate: 2, ..Limits::default() };
    let mut play = Play { gateway: with_limits(seed(), &["vm-gui", "vm-a"], limits) };
    let moved = |from| notification(from, "*", "disque", r#"{"disk":"USB","state":"connected"}"#);
    let list = command("vm-gui", "sys-usb", "liste_disques", "{}");
    let answer = response("vm-gui", "sys-usb", "liste_disques", r#"{"disques":[]}"#);
    let mut say = |line: &str| play.line(line).concat();
    assert!(
        !say(&list).contains("rate_limited") && !say(&moved("vm-gui")).contains("rate_limited")
    );
    assert!(say(&moved("vm-gui")).contains(r#"{"refused":"rate_limited","from":"vm-gui""#));
    let told = say(&list);
    assert!(
        told.contains(r#""refused":"rate_limited""#) && told.contains(r#""evenement":"erreur""#),
        "{told}"
    );
    assert!(!say(&answer).contains("rate_limited"), "there are no more answers than calls");
    assert!(!say(&moved("vm-a")).contains("rate_limited"), "another has its own share");
    play.elapse(1);
    assert!(!play.line(&list).concat().contains("rate_limited"), "in a second there is more");
    assert_ledger(&play.gateway);
}

#[test]
fn a_domain_that_says_very_much_is_to_wait_only_while_others_speak_or_the_broker_is_behind() {
    let setting = setting(seed(), Limits { pace: 1000, ..Limits::default() });
    let now = Now { monotonic: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH };
    let mut proxy = Proxy::new(Identity::Domain(name("vm-gui")), &setting, Duration::ZERO);
    proxy.connected(now);
    let unmapped = notification("vm-gui", "tous", "nothing", "{}") + "\n";
    let say =
        |proxy: &mut Proxy, count| (0..count).for_each(|_| proxy.receive(unmapped.as_bytes(), now));
    say(&mut proxy, 1000);
    assert_eq!(proxy.pace(true, now), Pace::Calm);
    say(&mut proxy, 1000);
    assert_eq!((proxy.pace(false, now), proxy.pace(true, now)), (Pace::Fast, Pace::Slow(None)));
    say(&mut proxy, 5);
    let later = now.monotonic + Duration::from_millis(5);
    assert_eq!(proxy.pace(true, now), Pace::Slow(Some(later)), "as long as five more take");
    let long = format!(r#"{{"niveau":20,"message":"{}"}}"#, "x".repeat(3_000_000));
    let event = notification("vm-gui", "tous", "erreur", &long) + "\n";
    proxy.receive(event.as_bytes(), now);
    assert!(matches!(proxy.pace(false, now), Pace::Slow(Some(_))), "the broker has not taken it");
    let much_later = Now { monotonic: now.monotonic + Duration::from_secs(2), ..now };
    assert_eq!(proxy.pace(true, much_later), Pace::Calm);
}

#[test]
fn a_call_whose_requester_is_gone_too_is_given_up() {
    let mut play = Play::new(&["vm-gui", "sys-usb"]);
    play.disconnect("sys-usb");
    let list = command("vm-gui", "sys-usb", "liste_fichiers", r#"{"nom_disque":"USB"}"#);
    assert_eq!(play.line(&list), [""; 0]);
    let disks = command("vm-gui", "sys-usb", "liste_disques", "{}");
    assert_eq!(play.line(&disks), [""; 0]);
    play.disconnect("vm-gui");
    let effects = play.elapse(61);
    let refused =
        effects.iter().filter(|e| e.starts_with(r#"{"refused":"expired","from":"vm-gui""#));
    assert_eq!(refused.count(), 2, "{effects:#?}");
    assert_eq!(play.gateway.ledger().1, 0);
}

#[test]
fn what_the_broker_keeps_for_a_domain_that_stays_away_ends_with_its_session() {
    let mut play = Play::new(&["sys-usb", "vm-gui"]);
    play.line(&command(
        "sys-usb",
        "vm-far",
        "get_file_footprint",
        r#"{"disk":"d","filepath":"f"}"#,
    ));
    play.disconnect("sys-usb");
    let list = request("system/disks/list_files", "vm-far", "1", r#"{"disk":"USB"}"#);
    assert_eq!(play.mqtt(&list), [""; 0]);
    let all = request("system/components/discover", "vm-far", "2", "{}");
    assert_eq!(play.mqtt(&all).len(), 1, "vm-gui has it at once");
    // Its proxy has left the broker, which keeps the session for as long as the domain may come back: to fetch
    // what is there would take a connection under the domain's name, which may be its own by then.
    let effects = play.elapse(61);
    let own = r#"{"refused":"expired","from":"sys-usb""#;
    assert!(effects.iter().any(|e| e.starts_with(own)), "{effects:#?}");
    let others = effects.iter().filter(|e| e.contains("/request") || e.contains("from\":\"vm-far"));
    assert_eq!(others.count(), 0, "{effects:#?}");
}

/// The reasons of the refusals among effects.
fn refusals(effects: &[String]) -> Vec<&str> {
    let reason = |e: &'_ String| e.starts_with(r#"{"refused":""#);
    effects.iter().filter(|e| reason(e)).map(|e| e.split('"').nth(3).unwrap()).collect()
}

#[test]
fn the_first_reason_that_applies_counts() {
    for (line, reason) in [
        (notification("vm-x", "Dom0", "disque", "{}"), "not_mapped"),
        (notification("vm-x", "tous", "disque", "{}"), "spoofed_source"),
        (notification("vm-x", "tous", "erreur", r#"{"niveau":40}"#), "missing_argument"),
        (notification("sys-usb", "no/name", "disque", "{}"), "not_mapped"),
        (command("vm-x", "no/name", "no-such", "{}"), "not_mapped"),
        (command("vm-x", "no/name", "lit_fichier", "{}"), "missing_argument"),
        (command("vm-x", "no/name", "liste_disques", "{}"), "spoofed_source"),
        (command("vm-x", "tous", "lit_fichier", "{}"), "missing_argument"),
        (command("sys-usb", "no/name", "liste_disques", "{}"), "bad_name"),
        (response("vm-x", "no/name", "no-such", "{}"), "not_mapped"),
        (response("vm-x", "vm-far", "file_creation", "{}"), "missing_argument"),
        (response("vm-x", "vm-far", "benchmark_files", r#"{"etat":"?"}"#), "bad_value"),
        (response("vm-x", "vm-far", "liste_disques", "[]"), "spoofed_source"),
        (response("sys-usb", "no/name", "liste_disques", "[]"), "bad_name"),
        (response("sys-usb", "vm-far", "benchmark_files", r#"{"etat":"?"}"#), "bad_value"),
    ] {
        let mut play = Play::new(&["sys-usb"]);
        assert_eq!(refusals(&play.from("sys-usb", &line)), [reason], "{line}");
    }
}

#[test]
fn a_response_is_counted_once_and_only_its_sender_ends_calls() {
    let mut play = Play::new(&["sys-usb"]);
    for correlation in ["1", "2"] {
        play.mqtt(&request("system/components/discover", "vm-far", correlation, "{}"));
    }
    let bad = response("sys-usb", "vm-far", "etat_composant", r#"{"id":1,"composant":"c"}"#);
    for spoofed in [bad.replace("sys-usb", "vm-x"), bad.replace("vm-far", "no/name")] {
        assert_eq!(refusals(&play.from("sys-usb", &spoofed)), ["bad_value"]);
        assert_eq!(play.gateway.ledger().1, 2);
    }
    // The response itself, and no call: others may answer them.
    assert_eq!(refusals(&play.from("sys-usb", &bad)), ["bad_value"]);
    assert_eq!(play.gateway.ledger().1, 2);
}

#[test]
fn a_notification_before_the_last_does_not_end_its_call() {
    let row = |more: &str| {
        format!(
            "[[command.answer]]\nevenement = \"progres\"\nrepeats = [\"id\"]\nmembers.id = \"id\"\n{more}\n"
        )
    };
    let rows = format!(
        "[[command]]\nname = \"LONG\"\nlegacy = \"long\"\ntopic = \"mine/long\"\nhandler = \"vm-a\"\nrequest.members.id = \"id\"\n{}{}",
        row("final = false\nwhen = { mqtt = { done = false }, legacy = { fini = false } }"),
        row("when = { mqtt = { done = true }, legacy = { fini = true } }"),
    );
    let mut play = Play::with(with_limits(seed_and(&rows), &["vm-a"], Limits::default()));
    play.mqtt(&request("mine/long", "vm-far", "1", r#"{"id":7}"#));
    let mut told = |done: bool, odd: &str| {
        let data = format!(r#"{{"id":7,"fini":{done}{odd}}}"#);
        let effects = play.line(&notification("vm-a", "tous", "progres", &data));
        let answers = effects.iter().filter(|e| e.contains("mine/long/response/vm-far")).count();
        (answers, play.gateway.ledger().1)
    };
    assert_eq!(told(false, ""), (1, 1));
    assert_eq!(told(false, r#","done":1"#), (1, 1));
    assert_eq!(told(true, ""), (1, 0));
}

#[test]
fn half_a_line_of_long_ago_is_no_excuse_for_a_call_of_now() {
    let mut play = Play::new(&["sys-usb"]);
    let usb = name("sys-usb");
    play.gateway.receive(&usb, b"{\"type\":");
    play.elapse(1000);
    let list = request("system/disks/list_disks", "vm-far", "1", "{}");
    assert_eq!(play.mqtt(&list).len(), 1);
    play.elapse(20);
    play.gateway.receive(&usb, b"\"reponse\",");
    assert_eq!(refusals(&play.elapse(29)), [""; 0], "20 s of silence while a line was on its way");
    assert_eq!(refusals(&play.elapse(1)), ["expired"]);
}

#[test]
fn time_has_no_end() {
    let mut play = Play::new(&["sys-usb"]);
    play.mqtt(&request("system/disks/list_disks", "vm-far", "1", "{}"));
    play.elapse(u64::MAX);
    play.elapse(u64::MAX);
    play.mqtt(&request("system/disks/list_disks", "vm-far", "1", "{}"));
    play.line(&command("sys-usb", "vm-far", "liste_disques", "{}"));
}

#[test]
fn a_domain_that_was_stuck_is_served_when_it_reads_again() {
    let setting = setting(seed(), Limits::default());
    let identity = passerelle::engine::identity::Identity::Domain(name("vm-gui"));
    let wall = std::time::SystemTime::UNIX_EPOCH;
    let at = |s| Now { monotonic: Duration::from_secs(s), wall };
    let mut proxy = Proxy::new(identity, &setting, Duration::ZERO);
    let line = || Forwarded::Line {
        from: name("sys-usb"),
        line: "{}\n".into(),
        command: None,
        is_command: false,
    };
    let stuck = |proxy: &Proxy| proxy.counters().refused.get(&Reason::DomainStuck).copied();
    proxy.connected(at(0));
    proxy.accept(line(), at(0));
    proxy.accept(line(), at(1));
    proxy.wake(at(30));
    assert_eq!(stuck(&proxy), Some(2));
    proxy.accept(line(), at(31));
    proxy.accept(line(), at(31));
    assert_eq!((stuck(&proxy), proxy.chunk()), (Some(3), Some(&b"{}\n"[..])));
    proxy.written(3, at(32));
    proxy.accept(line(), at(32));
    proxy.accept(line(), at(32));
    assert_eq!((stuck(&proxy), proxy.under_way()), (Some(3), 2));
}

#[test]
fn a_domain_cannot_answer_what_it_has_not_been_given() {
    let mut play = Play::new(&["sys-usb"]);
    play.gateway.stall(&name("sys-usb"));
    play.mqtt(&request("system/disks/list_disks", "vm-far", "1", "{}"));
    let effects = play.line(&response("sys-usb", "vm-far", "liste_disques", r#"["late"]"#));
    assert!(!effects[0].contains("correlation"), "{effects:?}");
    assert_eq!(play.gateway.ledger().1, 1);
}

#[test]
fn nobody_on_mqtt_answers_in_the_name_of_a_legacy_domain() {
    let mut play = Play::new(&["vm-gui", "sys-usb"]);
    let answer = |source: Option<&str>| Received {
        topic: "system/disks/list_disks/response/vm-gui".into(),
        payload: r#"{"disks":[{"label":"D","id":"D"}]}"#.into(),
        source: source.map(str::to_owned),
        ..Received::default()
    };
    // Nobody asked; or vm-gui has asked somebody on MQTT.
    for asked in [false, true] {
        for source in [None, Some("sys-usb"), Some("vm-gui")] {
            if asked {
                play.line(&command("vm-gui", "vm-far", "liste_disques", "{}"));
            }
            let effects = play.mqtt(&answer(source));
            assert!(effects[0].contains(r#""source":"Dom0""#), "{effects:?}");
        }
    }
}

#[test]
fn what_is_told_of_a_message_is_short_however_long_the_message() {
    let long = "é".repeat(100_000);
    let twice = format!(r#"{{"{long}":1,"{long}":2}}"#);
    for line in [
        command("vm-gui", &long, "liste_disques", "{}"),
        command("vm-gui", "sys-usb", &long, "{}"),
        command("vm-gui", "sys-usb", "liste_disques", &twice),
        command("vm-gui", "sys-usb", "liste_disques", "{}").replace("commande\",\"so", &long),
        command(&long, "sys-usb", "liste_disques", "{}"),
        response("vm-gui", "vm-far", &long, "{}"),
        notification("vm-gui", "Dom0", "fichier", &twice),
    ] {
        let mut play = Play::new(&["vm-gui"]);
        let effects = play.from("vm-gui", &line);
        assert!(!effects.is_empty());
        for effect in effects {
            assert!(effect.len() < 4000, "{} bytes", effect.len());
        }
    }
    let mut play = Play::new(&["sys-usb"]);
    let requests = [
        request("system/disks/list_disks", &long, "1", "{}"),
        request("system/disks/list_disks", "vm-far", "1", &twice),
        request(&long, "vm-far", "1", "{}"),
    ];
    for message in requests {
        for effect in play.mqtt(&message) {
            assert!(effect.len() < 4000, "{} bytes", effect.len());
        }
    }
}

/// How many of many large messages a gateway takes in before it says that it is too much.
fn taken_in(mut once: impl FnMut(usize) -> Vec<String>) -> usize {
    (0..100).take_while(|&i| refusals(&once(i)).is_empty()).count()
}

#[test]
fn calls_that_wait_hold_no_more_than_a_queue_or_an_outbox() {
    let large = "x".repeat(1024 * 1024);
    // Calls that go out one at a time: all but the first are held.
    let mut play = Play::new(&["vm-gui"]);
    let held = taken_in(|i| {
        let arguments = format!(r#"{{"disk":"d","filepath":"f{i}","more":"{large}"}}"#);
        play.line(&command("vm-gui", "vm-far", "get_file_footprint", &arguments))
    });
    assert!(held <= 9, "{held}");
    // What calls remember of their requests.
    let mut play = Play::new(&["vm-gui"]);
    let remembered = taken_in(|i| {
        let arguments = format!(r#"{{"nom_disque":"{i}","chemin_fichier":"{large}"}}"#);
        play.line(&command("vm-gui", "vm-far", "lit_fichier", &arguments))
    });
    assert!(remembered <= 9, "{remembered}");
    // Requests from MQTT, which are kept as they came until they are written.
    let mut play = Play::new(&["sys-usb"]);
    play.gateway.stall(&name("sys-usb"));
    let blank = " ".repeat(1024 * 1024);
    let kept = taken_in(|i| {
        let payload = format!("{{{blank}}}");
        play.mqtt(&request("system/disks/list_disks", "vm-far", &i.to_string(), &payload))
    });
    assert!(kept <= 17, "{kept}");
    // What their requesters want repeated.
    let mut play = Play::new(&["sys-usb"]);
    play.gateway.stall(&name("sys-usb"));
    let kept = taken_in(|i| {
        let correlation = format!("{i}{large}");
        play.mqtt(&request("system/disks/list_disks", "vm-far", &correlation, "{}"))
    });
    assert!(kept <= 17, "{kept}");
}

#[test]
fn a_restart_may_cut_what_a_domain_says_anywhere() {
    let limits = Limits { line: 200, ..Limits::default() };
    let setting = setting(seed(), limits);
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let told = |n: usize| {
        notification("vm-gui", "tous", "erreur", &format!(r#"{{"niveau":20,"message":"{n}"}}"#))
    };
    let text = format!("{}\n{}\n\n{}\n", "x".repeat(300), told(1), told(2));
    let run = |records, (read, unread): (&str, &str)| {
        let mut proxy = Proxy::new(Identity::Domain(name("vm-gui")), &setting, Duration::ZERO);
        let (events, requests, since_boot) = (1 << 20, 1 << 20, Duration::ZERO);
        proxy.set_store(Room { events, requests, since_boot, ..Room::default() }, now);
        proxy.resume(records, now);
        proxy.connected(now);
        proxy.receive(read.as_bytes(), now);
        proxy.receive_later(unread.as_bytes());
        let records = proxy.suspend().into_iter().map(|record| (record, None)).collect();
        let did = proxy.take_actions().into_iter().filter_map(|action| match action {
            Action::Refused(refusal) => Some(refusal.reason.to_string()),
            Action::Publish(publish) => {
                Some(String::from_utf8_lossy(&publish.payload).into_owned())
            }
            _ => None,
        });
        (records, did.collect::<Vec<_>>())
    };
    let (_, whole) = run(Vec::new(), (&text, ""));
    assert_eq!(whole.len(), 3, "{whole:?}");
    for first in 0..=text.len() {
        for second in (first..=text.len()).step_by(7) {
            let (records, mut did) = run(Vec::new(), (&text[..first], &text[first..second]));
            did.extend(run(records, (&text[second..], "")).1);
            assert_eq!(did, whole, "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_call_goes_on_while_its_answer_comes_and_nothing_is_no_part_of_it() {
    let mut play = Play::new(&["sys-usb"]);
    let list = request("system/disks/list_disks", "vm-app", "1", "{}");
    assert!(play.mqtt(&list).concat().contains("liste_disques"));
    play.gateway.receive(&name("sys-usb"), b"{\"type\":");
    for part in ["\"reponse\"", ""] {
        assert_eq!(play.elapse(20), [""; 0], "{part:?}");
        play.gateway.receive(&name("sys-usb"), part.as_bytes());
    }
    assert!(play.elapse(11).concat().contains(r#""refused":"expired""#));
}

#[test]
fn one_that_takes_all_calls_that_it_may_leaves_room_for_others() {
    let mut play = Play::new(&["sys-usb"]);
    let root = "system/disks/list_disks";
    let mut ask = |asker: &str, number: usize, payload: &str| {
        let effects = play.mqtt(&request(root, asker, &number.to_string(), payload));
        effects.iter().any(|effect| effect.contains("commande"))
    };
    let taken = (0..2000).filter(|number| ask("vm-hostile", *number, "{}")).count();
    assert!((400..1000).contains(&taken), "{taken}");
    // A second one takes half of what is left.
    let more = (0..2000).filter(|number| ask("vm-friend", *number, "{}")).count();
    assert!((200..taken).contains(&more), "{more}");
    for other in ["vm-a", "vm-b"] {
        assert!((0..3).all(|number| ask(other, number, "{}")), "{other} is refused");
    }
}

#[test]
fn what_one_has_remembered_leaves_room_for_others() {
    let mut play = Play::new(&["sys-usb"]);
    let mut ask = |asker: &str, correlation: &str| {
        let effects = play.mqtt(&request("system/disks/list_disks", asker, correlation, "{}"));
        effects.iter().any(|effect| effect.contains("commande"))
    };
    // Correlation data is as long as its sender likes.
    let long = |number: usize| format!("{number:060000}");
    let taken = (0..400).filter(|number| ask("vm-hostile", &long(*number))).count();
    assert!((100..200).contains(&taken), "{taken}");
    assert!(ask("vm-a", &long(0)) && ask("vm-b", &long(0)));
}
