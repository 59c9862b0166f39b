//! The status as a table of at most 80 columns.

use crate::printable::text as clean;
use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

const WIDTH: usize = 80;

/// The table, in colour. What it shows may come from the broker, where anybody may have put it: then figures
/// may be old.
pub(super) fn table(
    instance: &str,
    gateway: Option<&Value>,
    domains: &BTreeMap<String, Value>,
    is_of_now: bool,
    now: SystemTime,
) -> String {
    let mut out = String::new();
    head(&mut out, instance, gateway, now);
    if let Some(line) = out.lines().next().map(str::to_owned) {
        let online = gateway.is_some_and(|gateway| gateway["state"] == "online");
        let colour = if online { GREEN } else { RED };
        out.replace_range(..line.len(), &paint(&line, colour));
    }
    if domains.is_empty() {
        out.push_str("\nno domain has been here\n");
        return out;
    }
    let columns = ("DOMAIN", "STATE", "SINCE", "LEGACY", "CALLS", "RECEIVED", "REFUSED");
    let (a, b, c, d, e, f, g) = columns;
    let columns = format!("{a:24} {b:19} {c:>5} {d:>6} {e:>5} {f:>8} {g:>7}");
    let _ = writeln!(out, "\n{}", paint(&columns, Style::new().bold()));
    let mut notes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut reasons = String::new();
    for (name, domain) in domains {
        let counters = &domain["counters"];
        let refused = counters["refused"].as_object().map(|o| o.values().filter_map(Value::as_u64));
        let _ = writeln!(
            out,
            "{:24} {} {:>5} {:>6} {:>5} {:>8} {:>7}",
            fit(name, 24),
            paint(&format!("{:19}", fit(&state(domain), 19)), colour_of(domain)),
            age(&domain["since"], now),
            age(&domain["last_legacy"], now),
            short(domain["calls_pending"].as_u64()),
            short(counters["received"].as_u64()),
            short(refused.map(Iterator::sum)),
        );
        if let Some(cause) = domain["cause"].as_str() {
            notes.entry(cause).or_default().push(clean(name).into_owned());
        }
        reasons.push_str(&refusals(name, &counters["refused"]));
    }
    for (cause, names) in notes {
        let _ = write!(out, "\n{}", wrap(&format!("{}: {}", names.join(", "), clean(cause))));
    }
    if !reasons.is_empty() {
        let _ = write!(out, "\n{reasons}");
        let old = if is_of_now { "" } else { " Figures may be 10 s old." };
        out.push_str(&wrap(&format!("The log has what was refused.{old}")));
    }
    out
}

/// Why messages of a domain were refused, the most frequent reason first; nothing if none was.
fn refusals(name: &str, refused: &Value) -> String {
    let mut reasons: Vec<_> = refused.as_object().into_iter().flatten().collect();
    if reasons.is_empty() {
        return String::new();
    }
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(count.as_u64()));
    let reasons = reasons.iter().map(|(why, n)| format!("{} {}", clean(why), short(n.as_u64())));
    wrap(&format!("{}: refused: {}", clean(name), reasons.collect::<Vec<_>>().join(", ")))
}

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// Red needs somebody's hand, yellow may, green has moved.
fn colour_of(domain: &Value) -> Style {
    match domain["state"].as_str() {
        Some("mqtt") => GREEN,
        Some("legacy") => Style::new(),
        Some("silent" | "absent" | "waiting_for_connect" | "unavailable") => YELLOW,
        _ => RED,
    }
}

fn paint(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// That a gateway observes.
pub(super) fn observing(instance: &str, gateway: &Value, now: SystemTime) -> String {
    let (since, pid) = (age(&gateway["since"], now), &gateway["pid"]);
    let mut out = wrap(&format!(
        "passerelle {instance}: observes for {since}, process {pid}: the old router is in charge, and nothing \
         goes to MQTT; `passerelle coverage` shows what it has heard"
    ));
    socket_errors(&mut out, gateway);
    out
}

fn socket_errors(out: &mut String, gateway: &Value) {
    for error in gateway["socket_errors"].as_array().into_iter().flatten() {
        let error = error.as_str().unwrap_or("?");
        out.push_str(&wrap(&format!("the folder of sockets {}", clean(error))));
    }
}

fn head(out: &mut String, instance: &str, gateway: Option<&Value>, now: SystemTime) {
    let Some(gateway) = gateway else {
        let text = format!(
            "passerelle {instance}: unknown to the broker: it has not run there, or the broker has forgotten"
        );
        return out.push_str(&wrap(&text));
    };
    let since = age(&gateway["since"], now);
    if gateway["state"] != "online" {
        let when = if since == "-" { String::new() } else { format!(" for {since}") };
        let cause = clean(gateway["cause"].as_str().unwrap_or("no cause given"));
        let text = format!("passerelle {instance}: OFFLINE{when}: {cause}");
        out.push_str(&wrap(&text));
        return out.push_str("What follows was so when it went.\n");
    }
    let version = clean(gateway["version"].as_str().unwrap_or("?"));
    out.push_str(&wrap(&format!("passerelle {instance}: online for {since}, version {version}")));
    for mapping in gateway["mappings"].as_array().into_iter().flatten() {
        let file = Path::new(mapping["file"].as_str().unwrap_or("?"));
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        let digest: String = mapping["sha256"].as_str().unwrap_or("?").chars().take(16).collect();
        out.push_str(&wrap(&format!("mapping {}, SHA-256 {}...", clean(&file), clean(&digest))));
    }
    let reload = &gateway["reload"];
    if let Some(outcome) = reload["outcome"].as_str() {
        let at = age(&reload["at"], now);
        out.push_str(&wrap(&format!("last reload {}, {at} ago", clean(outcome))));
        for finding in reload["findings"].as_array().into_iter().flatten() {
            out.push_str(&wrap(&format!("- {}", clean(finding.as_str().unwrap_or("?")))));
        }
    }
    if let Some(other) = gateway["other_gateway"].as_str() {
        out.push_str(&wrap(&format!("another gateway of this name is online: {}", clean(other))));
    }
    socket_errors(out, gateway);
    for error in gateway["store_errors"].as_array().into_iter().flatten() {
        let error = error.as_str().unwrap_or("?");
        out.push_str(&wrap(&format!("not kept on disk: {}", clean(error))));
    }
    if let Some(error) = gateway["broker_error"].as_str() {
        out.push_str(&wrap(&format!("the broker is out of reach: {}", clean(error))));
    }
    if let Some(error) = gateway["memory_error"].as_str() {
        out.push_str(&wrap(&clean(error)));
    }
}

fn state(domain: &Value) -> String {
    match domain["state"].as_str() {
        Some("waiting_for_connect") => "waiting for CONNECT".to_owned(),
        Some(state) => clean(state).into_owned(),
        None => "unreadable".to_owned(),
    }
}

/// How long ago a time was, in at most 5 characters; `-` for none.
fn age(time: &Value, now: SystemTime) -> String {
    let Some(time) = time.as_str().and_then(|t| humantime::parse_rfc3339(t).ok()) else {
        return "-".to_owned();
    };
    let seconds = now.duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", (seconds / 86_400).min(9999)),
    }
}

/// A number in at most 5 characters.
fn short(number: Option<u64>) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    let Some(mut number) = number else { return "-".to_owned() };
    if number < 100_000 {
        return number.to_string();
    }
    for unit in UNITS {
        number /= 1000;
        if number < 10_000 {
            return format!("{number}{unit}");
        }
    }
    "-".to_owned()
}

/// Text of at most so many characters; a `~` stands for what is cut off.
fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width - 1).chain(['~']).collect()
}

/// Lines of at most [`WIDTH`] characters, broken at blanks or, where there is none, anywhere.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        while column + word.len() > WIDTH {
            let rest = word.split_off(WIDTH - column);
            out.extend(word);
            out.push_str("\n  ");
            (word, column) = (rest, 2);
        }
        column += word.len();
        out.extend(word);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::status::State;
    use serde_json::json;

    /// docs/monitoring.md shows a status as it is.
    #[test]
    fn the_page_shows_what_is_printed() {
        const PAGE: &str = include_str!("../../../docs/monitoring.md");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        let ago = |minutes: u64| {
            let then = now - Duration::from_secs(minutes * 60);
            humantime::format_rfc3339_seconds(then).to_string()
        };
        let mapping = json!({"file": "/etc/passerelle/mappings/psec.toml",
            "sha256": "5d2c7a0e4b1f9c830000000000000000"});
        let gateway = json!({"state": "online", "since": ago(180), "version": "0.2.0", "mappings": [mapping]});
        let domain =
            |state: State, since: u64, last_legacy: Option<u64>, calls: u64, counters: Value| {
                json!({"state": state, "since": ago(since), "cause": state.cause(),
                "last_legacy": last_legacy.map(ago), "calls_pending": calls, "counters": counters})
            };
        let legacy =
            domain(State::Legacy, 180, Some(2), 1, json!({"received": 412, "refused": {}}));
        let silent = domain(State::Silent, 4, None, 0, json!({"received": 0, "refused": {}}));
        let refused = json!({"received": 38, "refused": {"not_mapped": 2}});
        let absent = domain(State::Absent, 9, Some(11), 0, refused);
        let domains = [("sys-usb", legacy), ("vm-gui", silent), ("vm-old", absent)];
        let domains = domains.map(|(name, domain)| (name.to_owned(), domain)).into();
        let printed = table("dom0", Some(&gateway), &domains, true, now);
        let printed = anstream::adapter::strip_str(&printed).to_string();
        let shown =
            PAGE.split_once("<!-- status -->\n```text\n").unwrap().1.split_once("```").unwrap().0;
        assert_eq!(printed, shown);
    }

    #[test]
    fn why_something_was_refused_is_told() {
        let counters = json!({"received": 9, "refused": {"not_json": 1, "not_mapped": 4}});
        let domain = json!({"state": "legacy", "counters": counters});
        let domains = BTreeMap::from([("vm-gui".to_owned(), domain)]);
        let shown = table("dom0", None, &domains, false, SystemTime::UNIX_EPOCH);
        assert!(shown.contains("\nvm-gui: refused: not_mapped 4, not_json 1\n"), "{shown}");
    }

    #[test]
    fn whatever_the_broker_has_fits_and_is_harmless() {
        let huge = "\u{1b}[2J ".to_owned() + &"x".repeat(500);
        let counters = json!({"received": u64::MAX, "refused": {"expired": 123_456_789}});
        let domain = json!({
            "state": huge, "since": "1970-01-01T00:00:00Z", "cause": huge, "last_legacy": huge,
            "calls_pending": 99_999, "counters": counters,
        });
        let mappings = json!([{"file": huge, "sha256": huge}, 7]);
        let reload = json!({"at": "1970-01-01T00:00:00Z", "outcome": huge, "findings": [huge, 7]});
        let online = json!({"state": "online", "version": huge, "mappings": mappings,
            "reload": reload, "memory_error": huge});
        let odd = ["x".repeat(64), "\u{1b}".to_owned(), "plain".to_owned()];
        let mut domains: BTreeMap<_, _> = odd.map(|n| (n, domain.clone())).into();
        domains.insert("nothing".to_owned(), Value::Null);
        for gateway in [None, Some(json!({})), Some(Value::Null), Some(online)] {
            let far = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000);
            let shown = table(&"i".repeat(64), gateway.as_ref(), &domains, true, far);
            let shown = anstream::adapter::strip_str(&shown).to_string();
            let widest = shown.lines().map(|l| l.chars().count()).max();
            assert!(widest <= Some(WIDTH), "{widest:?}\n{shown}");
            assert!(!shown.contains('\u{1b}'), "{shown}");
        }
    }

    #[test]
    fn ages_and_numbers_are_short() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        let ages = [
            "1970-01-10T23:59:48Z",
            "1970-01-10T23:00:00Z",
            "1970-01-02T00:00:00Z",
            "1971-01-01T00:00:00Z",
            "x",
        ];
        assert_eq!(ages.map(|t| age(&json!(t), now)), ["12s", "1h", "9d", "0s", "-"]);
        let numbers = [Some(99_999), Some(100_000), Some(12_345_678), Some(u64::MAX), None];
        assert_eq!(numbers.map(short), ["99999", "100k", "12M", "18E", "-"]);
    }
}
