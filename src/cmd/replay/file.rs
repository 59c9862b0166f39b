//! A recording, line by line.

use crate::cmd::Out;
use crate::engine::gateway::{FORMAT, GatewayInput, Recorded};
use crate::engine::name::DomainName;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// The lines of a recording.
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: usize,
    /// The program that has written it, if it is another version.
    other: Option<String>,
    cut_off: bool,
}

impl Lines {
    #[allow(clippy::disallowed_methods, reason = "it reads what the user names")]
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut lines = Self {
            reader: BufReader::new(file),
            path: path.to_owned(),
            number: 0,
            other: None,
            cut_off: false,
        };
        match lines.next()? {
            Some(Recorded::Recording { format, .. }) if format != FORMAT => {
                Err(lines.at(&format!("its format is {format}, and this program reads {FORMAT}")))
            }
            Some(Recorded::Recording { program, .. }) => {
                lines.other = Some(program).filter(|program| program != env!("CARGO_PKG_VERSION"));
                Ok(lines)
            }
            _ => Err(lines.at("this is no recording: `passerelle record` writes one")),
        }
    }

    /// The number of the last line.
    pub fn number(&self) -> usize {
        self.number
    }

    /// An error at the last line.
    pub fn at(&self, error: &str) -> String {
        format!("{}:{}: {error}", self.path.display(), self.number)
    }

    /// The next line. One that is cut off is the end: whoever recorded was killed.
    pub fn next(&mut self) -> Result<Option<Recorded>, String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        self.number += 1;
        read.map_err(|error| self.at(&error.to_string()))?;
        if !line.ends_with('\n') {
            self.cut_off = !line.is_empty();
            return Ok(None);
        }
        Recorded::parse(line.trim_end()).map(Some).map_err(|error| {
            let other = self.other.as_deref();
            let other = other
                .map(|other| format!("; passerelle {other} has written it: have that one play it"));
            self.at(&format!("{error}{}", other.unwrap_or_default()))
        })
    }

    /// Who speaks in the whole of it; and on whose sockets Dom0's program does.
    pub fn speakers(&self) -> Result<(BTreeSet<DomainName>, BTreeSet<DomainName>), String> {
        let (mut lines, mut domains, mut sockets) =
            (Self::open(&self.path)?, BTreeSet::new(), BTreeSet::new());
        while let Some(recorded) = lines.next()? {
            let Recorded::Input { told, .. } = recorded else { continue };
            match told {
                GatewayInput::Received { of, .. } | GatewayInput::Opened { of } => {
                    domains.insert(of);
                }
                GatewayInput::SocketReceived { of, .. } => {
                    domains.insert(of.clone());
                    sockets.insert(of);
                }
                _ => {}
            }
        }
        Ok((domains, sockets))
    }

    /// Says that the last line is not whole, if so.
    pub fn say_if_cut_off(&self, out: &mut Out) {
        if self.cut_off {
            out.say(format_args!("line {}: it is cut off, and left out\n", self.number));
        }
    }
}
