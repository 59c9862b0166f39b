//! MQTT packets, read as simply as can be.

use passerelle::engine::tunnel::packets::Malformed;

/// Where each packet of a stream ends, and whether something after them is none.
#[must_use]
pub fn ends(stream: &[u8]) -> (Vec<usize>, Result<(), Malformed>) {
    let (mut at, mut found) = (0, Vec::new());
    while at < stream.len() {
        let length = &stream[at + 1..];
        let Some(last) = length.iter().take(4).position(|b| b & 0x80 == 0) else {
            let over = if length.len() >= 4 { Err(Malformed) } else { Ok(()) };
            return (found, over);
        };
        let digits = length[..=last].iter().rev();
        let size = digits.fold(0usize, |size, b| size * 128 + usize::from(b & 0x7F));
        at += 2 + last + size;
        if at > stream.len() {
            break;
        }
        found.push(at);
    }
    (found, Ok(()))
}

/// A packet.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap_or_default();
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A CONNECT as clients write it.
#[must_use]
pub fn connect(level: u8, flags: u8, id: &str) -> Vec<u8> {
    let name: &[u8] = if level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
    let mut body = [name, &[level, flags, 0, 10]].concat();
    if level == 5 {
        body.extend_from_slice(&[5, 0x11, 0, 0, 0, 60]);
    }
    body.extend_from_slice(&u16::try_from(id.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(id.as_bytes());
    packet(0x10, &body)
}
