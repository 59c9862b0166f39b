//! `passerelle replay`: a recording once more, through the engine.

mod compare;
mod cut;
mod file;
mod trial;

use super::{GOOD, Out, bad, counted, named, tell, trouble};
use crate::config::{self, Error};
use crate::engine::gateway::{Gateway, Recorded};
use crate::engine::limits::Limits;
use crate::engine::mapping::Table;
use crate::engine::mapping::table::Speaks;
use crate::engine::policy::Policy;
use crate::engine::proxy::Setting;
use file::Lines;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What is told of a recording that cannot be compared with what happened.
const NO_STATE: &str =
    "there is no state: it was recorded while observing, or redacted; name a mapping with -m";

const MORE: &str = "\
Without another mapping or configuration it says whether the gateway does again what it did, byte for byte. With one it
says what would be different: both are played before a broker that takes everything.

Examples:
  passerelle replay today.jsonl
  passerelle replay today.jsonl -m new.toml
  passerelle replay today.jsonl --config new/passerelle.toml
  passerelle replay today.jsonl --conversation liste_disques >liste_disques.jsonl

Exit codes:
  0  there is no difference
  1  there is one, or there is no such call
  2  the recording or the mapping cannot be read";

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    /// What `passerelle record` has written
    #[arg(value_name = "FILE", value_parser = named())]
    file: PathBuf,
    /// Another mapping: a file or a folder of them; repeat it for more
    #[arg(short, long = "mapping", num_args = 1.., value_name = "FILE-or-DIR", conflicts_with = "config")]
    mappings: Vec<PathBuf>,
    /// Another configuration, of which mapping, policy and limits hold
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the first call of this command as a conversation for `passerelle test`
    #[arg(long, value_name = "COMMAND", conflicts_with = "config")]
    conversation: Option<String>,
    /// How many examples are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    examples: usize,
}

/// What may be other than it was.
struct Other {
    table: Option<Table>,
    policy: Option<Policy>,
    limits: Option<Limits>,
}

impl Other {
    fn load(args: &Args) -> Result<Option<Self>, Error> {
        if let Some(file) = &args.config {
            let config = config::load_file(file)?;
            let (table, policy, limits) = (config.table, config.policy, config.limits);
            return Ok(Some(Self {
                table: Some(table),
                policy: Some(policy),
                limits: Some(limits),
            }));
        }
        if args.mappings.is_empty() {
            return Ok(None);
        }
        let table = super::translate::compile(&args.mappings, &Speaks::default())?;
        Ok(Some(Self { table: Some(table), policy: None, limits: None }))
    }

    /// What was, with what is other.
    fn over(self, setting: Option<&Setting>) -> Setting {
        let mut setting = setting.cloned().unwrap_or_else(|| Setting {
            table: Arc::default(),
            policy: Arc::default(),
            limits: Limits::default(),
            instance: "dom0".into(),
            nonce: "call".into(),
        });
        if let Some(table) = self.table {
            setting.table = Arc::new(table);
        }
        if let Some(policy) = self.policy {
            setting.policy = Arc::new(policy);
        }
        if let Some(limits) = self.limits {
            setting.limits = limits;
        }
        setting
    }
}

/// Plays it: 0 if there is no difference, 1 if there is one, 2 if it cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let other = match Other::load(args) {
        Ok(other) => other,
        Err(error) => return tell(&error, out),
    };
    let lines = match Lines::open(&args.file) {
        Ok(lines) => lines,
        Err(error) => return fail(&error, out),
    };
    let played = match (&args.conversation, other) {
        (Some(command), _) => cut::run(lines, command, args, out),
        (None, Some(other)) => compare::run(lines, other, args, out),
        (None, None) => again(lines, args, out),
    };
    played.unwrap_or_else(|error| fail(&error, out))
}

fn fail(error: &str, out: &mut Out) -> ExitCode {
    out.complain(format_args!("error: {error}\n"));
    trouble()
}

/// Whether the same comes of it.
fn again(mut lines: Lines, args: &Args, out: &mut Out) -> Result<ExitCode, String> {
    let mut gateway: Option<Box<Gateway>> = None;
    let (mut inputs, mut effects, mut differences) = (0_usize, 0_usize, 0_usize);
    while let Some(recorded) = lines.next()? {
        match recorded {
            Recorded::State(state) => gateway = Some(state),
            Recorded::Missed(missed) => {
                out.say(format_args!(
                    "line {}: {missed} inputs were missed: it goes on with the state after them\n",
                    lines.number()
                ));
            }
            recorded => {
                match recorded {
                    Recorded::Effect { .. } => effects += 1,
                    _ => inputs += 1,
                }
                let gateway = gateway.as_mut().ok_or_else(|| lines.at(NO_STATE))?;
                let Err(difference) = gateway.play(recorded) else { continue };
                differences += 1;
                if differences <= args.examples {
                    let (was, is) = (difference.recorded, difference.now);
                    out.say(format_args!("line {}: it was {was}\n  it is {is}\n", lines.number()));
                }
            }
        }
    }
    lines.say_if_cut_off(out);
    let (inputs, effects) = (counted(inputs, "input"), counted(effects, "effect"));
    let found = counted(differences, "difference");
    out.say(format_args!("{inputs}, {effects}: {found}\n"));
    Ok(if differences == 0 { GOOD } else { bad() })
}
