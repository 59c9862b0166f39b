//! The policy in every direction: what it lets through, and who is told what it does not.

use crate::kit::{Play, command, gateway, notification, request, response};
use passerelle::config::policy_of;
use passerelle::diagnostic::Source;
use passerelle::engine::policy::Policy;
use std::sync::Arc;

fn policy(text: &str) -> Policy {
    let source = Arc::new(Source { name: "p.toml".into(), text: text.into() });
    policy_of(&source).unwrap_or_else(|found| panic!("{found:?}"))
}

/// Everything is denied but what these rules, one a line, allow.
fn denying(legacy: &[&str], rules: &str) -> Play {
    let rules = rules.lines().map(str::trim).filter(|l| !l.is_empty());
    let rules: String =
        rules.map(|rule| format!("[[allow]]\n{}\n", rule.replace("; ", "\n"))).collect();
    let mut gateway = gateway(legacy);
    gateway.set_policy(policy(&format!("policy = \"deny\"\n{rules}")));
    Play::with(gateway)
}

/// Whether it is refused by the policy, and by nothing else.
#[track_caller]
fn is_denied(effects: &[String]) -> bool {
    let denied = effects.iter().any(|e| e.starts_with("{\"refused\":\"not_allowed\""));
    let refused = effects.iter().any(|e| e.starts_with("{\"refused\""));
    assert_eq!(denied, refused, "{effects:#?}");
    denied
}

fn has(effects: &[String], start: &str) -> bool {
    effects.iter().any(|e| e.starts_with(start))
}

const LIST: &str = "system/disks/list_disks";
const NEW_FILE: &str = "system/disk/new_file/notification";

fn list(from: &str, to: &str) -> String {
    command(from, to, "liste_disques", "{}")
}

#[test]
fn between_legacy_domains() {
    let rules = "from = \"vm-gui\"; command = \"LISTE_*\"; to = \"sys-usb\"
        from = \"vm-gui\"; command = \"own_*\"; to = \"sys-usb\"
        from = \"sys-usb\"; event = \"disque\"; to = \"vm-gui\"";
    let mut play = denying(&["vm-gui", "sys-usb", "vm-scan"], rules);
    let passed = "{\"write\":\"sys-usb\"";
    for (line, allowed) in [
        (list("vm-gui", "sys-usb"), true),
        (command("vm-gui", "sys-usb", "own_command", "{}"), true),
        (list("vm-gui", "vm-scan"), false),
        (list("vm-scan", "sys-usb"), false),
        (command("vm-gui", "sys-usb", "lit_fichier", "{}"), false),
        (command("vm-gui", "sys-usb", "unknown", "{}"), false),
        (notification("vm-gui", "sys-usb", "disque", "{}"), false),
    ] {
        let effects = play.line(&line);
        assert_eq!(is_denied(&effects), !allowed, "{line}");
        assert_eq!(has(&effects, passed), allowed, "{line}: {effects:#?}");
        // Who asks is told; who announces something is not.
        let told = effects.iter().any(|e| e.contains("not_allowed: the policy does not let"));
        assert_eq!(told, !allowed && line.contains("commande"), "{line}: {effects:#?}");
        play.elapse(1);
    }
    assert!(has(
        &play.line(&notification("sys-usb", "vm-gui", "disque", "{}")),
        "{\"write\":\"vm-gui\""
    ));
    // Answers to calls that are allowed, mapped or not, and to no others.
    for (line, allowed) in [
        (response("sys-usb", "vm-gui", "liste_disques", "[]"), true),
        (response("sys-usb", "vm-gui", "own_command", "1"), true),
        (response("sys-usb", "vm-gui", "unknown", "1"), false),
        (response("sys-usb", "vm-scan", "liste_disques", "[]"), false),
        (response("vm-gui", "sys-usb", "liste_disques", "[]"), false),
        (response("sys-usb", "tous", "liste_disques", "[]"), false),
    ] {
        let effects = play.line(&line);
        assert_eq!(is_denied(&effects), !allowed, "{line}");
        assert_eq!(has(&effects, "{\"write\""), allowed, "{line}: {effects:#?}");
        play.elapse(1);
    }
}

#[test]
fn what_goes_to_mqtt_has_to_be_allowed_for_the_one_who_carries_it_out() {
    let mut play =
        denying(&["vm-gui"], "from = \"vm-gui\"; command = \"LISTE_*\"; to = \"sys-usb\"");
    let files = |to: &str, disk: &str| {
        command("vm-gui", to, "liste_fichiers", &format!("{{\"nom_disque\":\"{disk}\"}}"))
    };
    for (line, allowed) in [
        (list("vm-gui", "sys-usb"), true),
        (files("sys-usb", "KEY"), true),
        // Dom0's listing, addressed to sys-usb.
        (files("sys-usb", "__repository__"), false),
        (files("Dom0", "__repository__"), false),
        // sys-usb carries it out, whomever it is addressed to; but nobody else may be asked.
        (list("vm-gui", "vm-other"), false),
        (list("vm-gui", "tous"), false),
    ] {
        let effects = play.line(&line);
        assert_eq!(is_denied(&effects), !allowed, "{line}");
        let published = has(&effects, "{\"publish\":\"system/disks");
        assert_eq!(published, allowed, "{line}: {effects:#?}");
        play.elapse(1);
    }
    // The answer to an allowed call.
    let mut answer = request(LIST, "vm-gui", "call-dom0-vm-gui-1/sys-usb", "{\"disks\":[]}");
    answer.topic = format!("{LIST}/response/vm-gui");
    answer.source = Some("sys-usb".into());
    assert!(has(&play.mqtt(&answer), "{\"write\":\"vm-gui\""));
}

#[test]
fn requests_from_mqtt() {
    let mut play = denying(&["sys-usb"], "from = \"vm-scan\"; command = \"LISTE_*\"");
    let effects = play.mqtt(&request(LIST, "vm-scan", "1", "{}"));
    assert!(has(&effects, "{\"write\":\"sys-usb\""), "{effects:#?}");
    // The answer to an allowed call.
    let effects = play.line(&response("sys-usb", "vm-scan", "liste_disques", "[]"));
    assert!(has(&effects, &format!("{{\"publish\":\"{LIST}/response/vm-scan\"")), "{effects:#?}");
    for (message, told) in [
        (request(LIST, "vm-gui", "2", "{}"), false),
        (
            request(
                "system/disks/read_file",
                "vm-scan",
                "3",
                "{\"source_disk\":\"D\",\"filepath\":\"f\"}",
            ),
            true,
        ),
    ] {
        let effects = play.mqtt(&message);
        assert!(is_denied(&effects) && !has(&effects, "{\"write\""), "{effects:#?}");
        // The response has a status, or there is no way to say it.
        let failure = effects.iter().any(|e| e.contains("\"payload\":{\"status\":\"error\"}"));
        assert_eq!(failure, told, "{effects:#?}");
        play.elapse(1);
    }
    // Who does not say a name is `mqtt`, which a rule may allow like any other.
    let mut nobody = request(LIST, "x", "4", "{}");
    (nobody.response_topic, nobody.source) = (None, None);
    assert!(is_denied(&play.mqtt(&nobody)));
    play.gateway.set_policy(policy("policy = \"deny\"\n[[allow]]\nfrom = \"mqtt\"\n"));
    assert!(has(&play.mqtt(&nobody), "{\"write\":\"sys-usb\""));
}

#[test]
fn an_answer_that_nobody_waits_for_goes_where_the_call_may_come_from() {
    let rules = "from = \"vm-scan\"; command = \"LISTE_DISQUES\"; to = \"sys-usb\"
        from = \"vm-gui\"; command = \"LISTE_DISQUES\"; to = \"sys-net\"";
    let mut play = denying(&["sys-usb", "vm-gui"], rules);
    for (to, allowed) in [("vm-scan", true), ("vm-other", false)] {
        let effects = play.line(&response("sys-usb", to, "liste_disques", "[]"));
        assert_eq!(is_denied(&effects), !allowed, "{to}");
    }
    for (from, allowed) in [("sys-net", true), ("vm-scan", false)] {
        let mut answer = request(LIST, "vm-gui", "", "{\"disks\":[]}");
        answer.topic = format!("{LIST}/response/vm-gui");
        (answer.correlation, answer.source) = (None, Some(from.into()));
        let effects = play.mqtt(&answer);
        assert_eq!(is_denied(&effects), !allowed, "{from}: {effects:#?}");
    }
}

#[test]
fn notifications_both_ways() {
    let rules = "from = \"sys-usb\"; event = \"FICHIER\"
        from = \"vm-scan\"; event = \"*\"; to = \"tous\"
        from = \"vm-gui\"; event = \"*\"; to = \"sys-usb\"";
    let mut play = denying(&["sys-usb", "vm-gui"], rules);
    let file = "{\"fichier\":\"f\",\"disk\":\"D\",\"etat\":\"disponible\"}";
    for (line, allowed) in [
        (notification("sys-usb", "tous", "fichier", file), true),
        (notification("sys-usb", "tous", "unknown", "{}"), false),
        (notification("sys-usb", "vm-scan", "erreur", "{\"niveau\":1,\"message\":\"m\"}"), false),
        // It may tell sys-usb; everyone is more than that, and so is whoever is on MQTT.
        (notification("vm-gui", "tous", "fichier", file), false),
        (notification("vm-gui", "vm-scan", "fichier", file), false),
        (notification("vm-gui", "sys-usb", "fichier", file), true),
        (notification("vm-gui", "Dom0", "etat_domu", "{\"pret\":1}"), false),
    ] {
        let effects = play.line(&line);
        assert_eq!(is_denied(&effects), !allowed, "{line}");
        assert_eq!(has(&effects, "{\"write\""), allowed, "{line}: {effects:#?}");
        play.elapse(1);
    }
    for (from, allowed) in
        [(Some("vm-scan"), true), (Some("vm-x"), false), (None, false), (Some("vm-gui"), false)]
    {
        let mut message = request(
            "",
            "x",
            "",
            "{\"module\":\"m\",\"datetime\":\"d\",\"level\":1,\"description\":\"d\"}",
        );
        message.topic = "system/events/error/notification".into();
        message.source = from.map(Into::into);
        let effects = play.mqtt(&message);
        assert_eq!(is_denied(&effects), !allowed, "{from:?}: {effects:#?}");
        play.elapse(1);
    }
}

#[test]
fn a_notification_that_belongs_to_an_allowed_call_reaches_its_requester_alone() {
    let mut play = denying(&["vm-gui", "vm-third"], "from = \"vm-gui\"; command = \"*\"");
    let read = "{\"nom_disque\":\"D\",\"chemin_fichier\":\"f\"}";
    assert!(!is_denied(&play.line(&command("vm-gui", "sys-usb", "lit_fichier", read))));
    let mut told = request(
        "",
        "x",
        "",
        "{\"disk\":\"__repository__\",\"filepath\":\"f\",\"size_in_bytes\":1}",
    );
    (told.topic, told.source) = (NEW_FILE.into(), Some("sys-usb".into()));
    let effects = play.mqtt(&told);
    assert!(has(&effects, "{\"write\":\"vm-gui\""), "{effects:#?}");
    assert!(!has(&effects, "{\"write\":\"vm-third\""), "{effects:#?}");
}

#[test]
fn a_legacy_notification_that_ends_an_allowed_call_is_its_answer_and_no_more() {
    let mut play = denying(&["sys-usb", "vm-gui"], "from = \"vm-scan\"; command = \"LIT_FICHIER\"");
    let read = request(
        "system/disks/read_file",
        "vm-scan",
        "1",
        "{\"source_disk\":\"D\",\"filepath\":\"f\"}",
    );
    play.mqtt(&read);
    let file =
        "{\"fichier\":\"f\",\"filepath\":\"f\",\"source_disk\":\"D\",\"etat\":\"disponible\"}";
    let effects = play.line(&notification("sys-usb", "tous", "fichier", file));
    assert!(
        has(&effects, "{\"publish\":\"system/disks/read_file/response/vm-scan\""),
        "{effects:#?}"
    );
    assert!(is_denied(&effects) && !has(&effects, &format!("{{\"publish\":\"{NEW_FILE}")));
    assert!(!has(&effects, "{\"write\":\"vm-gui\""), "{effects:#?}");
}

#[test]
fn everyone_is_asked_where_that_is_allowed() {
    let ask = command("vm-gui", "tous", "liste_composants", "{}");
    let mut play =
        denying(&["vm-gui", "sys-usb"], "command = \"LISTE_COMPOSANTS\"; to = \"sys-usb\"");
    let effects = play.line(&ask);
    assert!(is_denied(&effects) && !has(&effects, "{\"write\":\"sys-usb\""), "{effects:#?}");
    let mut play = denying(&["vm-gui", "sys-usb"], "command = \"LISTE_COMPOSANTS\"; to = \"tous\"");
    let effects = play.line(&ask);
    assert!(
        has(&effects, "{\"write\":\"sys-usb\"") && has(&effects, "{\"publish\""),
        "{effects:#?}"
    );
    let answer =
        response("sys-usb", "vm-gui", "etat_composant", "{\"composant\":\"a\",\"etat\":\"ok\"}");
    assert!(has(&play.line(&answer), "{\"write\":\"vm-gui\""));
    let other = command("vm-gui", "tous", "unknown", "{}");
    assert!(is_denied(&play.line(&other)));
}

/// The library's delete is a `copie_fichier` on the wire, and the receiver of a line reads the wire.
#[test]
fn a_line_under_an_alias_has_to_be_allowed_as_both() {
    let delete = command(
        "vm-gui",
        "sys-usb",
        "copie_fichier",
        "{\"nom_fichier\":\"f\",\"nom_disque\":\"D\"}",
    );
    for (rules, direct, mqtt) in [
        ("command = \"SUPPRIME_FICHIER\"", false, true),
        ("command = \"COPIE_FICHIER\"", false, false),
        ("command = \"copie_fichier\"", false, false),
        ("command = \"*_FICHIER\"", true, true),
    ] {
        let mut both = denying(&["vm-gui", "sys-usb"], rules);
        assert_eq!(!is_denied(&both.line(&delete)), direct, "{rules}");
        let mut one = denying(&["vm-gui"], rules);
        assert_eq!(!is_denied(&one.line(&delete)), mqtt, "{rules}");
    }
}

#[test]
fn of_several_reasons_the_first_counts() {
    let mut play = denying(&["vm-gui", "sys-usb"], "");
    for (domain, line, reason) in [
        ("vm-gui", command("vm-gui", "vm-x", "unknown", "{}"), "not_mapped"),
        ("vm-gui", command("vm-gui", "vm-x", "lit_fichier", "{}"), "missing_argument"),
        ("vm-gui", command("vm-gui", "vm/x", "liste_disques", "{}"), "bad_name"),
        ("vm-gui", command("vm-x", "sys-usb", "liste_disques", "{}"), "spoofed_source"),
        ("vm-gui", notification("vm-gui", "tous", "erreur", "{\"niveau\":1}"), "missing_argument"),
        ("vm-gui", notification("vm-gui", "Dom0", "etat_domu", "{}"), "missing_argument"),
        ("sys-usb", response("sys-usb", "vm-x", "file_footprint", "{}"), "missing_argument"),
        ("vm-gui", command("vm-gui", "vm-x", "liste_disques", "{}"), "not_allowed"),
    ] {
        let effects = play.from(domain, &line);
        let refused = effects.iter().find(|e| e.starts_with("{\"refused\"")).expect(&line);
        assert!(refused.starts_with(&format!("{{\"refused\":\"{reason}\"")), "{line}: {refused}");
        play.elapse(1);
    }
    let mut retained = request(LIST, "vm-scan", "1", "{}");
    retained.retain = true;
    assert!(has(&play.mqtt(&retained), "{\"refused\":\"retained_request\""));
}

#[test]
fn the_default_lets_everything_through_that_could_go_before() {
    let mut open = Play::with({
        let mut gateway = gateway(&["vm-gui", "sys-usb"]);
        gateway.set_policy(policy("[[allow]]\nfrom = \"nobody\"\nto = \"nobody\"\n"));
        gateway
    });
    for line in [
        list("vm-gui", "sys-usb"),
        command("vm-gui", "sys-usb", "unknown", "{}"),
        command("vm-gui", "tous", "unknown", "{}"),
        response("sys-usb", "vm-gui", "unknown", "{}"),
        notification("sys-usb", "tous", "unknown", "{}"),
    ] {
        let effects = open.line(&line);
        assert!(has(&effects, "{\"write\"") && !is_denied(&effects), "{line}: {effects:#?}");
    }
}

#[test]
fn two_gateways_do_not_tell_each_other_of_their_notices_for_ever() {
    let mut play = denying(&["vm-gui"], "");
    let mut notice = request(
        "",
        "x",
        "",
        "{\"module\":\"passerelle\",\"datetime\":\"d\",\"level\":40,\"description\":\"d\"}",
    );
    notice.topic = "system/events/error/notification".into();
    (notice.source, notice.mark) = (Some("passerelle".into()), Some("elsewhere".into()));
    let effects = play.mqtt(&notice);
    assert!(is_denied(&effects) && !has(&effects, "{\"publish\""), "{effects:#?}");
}

#[test]
fn a_policy_changes_while_calls_are_pending() {
    let mut play = denying(&["sys-usb"], "from = \"vm-scan\"");
    play.mqtt(&request(LIST, "vm-scan", "1", "{}"));
    play.gateway.set_policy(policy("policy = \"deny\"\n"));
    assert!(is_denied(&play.mqtt(&request(LIST, "vm-scan", "2", "{}"))));
    let effects = play.line(&response("sys-usb", "vm-scan", "liste_disques", "[]"));
    assert!(has(&effects, &format!("{{\"publish\":\"{LIST}/response/vm-scan\"")), "{effects:#?}");
}
