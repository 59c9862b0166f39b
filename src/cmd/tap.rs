//! `passerelle tap`: what crosses, live.

use super::{ConfigFile, GOOD, Out, load_bare, trouble};
use crate::edge::control::{NoAnswer, Request, follow};
use crate::engine::name::DomainName;
use crate::engine::tap::Wanted;
use crate::printable;
use clap::builder::styling::{AnsiColor, Style};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::process::ExitCode;

const MORE: &str = "\
On a terminal it shows a line of text for each message, cut to the width; elsewhere a line of JSON.

Examples:
  passerelle tap
  passerelle tap --domain sys-usb --command liste_disques
  passerelle tap --refused --raw
  passerelle tap | jq -c 'select(.took_ms > 100)'

Exit codes:
  0  nobody reads it any more, or the gateway has ended
  2  the gateway cannot be asked, or the configuration is wrong";

/// Arguments of `tap`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Only what is from or to this domain
    #[arg(long, value_name = "NAME", value_parser = DomainName::parse)]
    domain: Option<DomainName>,
    /// Only this command or event, by its name or by the last part of its topic
    #[arg(long, value_name = "NAME")]
    command: Option<String>,
    /// Only what is refused
    #[arg(long)]
    refused: bool,
    /// Text that is not cut, without colours
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// One JSON object on a line, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Runs it until nobody reads it any more or the gateway ends: 0; 2 if the gateway cannot be asked.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let wanted = Wanted {
        domain: args.domain.clone(),
        command: args.command.clone(),
        refused: args.refused,
    };
    let lines = follow(config.control.as_deref(), &config.state_dir, Request::Tap(wanted));
    let shown = lines.and_then(|mut lines| {
        // Its place is another's as soon as nobody reads it, even if nothing crosses.
        while out.flush() && (lines.is_at_hand() || out.waits_for(&lines)) {
            let Some(line) = lines.next()? else { break };
            show(&line, args, out);
        }
        Ok(())
    });
    match shown {
        Ok(()) => GOOD,
        Err(error @ (NoAnswer::Nobody(_) | NoAnswer::Silent(_) | NoAnswer::Refused(_))) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}

fn show(line: &str, args: &Args, out: &mut Out) {
    let crossing = serde_json::from_str::<Crossing<'_>>(line).ok();
    match crossing.filter(|_| args.raw || (out.is_terminal() && !args.json)) {
        None => out.say_json(format_args!("{line}\n")),
        Some(crossing) if args.raw => {
            let (head, forms) = (crossing.head(), crossing.forms(|form| form));
            out.say(format_args!("{head}{forms}\n"));
        }
        Some(crossing) => {
            let width = out.width().saturating_sub(1);
            let head = cut(&crossing.head(), width);
            let forms = cut(&crossing.forms(body), width.saturating_sub(head.chars().count()));
            let style = crossing.style();
            out.say_painted(&format!("{style}{head}{style:#}{forms}\n"));
        }
    }
}

/// A message, as the gateway shows it; or how many were missed.
#[derive(Deserialize)]
struct Crossing<'l> {
    missed: Option<u64>,
    #[serde(default)]
    time: String,
    kind: Option<String>,
    name: Option<String>,
    from: Option<String>,
    to: Option<String>,
    took_ms: Option<f64>,
    reason: Option<String>,
    detail: Option<String>,
    #[serde(borrow, default)]
    legacy: Vec<&'l RawValue>,
    #[serde(borrow, default)]
    mqtt: Vec<Published<'l>>,
}

#[derive(Deserialize)]
struct Published<'l> {
    topic: String,
    #[serde(borrow)]
    payload: &'l RawValue,
}

impl Crossing<'_> {
    /// When, who, what, and how it went on.
    fn head(&self) -> String {
        if let Some(missed) = self.missed {
            return format!("... {missed} messages missed, for this program was too slow");
        }
        let word = |word: &Option<String>| word.as_deref().unwrap_or("-").to_owned();
        let time = self.time.get(11..23).unwrap_or(&self.time);
        let (from, to, name) = (word(&self.from), word(&self.to), word(&self.name));
        let mut head = format!("{time} {from} > {to} {} {name}", word(&self.kind));
        if let Some(took) = self.took_ms {
            let _ = write!(head, " {took} ms");
        }
        if let Some(reason) = &self.reason {
            let _ = write!(head, " {reason}: {}", word(&self.detail));
        }
        head
    }

    /// Both forms, side by side.
    fn forms<'f>(&'f self, part: impl Fn(&'f str) -> &'f str) -> String {
        let mut forms = String::new();
        for line in &self.legacy {
            let _ = write!(forms, " | {}", part(line.get()));
        }
        for Published { topic, payload } in &self.mqtt {
            let _ = write!(forms, " | {topic} {}", payload.get());
        }
        forms
    }

    fn style(&self) -> Style {
        match (self.missed, &self.reason, self.kind.as_deref()) {
            (Some(_), ..) => AnsiColor::Yellow.on_default(),
            (None, Some(_), _) => AnsiColor::Red.on_default(),
            (None, None, Some("command")) => AnsiColor::Cyan.on_default(),
            (None, None, Some("response")) => AnsiColor::Green.on_default(),
            (None, None, _) => Style::new(),
        }
    }
}

/// What a line says beside its envelope, which the head has.
fn body(line: &str) -> &str {
    #[derive(Deserialize)]
    struct Envelope<'l> {
        #[serde(borrow)]
        payload: &'l RawValue,
    }
    serde_json::from_str::<Envelope<'_>>(line).map_or(line, |envelope| envelope.payload.get())
}

/// At most so many characters; a `~` stands for what is cut off.
fn cut(text: &str, width: usize) -> String {
    let text = printable::text(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(Some('~').filter(|_| width > 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_is_harmless() {
        let line = r#"{"time":"2026-01-01T00:00:00.123Z","kind":"command","name":"a\u001b[2J","from":"vm-gui",
            "to":"sys-usb","took_ms":1.5,"legacy":[{"payload":{"commande":"a\u001b[2J"}}],
            "mqtt":[{"topic":"t","payload":{"n":1.10e400}}]}"#;
        let crossing: Crossing<'_> = serde_json::from_str(line).unwrap();
        let whole = cut(&(crossing.head() + &crossing.forms(body)), 1000);
        assert_eq!(
            whole,
            "00:00:00.123 vm-gui > sys-usb command a\\u{1b}[2J 1.5 ms | {\"commande\":\"a\\u001b[2J\"} | t {\"n\":1.10e400}"
        );
        assert_eq!(cut(&whole, 20), "00:00:00.123 vm-gui~");
        assert_eq!(cut("text", 0), "");
        let missed: Crossing<'_> = serde_json::from_str(r#"{"missed":7}"#).unwrap();
        assert!(missed.head().starts_with("... 7 messages missed"));
    }
}
