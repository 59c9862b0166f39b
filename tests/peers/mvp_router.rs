//! Dom0's router of the MVP, as shipped: it connects to the domains' sockets, forwards by
//! destination, answers for `Dom0`, and never comes back to a domain that it has lost.

use super::json::encode;
use super::legacy::{Line, notification, response};
use super::{DEADLINE, Inbox, Missing};
use passerelle::edge::watch::{Change, Watch};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// A router that runs until it is dropped, or stopped. Unlike the shipped one it need not look for
/// sockets every 5 s, keeps messages in order, and survives lines that are no object.
pub struct MvpRouter {
    /// What it was told, and on which socket.
    pub inbox: Inbox<Told>,
    say: mpsc::UnboundedSender<(String, Option<Line>)>,
    connected: watch::Receiver<BTreeSet<String>>,
    task: JoinHandle<()>,
}

/// A line, and the socket that it came on.
pub struct Told {
    /// The socket's name, less its end.
    pub socket: String,
    /// The line.
    pub line: Line,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.socket, self.line)
    }
}

struct Routing {
    heard: mpsc::UnboundedSender<Told>,
    writers: BTreeMap<String, OwnedWriteHalf>,
    /// Whom it has been connected to: it looks at nobody twice.
    known: BTreeSet<String>,
    states: BTreeMap<String, String>,
    lines: mpsc::UnboundedSender<(String, Option<Line>)>,
    readers: JoinSet<()>,
    connected: watch::Sender<BTreeSet<String>>,
}

impl MvpRouter {
    /// Starts one that looks for sockets in `directory`.
    pub fn start(directory: &Path) -> Result<Self, Missing> {
        let mut watch = Watch::new(&directory.join("*-msg.sock"))
            .map_err(|e| Missing::new(format!("the router cannot look: {e}")))?;
        let (connected, seen) = watch::channel(BTreeSet::new());
        let (lines, mut incoming) = mpsc::unbounded_channel();
        let (heard, inbox) = mpsc::unbounded_channel();
        let (say, inbox) = (lines.clone(), Inbox::new("the router", inbox));
        let mut routing = Routing {
            heard,
            writers: BTreeMap::new(),
            known: BTreeSet::new(),
            states: BTreeMap::new(),
            lines,
            readers: JoinSet::new(),
            connected,
        };
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Ok(change) = watch.next() => match change {
                        Change::Appeared(path) => routing.connect(path).await,
                        Change::Disappeared(_) | Change::Failing(..) => {}
                    },
                    Some((from, line)) = incoming.recv() => match line {
                        Some(line) => routing.hear(&from, line).await,
                        None => routing.lost(&from),
                    },
                }
            }
        });
        Ok(Self { inbox, say, connected: seen, task })
    }

    /// Has it route a line, as if it had heard it, or said it itself.
    pub fn route(&self, line: String) {
        let _ = self.say.send((String::new(), Some(Line::new(line))));
    }

    /// Waits until it is connected to a domain.
    pub async fn connected(&mut self, name: &str) -> Result<(), Missing> {
        self.wait(name, true).await
    }

    /// Waits until a domain has closed its connection.
    pub async fn lost(&mut self, name: &str) -> Result<(), Missing> {
        self.wait(name, false).await
    }

    async fn wait(&mut self, name: &str, connected: bool) -> Result<(), Missing> {
        let reached = self.connected.wait_for(|names| names.contains(name) == connected);
        match tokio::time::timeout(DEADLINE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Missing::new(format!("the router: connected={connected} to {name} in vain"))),
        }
    }

    /// Ends it, as a crash would.
    pub async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for MvpRouter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Routing {
    async fn connect(&mut self, path: PathBuf) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let name = name.trim_end_matches("-msg.sock").to_owned();
        if !self.known.insert(name.clone()) {
            return;
        }
        let Ok(stream) = UnixStream::connect(&path).await else { return };
        let (reader, writer) = stream.into_split();
        self.writers.insert(name.clone(), writer);
        self.readers.spawn(read(name, reader, self.lines.clone()));
        self.tell();
    }

    fn lost(&mut self, name: &str) {
        self.writers.remove(name);
        self.tell();
    }

    fn tell(&self) {
        self.connected.send_replace(self.writers.keys().cloned().collect());
    }

    async fn hear(&mut self, socket: &str, line: Line) {
        let again = format!("{}\n", encode(&line.value));
        match line.value["destination"].as_str().unwrap_or_default() {
            "tous" => self.everyone(&again).await,
            "Dom0" => self.answer(&line).await,
            to => self.write(to, &again).await,
        }
        if !socket.is_empty() {
            let _ = self.heard.send(Told { socket: socket.to_owned(), line });
        }
    }

    async fn everyone(&mut self, line: &str) {
        for writer in self.writers.values_mut() {
            let _ = writer.write_all(line.as_bytes()).await;
        }
    }

    async fn write(&mut self, to: &str, line: &str) {
        if let Some(writer) = self.writers.get_mut(to) {
            let _ = writer.write_all(line.as_bytes()).await;
        }
    }

    /// What it does itself.
    async fn answer(&mut self, line: &Line) {
        let from = line.value["source"].as_str().unwrap_or_default();
        let repository = |member: &str| line.arguments()[member] == "__repository__";
        if line.asks("liste_fichiers") && repository("nom_disque") {
            let file = json!({"type": "file", "path": "/", "name": "déjà là.txt", "size": 13});
            let data = json!({"disk": "__repository__", "files": [file]});
            let answer = response("Dom0", from, "liste_fichiers", &data);
            self.write(from, &format!("{answer}\n")).await;
        } else if line.asks("get_file_footprint") && repository("disk") {
            let (filepath, footprint) =
                (&line.arguments()["filepath"], "6f5902ac237024bdd0c176cb93063dc4");
            let data =
                json!({"filepath": filepath, "disk": "__repository__", "footprint": footprint});
            let answer = response("Dom0", from, "file_footprint", &data);
            self.write(from, &format!("{answer}\n")).await;
        } else if line.tells("etat_domu") {
            let state = line.data().to_string();
            if self.states.insert(from.to_owned(), state.clone()) != Some(state) {
                // The shipped one announces every state as `pret:1`.
                let data = json!({"pret": 1, "domu": from});
                let told = notification("Dom0", "tous", "etat_domu", &data);
                self.everyone(&format!("{told}\n")).await;
            }
        }
    }
}

async fn read(
    name: String,
    reader: OwnedReadHalf,
    lines: mpsc::UnboundedSender<(String, Option<Line>)>,
) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line).await {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        let line = Line::new(line.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(line));
        if lines.send((name.clone(), Some(line))).is_err() {
            return;
        }
    }
    let _ = lines.send((name, None));
}
