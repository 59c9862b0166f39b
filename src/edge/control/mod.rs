//! The control socket: one JSON line asks, and one or more JSON lines answer. Who may is a matter of the
//! file's mode, 0660.
//!
//! What a client may cost is bounded: how many there are, how much each may write, and how long each may take.

mod ask;

pub use ask::{NoAnswer, ask, follow};

use super::offered::Offered;
use super::recorder::Recording;
use super::taps::Watcher;
use crate::config::LogLevel;
use crate::engine::name::DomainName;
use crate::engine::tap::Wanted;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// How many clients are served at once. Others wait, and more than so many of those are turned away.
const CLIENTS: usize = 16;
const WAITING: u32 = 16;
/// The longest question, in bytes.
const LONGEST: u64 = 4096;
/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when there is nothing left to serve a client with, such as a file descriptor.
const PAUSE: Duration = Duration::from_secs(1);
/// Its owner and its group may ask.
const MODE: u32 = 0o660;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How the gateway and its domains are doing, as `passerelle status --json` has it.
    Status,
    /// Who has spoken legacy, as `seen.json` has it.
    Ready,
    /// What observing has found, as `coverage.json` has it.
    Coverage,
    /// A domain is to be taken for a legacy one again.
    Legacy {
        /// The domain.
        domain: DomainName,
    },
    /// The log's level is to be this one from now on; without one, which it is.
    Log {
        /// What is logged.
        level: Option<LogLevel>,
    },
    /// Configuration and mapping are to be loaded anew.
    Reload,
    /// What crosses from now on, a line for each message.
    Tap(Wanted),
    /// What the gateway is told from now on, as a recording.
    Record,
}

/// A request, and whom it is for.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// The gateway's `state_dir`, of which each has its own: another's gateway says so and does nothing.
    state_dir: Option<PathBuf>,
    #[serde(flatten)]
    request: Request,
}

/// What is answered: what was asked for, or why it cannot be had.
pub(super) type Answer = Result<Reply, String>;

/// What was asked for.
#[derive(Debug)]
pub(super) enum Reply {
    /// One line.
    Value(Value),
    /// Lines, until the client or the gateway goes: what crosses.
    Watcher(Watcher),
    /// What is recorded, likewise.
    Recording(Recording),
}

impl Reply {
    /// The next line of more than one. `None`: there is no more. Cancel-safe.
    async fn next(&mut self) -> Option<String> {
        match self {
            Self::Value(_) => None,
            Self::Watcher(watcher) => watcher.next().await,
            Self::Recording(recording) => recording.next().await,
        }
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub request: Request,
    reply: oneshot::Sender<Answer>,
}

impl Asked {
    /// Answers it. A client that has gone needs none.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// Serves the socket of a gateway with this `state_dir`. Gives what its clients ask, one after the other. A
/// socket that cannot be had is told in the log, and stops nothing. When nobody takes questions any more, it is
/// closed.
pub(super) async fn serve(socket: Option<&Path>, state_dir: &Path) -> mpsc::Receiver<Asked> {
    let (questions, asked) = mpsc::channel(1);
    let Some(path) = socket else {
        // Nobody ever asks.
        tokio::spawn(async move { questions.closed().await });
        return asked;
    };
    let own = |new: &Path| fs::set_permissions(new, fs::Permissions::from_mode(MODE));
    match Offered::open(path.to_owned(), WAITING, own).await {
        Ok(offered) => {
            let state_dir = real(state_dir).into();
            tokio::spawn(accept(offered, state_dir, questions));
        }
        Err(error) => {
            tracing::warn!(
                path = %path.display(),
                %error,
                help = "have its folder belong to the gateway's user, or name another as `control.socket`",
                "no control socket: `passerelle status` asks the broker, and other commands cannot ask at all"
            );
            tokio::spawn(async move { questions.closed().await });
        }
    }
    asked
}

async fn accept(offered: Offered, state_dir: Arc<Path>, questions: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    let mut reserve = offered.reserve();
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let client = tokio::select! {
            client = offered.accept() => client,
            () = questions.closed() => return,
        };
        match client {
            Ok(stream) => {
                let (state_dir, questions) = (Arc::clone(&state_dir), questions.clone());
                tokio::spawn(async move {
                    // Whatever goes wrong with a client is the client's.
                    let _ = client_of(stream, &state_dir, &questions).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no client of the control socket can be served");
                // Whoever asks what is wrong when nothing is left is to be told.
                drop(reserve.take());
                match offered.accept().now_or_never() {
                    Some(Ok(client)) => {
                        let served = client_of(client, &state_dir, &questions);
                        let _ = timeout(PATIENCE, served).await;
                    }
                    _ => sleep(PAUSE).await,
                }
                reserve = offered.reserve();
            }
        }
    }
}

/// One client: a question, and its answer.
async fn client_of(
    stream: UnixStream,
    state_dir: &Path,
    questions: &mpsc::Sender<Asked>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    let answer = match question(&line, state_dir) {
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let sent = questions.send(Asked { request, reply }).await;
            let ends = || Err("the gateway ends".to_owned());
            if sent.is_err() { ends() } else { answer.await.unwrap_or_else(|_| ends()) }
        }
        Err(why) => Err(why),
    };
    let answer = match answer {
        Ok(Reply::Value(value)) => json!({"answer": value}),
        Ok(lines) => return show(lines, reader, writer).await,
        Err(why) => json!({"error": why}),
    };
    let text = format!("{answer}\n");
    timeout(PATIENCE, writer.write_all(text.as_bytes())).await?
}

/// Gives a client line after line, for as long as it likes. One that does not read holds up nobody.
async fn show(
    mut lines: Reply,
    mut reader: BufReader<Take<OwnedReadHalf>>,
    mut writer: OwnedWriteHalf,
) -> io::Result<()> {
    writer.write_all(b"{\"answer\":\"watching\"}\n").await?;
    let mut more = [0; 1];
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            // It has asked: whatever else it says, or that it goes, is the end.
            _ = reader.read(&mut more) => None,
        };
        let Some(line) = line else { return Ok(()) };
        writer.write_all(line.as_bytes()).await?;
        writer.write_all(b"\n").await?;
    }
}

fn question(line: &[u8], state_dir: &Path) -> Result<Request, String> {
    let question: Question = serde_json::from_slice(line)
        .map_err(|error| format!("no question: {error}; see docs/monitoring.md"))?;
    match question.state_dir {
        Some(other) if real(&other) != state_dir => Err(format!(
            "this is the gateway with the `state_dir` {}, not with {}: give each its own `control.socket`",
            state_dir.display(),
            other.display()
        )),
        _ => Ok(question.request),
    }
}

/// A folder by the name that it has for everybody.
fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}
