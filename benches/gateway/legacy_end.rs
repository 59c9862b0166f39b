//! Ends of the MVP: a UNIX socket, blocking reads and writes, and nothing around them.

use crate::messages::{Command, Server, notification};
use crate::{AHEAD, Res};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A domain that waits for the gateway to connect.
pub struct Listening {
    name: String,
    listener: UnixListener,
}

/// A connected domain.
pub struct LegacyEnd {
    pub name: String,
    stream: UnixStream,
    buffer: Vec<u8>,
    /// What was read after the last whole line.
    rest: Vec<u8>,
}

impl Listening {
    /// Listens on the domain's socket.
    pub fn start(directory: &Path, name: &str) -> Res<Self> {
        let listener = UnixListener::bind(directory.join(format!("{name}-msg.sock")))?;
        listener.set_nonblocking(true)?;
        Ok(Self { name: name.to_owned(), listener })
    }

    /// Waits for the gateway.
    pub fn accept(&self) -> Res<LegacyEnd> {
        let start = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if start.elapsed() > Duration::from_secs(20) {
                        return Err(format!("{}: the gateway has not come", self.name).into());
                    }
                    thread::sleep(Duration::from_micros(200));
                }
                Err(e) => return Err(e.into()),
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(crate::mqtt_end::DEADLINE))?;
        let (name, buffer) = (self.name.clone(), vec![0; 256 * 1024]);
        Ok(LegacyEnd { name, stream, buffer, rest: Vec::new() })
    }
}

impl LegacyEnd {
    /// Makes `count` calls with so many in flight, and says how long each took.
    pub fn calls(
        &mut self,
        (command, server): (Command, Server),
        count: usize,
        in_flight: usize,
    ) -> Res<Vec<Duration>> {
        let line = command.line(&self.name, server);
        let mut begun = VecDeque::with_capacity(in_flight);
        let mut times = Vec::with_capacity(count);
        let mut sent = 0;
        while sent < in_flight.min(count) {
            begun.push_back(Instant::now());
            self.stream.write_all(line.as_bytes())?;
            sent += 1;
        }
        while times.len() < count {
            for _ in 0..self.read_answers()? {
                times.push(begun.pop_front().map(|b| b.elapsed()).unwrap_or_default());
                if sent < count {
                    begun.push_back(Instant::now());
                    self.stream.write_all(line.as_bytes())?;
                    sent += 1;
                }
            }
        }
        Ok(times)
    }

    /// One read; how many answers ended in it.
    fn read_answers(&mut self) -> Res<usize> {
        let count = self.stream.read(&mut self.buffer)?;
        let bytes = self.buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(format!("{}: the gateway has closed", self.name).into());
        }
        let mut ends = 0;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(begin..end).unwrap_or_default();
            let first: &[u8] = if self.rest.is_empty() { line } else { &self.rest };
            if !first.starts_with(br#"{"type":"reponse""#) {
                let all = [&self.rest, line].concat();
                let shown = String::from_utf8_lossy(all.get(..300).unwrap_or(&all)).into_owned();
                return Err(format!("{} was not answered but told {shown}", self.name).into());
            }
            self.rest.clear();
            begin = end + 1;
            ends += 1;
        }
        // Only the beginning of a line is looked at.
        if self.rest.len() < 300 {
            self.rest.extend_from_slice(bytes.get(begin..).unwrap_or_default());
        }
        Ok(ends)
    }

    /// Asks so often for what is never answered.
    pub fn leave_pending(&mut self, count: usize) -> Res {
        let line = Command::Pending.line(&self.name, Server::Mqtt);
        for _ in 0..count {
            self.stream.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Writes so many notifications, not too far ahead of those that have arrived.
    pub fn notify(&mut self, count: usize, arrived: &AtomicUsize) -> Res {
        let at_once = count.min(20);
        let lines = notification(&self.name).repeat(at_once);
        let mut sent = 0;
        while sent < count {
            if sent + at_once <= arrived.load(Ordering::Relaxed) + AHEAD {
                self.stream.write_all(lines.as_bytes())?;
                sent += at_once;
            } else {
                thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(())
    }

    /// Writes notifications as fast as they are read, until told to stop.
    pub fn flood(mut self, stop: Arc<AtomicBool>) -> JoinHandle<Self> {
        let lines = notification(&self.name).repeat(100);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) && self.stream.write_all(lines.as_bytes()).is_ok() {
            }
            self
        })
    }

    /// Answers commands, in a thread that lives as long as the channel.
    pub fn serve(mut self) {
        let server = Server::Legacy;
        let answers: HashMap<String, String> = Command::ALL
            .iter()
            .filter_map(|c| Some((c.legacy(server).to_owned(), c.data()?)))
            .collect();
        thread::spawn(move || {
            let mut held: Vec<u8> = Vec::new();
            while let Ok(count @ 1..) = self.stream.read(&mut self.buffer) {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                let mut begin = 0;
                for end in memchr::memchr_iter(b'\n', bytes) {
                    held.extend_from_slice(bytes.get(begin..end).unwrap_or_default());
                    begin = end + 1;
                    let line = std::mem::take(&mut held);
                    if reply(&mut self.stream, &line, &answers).is_err() {
                        return;
                    }
                }
                held.extend_from_slice(bytes.get(begin..).unwrap_or_default());
            }
        });
    }
}

/// Writes the answer to a command, if it has one.
fn reply(stream: &mut UnixStream, line: &[u8], answers: &HashMap<String, String>) -> Res {
    // What is wanted stands at the beginning of a line, however long it is.
    let start = std::str::from_utf8(line.get(..300).unwrap_or(line)).unwrap_or_default();
    let after = |key: &str| {
        let (_, rest) = start.split_once(key)?;
        rest.split('"').next()
    };
    let (source, name) = (after(r#""source":""#), after(r#"{"commande":""#));
    let (Some(source), Some(name)) = (source, name) else { return Ok(()) };
    let Some(data) = answers.get(name) else { return Ok(()) };
    let mut line = format!(
        "{{\"type\":\"reponse\",\"source\":\"{}\",\"destination\":\"{source}\",\"payload\":{{\"commande\":\"{name}\",\"data\":",
        Server::Legacy.name()
    );
    // A small answer is one write; a large one is not copied first.
    if data.len() < 64 * 1024 {
        line.push_str(data);
    } else {
        stream.write_all(line.as_bytes())?;
        stream.write_all(data.as_bytes())?;
        line.clear();
    }
    line.push_str("}}\n");
    Ok(stream.write_all(line.as_bytes())?)
}
