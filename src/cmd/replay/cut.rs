//! One call of a recording, as a conversation.

use super::Args;
use super::file::Lines;
use super::trial::{Live, Stimulus, Trial};
use crate::cmd::{GOOD, Out, bad};
use crate::conversation::{BEGINNING, Input, render};
use crate::engine::clock::Now;
use crate::engine::gateway::Recorded;
use crate::engine::proxy::Setting;
use crate::engine::tap::Crossing;
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Everything that belongs to one call.
#[derive(Default)]
struct Call {
    names: BTreeSet<Bytes>,
    stimuli: Vec<Stimulus>,
    is_over: bool,
}

impl Call {
    /// Whether it takes in what was said.
    fn takes(&mut self, stimulus: &Stimulus, command: &str) -> bool {
        let is_named = |crossing: &Crossing| {
            crossing.name().is_some_and(|name| name.eq_ignore_ascii_case(command))
        };
        if self.stimuli.is_empty() {
            let begins = |crossing: &&Crossing| crossing.is_command() && is_named(crossing);
            let Some(crossing) = stimulus.crossings.iter().find(begins) else { return false };
            self.names.extend(crossing.call().into_iter().chain(crossing.asks()).cloned());
            return true;
        }
        let belongs = |crossing: &&Crossing| match crossing.call() {
            Some(name) => self.names.contains(name),
            None => !crossing.is_command() && is_named(crossing),
        };
        let Some(crossing) = stimulus.crossings.iter().find(belongs) else { return false };
        self.is_over = crossing.took.is_some();
        true
    }
}

/// Finds the first call of a command, and writes it.
pub(super) fn run(
    mut lines: Lines,
    command: &str,
    args: &Args,
    out: &mut Out,
) -> Result<ExitCode, String> {
    let (mut live, mut call) = (Live::default(), Call::default());
    let mut files = args.mappings.clone();
    let mut legacy = BTreeSet::new();
    while let Some(recorded) = lines.next()? {
        if let Recorded::State(gateway) = &recorded
            && files.is_empty()
        {
            files = gateway.mappings().iter().map(|file| file.file.clone().into()).collect();
        }
        let Some(stimulus) = live.play(recorded) else { continue };
        if call.stimuli.is_empty() {
            legacy = live.legacy().clone();
        }
        if call.takes(&stimulus, command) {
            call.stimuli.push(stimulus);
        }
        if call.is_over {
            break;
        }
    }
    let setting = live.setting().filter(|_| !call.stimuli.is_empty());
    let Some(setting) = setting else {
        out.complain(format_args!("there is no call of {command} in it\n"));
        return Ok(bad());
    };
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    out.say_json(format_args!("{}\n", json!({"mappings": files, "legacy": legacy})));
    write(&call, setting, &legacy, out);
    Ok(GOOD)
}

/// Says it to a gateway that has heard nothing else, as whoever tests it will.
fn write(
    call: &Call,
    mut setting: Setting,
    legacy: &BTreeSet<crate::engine::name::DomainName>,
    out: &mut Out,
) {
    (setting.instance, setting.nonce) = ("dom0".into(), "call".into());
    let wall = SystemTime::UNIX_EPOCH + BEGINNING;
    let mut trial = Trial::new(setting, Now { monotonic: Duration::ZERO, wall }, true);
    let connect = legacy.iter().cloned().map(Input::Connect).collect();
    trial.tell(&Stimulus { crossings: Vec::new(), inputs: connect });
    for stimulus in &call.stimuli {
        let inputs: Vec<_> = stimulus.inputs.iter().filter(|input| says(input)).cloned().collect();
        let stimulus = Stimulus { crossings: stimulus.crossings.clone(), inputs };
        for input in &stimulus.inputs {
            out.say_json(format_args!("{}\n", trial.renamed(input.clone()).line()));
        }
        for effect in trial.tell(&stimulus).iter().flat_map(|outcome| &outcome.done) {
            out.say_json(format_args!("{}\n", render(effect)));
        }
    }
}

fn says(input: &Input) -> bool {
    matches!(input, Input::Legacy(..) | Input::OnSocket(..) | Input::Mqtt(_))
}
