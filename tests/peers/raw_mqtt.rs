//! A program that writes MQTT packets by hand, so that it can do what no library does.

use super::{DEADLINE, Missing};
use std::io;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The versions of the protocol, by the level that their CONNECT says.
pub const LEVELS: [u8; 3] = [3, 4, 5];

/// What a CONNECT says.
#[derive(Debug, Clone, Default)]
pub struct Hello<'h> {
    /// 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.
    pub level: u8,
    /// The client id.
    pub id: &'h str,
    /// Whether to begin with what the broker has of this client.
    pub resume: bool,
    /// Topic and payload of the will.
    pub will: Option<(&'h str, &'h str)>,
    /// In seconds.
    pub keep_alive: u16,
    /// User name and password.
    pub login: Option<(&'h str, &'h str)>,
}

impl Hello<'_> {
    /// The packet.
    pub fn packet(&self) -> Vec<u8> {
        let name: &[u8] = if self.level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
        let will = if self.will.is_some() { 0x0C } else { 0 };
        let login = if self.login.is_some() { 0xC0 } else { 0 };
        let flags = will | login | if self.resume { 0 } else { 0x02 };
        let mut body = [name, &[self.level, flags]].concat();
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == 5 {
            // The session outlives the connection by an hour.
            body.extend([5, 0x11, 0, 0, 0x0E, 0x10]);
        }
        body.extend(field(self.id.as_bytes()));
        if let Some((topic, payload)) = self.will {
            body.extend(properties(self.level));
            body.extend([field(topic.as_bytes()), field(payload.as_bytes())].concat());
        }
        if let Some((user, password)) = self.login {
            body.extend([field(user.as_bytes()), field(password.as_bytes())].concat());
        }
        packet(0x10, &body)
    }
}

/// A packet of this first byte.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap_or_default();
        rest /= 128;
        packet.push(digit | if rest > 0 { 0x80 } else { 0 });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A SUBSCRIBE of one filter.
pub fn subscribe(level: u8, number: u16, filter: &str, qos: u8) -> Vec<u8> {
    let filter = [&field(filter.as_bytes())[..], &[qos]].concat();
    packet(0x82, &[&number.to_be_bytes(), properties(level), &filter].concat())
}

/// A PUBLISH; `number` is its packet identifier, which one of QoS 0 has not.
pub fn publish(level: u8, qos: u8, number: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let number = number.to_be_bytes();
    let number: &[u8] = if qos > 0 { &number } else { &[] };
    let body = [&field(topic.as_bytes()), number, properties(level), payload].concat();
    packet(0x30 | qos << 1, &body)
}

/// A DISCONNECT.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];
/// A PINGREQ.
pub const PING: [u8; 2] = [0xC0, 0];

fn properties(level: u8) -> &'static [u8] {
    if level == 5 { &[0] } else { &[] }
}

/// Bytes after their length.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}

/// Reads a packet: its first byte, and what follows its length.
pub async fn read_packet(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = from.read_u8().await?;
    let (mut size, mut bits) = (0, 0);
    loop {
        let digit = from.read_u8().await?;
        size |= usize::from(digit & 0x7F) << bits;
        bits += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; size];
    from.read_exact(&mut body).await?;
    Ok((first, body))
}

/// A connection, and packets that came before the one that was waited for.
pub struct RawMqtt(UnixStream, Vec<(u8, Vec<u8>)>);

impl RawMqtt {
    /// Opens a broker's socket, or a console's port.
    pub async fn open(path: &Path) -> Result<Self, Missing> {
        let stream = UnixStream::connect(path).await;
        stream
            .map(|stream| Self(stream, Vec::new()))
            .map_err(|e| Missing::new(format!("{}: {e}", path.display())))
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Missing> {
        match tokio::time::timeout(DEADLINE, self.0.write_all(bytes)).await {
            Ok(written) => written.map_err(|e| Missing::new(format!("not written: {e}"))),
            Err(_) => Err(Missing::new("nobody reads what is written")),
        }
    }

    /// The next packet: its first byte, and what follows its length.
    pub async fn next(&mut self) -> Result<(u8, Vec<u8>), Missing> {
        match tokio::time::timeout(DEADLINE, read_packet(&mut self.0)).await {
            Ok(packet) => packet.map_err(|e| Missing::new(format!("no packet: {e}"))),
            Err(_) => Err(Missing::new("no packet came")),
        }
    }

    /// Waits for a packet of this kind; gives what follows its length. Others wait to be expected.
    pub async fn expect(&mut self, first: u8) -> Result<Vec<u8>, Missing> {
        if let Some(at) = self.1.iter().position(|(found, _)| *found == first) {
            return Ok(self.1.remove(at).1);
        }
        loop {
            match self.next().await {
                Ok((found, body)) if found == first => return Ok(body),
                Ok(other) => self.1.push(other),
                Err(why) => {
                    let others: Vec<u8> = self.1.iter().map(|(found, _)| *found).collect();
                    let text = format!("waited for {first:#04x}: {why}; it had {others:02x?}");
                    return Err(Missing::new(text));
                }
            }
        }
    }

    /// What has come and nobody has expected: the first bytes of these packets.
    pub fn unexpected(&self) -> Vec<u8> {
        self.1.iter().map(|(first, _)| *first).collect()
    }

    /// Says hello; gives what the CONNACK says after its length.
    pub async fn hello(&mut self, hello: &Hello<'_>) -> Result<Vec<u8>, Missing> {
        self.write(&hello.packet()).await?;
        self.expect(0x20).await
    }

    /// Waits until everything that was written before is with the broker.
    pub async fn ping(&mut self) -> Result<(), Missing> {
        self.write(&PING).await?;
        self.expect(0xD0).await.map(drop)
    }
}
