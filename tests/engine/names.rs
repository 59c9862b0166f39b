//! Who asks, tells and answers on MQTT: who can be proved, and nobody else.

use crate::kit::{Play, command, gateway, request, seed};
use passerelle::engine::policy::{AllowRule, FileLine, Names, Otherwise, Pattern, Policy, Subject};
use passerelle::engine::publish::Received;

const LIST: &str = "system/disks/list_disks";

fn play(names: Names, policy: Policy) -> Play {
    let mut gateway = gateway(&["sys-usb", "vm-gui"]);
    gateway.set_policy(Policy { names, ..policy });
    Play::with(gateway)
}

/// What becomes of it: the source of the line that is written to a domain, or the reason of a refusal.
fn outcome(effects: &[String], to: &str) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let found = effects.iter().find_map(|effect| {
        let effect: serde_json::Value = serde_json::from_str(effect).expect("JSON");
        match (&effect["refused"], effect["write"] == to) {
            (_, true) => Some(text(&effect["message"]["source"])),
            (reason, _) if reason.is_string() => Some(text(reason)),
            _ => None,
        }
    });
    found.unwrap_or_else(|| panic!("nothing came of it: {effects:#?}"))
}

/// A request by all the names that it says: by its topic, response topic, payload and user property.
fn asked(topic: &str, reply: &str, payload: &str, property: &str) -> Received {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let payload = some(payload).map_or("{}".into(), |name| format!("{{\"source\":\"{name}\"}}"));
    let mut message = request(LIST, "x", "1", &payload);
    if let Some(name) = some(topic) {
        message.topic = format!("{LIST}/request/{name}");
    }
    message.response_topic = some(reply).map(|name| format!("{LIST}/response/{name}"));
    message.source = some(property);
    message
}

#[test]
fn who_asks_is_who_is_proved_or_said_and_never_two() {
    const SPOOFED: &str = "spoofed_source";
    const BAD: &str = "bad_name";
    for (topic, reply, payload, property, said, proved) in [
        ("", "", "", "", "mqtt", "mqtt"),
        ("", "vm-a", "", "", "vm-a", SPOOFED),
        ("", "vm-a", "vm-a", "vm-a", "vm-a", SPOOFED),
        ("", "", "vm-a", "", "vm-a", SPOOFED),
        ("", "", "", "vm-a", "mqtt", SPOOFED),
        ("vm-a", "", "", "", "vm-a", "vm-a"),
        ("vm-a", "vm-a", "vm-a", "vm-a", "vm-a", "vm-a"),
        ("vm-a", "vm-b", "", "", SPOOFED, SPOOFED),
        ("vm-a", "", "vm-b", "", SPOOFED, SPOOFED),
        ("vm-a", "", "", "vm-b", SPOOFED, SPOOFED),
        ("vm-a", "vm-b", "vm-b", "vm-b", SPOOFED, SPOOFED),
        ("", "vm-a", "vm-b", "", SPOOFED, SPOOFED),
        ("", "vm-a", "", "vm-b", SPOOFED, SPOOFED),
        ("", "mqtt", "", "mqtt", "mqtt", "mqtt"),
        // Nobody's names, and those of domains whose requests come over their channels.
        ("vm-gui", "", "", "", SPOOFED, SPOOFED),
        ("tous", "", "", "", SPOOFED, SPOOFED),
        ("dom0", "", "", "", SPOOFED, SPOOFED),
        ("passerelle", "", "", "", SPOOFED, SPOOFED),
        ("passerelle-dom0", "", "", "", SPOOFED, SPOOFED),
        ("a b", "", "", "", BAD, BAD),
        ("vm-a", "a b", "", "", BAD, BAD),
        // Somebody else's word.
        ("vm-a", "", "", "My App 1.0", "vm-a", "vm-a"),
    ] {
        for (names, wanted) in [(Names::Said, said), (Names::Proved, proved)] {
            let mut play = play(names, Policy::default());
            let effects = play.mqtt(&asked(topic, reply, payload, property));
            let what = format!("{names:?} {topic:?} {reply:?} {payload:?} {property:?}");
            assert_eq!(outcome(&effects, "sys-usb"), wanted, "{what}: {effects:#?}");
            // Nobody is answered in a matter that is not his.
            let answered = effects.iter().any(|e| e.starts_with("{\"publish\":\"system/disks"));
            assert!(!answered, "{what}: {effects:#?}");
        }
    }
}

fn rule(from: &str, about: Subject) -> AllowRule {
    let place = FileLine { file: "p.toml".into(), line: 1 };
    AllowRule { from: Some(Pattern::new(from)), about, to: None, place }
}

#[test]
fn a_rule_is_for_the_one_who_is_proved() {
    let rules = vec![rule("vm-a", Subject::Command(Pattern::new("*")))];
    let policy = Policy { otherwise: Otherwise::Deny, rules, ..Policy::default() };
    for (message, wanted) in [
        (asked("vm-a", "vm-a", "", ""), "vm-a"),
        (asked("vm-b", "vm-b", "", ""), "not_allowed"),
        (asked("vm-b", "vm-a", "", ""), "spoofed_source"),
        (asked("", "vm-a", "vm-a", "vm-a"), "spoofed_source"),
        (asked("", "", "", ""), "not_allowed"),
    ] {
        let effects = play(Names::Proved, policy.clone()).mqtt(&message);
        assert_eq!(outcome(&effects, "sys-usb"), wanted, "{message:?}: {effects:#?}");
    }
}

#[test]
fn a_notifications_sender_is_not_proved() {
    let event = |from: &str| rule(from, Subject::Event(Pattern::new("ERREUR")));
    let other = rule("vm-a", Subject::Event(Pattern::new("FICHIER")));
    for (property, rules, said, proved) in [
        (Some("vm-a"), vec![event("vm-a")], "vm-a", "mqtt"),
        // The broker lets nobody publish it but those who may; who of them has, it does not say.
        (Some("vm-b"), vec![event("vm-a")], "not_allowed", "mqtt"),
        (Some("vm-a"), vec![other], "not_allowed", "not_allowed"),
        (None, vec![event("mqtt")], "Dom0", "Dom0"),
        (Some("vm-gui"), vec![event("mqtt")], "Dom0", "mqtt"),
    ] {
        for (names, wanted) in [(Names::Said, said), (Names::Proved, proved)] {
            let rules = rules.clone();
            let policy = Policy { otherwise: Otherwise::Deny, rules, ..Policy::default() };
            let payload = "{\"module\":\"m\",\"datetime\":\"d\",\"level\":1,\"description\":\"d\"}";
            let mut message = request("", "x", "", payload);
            message.topic = "system/events/error/notification".into();
            message.source = property.map(Into::into);
            let effects = play(names, policy).mqtt(&message);
            assert_eq!(outcome(&effects, "vm-gui"), wanted, "{names:?} {property:?}: {effects:#?}");
        }
    }
}

#[test]
fn an_answer_is_its_rows_handlers() {
    for (property, names, wanted) in [
        (Some("vm-b"), Names::Said, "vm-b"),
        (Some("vm-b"), Names::Proved, "sys-usb"),
        (Some("sys-usb"), Names::Proved, "sys-usb"),
        (None, Names::Proved, "sys-usb"),
    ] {
        let mut gateway = gateway(&["vm-gui"]);
        gateway.set_policy(Policy { names, ..Policy::default() });
        let mut play = Play::with(gateway);
        play.line(&command("vm-gui", "sys-usb", "liste_disques", "{}"));
        let mut answer = request(LIST, "vm-gui", "call-dom0-vm-gui-1/sys-usb", "{\"disks\":[]}");
        answer.topic = format!("{LIST}/response/vm-gui");
        answer.source = property.map(Into::into);
        let effects = play.mqtt(&answer);
        assert_eq!(outcome(&effects, "vm-gui"), wanted, "{names:?} {property:?}: {effects:#?}");
    }
}

#[test]
fn every_handler_of_the_shipped_mapping_is_a_domain() {
    for name in seed().domains() {
        assert!(name.is_dom0() || name.meaning().is_none(), "{name}");
    }
}
