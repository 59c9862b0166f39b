//! Another broker than Mosquitto, which the program that `BROKER` names starts: it is given a port of
//! 127.0.0.1 and a folder, and runs until it is killed.
//!
//! Its clients come through a socket, as Mosquitto's do. What they subscribe to is seen there, and told in the words
//! of Mosquitto's log.

use super::raw_mqtt::{Hello, packet, read_packet};
use super::{DEADLINE, Missing};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// What starts it, if the tests are to have another broker.
pub fn program() -> Option<PathBuf> {
    std::env::var_os("BROKER").filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// A port that nobody has now.
pub fn free_port() -> Result<u16, Missing> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    listener.map(|at| at.port()).map_err(|e| Missing::new(format!("no port: {e}")))
}

/// Waits until it lets a client in.
pub async fn ready(port: u16) -> Result<(), Missing> {
    let greeted = async {
        // Paces the attempts.
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            pace.tick().await;
            if let Ok(Some(0)) = greet(port).await {
                return;
            }
        }
    };
    let late = |_| Missing::new("the broker lets nobody in");
    tokio::time::timeout(2 * DEADLINE, greeted).await.map_err(late)
}

/// What it answers a CONNECT with.
async fn greet(port: u16) -> io::Result<Option<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let hello = Hello { level: 5, id: "is-it-there", keep_alive: 60, ..Hello::default() };
    stream.write_all(&hello.packet()).await?;
    let (_, body) = read_packet(&mut stream).await?;
    stream.write_all(&packet(0xE0, &[])).await?;
    Ok(body.get(1).copied())
}

/// Lets clients through, until it is dropped.
pub struct Gate(JoinHandle<()>);

impl Gate {
    /// Listens on `socket`; who has subscribed to what goes to `log`.
    pub fn open(socket: &Path, port: u16, log: UnboundedSender<String>) -> Result<Self, Missing> {
        let listener = UnixListener::bind(socket);
        let listener = listener.map_err(|e| Missing::new(format!("{}: {e}", socket.display())))?;
        Ok(Self(tokio::spawn(async move {
            // Whoever is let through goes with the gate.
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(pass(client, port, log.clone()));
            }
        })))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A SUBSCRIBE that the broker has not answered: its number and its filters.
type Asked = Arc<Mutex<Vec<([u8; 2], Vec<String>)>>>;

async fn pass(mut client: UnixStream, port: u16, log: UnboundedSender<String>) -> io::Result<()> {
    let (first, connect) = read_packet(&mut client).await?;
    let (is_five, id, anonymous) = who(&connect).unwrap_or_default();
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    broker.set_nodelay(true)?;
    broker.write_all(&packet(first, &anonymous)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let asked = Asked::default();
    let said = async {
        loop {
            let (first, body) = read_packet(&mut from_client).await?;
            if first == 0x82
                && let Some(subscribe) = filters(&body, is_five)
            {
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(subscribe);
            }
            to_broker.write_all(&packet(first, &body)).await?;
        }
    };
    let told = async {
        loop {
            let (first, body) = read_packet(&mut from_broker).await?;
            to_client.write_all(&packet(first, &body)).await?;
            if first == 0x90 {
                let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                let at = asked.iter().position(|(number, _)| body.starts_with(number));
                for filter in at.map(|at| asked.remove(at).1).into_iter().flatten() {
                    let _ = log.send(format!("0: {id} 1 {filter}"));
                }
            }
        }
    };
    let end: io::Result<()> = tokio::select! { end = said => end, end = told => end };
    end
}

/// Whether a CONNECT is of MQTT 5, its client id, and what it is without a login: who is to be let in, each broker
/// knows in a way of its own.
fn who(connect: &[u8]) -> Option<(bool, String, Vec<u8>)> {
    const LOGIN: u8 = 0xC0;
    const WILL: u8 = 0x04;
    let name = usize::from(u16::from_be_bytes([*connect.first()?, *connect.get(1)?]));
    let is_five = *connect.get(2 + name)? == 5;
    let flags = *connect.get(2 + name + 1)?;
    let properties = |rest: &'_ [u8]| match is_five {
        true => Some(1 + usize::from(*rest.first()?)),
        false => Some(0),
    };
    let mut at = 2 + name + 4;
    at += properties(connect.get(at..)?)?;
    let (id, _) = text(connect.get(at..)?)?;
    at += 2 + id.len();
    if flags & WILL != 0 {
        at += properties(connect.get(at..)?)?;
        for _ in 0..2 {
            let length = [*connect.get(at)?, *connect.get(at + 1)?];
            at += 2 + usize::from(u16::from_be_bytes(length));
        }
    }
    let mut anonymous = connect.get(..at)?.to_vec();
    *anonymous.get_mut(2 + name + 1)? &= !LOGIN;
    Some((is_five, id, anonymous))
}

fn filters(subscribe: &[u8], is_five: bool) -> Option<([u8; 2], Vec<String>)> {
    let number = [*subscribe.first()?, *subscribe.get(1)?];
    let mut rest = subscribe.get(2..)?;
    if is_five {
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    }
    let mut all = Vec::new();
    while let Some((filter, after)) = text(rest) {
        all.push(filter);
        rest = after.get(1..)?;
    }
    Some((number, all))
}

/// A text with its length before it, and what follows.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    let text = bytes.get(2..2 + length)?;
    Some((String::from_utf8_lossy(text).into_owned(), bytes.get(2 + length..)?))
}
