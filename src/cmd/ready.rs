//! `passerelle ready`: whether the gateway can go.

use super::{ConfigFile, GOOD, Out, ask, bad, load_bare, trouble};
use crate::config::Bare;
use crate::edge::control::Request;
use crate::edge::lock::Holder;
use crate::edge::memory::{look, monotonic};
use crate::engine::status::{Readiness, SeenRecord};
use crate::printable;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How many commands and events of one domain are shown.
const SHOWN: usize = 20;

const MORE: &str = "\
Examples:
  passerelle ready
  passerelle ready --quiet-for 30d && rc-service passerelle stop

Exit codes:
  0  no domain has spoken legacy for so long
  1  one has, or the gateway does not run or has not watched for so long
  2  it cannot be told: the configuration is wrong, or a file cannot be read or written";

/// Arguments of `ready`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// How long no domain may have spoken legacy
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time_span)]
    quiet_for: Duration,
}

/// Runs it: 0 if no domain has spoken legacy for long enough, seen by a gateway that runs; 1 if one
/// has, or the gateway does not run or has not watched for so long; 2 if that cannot be told.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let Ok(config) = load_bare(&args.config, out) else { return trouble() };
    match remembered(&config) {
        Ok(Remembered::Record { record, running }) => tell(&record, running, args.quiet_for, out),
        Ok(Remembered::Nothing(why)) => {
            out.say(format_args!("not ready: {why}\n"));
            bad()
        }
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}

/// Who has spoken legacy, as far as it is known.
pub(super) enum Remembered {
    /// This is; and whether the gateway runs.
    Record { record: Box<SeenRecord>, running: bool },
    /// Nothing is, and this is why.
    Nothing(String),
}

/// Who has spoken legacy: asked of the gateway that runs, or else as it is kept.
///
/// # Errors
/// Why it cannot be told.
pub(super) fn remembered(config: &Bare) -> Result<Remembered, String> {
    let asked = ask(config, Request::Ready).ok();
    if let Some(record) = asked.and_then(|record| serde_json::from_value(record).ok()) {
        return Ok(Remembered::Record { record, running: true });
    }
    let kept = look(&config.state_dir)?;
    if let Some(Holder { pid, since, .. }) = kept.observer() {
        let since = printable::text(since);
        return Ok(Remembered::Nothing(format!(
            "the gateway observes (process {pid}, since {since}): the old router is in charge"
        )));
    }
    if !kept.is_believed() {
        let folder = config.state_dir.display();
        return Err(format!("{folder}: the gateway runs and cannot write there: see its log"));
    }
    let running = kept.running.is_some();
    Ok(match kept.record {
        Some(record) => Remembered::Record { record: Box::new(record), running },
        None => Remembered::Nothing(nothing_kept(running, &config.state_dir)),
    })
}

fn tell(record: &SeenRecord, running: bool, quiet_for: Duration, out: &mut Out) -> ExitCode {
    let verdict = record.verdict(running.then(monotonic), quiet_for);
    out.say(answer(record, &verdict, running, quiet_for));
    if running && verdict.is_ready() { GOOD } else { bad() }
}

fn nothing_kept(running: bool, folder: &Path) -> String {
    let folder = folder.display();
    match running {
        true => format!("the gateway has just begun to watch; nothing is in {folder} yet"),
        false => format!("no gateway has run with this `state_dir`: nothing is in {folder}"),
    }
}

fn answer(record: &SeenRecord, verdict: &Readiness, running: bool, quiet_for: Duration) -> String {
    let mut out = String::new();
    let wanted = spoken(quiet_for);
    if running && verdict.is_ready() {
        let _ = writeln!(out, "ready: no domain has spoken legacy for {wanted}");
    }
    if !running {
        let saved = &record.saved;
        let _ = writeln!(out, "not ready: the gateway does not run; it last wrote on {saved}");
    }
    if !verdict.speaking.is_empty() {
        let who = match verdict.speaking.len() {
            1 => "1 domain has".to_owned(),
            n => format!("{n} domains have"),
        };
        let _ = writeln!(out, "not ready: {who} spoken legacy in the last {wanted}:");
    }
    for (domain, said) in &verdict.speaking {
        let last = said.first().map(|q| (age(q.age), q.seen.last.as_str()));
        let (ago, last) = last.unwrap_or_default();
        let _ = writeln!(out, "  {domain}: last {ago} ago, on {last}");
        for quiet in said.iter().take(SHOWN) {
            let seen = &quiet.seen;
            let (kind, name) = (seen.spoke.as_str(), printable::text(&seen.name));
            let (count, ago) = (seen.count, age(quiet.age));
            let _ = writeln!(out, "    {kind} {name}: {count} in all, last {ago} ago");
        }
        if said.len() > SHOWN {
            let _ = writeln!(out, "    and {} more", said.len() - SHOWN);
        }
    }
    if !verdict.long_enough {
        let _ = writeln!(out, "not ready: it has not watched for {wanted} yet");
    }
    let (since, watched) = (&record.watching_since, age(verdict.watched));
    let _ = writeln!(out, "It watches since {since}, and has watched for {watched}.");
    if let Some(place) = &record.set_aside {
        let _ = writeln!(out, "An earlier memory could not be read and was set aside: {place}");
    }
    out
}

/// A time span with its two largest units.
pub(super) fn age(span: Duration) -> String {
    let text = humantime::format_duration(span).to_string();
    let units = text.split(' ').take(2).map(apart);
    units.collect::<Vec<_>>().join(" ")
}

/// A time span with all its units.
pub(super) fn spoken(span: Duration) -> String {
    let text = humantime::format_duration(span).to_string();
    text.split(' ').map(apart).collect::<Vec<_>>().join(" ")
}

/// A number and its unit: `7days` is `7 days`, and `30s` stays as it is.
fn apart(text: &str) -> String {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(unit).unwrap_or_default();
    let blank = if unit.len() > 2 { " " } else { "" };
    format!("{number}{blank}{unit}")
}

pub(super) fn time_span(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "write 7d, 12h, 30m or 10s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_said_as_one_says_it() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        assert_eq!(spoken(hours(7 * 24)), "7 days");
        assert_eq!(spoken(hours(24) + Duration::from_secs(30)), "1 day 30s");
        assert_eq!(age(hours(49) + Duration::from_secs(61)), "2 days 1h");
    }
}
