//! What waits to be written to the broker.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::Packet;
use std::collections::VecDeque;
use std::io;

/// A payload of so many bytes is not copied into its packet.
const LARGE: usize = 16 * 1024;

/// Packets as bytes, in their order.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What is written before `last`: payloads, and what stands before each.
    first: VecDeque<Bytes>,
    last: BytesMut,
}

impl Output {
    /// Adds a packet.
    pub fn push(&mut self, packet: Packet) -> Result<(), Error> {
        match packet {
            Packet::Publish(mut publish) if publish.payload.len() >= LARGE => {
                let payload = std::mem::take(&mut publish.payload);
                let mut empty = BytesMut::new();
                publish.write(&mut empty)?;
                lengthen(&empty, payload.len(), &mut self.last)?;
                self.first.push_back(self.last.split().freeze());
                self.first.push_back(payload);
            }
            packet => {
                packet.write(&mut self.last, None)?;
            }
        }
        Ok(())
    }

    /// How many bytes there are.
    pub fn waiting(&self) -> usize {
        self.first.iter().map(Bytes::len).sum::<usize>() + self.last.len()
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.last.is_empty()
    }

    /// The bytes to be written next.
    pub fn chunk(&self) -> &[u8] {
        self.first.front().map_or(&*self.last, |bytes| bytes)
    }

    /// Takes note that so many bytes of [`Output::chunk`] have been written.
    ///
    /// # Errors
    /// None of them could be.
    pub fn written(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        match self.first.front_mut() {
            Some(bytes) => {
                bytes.advance(count);
                if bytes.is_empty() {
                    self.first.pop_front();
                }
            }
            None => self.last.advance(count),
        }
        if self.is_empty() {
            // There is much to be written now and then, and for most of the time nothing.
            self.last = BytesMut::new();
        }
        Ok(())
    }
}

/// The packet `empty`, as it is with so many more bytes after it, which are not there yet.
fn lengthen(empty: &[u8], more: usize, out: &mut BytesMut) -> Result<(), Error> {
    /// The largest remaining length (MQTT 5, 1.5.5): 7 bits in each of 4 bytes.
    const MOST: usize = (1 << 28) - 1;
    let (kind, rest) = empty.split_first().ok_or(Error::PayloadRequired)?;
    let length = rest.iter().position(|byte| byte & 0x80 == 0).ok_or(Error::PayloadRequired)? + 1;
    let rest = rest.get(length..).unwrap_or_default();
    let mut left = rest.len() + more;
    if left > MOST {
        return Err(Error::PayloadTooLong);
    }
    out.put_u8(*kind);
    while left >= 0x80 {
        out.put_u8((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.put_u8(left as u8);
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{PingReq, Publish, PublishProperties};

    #[test]
    fn a_large_payload_is_where_the_library_would_have_put_it() -> Result<(), Error> {
        let properties = PublishProperties { content_type: Some("x".into()), ..Default::default() };
        for size in [0, 1, LARGE - 1, LARGE, LARGE + 1, 16_384, 2_097_151, 2_097_152, 3_000_000] {
            let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut publish =
                Publish::new("a/b", QoS::AtLeastOnce, payload, Some(properties.clone()));
            publish.pkid = 7;
            let mut expected = BytesMut::new();
            let mut output = Output::default();
            let ping = Packet::PingReq(PingReq);
            for packet in [ping.clone(), Packet::Publish(publish), ping] {
                packet.write(&mut expected, None)?;
                output.push(packet)?;
            }
            assert_eq!(output.waiting(), expected.len());
            let mut found = Vec::new();
            while !output.is_empty() {
                let some = output.chunk().len().min(1000);
                found.extend_from_slice(&output.chunk()[..some]);
                output.written(some).map_err(Error::Io)?;
            }
            assert_eq!(found, expected, "{size}");
        }
        assert!(Output::default().written(0).is_err());
        Ok(())
    }
}
