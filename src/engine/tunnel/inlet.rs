//! What the broker says to the domain, packet by packet: where the connection ends, the domain has whole ones.

use super::packet::{self, PUBLISH, PublishPacket, kind};
use super::packets::Packets;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

/// A packet of so many bytes is taken whole, however little room there is.
const SHORT: usize = 1024;

/// What the broker says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Inlet {
    place: Packets,
    /// The packet that is coming, as far as it is here.
    packet: BytesMut,
    flow: Flow,
}

/// What becomes of the packet that is coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Flow {
    /// It is taken whole.
    #[default]
    Gathers,
    /// It is too long for that, and is passed on as it comes.
    Passes,
    /// The domain has it.
    Ends,
}

/// What the next bytes are.
pub(super) enum Came {
    /// A whole packet.
    Whole(BytesMut),
    /// The beginning of one that is too long to be taken whole, and its head, if it is a PUBLISH.
    /// [`Inlet::goes_on`] says what becomes of the rest.
    Begins(BytesMut, Option<PublishPacket>),
    /// More of that.
    More,
    /// Nothing yet.
    Nothing,
    /// The place in the stream is lost.
    Malformed,
}

impl Inlet {
    pub fn held(&self) -> usize {
        self.packet.len()
    }

    /// Whether the domain has all of the packets of which it has anything.
    pub fn is_at_boundary(&self) -> bool {
        self.flow != Flow::Passes
    }

    /// The next bytes of the broker: how many of them belong to one packet, and what that is. So many may be
    /// held; `None`: they are passed on as they come.
    pub fn take(&mut self, bytes: &[u8], room: Option<usize>, is_five: bool) -> (usize, Came) {
        let Ok(size) = self.place.advance(bytes) else { return (bytes.len(), Came::Malformed) };
        let is_whole = self.place.is_at_boundary();
        if self.flow != Flow::Gathers {
            return (size, Came::More);
        }
        self.packet.extend_from_slice(bytes.get(..size).unwrap_or_default());
        if is_whole {
            return (size, Came::Whole(std::mem::take(&mut self.packet)));
        }
        if room.is_some_and(|room| self.packet.len() <= room.max(SHORT)) {
            return (size, Came::Nothing);
        }
        let head = packet::publish(&self.packet, is_five);
        let head = head.filter(|_| kind(&self.packet) == PUBLISH);
        (size, Came::Begins(std::mem::take(&mut self.packet), head))
    }

    /// What becomes of the rest of a packet that has begun.
    pub fn goes_on(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// Whether what has come now is to be passed on, of a packet that is passed on as it comes.
    pub fn passes(&mut self) -> bool {
        let passes = self.flow == Flow::Passes;
        if self.place.is_at_boundary() {
            self.flow = Flow::Gathers;
        }
        passes
    }
}
