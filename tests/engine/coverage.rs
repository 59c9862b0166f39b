//! Learning what a mapping covers, from bytes as they pass.

use crate::kit::{command, compile, name, notification as event, response, root, seed, setting};
use passerelle::diagnostic::Source;
use passerelle::engine::clock::Now;
use passerelle::engine::coverage::{Book, Coverage, Row, Speaker, Verdict, read, write};
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::refusal::Reason;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn now() -> Now {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    Now { monotonic: Duration::ZERO, wall }
}

fn with_limits(limits: Limits) -> Coverage {
    Coverage::new(setting(seed(), limits), Book::new(now().wall))
}

fn coverage() -> Coverage {
    with_limits(Limits::default())
}

/// What has been heard of a domain: name, verdict and how often.
fn heard(coverage: &Coverage, domain: &str) -> Vec<(String, Verdict, u64)> {
    let page = coverage.book().pages.get(&name(domain));
    let entries = page.iter().flat_map(|p| &p.entries);
    entries.map(|(k, e)| (k.name.clone(), k.verdict.clone(), e.count)).collect()
}

#[test]
fn each_message_is_judged_as_if_its_receiver_had_moved() {
    let row = |name: &str| Verdict::Covered(name.into());
    let refused = Verdict::Refused;
    for (line, verdict) in [
        (command("vm-gui", "sys-usb", "liste_disques", "{}"), row("LISTE_DISQUES")),
        (
            command(
                "vm-gui",
                "dom0",
                "create_file",
                r#"{"filepath":"f","disk":"__repository__","contents":"c"}"#,
            ),
            row("CREATE_FILE"),
        ),
        (command("vm-gui", "tous", "liste_composants", "{}"), row("LISTE_COMPOSANTS")),
        (command("vm-gui", "tous", "own", "{}"), Verdict::LegacyOnly),
        (command("vm-gui", "vm-scan", "own", "{}"), refused(Reason::NotMapped)),
        (command("vm-gui", "sys usb", "liste_disques", "{}"), refused(Reason::BadName)),
        (command("vm-gui", "sys-usb", "liste_fichiers", "{}"), refused(Reason::MissingArgument)),
        (command("sys-usb", "vm-gui", "liste_disques", "{}"), refused(Reason::SpoofedSource)),
        // A response needs no call that was heard: whether there is one is not the mapping's matter.
        (response("vm-gui", "vm-scan", "liste_disques", r#"["D"]"#), row("LISTE_DISQUES")),
        (
            response("vm-gui", "vm-scan", "benchmark_files", r#"{"etat":"demarre"}"#),
            row("START_BENCHMARK"),
        ),
        (response("vm-gui", "vm-scan", "liste_disques", r#"{"D":1}"#), refused(Reason::BadValue)),
        (response("vm-gui", "vm-scan", "own", "1"), refused(Reason::NotMapped)),
        (event("vm-gui", "tous", "erreur", r#"{"niveau":40,"message":"m"}"#), row("ERREUR")),
        // It ends calls, and is published nowhere: that is what the mapping wants.
        (
            event("vm-gui", "tous", "fichier", r#"{"fichier":"f","etat":"supprimé"}"#),
            row("FICHIER"),
        ),
        (event("vm-gui", "tous", "disque", r#"{"nom":"D","etat":"absent"}"#), Verdict::LegacyOnly),
        (
            event("vm-gui", "vm-desk", "entree", r#"{"entree":"clavier","touche":"a"}"#),
            refused(Reason::NotMapped),
        ),
        (event("vm-gui", "Dom0", "etat_domu", r#"{"pret":1}"#), Verdict::Gateway),
        (event("vm-gui", "Dom0", "etat_domu", r#"{"pret":2}"#), refused(Reason::BadValue)),
        ("[1,2]".into(), refused(Reason::NotAnEnvelope)),
    ] {
        let mut coverage = coverage();
        coverage.hear(&name("vm-gui"), Speaker::Domain, format!("{line}\n").as_bytes(), now());
        let verdicts: Vec<Verdict> =
            heard(&coverage, "vm-gui").into_iter().map(|(_, verdict, _)| verdict).collect();
        assert_eq!(verdicts, [verdict], "{line}");
    }
}

#[test]
fn a_command_is_judged_in_the_dialect_of_who_it_is_for() {
    let file = |name: &str, text: String| Arc::new(Source { name: name.into(), text });
    let seeds = std::fs::read_to_string(root().join("mappings/psec.toml")).unwrap();
    let other = "dialect = \"other\"\n[[command]]\nname = \"OWN\"\nlegacy = \"own\"\n\
        topic = \"own/thing\"\nhandler = \"sys-usb\"\n[[command.answer]]\nreponse = \"own\"\n";
    let mut speaks = Speaks::default();
    speaks.domains.insert(name("sys-usb"), "other".into());
    let files = [file("psec.toml", seeds), file("other.toml", other.into())];
    let table = Table::compile(&files, &speaks).unwrap();
    let mut coverage = Coverage::new(setting(table, Limits::default()), Book::new(now().wall));
    for to in ["sys-usb", "vm-disks"] {
        let line = command("vm-gui", to, "own", "{}") + "\n";
        coverage.hear(&name("vm-gui"), Speaker::Domain, line.as_bytes(), now());
    }
    let verdicts: Vec<_> = heard(&coverage, "vm-gui").into_iter().map(|h| h.1).collect();
    let not_mapped = Verdict::Refused(Reason::NotMapped);
    assert_eq!(verdicts, [Verdict::Covered("OWN".into()), not_mapped]);
}

#[test]
fn of_the_router_only_its_own_words_count() {
    let mut coverage = coverage();
    for line in [
        response("Dom0", "vm-gui", "liste_fichiers", r#"{"disk":"__repository__","files":[]}"#),
        response("sys-usb", "vm-gui", "liste_disques", "[]"),
        "no message".into(),
    ] {
        coverage.hear(&name("vm-gui"), Speaker::Router, format!("{line}\n").as_bytes(), now());
    }
    assert_eq!(heard(&coverage, "vm-gui"), []);
    assert_eq!(heard(&coverage, "Dom0"), [("liste_fichiers".into(), Verdict::Dom0, 1)]);
}

#[test]
fn what_a_domain_invents_is_bounded() {
    let mut coverage = coverage();
    let long = "x".repeat(2000);
    for i in 0..1000 {
        let line = command("vm-gui", &format!("d{i}"), &format!("{i}{long}"), "{}") + "\n";
        coverage.hear(&name("vm-gui"), Speaker::Domain, line.as_bytes(), now());
    }
    let page = &coverage.book().pages[&name("vm-gui")];
    assert_eq!((page.entries.len(), page.others), (200, 800));
    assert!(write(coverage.book()).len() < 500_000);
    for i in 0..1000 {
        let line = command("d", "d", "c", "{}") + "\n";
        coverage.hear(&name(&format!("d{i}")), Speaker::Domain, line.as_bytes(), now());
    }
    assert_eq!((coverage.book().pages.len(), coverage.book().others), (256, 745));
}

#[test]
fn examples_that_differ_are_kept_and_bounded() {
    let mut coverage = coverage();
    let long = "x".repeat(1800);
    for name_of in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        for i in 0..20 {
            for value in [&long, "y"] {
                let line = command("vm-gui", "vm-b", name_of, &format!(r#"{{"m{i}":"{value}"}}"#));
                coverage.hear(&name("vm-gui"), Speaker::Domain, (line + "\n").as_bytes(), now());
            }
        }
    }
    let page = &coverage.book().pages[&name("vm-gui")];
    let more = |entry: &passerelle::engine::coverage::Entry| entry.more.len();
    assert!(page.entries.values().all(|entry| entry.count == 40 && more(entry) <= 7));
    let kept: usize =
        page.entries.values().flat_map(|entry| entry.more.values()).map(String::len).sum();
    assert!((40_000..65_536).contains(&kept), "{kept}");
    assert_eq!(read(&write(coverage.book())).unwrap(), *coverage.book());
}

#[test]
fn an_answer_belongs_to_the_command_that_was_open() {
    let mut coverage = coverage();
    let say = |coverage: &mut Coverage, from: &str, line: String| {
        coverage.hear(&name(from), Speaker::Domain, (line + "\n").as_bytes(), now());
    };
    let ask = |coverage: &mut Coverage, what: &str, m: u8| {
        say(coverage, "vm-a", command("vm-a", "vm-b", what, &format!(r#"{{"m":"{m}"}}"#)));
    };
    let tell = |coverage: &mut Coverage, what: &str, m: u8| {
        say(coverage, "vm-b", response("vm-b", "vm-a", what, &format!(r#"{{"of":"{m}","n":1}}"#)));
    };
    for (what, m) in [("un", 1), ("deux", 2)] {
        ask(&mut coverage, what, m);
        tell(&mut coverage, "fait", m);
        tell(&mut coverage, "fini", m);
    }
    // Both are open: what it repeats tells which is over, and nobody knows it for sure.
    ask(&mut coverage, "un", 3);
    ask(&mut coverage, "deux", 4);
    tell(&mut coverage, "fait", 4);
    tell(&mut coverage, "fait", 3);
    // Another domain's are no concern of theirs.
    say(&mut coverage, "vm-c", response("vm-c", "vm-a", "fait", "{}"));
    let entries = &coverage.book().pages[&name("vm-b")].entries;
    let found = |what: &str, command: &str| {
        let (_, entry) = entries.iter().find(|(key, _)| key.name == what).unwrap();
        let answers = &entry.answers[command];
        let repeats = answers.repeats.get(&("of".to_owned(), "m".to_owned())).copied();
        (answers.alone, answers.among, answers.again, repeats)
    };
    assert_eq!(found("fait", "un"), (2, 1, 0, Some(2)));
    assert_eq!(found("fait", "deux"), (1, 1, 0, Some(2)));
    assert_eq!(found("fini", "un"), (1, 0, 1, Some(1)));
    assert!(coverage.book().pages[&name("vm-c")].entries.values().all(|e| e.answers.is_empty()));
}

#[test]
fn a_line_over_the_limit_and_one_that_was_not_heard_whole_are_told() {
    let mut coverage = with_limits(Limits { line: 300, ..Limits::default() });
    let gui = name("vm-gui");
    let good = command("vm-gui", "sys-usb", "liste_disques", "{}");
    let (before, after) = good.split_at(40);
    // It begins in the middle.
    coverage.opened(&gui, Speaker::Domain);
    coverage.hear(&gui, Speaker::Domain, format!("{after}\n{good}\n").as_bytes(), now());
    // A piece is missing, and with it two lines.
    coverage.hear(&gui, Speaker::Domain, before.as_bytes(), now());
    coverage.missed(&gui, Speaker::Domain, 1000);
    coverage.hear(&gui, Speaker::Domain, format!("{after}\n{good}\n").as_bytes(), now());
    coverage.hear(&gui, Speaker::Domain, format!("{}\n", "x".repeat(301)).as_bytes(), now());
    let too_long = (String::new(), Verdict::Refused(Reason::LineTooLong), 1);
    let listed = ("liste_disques".to_owned(), Verdict::Covered("LISTE_DISQUES".into()), 2);
    assert_eq!(heard(&coverage, "vm-gui"), [too_long, listed]);
    let page = &coverage.book().pages[&gui];
    assert_eq!((page.torn, page.unheard, page.others), (1, 1000, 0));
}

#[test]
fn long_lines_give_way_while_all_together_hold_too_much() {
    let limits = Limits { memory: 10_000, ..Limits::default() };
    let mut coverage = with_limits(limits);
    for i in 0..10 {
        let domain = name(&format!("d{i}"));
        coverage.hear(&domain, Speaker::Domain, &[b'x'; 2000], now());
        // What was held back is given up with the next bytes, and is not called too long.
        coverage.hear(&domain, Speaker::Domain, b"x\n", now());
    }
    for i in 0..10 {
        coverage.hear(&name(&format!("d{i}")), Speaker::Domain, &[b'x'; 2000], now());
    }
    for i in 0..10 {
        coverage.hear(&name(&format!("d{i}")), Speaker::Domain, b"x", now());
    }
    let unheard: u64 = coverage.book().pages.values().map(|p| p.unheard).sum();
    assert!(unheard > 0);
    let too_long = Verdict::Refused(Reason::LineTooLong);
    let pages = coverage.book().pages.values();
    assert!(pages.flat_map(|p| p.entries.keys()).all(|k| k.verdict != too_long));
}

#[test]
fn who_has_begun_a_long_line_and_says_no_more_gives_way_too() {
    let mut coverage = with_limits(Limits { memory: 10_000, ..Limits::default() });
    let [idle, other] = ["d0", "d1"].map(name);
    coverage.hear(&idle, Speaker::Domain, &[b'x'; 8000], now());
    coverage.hear(&other, Speaker::Domain, &[b'x'; 2000], now());
    let unheard = |coverage: &Coverage| coverage.book().pages.get(&idle).map_or(0, |p| p.unheard);
    assert_eq!(unheard(&coverage), 0, "it is as much as there may be");
    coverage.hear(&other, Speaker::Domain, b"x", now());
    assert!(unheard(&coverage) > 0);
}

#[test]
fn examples_are_judged_again_by_the_mapping_of_now() {
    let mut coverage = coverage();
    let said = command("vm-gui", "vm-scan", "own", "{}") + "\n";
    let disk = event("vm-gui", "tous", "disque", r#"{"nom":"D","etat":"absent"}"#) + "\n";
    coverage.hear(&name("vm-gui"), Speaker::Domain, (said.clone() + &disk).as_bytes(), now());
    let files = ["psec.toml", "psec-extended.toml"].map(|f| root().join("mappings").join(f));
    let now_mapped = setting(compile(&files, &Speaks::default()), Limits::default());
    // The same under the new mapping: one row in the table, with both counts.
    let mut later = Coverage::new(now_mapped.clone(), read(&write(coverage.book())).unwrap());
    later.hear(&name("vm-gui"), Speaker::Domain, disk.as_bytes(), now());
    let rows: Vec<Row> = later.book().judged(&now_mapped, now());
    let shown: Vec<_> =
        rows.iter().map(|r| (&*r.key.name, &r.key.verdict, r.entry.count)).collect();
    let disque = Verdict::Covered("DISQUE".into());
    let own = Verdict::Refused(Reason::NotMapped);
    assert_eq!(shown, [("own", &own, 1), ("disque", &disque, 2)]);
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(command("vm-gui", "sys-usb", "liste_disques", "{}").into_bytes()),
        "[a-z]{1,3}".prop_map(|n| command("vm-gui", "Dom0", &n, "{}").into_bytes()),
        Just(event("vm-gui", "tous", "erreur", r#"{"niveau":10,"message":"\udce9"}"#).into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_the_same_however_bytes_are_cut_and_is_read_as_it_was_written(
        lines in proptest::collection::vec(any_line(), 0..6),
        size in 3usize..60,
    ) {
        let bytes: Vec<u8> = lines.join(&b'\n');
        let (mut whole, mut cut) = (coverage(), coverage());
        whole.hear(&name("vm-gui"), Speaker::Domain, &bytes, now());
        for piece in bytes.chunks(size) {
            cut.hear(&name("vm-gui"), Speaker::Domain, piece, now());
        }
        prop_assert_eq!(whole.book(), cut.book());
        prop_assert_eq!(&read(&write(whole.book())), &Ok(whole.book().clone()));
    }
}
