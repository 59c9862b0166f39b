//! The page: HTML with its style in it, without a script and without anything from elsewhere.
//!
//! Whatever is from outside goes through [`shown`]; maud escapes it for HTML.

use super::chart::chart;
use super::facts::{Answer, DomainFacts, Facts, Learnt, NotYet, Side};
use super::words::{Words, meaning};
use crate::cmd::Language;
use crate::cmd::ready::{age, spoken};
use crate::engine::coverage::{Row, Verdict};
use crate::engine::legacy::Kind;
use crate::printable::text as shown;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded from anywhere, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// How many rows a table has, and how many names a domain's row.
const ROWS: usize = 40;
const NAMES: usize = 3;

/// The whole page.
pub fn page(facts: &Facts, language: Language) -> String {
    let words = Words::of(language);
    let domains = facts.domains();
    let page = html! {
        (DOCTYPE)
        html lang=(words.lang) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width";
                title { (words.title) " · " (shown(&facts.instance)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (header(facts, words))
                    (figures(facts, &domains, words))
                    (attention(facts, &domains, words))
                    (domain_table(&domains, words))
                    section {
                        h2 { (words.traffic) }
                        p.note { (words.traffic_note) }
                        @match chart(&facts.traffic(), words) {
                            Some(chart) => (chart),
                            None => p { (words.no_traffic) },
                        }
                    }
                    div.two {
                        (coverage(facts.learnt.as_ref(), words))
                        (refusals(facts, words))
                    }
                    footer { (footer(facts, words)) }
                }
            }
        }
    };
    page.into_string()
}

fn header(facts: &Facts, words: &Words) -> Markup {
    let span = spoken(facts.quiet_for);
    let answer = facts.answer();
    let (ready, title, why) = match &answer {
        Answer::Ready => (true, words.ready.to_owned(), (words.ready_why)(&span)),
        Answer::NotYet(not) => {
            let title = match not {
                NotYet::Speaking(n) => (words.speaking)(*n),
                NotYet::TooSoon => words.too_soon.to_owned(),
                NotYet::Stopped => words.stopped.to_owned(),
                NotYet::Unknown(_) => words.unknown.to_owned(),
            };
            (false, title, (words.not_ready_why)(&span))
        }
    };
    let watched = facts.record().zip(facts.readiness()).map(|(record, readiness)| {
        (words.watched)(&words.moment(&record.watching_since), &age(readiness.watched))
    });
    let version = facts.gateway().and_then(|gateway| gateway["version"].as_str());
    html! {
        header {
            p.eyebrow {
                (words.eyebrow) " · " (shown(&facts.instance))
                @if let Some(version) = version { " · passerelle " (shown(version)) }
            }
            div.verdict.ready[ready] {
                h1 { (title) }
                p.lead { (why) }
                @if let Answer::NotYet(NotYet::Unknown(why)) = &answer { p.lead { (shown(why)) } }
                @if let Some(watched) = watched { p.lead { (watched) } }
            }
        }
    }
}

fn figures(facts: &Facts, domains: &[DomainFacts], words: &Words) -> Markup {
    let count = |side: Side| domains.iter().filter(|domain| domain.side == side).count();
    let (moved, legacy, all) = (count(Side::Moved), count(Side::Legacy), domains.len());
    let share = |n: usize| format!("width: {:.1}%", 100.0 * n as f64 / all.max(1) as f64);
    let refused: u64 = domains.iter().map(|domain| domain.refused).sum();
    let open =
        facts.learnt.as_ref().map(|learnt| learnt.rows.iter().filter(|row| is_open(row)).count());
    html! {
        div.figures {
            div {
                p { (words.moved) }
                b { (moved) " " small { (words.of) " " (all) } }
                div.bar { i style=(share(moved)) {} i.legacy style=(share(legacy)) {} }
            }
            div { p { (words.last_day) } b { (words.number(last_day(facts))) } }
            div { p { (words.refused) } b { (words.number(refused)) } }
            div {
                p { (words.uncovered) }
                b {
                    @match open {
                        Some(open) => (open),
                        None => small { (words.not_observed) },
                    }
                }
            }
        }
    }
}

/// Messages of legacy domains in the hours that are kept and began in the last day.
fn last_day(facts: &Facts) -> u64 {
    let made = humantime::parse_rfc3339(&facts.made).ok();
    let day = made.and_then(|made| made.checked_sub(std::time::Duration::from_secs(24 * 3600)));
    let from = day.map(crate::engine::coverage::time).unwrap_or_default();
    let from = from.get(..13).unwrap_or_default().to_owned();
    facts.traffic().hours.range(from..).map(|(_, traffic)| traffic.legacy).sum()
}

fn attention(facts: &Facts, domains: &[DomainFacts], words: &Words) -> Markup {
    let contested =
        |domain: &&DomainFacts| domain.state == "contested" || domain.state == "unavailable";
    let contested: Vec<_> = domains.iter().filter(contested).collect();
    let faults = facts.faults();
    let old = facts.status.as_ref().is_ok_and(|whole| whole["is_of_now"] == false);
    html! {
        @if let Err(error) = &facts.status {
            section.attention { h2 { (words.attention) } p { (words.no_gateway) " " (shown(error)) } }
        } @else if old || !faults.is_empty() || !contested.is_empty() {
            section.attention {
                h2 { (words.attention) }
                ul {
                    @if old { li { (words.of_then) } }
                    @for fault in faults { li { (meaning(&words.faults, fault)) } }
                    @for domain in contested {
                        li {
                            b { (shown(&domain.name)) } ": " (meaning(&words.states, &domain.state))
                            @if let Some(cause) = &domain.cause { " — " (shown(cause)) }
                        }
                    }
                }
            }
        }
    }
}

fn domain_table(domains: &[DomainFacts], words: &Words) -> Markup {
    html! {
        section {
            h2 { (words.domains) }
            @if domains.is_empty() {
                p { (words.no_domains) }
            } @else {
                table {
                    thead {
                        tr {
                            th { (words.domain) }
                            th { (words.state) }
                            th { (words.last_legacy) }
                            th.n { (words.messages) }
                            th.n { (words.published) }
                            th.n { (words.refusals) }
                            th { (words.still_says) }
                        }
                    }
                    tbody { @for domain in domains { (domain_row(domain, words)) } }
                }
            }
        }
    }
}

fn domain_row(domain: &DomainFacts, words: &Words) -> Markup {
    let moment = |at: &Option<String>| at.as_ref().map(|at| words.moment(at));
    let more = domain.said.len().saturating_sub(NAMES);
    let bad = matches!(domain.state.as_str(), "contested" | "unavailable");
    let (moved, legacy) = (domain.side == Side::Moved, domain.side == Side::Legacy);
    html! {
        tr {
            td.name { (shown(&domain.name)) }
            td.when {
                span.pill.moved[moved].legacy[legacy && !bad].bad[bad] { (shown(meaning(&words.states, &domain.state))) }
                @if let Some(since) = moment(&domain.since) { small { (words.since) " " (since) } }
            }
            td.when { (moment(&domain.last_legacy).unwrap_or_else(|| words.never.to_owned())) }
            td.n { (words.number(domain.received)) }
            td.n { (words.number(domain.published)) }
            td.n { (words.number(domain.refused)) }
            td.wrap {
                @for seen in domain.said.iter().take(NAMES) {
                    small { code { (shown(&seen.name)) } " " span.times { "× " (words.number(seen.count)) } }
                }
                @if more > 0 { small { ((words.more)(more)) } }
            }
        }
    }
}

fn is_open(row: &Row) -> bool {
    !row.key.verdict.is_covered()
}

fn coverage(learnt: Option<&Learnt>, words: &Words) -> Markup {
    let mut open: Vec<&Row> =
        learnt.iter().flat_map(|l| &l.rows).filter(|row| is_open(row)).collect();
    open.sort_by_key(|row| std::cmp::Reverse(row.entry.count));
    let more = open.len().saturating_sub(ROWS);
    html! {
        section {
            h2 { (words.coverage) }
            @match learnt {
                None => p.note { (words.not_observed) },
                Some(learnt) => p.note { ((words.coverage_note)(&words.moment(&learnt.since))) },
            }
            @if learnt.is_some() && open.is_empty() {
                p { (words.all_covered) }
            } @else if learnt.is_some() {
                table {
                    thead { tr { th { (words.message) } th { (words.from_to) } th.n { (words.count) } th { (words.why) } } }
                    tbody {
                        @for row in open.iter().take(ROWS) {
                            tr {
                                td.wrap {
                                    code { (shown(&row.key.name)) }
                                    small { (row.key.kind.map_or("", Kind::as_str)) }
                                }
                                td.wrap { (row.domain) " → " (shown(&row.key.to)) }
                                td.n { (words.number(row.entry.count)) }
                                td { (why(row, words)) }
                            }
                        }
                    }
                }
                @if more > 0 { p.note { ((words.more)(more)) } }
            }
        }
    }
}

fn why<'w>(row: &Row, words: &'w Words) -> &'w str {
    match row.key.verdict {
        Verdict::Refused(reason) => meaning(&words.reasons, reason.as_str()),
        _ => words.legacy_only,
    }
}

fn refusals(facts: &Facts, words: &Words) -> Markup {
    let all = facts.refusals();
    html! {
        section {
            h2 { (words.refusals) }
            @if all.is_empty() {
                p { (words.no_refusals) }
            } @else {
                table {
                    thead { tr { th { (words.reason) } th.n { (words.count) } } }
                    tbody {
                        @for (reason, count, domains) in all.iter().take(ROWS) {
                            tr {
                                td.wrap {
                                    code { (shown(reason)) }
                                    small { (shown(meaning(&words.reasons, reason))) }
                                    small { (shown(&domains.join(", "))) }
                                }
                                td.n { (words.number(*count)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn footer(facts: &Facts, words: &Words) -> String {
    let since = facts.gateway().and_then(|gateway| gateway["since"].as_str());
    let since = since.map(|since| words.moment(since));
    (words.footer)(&words.moment(&facts.made), since.as_deref())
}
