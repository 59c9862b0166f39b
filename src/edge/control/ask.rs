//! Asking a gateway that runs.

use super::{LONGEST, Question, Request, real};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Take, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a gateway may take: those whose turn is before may take 5 s to ask, and 5 s to read. And to reload, for it
/// compiles its mapping.
const PATIENCE: Duration = Duration::from_secs(12);
const TO_RELOAD: Duration = Duration::from_secs(30);
/// The longest answer that is taken, in bytes: a thousand domains have a small part of it.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody can be asked there.
    Nobody(String),
    /// Somebody is there, and says nothing.
    Silent(String),
    /// The gateway says why not.
    Refused(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(why) => {
                write!(f, "{why}; does the gateway run, and may this user ask it?")
            }
            Self::Silent(why) => write!(
                f,
                "{why}: a gateway listens there and does not answer: it hangs, or was stopped; look at its log, and \
                 restart it"
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

#[derive(Deserialize)]
enum SocketReply {
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
    let mut lines = AnswerLines::ask(socket, state_dir, request)?;
    let reply = lines.next()?.ok_or_else(|| lines.nobody(&"it does not answer"))?;
    match serde_json::from_str(&reply) {
        Ok(SocketReply::Answer(value)) => Ok(value),
        Ok(SocketReply::Error(why)) => Err(NoAnswer::Refused(why)),
        Err(error) => Err(lines.nobody(&error)),
    }
}

/// Asks likewise, and gives what follows the answer.
///
/// # Errors
/// As for [`ask`].
pub fn follow(
    socket: Option<&Path>,
    state_dir: &Path,
    request: Request,
) -> Result<AnswerLines, NoAnswer> {
    let mut lines = AnswerLines::ask(socket, state_dir, request)?;
    let reply = lines.next()?.ok_or_else(|| lines.nobody(&"it does not answer"))?;
    match serde_json::from_str(&reply) {
        Ok(SocketReply::Answer(_)) => {
            let forever = lines.reader.get_ref().get_ref().set_read_timeout(None);
            forever.map_err(|error| lines.nobody(&error))?;
            Ok(lines)
        }
        Ok(SocketReply::Error(why)) => Err(NoAnswer::Refused(why)),
        Err(error) => Err(lines.nobody(&error)),
    }
}

/// What the gateway says, line by line.
#[derive(Debug)]
pub struct AnswerLines {
    reader: BufReader<Take<UnixStream>>,
    socket: PathBuf,
    /// When there is no more.
    end: Option<Instant>,
}

impl AnswerLines {
    fn ask(socket: Option<&Path>, state_dir: &Path, request: Request) -> Result<Self, NoAnswer> {
        let Some(socket) = socket else {
            return Err(NoAnswer::Nobody("`control.socket` is \"\"".to_owned()));
        };
        let stream = exchange(socket, state_dir, request);
        let stream = stream.map_err(|error| no_answer(socket, &error))?;
        Ok(Self { reader: BufReader::new(stream.take(0)), socket: socket.to_owned(), end: None })
    }

    fn nobody(&self, why: &dyn fmt::Display) -> NoAnswer {
        NoAnswer::Nobody(format!("{}: {why}", self.socket.display()))
    }

    /// Whether the next line need not be waited for.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// After so long there is no more.
    pub fn end_after(&mut self, span: Duration) {
        self.end = Instant::now().checked_add(span);
    }

    /// The next line without its end; `None`: there is no more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next(&mut self) -> Result<Option<String>, NoAnswer> {
        self.reader.get_mut().set_limit(LARGEST);
        if let Some(end) = self.end {
            // Zero would be for ever.
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let set = self.reader.get_ref().get_ref().set_read_timeout(Some(left));
            set.map_err(|error| self.nobody(&error))?;
        }
        let mut line = String::new();
        let read = match self.reader.read_line(&mut line) {
            Err(error) if self.end.is_some() && is_time_over(&error) => Ok(0),
            read => read,
        };
        let read = read.map_err(|error| no_answer(&self.socket, &error))?;
        Ok((read > 0).then(|| line.trim_end_matches('\n').to_owned()))
    }
}

/// There is something to read when the gateway says more, or ends.
impl AsFd for AnswerLines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().get_ref().as_fd()
    }
}

fn no_answer(socket: &Path, error: &io::Error) -> NoAnswer {
    let socket = socket.display();
    match is_time_over(error) {
        true => NoAnswer::Silent(format!("{socket}: no answer in time")),
        false => NoAnswer::Nobody(format!("{socket}: {error}")),
    }
}

/// Of a socket that does not block, this is what it says.
fn is_time_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn exchange(socket: &Path, state_dir: &Path, request: Request) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    let patience = if request == Request::Reload { TO_RELOAD } else { PATIENCE };
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let question = Question { state_dir: Some(real(state_dir)), request };
    let mut line = serde_json::to_vec(&question)?;
    line.push(b'\n');
    if u64::try_from(line.len()).is_ok_and(|size| size > LONGEST) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the question is too long"));
    }
    stream.write_all(&line)?;
    Ok(stream)
}
