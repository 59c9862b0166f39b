//! What was recorded, played again, does the same: from wherever in a conversation it begins.

use passerelle::conversation::{apply, gateway, is_effect, parse};
use passerelle::engine::gateway::Recorded;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use passerelle::engine::rehearsal::Rehearsal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Header {
    mappings: Vec<PathBuf>,
    #[serde(default)]
    legacy: Vec<DomainName>,
    #[serde(default)]
    dialects: BTreeMap<DomainName, String>,
}

/// A conversation: what it begins with, and its inputs.
struct Conversation {
    file: PathBuf,
    header: Header,
    inputs: Vec<String>,
}

impl Conversation {
    fn read(file: PathBuf) -> Outcome<Self> {
        let text = fs::read_to_string(&file)?;
        let mut lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
        let header = serde_json::from_str(lines.next().ok_or("it is empty")?)?;
        let inputs = lines.filter(|l| !is_effect(l).unwrap_or(false)).map(str::to_owned).collect();
        Ok(Self { file, header, inputs })
    }

    fn load(&self, files: &[PathBuf]) -> Outcome<Table> {
        let folder = self.file.parent().ok_or("no folder")?;
        let files: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        let speaks = Speaks { domains: self.header.dialects.clone(), ..Speaks::default() };
        let sources = files.iter().map(|file| passerelle::cmd::read(file));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        Table::compile(&sources, &speaks).map_err(|found| format!("{found:?}").into())
    }

    fn play(&self, rehearsal: &mut Rehearsal, input: &str) -> Outcome {
        let load = |files: &[String]| {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            self.load(&files).map_err(|error| error.to_string())
        };
        apply(rehearsal, parse(input)?, load)?;
        Ok(())
    }
}

fn conversations(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(conversations(&path)?),
            false if path.extension().is_some_and(|e| e == "jsonl") => found.push(path),
            false => {}
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_conversation_is_played_again_from_each_of_its_inputs_on() -> Outcome {
    let (mut files, mut lines) = (0, 0);
    for file in conversations(Path::new("fixtures/conversations"))? {
        let conversation = Conversation::read(file)?;
        for begin in 0..conversation.inputs.len() {
            let name = format!("{} from input {begin}", conversation.file.display());
            let table = conversation.load(&conversation.header.mappings)?;
            let mut rehearsal = gateway(table, &conversation.header.legacy, false);
            for input in &conversation.inputs[..begin] {
                conversation.play(&mut rehearsal, input)?;
            }
            rehearsal.set_recorded();
            for input in &conversation.inputs[begin..] {
                conversation.play(&mut rehearsal, input)?;
            }
            let recording = rehearsal.take_recorded();
            lines += recording.len();
            let mut again = None;
            for line in recording {
                match Recorded::parse(&line).map_err(|e| format!("{name}: {e}: {line}"))? {
                    Recorded::State(gateway) => again = Some(gateway),
                    Recorded::Recording { .. } => {}
                    line => {
                        let again = again.as_mut().ok_or("it begins without a state")?;
                        again.play(line).map_err(|d| format!("{name}: {d:?}"))?;
                    }
                }
            }
        }
        files += 1;
    }
    assert!(files > 120 && lines > 10_000, "{files} files, {lines} lines");
    Ok(())
}
