//! The traffic as a chart: a bar for each hour or day, what is legacy above what is MQTT.

use super::words::Words;
use crate::engine::coverage::time;
use crate::engine::status::{History, Traffic};
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::time::Duration;

/// The picture's size, and where the bars stand in it.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 210;
const LEFT: u64 = 56;
const TOP: u64 = 12;
const BASE: u64 = 176;
/// From so many days on, a bar is a day.
const DAYS: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The chart, and what its bars are; `None`: there is no traffic yet.
pub fn chart(history: &History, words: &Words) -> Option<Markup> {
    let by_day = history.days.len() >= DAYS;
    let (all, step, most) =
        if by_day { (&history.days, DAY, 90) } else { (&history.hours, HOUR, 48) };
    let bars = bars(all, step, most);
    let top = nice(bars.iter().map(|(_, t)| t.legacy + t.mqtt).max()?);
    let count = u64::try_from(bars.len()).unwrap_or(1).max(1);
    let slot = (WIDTH - LEFT) as f64 / count as f64;
    let width = (slot * 0.72).min(36.0);
    let height = |n: u64| (BASE - TOP) as f64 * n as f64 / top as f64;
    let last = bars.len().saturating_sub(1);
    let labelled = |at: usize| at == 0 || at == last || (last > 6 && at == last / 2);
    Some(html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(words.traffic) {
            @for part in [0, 1, 2] {
                @let value = top * part / 2;
                @let y = BASE as f64 - height(value);
                line.grid x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                text.axis x=(LEFT - 8) y=(y + 4.0) text-anchor="end" { (words.number(value)) }
            }
            @for (at, (span, traffic)) in bars.iter().enumerate() {
                @let x = LEFT as f64 + slot * at as f64 + (slot - width) / 2.0;
                @let (mqtt, legacy) = (height(traffic.mqtt), height(traffic.legacy));
                g {
                    title { (label(span)) ": " (words.number(traffic.legacy)) " " (words.legacy) ", " (words.number(traffic.mqtt)) " MQTT" }
                    rect.mqtt x=(round(x)) width=(round(width)) y=(round(BASE as f64 - mqtt)) height=(round(mqtt)) {}
                    rect.legacy x=(round(x)) width=(round(width)) y=(round(BASE as f64 - mqtt - legacy)) height=(round(legacy)) {}
                }
                @if labelled(at) {
                    @let (place, anchor) = match at {
                        0 if last > 0 => (x, "start"),
                        at if at == last && last > 0 => (x + width, "end"),
                        _ => (x + width / 2.0, "middle"),
                    };
                    text.axis x=(round(place)) y=(BASE + 20) text-anchor=(anchor) { (label(span)) }
                }
            }
        }
        p.key {
            span.swatch.legacy {} (words.legacy_domains)
            span.swatch.mqtt {} (words.mqtt_domains)
            span.unit { (if by_day { words.each_day } else { words.each_hour }) }
        }
    })
}

/// Every span from the first to the last that is kept, with those in which nobody said anything.
fn bars(all: &BTreeMap<String, Traffic>, step: Duration, most: usize) -> Vec<(String, Traffic)> {
    let size = all.keys().next().map_or(0, String::len);
    let start = |span: &String| {
        let whole = format!("{span}{}", "T00:00:00Z".get(size - 10..).unwrap_or_default());
        humantime::parse_rfc3339(&whole).ok()
    };
    let (Some(first), Some(last)) =
        (all.keys().next().and_then(start), all.keys().next_back().and_then(start))
    else {
        return Vec::new();
    };
    let mut bars = Vec::new();
    let mut at = last;
    while at >= first && bars.len() < most {
        let span = time(at).get(..size).unwrap_or_default().to_owned();
        let traffic = all.get(&span).copied().unwrap_or_default();
        bars.push((span, traffic));
        at -= step;
    }
    bars.reverse();
    bars
}

/// The next number that reads well: 1, 2 or 5 with zeros.
fn nice(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 4, 5, 8] {
            let value = unit.saturating_mul(step);
            if value >= most.max(2) && value.is_multiple_of(2) {
                return value;
            }
        }
        let Some(next) = unit.checked_mul(10) else { return most };
        unit = next;
    }
}

/// A day, or an hour of one.
fn label(span: &str) -> String {
    match span.split_once('T') {
        Some((day, hour)) => format!("{} {hour}:00", day.get(5..).unwrap_or(day)),
        None => span.to_owned(),
    }
}

/// To a tenth.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
