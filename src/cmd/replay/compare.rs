//! What would be different under another mapping, policy or limits: message by message, and by kinds.

use super::file::Lines;
use super::trial::{Live, Outcome, Trial};
use super::{Args, Other};
use crate::cmd::{GOOD, Out, bad, counted};
use crate::conversation::{Input, render};
use crate::engine::clock::Now;
use crate::engine::gateway::Recorded;
use crate::engine::mapping::Topic;
use crate::engine::refusal::IgnoreReason;
use crate::engine::rehearsal::Observed;
use crate::engine::tap::Crossing;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// A kind of difference, or of what becomes of messages.
struct Kind {
    times: usize,
    /// The first of it: what was said, and what comes of it.
    example: String,
}

/// Plays it with what was and with what is other, and shows where they differ; or, where nobody had a part in what
/// was said, what would become of it.
pub(super) fn run(
    mut lines: Lines,
    other: Other,
    args: &Args,
    out: &mut Out,
) -> Result<ExitCode, String> {
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let first = lines.next()?;
    let setting = match &first {
        Some(Recorded::State(gateway)) => Some(gateway.setting().clone()),
        _ => None,
    };
    let mut is = Trial::new(other.over(setting.as_ref()), now, setting.is_some());
    let mut was = setting.map(|setting| Trial::new(setting, now, true));
    let mut live = Live::default();
    if was.is_none() {
        let (domains, sockets) = lines.speakers()?;
        let (heard, beginning) = Live::heard(domains, sockets);
        live = heard;
        is.tell(&beginning);
    }
    let mut found = Found::default();
    let mut next = first;
    while let Some(recorded) = next {
        if let Some(stimulus) = live.play(recorded) {
            let before = was.as_mut().map(|was| was.tell(&stimulus));
            let after = is.tell(&stimulus);
            for (n, (input, after)) in stimulus.inputs.iter().zip(after).enumerate() {
                let before =
                    before.as_ref().map(|before| before.get(n).map_or(&[][..], |o| &o.done));
                found.add(input, before, &after);
            }
        }
        next = lines.next()?;
    }
    lines.say_if_cut_off(out);
    found.show(was.is_some(), args, out);
    Ok(if found.is_bad { bad() } else { GOOD })
}

/// What was found.
#[derive(Default)]
struct Found {
    messages: usize,
    kinds: BTreeMap<String, Kind>,
    /// Something differs, or would be refused.
    is_bad: bool,
}

impl Found {
    /// What comes of an input, and what came of it before, if that is known.
    fn add(&mut self, input: &Input, before: Option<&[Observed]>, after: &Outcome) {
        let speaks = matches!(input, Input::Legacy(..) | Input::OnSocket(..) | Input::Mqtt(_));
        self.messages += usize::from(speaks);
        let is = shown(&after.done);
        let counts = match before {
            Some(before) => shown(before) != is,
            None => !is.is_empty(),
        };
        if !counts {
            return;
        }
        let refused = |effect: &Observed| matches!(effect, Observed::Refused(_));
        self.is_bad |= before.is_some() || after.done.iter().any(refused);
        let kind = format!("{}: {}", about(input, after), change(before, &after.done));
        let kind = self.kinds.entry(kind);
        let example = || Kind { times: 0, example: example(input, before, &after.done) };
        kind.or_insert_with(example).times += 1;
    }

    fn show(&self, compared: bool, args: &Args, out: &mut Out) {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.times));
        for (kind, Kind { times, .. }) in &kinds {
            out.say(format_args!("{times:>7}  {kind}\n"));
        }
        for (kind, Kind { example, .. }) in kinds.iter().take(args.examples) {
            out.say(format_args!("\n{kind}\n{example}"));
        }
        let times: usize = kinds.iter().map(|(_, kind)| kind.times).sum();
        let messages = counted(self.messages, "message");
        let kinds = counted(kinds.len(), "kind");
        match compared {
            true => {
                out.say(format_args!("{messages}: {} of {kinds}\n", counted(times, "difference")))
            }
            false => out.say(format_args!("{messages}, of {kinds}\n")),
        }
    }
}

/// What was done, less what is named anew each time.
fn shown(done: &[Observed]) -> Vec<String> {
    done.iter().filter(|effect| !is_of_the_gateway(effect)).map(line).collect()
}

/// Whether nobody who speaks would see it.
fn is_of_the_gateway(effect: &Observed) -> bool {
    match effect {
        Observed::Mode(..)
        | Observed::Retry(..)
        | Observed::Subscribed(..)
        | Observed::Unsubscribed(..)
        | Observed::Offered(..)
        // Dom0's program says again what others have said.
        | Observed::Ignored(IgnoreReason::Forwarded, _) => true,
        _ => false,
    }
}

fn line(effect: &Observed) -> String {
    match effect {
        Observed::Published(client, publish) if publish.response_topic.is_some() => {
            let mut publish = publish.clone();
            publish.correlation = None;
            render(&Observed::Published(client.clone(), publish))
        }
        effect => render(effect),
    }
}

/// What the message is.
fn about(input: &Input, outcome: &Outcome) -> String {
    let name = outcome.crossings.iter().find_map(Crossing::name);
    match (name, input) {
        (Some(name), Input::Legacy(from, _) | Input::OnSocket(from, _)) => {
            format!("{name} of {from}")
        }
        (Some(name), Input::Mqtt(message)) => format!("{name}, from MQTT ({})", message.topic),
        (None, Input::Mqtt(message)) => message.topic.clone(),
        (_, Input::Connect(name)) => format!("{name} comes"),
        (_, Input::Disconnect(name)) => format!("{name} goes"),
        (_, Input::Elapse(_)) => "time passes".to_owned(),
        (name, _) => name.unwrap_or("what is no message").to_owned(),
    }
}

/// What has become another.
fn change(was: Option<&[Observed]>, is: &[Observed]) -> String {
    let briefly = |done: &[Observed]| {
        let all: Vec<_> =
            done.iter().filter(|effect| !is_of_the_gateway(effect)).map(brief).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    };
    let is = briefly(is);
    match was.map(briefly) {
        None => is,
        Some(was) if was == is => format!("{was}, with another content"),
        Some(was) => format!("{was} -> {is}"),
    }
}

fn brief(effect: &Observed) -> String {
    match effect {
        Observed::Published(_, publish) => match Topic::parse(&publish.topic) {
            // The last level is a name.
            Topic::Response(root, _) => format!("published to {root}/response"),
            _ => format!("published to {}", publish.topic),
        },
        Observed::Written(name, _) => format!("written to {name}"),
        Observed::WrittenOn(name, _) => format!("written to Dom0 for {name}"),
        Observed::Refused(refusal) => format!("refused as {}", refusal.reason.as_str()),
        Observed::Ignored(why, _) => format!("ignored ({})", why.as_str()),
        effect => render(effect),
    }
}

/// What was said, and both of what comes of it.
fn example(input: &Input, was: Option<&[Observed]>, is: &[Observed]) -> String {
    let mut text = format!("    {}\n", input.line());
    for (sign, done) in [('-', was.unwrap_or_default()), ('+', is)] {
        for line in shown(done) {
            let _ = writeln!(text, "  {sign} {line}");
        }
    }
    text
}
