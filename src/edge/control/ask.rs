//! Asking a gateway that runs.

use super::{LONGEST, Question, Request, real};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a gateway may take: a mapping is compiled at a reload.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is taken, in bytes: a thousand domains have a small part of it.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody can be asked there.
    Nobody(String),
    /// The gateway says why not.
    Refused(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(why) => {
                write!(f, "{why}; does the gateway run, and may this user ask it?")
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

#[derive(Deserialize)]
enum Reply {
    #[serde(rename = "answer")]
    Answer(Value),
    #[serde(rename = "error")]
    Error(String),
}

/// Asks the gateway with this `state_dir` at this socket; `None`: it has none.
///
/// # Errors
/// Nobody answers there, or the gateway says why it has no answer.
pub fn ask(socket: Option<&Path>, state_dir: &Path, request: Request) -> Result<Value, NoAnswer> {
    let Some(socket) = socket else {
        return Err(NoAnswer::Nobody("`control.socket` is \"\"".to_owned()));
    };
    let nobody = |error: io::Error| NoAnswer::Nobody(format!("{}: {error}", socket.display()));
    let reply = exchange(socket, state_dir, request).map_err(nobody)?;
    match serde_json::from_slice(&reply) {
        Ok(Reply::Answer(value)) => Ok(value),
        Ok(Reply::Error(why)) => Err(NoAnswer::Refused(why)),
        Err(error) => Err(nobody(error.into())),
    }
}

fn exchange(socket: &Path, state_dir: &Path, request: Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let question = Question { state_dir: Some(real(state_dir)), request };
    let mut line = serde_json::to_vec(&question)?;
    line.push(b'\n');
    if u64::try_from(line.len()).is_ok_and(|size| size > LONGEST) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the question is too long"));
    }
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    stream.take(LARGEST).read_to_end(&mut reply)?;
    Ok(reply)
}
