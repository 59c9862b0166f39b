//! A domain of the MVP as Dom0 sees it: the hypervisor's backend and the guest behind it.

use super::json::{decode, encode};
use super::{DEADLINE, Inbox, Missing};
use bytes::Bytes;
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

/// One line as it came.
#[derive(Debug, Clone)]
pub struct Line {
    /// The very bytes, less the newline.
    pub bytes: Bytes,
    /// What they say, lone surrogates replaced by stand-ins; null if they are not JSON.
    pub value: Value,
}

impl Line {
    /// A line from its bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let value = decode(&bytes).unwrap_or_default();
        Self { bytes, value }
    }

    /// The line as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or("(not UTF-8)")
    }

    /// The command's, the response's or the event's name, if the line is of this type.
    pub fn name(&self, kind: &str) -> Option<&str> {
        let payload = self.value.get("payload").filter(|_| self.value["type"] == kind)?;
        payload.get("commande").or_else(|| payload.get("evenement"))?.as_str()
    }

    /// Whether this is the response `name`.
    pub fn answers(&self, name: &str) -> bool {
        self.name("reponse") == Some(name)
    }

    /// Whether this is the event `name`.
    pub fn tells(&self, name: &str) -> bool {
        self.name("notification") == Some(name)
    }

    /// Whether this is the command `name`.
    pub fn asks(&self, name: &str) -> bool {
        self.name("commande") == Some(name)
    }

    /// The data of a response or an event.
    pub fn data(&self) -> &Value {
        &self.value["payload"]["data"]
    }

    /// The arguments of a command.
    pub fn arguments(&self) -> &Value {
        &self.value["payload"]["arguments"]
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A command, as an MVP program writes it.
pub fn command(source: &str, destination: &str, name: &str, arguments: &Value) -> String {
    let payload =
        format!(r#"{{"commande":{},"arguments":{}}}"#, encode(&json!(name)), encode(arguments));
    envelope("commande", source, destination, &payload)
}

/// A response, as an MVP program writes it.
pub fn response(source: &str, destination: &str, name: &str, data: &Value) -> String {
    let payload = format!(r#"{{"commande":{},"data":{}}}"#, encode(&json!(name)), encode(data));
    envelope("reponse", source, destination, &payload)
}

/// A notification, as an MVP program writes it.
pub fn notification(source: &str, destination: &str, event: &str, data: &Value) -> String {
    let payload = format!(r#"{{"evenement":{},"data":{}}}"#, encode(&json!(event)), encode(data));
    envelope("notification", source, destination, &payload)
}

/// A message whose payload is written as it is.
pub fn envelope(kind: &str, source: &str, destination: &str, payload: &str) -> String {
    format!(
        r#"{{"type":"{kind}","source":{},"destination":{},"payload":{payload}}}"#,
        encode(&json!(source)),
        encode(&json!(destination))
    )
}

/// The writing side, which a server has a copy of.
#[derive(Clone)]
pub struct Wire(mpsc::UnboundedSender<Bytes>);

impl Wire {
    /// Writes these bytes and nothing else, at once or as soon as somebody is connected.
    pub fn raw(&self, bytes: impl Into<Bytes>) {
        // Only a domain that is gone does not take them, and its test is over.
        let _ = self.0.send(bytes.into());
    }

    /// Writes a line as it is, with its newline.
    pub fn line(&self, line: &str) {
        self.raw(format!("{line}\n"));
    }
}

/// A domain of the MVP on its UNIX socket: it listens, and has one client at a time.
pub struct LegacyDomain {
    /// Its name.
    pub name: String,
    /// What it was sent.
    pub inbox: Inbox<Line>,
    wire: Wire,
    ends: Arc<Ends>,
    path: Option<PathBuf>,
    backend: Option<JoinHandle<()>>,
}

/// What outlives a restart of the domain.
struct Ends {
    outgoing: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    incoming: mpsc::UnboundedSender<Line>,
    connected: watch::Sender<bool>,
    reads: watch::Sender<bool>,
}

impl LegacyDomain {
    /// Listens on `<directory>/<name>-msg.sock`.
    pub fn start(directory: &Path, name: &str) -> Result<Self, Missing> {
        let mut domain = Self::new(name);
        domain.path = Some(directory.join(format!("{name}-msg.sock")));
        domain.listen()?;
        Ok(domain)
    }

    /// Speaks over something that is always connected, such as a pty.
    pub fn over(
        name: &str,
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let mut domain = Self::new(name);
        let ends = domain.ends.clone();
        domain.backend = Some(tokio::spawn(async move { ends.serve(reader, writer).await }));
        domain
    }

    fn new(name: &str) -> Self {
        let (to_wire, outgoing) = mpsc::unbounded_channel();
        let (incoming, from_wire) = mpsc::unbounded_channel();
        let ends = Ends {
            outgoing: Mutex::new(outgoing),
            incoming,
            connected: watch::Sender::new(false),
            reads: watch::Sender::new(true),
        };
        Self {
            name: name.to_owned(),
            inbox: Inbox::new(name, from_wire),
            wire: Wire(to_wire),
            ends: Arc::new(ends),
            path: None,
            backend: None,
        }
    }

    /// Its writing side, for one that answers on its own.
    pub fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Writes a line as it is, with its newline.
    pub fn line(&self, line: &str) {
        self.wire.line(line);
    }

    /// Writes these bytes and nothing else.
    pub fn raw(&self, bytes: impl Into<Bytes>) {
        self.wire.raw(bytes);
    }

    /// Asks `destination` for something.
    pub fn ask(&self, destination: &str, name: &str, arguments: &Value) {
        self.line(&command(&self.name, destination, name, arguments));
    }

    /// Tells `destination` something.
    pub fn tell(&self, destination: &str, event: &str, data: &Value) {
        self.line(&notification(&self.name, destination, event, data));
    }

    /// Waits for a line; see [`Inbox::expect`].
    pub async fn expect(
        &mut self,
        what: &str,
        wanted: impl FnMut(&Line) -> bool,
    ) -> Result<Line, Missing> {
        self.inbox.expect(what, wanted).await
    }

    /// Asks, and waits for the response `answer`.
    pub async fn call(
        &mut self,
        destination: &str,
        name: &str,
        arguments: &Value,
        answer: &str,
    ) -> Result<Line, Missing> {
        self.ask(destination, name, arguments);
        self.expect(&format!("the answer {answer} to {name}"), |line| line.answers(answer)).await
    }

    /// Waits until a client is connected.
    pub async fn connected(&self) -> Result<(), Missing> {
        self.wait("a client", true).await
    }

    /// Waits until no client is connected.
    pub async fn disconnected(&self) -> Result<(), Missing> {
        self.wait("its client's end", false).await
    }

    async fn wait(&self, what: &str, connected: bool) -> Result<(), Missing> {
        let mut state = self.ends.connected.subscribe();
        let reached = tokio::time::timeout(DEADLINE, state.wait_for(|now| *now == connected)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Missing::new(format!("{}: waited for {what} in vain", self.name))),
        }
    }

    /// Stops reading, as a guest that hangs.
    pub fn stop_reading(&self) {
        self.ends.reads.send_replace(false);
    }

    /// Reads again.
    pub fn read_again(&self) {
        self.ends.reads.send_replace(true);
    }

    /// Goes away: the connection closes and the socket disappears.
    pub async fn stop(&mut self) -> Result<(), Missing> {
        if let Some(backend) = self.backend.take() {
            backend.abort();
            // It ends as cancelled, which is what was asked for.
            let _ = backend.await;
        }
        if let Some(path) = &self.path {
            fs::remove_file(path).map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        }
        self.ends.connected.send_replace(false);
        Ok(())
    }

    /// Comes (back) under its path.
    pub fn listen(&mut self) -> Result<(), Missing> {
        let Some(path) = &self.path else {
            return Err(Missing::new("only a socket can be listened on"));
        };
        let listener = UnixListener::bind(path)
            .map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        let ends = self.ends.clone();
        self.backend = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, writer) = stream.into_split();
                ends.serve(reader, writer).await;
            }
        }));
        Ok(())
    }

    /// Goes away and comes back.
    pub async fn restart(&mut self) -> Result<(), Missing> {
        self.stop().await?;
        self.listen()
    }
}

impl Drop for LegacyDomain {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            backend.abort();
        }
    }
}

impl Ends {
    async fn serve(&self, reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
        self.connected.send_replace(true);
        let mut outgoing = self.outgoing.lock().await;
        let write = async {
            while let Some(bytes) = outgoing.recv().await {
                writer.write_all(&bytes).await?;
            }
            std::future::pending::<io::Result<()>>().await
        };
        // However the connection ends, the next client is served.
        let _ = tokio::select! {
            end = self.read(reader) => end,
            end = write => end,
        };
        self.connected.send_replace(false);
    }

    async fn read(&self, reader: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 * 1024, reader);
        let mut reads = self.reads.subscribe();
        let mut line = Vec::new();
        loop {
            if reads.wait_for(|now| *now).await.is_err() {
                return Ok(());
            }
            let chunk = tokio::select! {
                chunk = reader.fill_buf() => chunk?,
                _ = reads.changed() => continue,
            };
            if chunk.is_empty() {
                return Ok(());
            }
            let end = chunk.iter().position(|&b| b == b'\n');
            line.extend_from_slice(chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default());
            let taken = end.map_or(chunk.len(), |at| at + 1);
            reader.consume(taken);
            if end.is_some() {
                // Nobody may be waiting any more.
                let _ = self.incoming.send(Line::new(std::mem::take(&mut line)));
            }
        }
    }
}
