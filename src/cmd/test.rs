//! `passerelle test`: conversations written down, played and compared.

use super::translate::{compile, policy};
use super::{GOOD, Out, bad, counted, trouble};
use crate::config::meant;
use crate::conversation::{apply, as_expected, gateway, is_effect, object, parse, render};
use crate::engine::json::{self, Object};
use crate::engine::mapping::table::Speaks;
use crate::engine::name::DomainName;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The ending of a conversation's file name.
const ENDING: &str = "jsonl";

const MORE: &str = "\
Examples:
  passerelle test conversations/
  passerelle test new-command.jsonl

Exit codes:
  0  all went as written
  1  one did not
  2  there is none, or one cannot be read";

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    /// Conversations, or folders of them (*.jsonl, at any depth)
    #[arg(required = true, value_name = "DIR-or-FILE")]
    paths: Vec<PathBuf>,
}

/// Runs it: 0 if every conversation went as written, 1 if one did not, 2 if one cannot be read.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "it reads the conversations that the user names")]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let mut files = Vec::new();
    for path in &args.paths {
        match meant(path, ENDING) {
            Ok(found) => files.extend(found.files),
            Err(error) => {
                out.complain(format_args!("error: {error}\n"));
                return trouble();
            }
        }
    }
    let mut failed = 0;
    for file in &files {
        match std::fs::read_to_string(file).map_err(|e| e.to_string()).and_then(|t| play(file, &t))
        {
            Ok(()) => {}
            Err(difference) => {
                failed += 1;
                out.say(format_args!("{}: {difference}\n\n", file.display()));
            }
        }
    }
    out.say(format_args!("{}, {failed} failed\n", counted(files.len(), "conversation")));
    if failed == 0 { GOOD } else { bad() }
}

/// What a conversation's first line says.
struct Header {
    mappings: Vec<PathBuf>,
    legacy: Vec<DomainName>,
    speaks: Speaks,
    policy: Option<PathBuf>,
}

fn header(file: &Path, line: &str) -> Result<Header, String> {
    const SHAPE: &str = "the first line is {\"mappings\":[FILE...],\"legacy\":[DOMAIN...]}, and \"dialects\":{DOMAIN:NAME} or \"policy\":FILE if need be";
    let object = object(line).map_err(|e| format!("{e}; {SHAPE}"))?;
    let mut header =
        Header { mappings: vec![], legacy: vec![], speaks: Speaks::default(), policy: None };
    let folder = file.parent().unwrap_or(Path::new(""));
    let text = |raw: &str| json::decode_str(raw).map(String::from).ok_or(SHAPE.to_owned());
    for member in object.members() {
        let value = member.value;
        match &*member.key {
            b"mappings" => json::for_each(value, &mut |v| {
                header.mappings.push(folder.join(text(v)?));
                Ok::<(), String>(())
            })?,
            b"legacy" => json::for_each(value, &mut |v| {
                header.legacy.push(DomainName::parse(&text(v)?).map_err(|e| e.to_string())?);
                Ok::<(), String>(())
            })?,
            b"dialects" => {
                for m in Object::parse(value).map_err(|e| e.to_string())?.members() {
                    let domain = DomainName::parse(&text(m.raw_key)?).map_err(|e| e.to_string())?;
                    header.speaks.domains.insert(domain, text(m.value)?);
                }
                true
            }
            b"policy" => {
                header.policy = Some(folder.join(text(value)?));
                true
            }
            _ => return Err(format!("unknown key {}; {SHAPE}", member.raw_key)),
        };
    }
    if header.mappings.is_empty() { Err(SHAPE.into()) } else { Ok(header) }
}

fn play(file: &Path, text: &str) -> Result<(), String> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    let Some((_, first)) = lines.next() else { return Err("the conversation is empty".into()) };
    let header = header(file, first)?;
    let table = compile(&header.mappings, &header.speaks).map_err(|error| error.to_string())?;
    let mut gateway = gateway(table, &header.legacy, false);
    if let Some(file) = &header.policy {
        gateway.set_policy(policy(file).map_err(|error| error.to_string())?);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let load = |files: &[String]| {
        let files: Vec<_> = files.iter().map(|f| folder.join(f)).collect();
        compile(&files, &header.speaks).map_err(|error| error.to_string())
    };
    let mut inputs = 0;
    while let Some((number, line)) = lines.next() {
        let at = |error: String| format!("line {number}: {error}");
        if is_effect(line).map_err(at)? {
            return Err(at("an effect without an input before it".into()));
        }
        inputs += 1;
        let effects = parse(line).and_then(|input| apply(&mut gateway, input, load)).map_err(at)?;
        let effects: Vec<String> = effects.iter().map(render).collect();
        let mut expected = Vec::new();
        while let Some(&(number, next)) = lines.peek() {
            if !is_effect(next).map_err(|e| format!("line {number}: {e}"))? {
                break;
            }
            expected.push(next);
            lines.next();
        }
        compare(&expected, &effects).map_err(at)?;
    }
    if inputs == 0 { Err("the conversation has no input".into()) } else { Ok(()) }
}

/// A readable difference: what is common, what was expected (-), what came (+).
fn compare(expected: &[&str], effects: &[String]) -> Result<(), String> {
    let same = |(e, f): (&&str, &String)| as_expected(e, f);
    if expected.len() == effects.len() && expected.iter().zip(effects).all(same) {
        return Ok(());
    }
    let mut text = String::from("the effects differ");
    for i in 0..expected.len().max(effects.len()) {
        let (wanted, came) = (expected.get(i), effects.get(i));
        match (wanted, came) {
            (Some(wanted), Some(came)) if as_expected(wanted, came) => {
                let _ = write!(text, "\n    {came}");
            }
            _ => {
                let _ = wanted.map(|w| write!(text, "\n  - {w}"));
                let _ = came.map(|c| write!(text, "\n  + {c}"));
            }
        }
    }
    Err(text)
}
