//! How the driver gives orders to the agent in the guest: JSON lines over a console port of their own.
//!
//! One order, one report, in order. A report is `{"ok":...}` or `{"missing":"..."}`.

use crate::peers::Missing;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

/// One end of the control port.
pub struct Control {
    reader: BufReader<Box<dyn AsyncRead + Unpin + Send>>,
    writer: Box<dyn AsyncWrite + Unpin + Send>,
}

impl Control {
    /// An end over these.
    pub fn new(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer) }
    }

    /// Writes one value.
    pub async fn send(&mut self, value: &Value) -> io::Result<()> {
        self.writer.write_all(format!("{value}\n").as_bytes()).await?;
        self.writer.flush().await
    }

    /// Reads the next object. Anything else on the port (an echo, a torn line) is passed over.
    pub async fn receive(&mut self) -> io::Result<Value> {
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Ok(value @ Value::Object(_)) = serde_json::from_slice(&line) {
                return Ok(value);
            }
        }
    }

    /// Waits for a report.
    pub async fn report(&mut self, limit: Duration) -> Result<Value, Missing> {
        match tokio::time::timeout(limit, self.receive()).await {
            Ok(Ok(mut report)) => match report["missing"].as_str() {
                Some(missing) => Err(Missing::new(format!("in the guest: {missing}"))),
                None => Ok(report["ok"].take()),
            },
            Ok(Err(e)) => Err(Missing::new(format!("the guest's control port: {e}"))),
            Err(_) => Err(Missing::new(format!("the guest reports nothing for {limit:?}"))),
        }
    }

    /// Reports.
    pub async fn say(&mut self, outcome: Result<Value, Missing>) -> io::Result<()> {
        let report = match outcome {
            Ok(value) => json!({ "ok": value }),
            Err(missing) => json!({ "missing": missing.to_string() }),
        };
        self.send(&report).await
    }
}
