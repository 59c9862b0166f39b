//! What the domain says to the broker, until the broker has all of a packet: what of one was written when a
//! connection ends is said again on the next.

use super::packet::{self, PUBLISH, PublishPacket, kind};
use super::packets::Packets;
use bytes::{Buf as _, BytesMut};
use serde::{Deserialize, Serialize};

/// A packet that is no PUBLISH, and no longer than this, waits until it is whole: something may have to be
/// changed in it.
const SHORT: usize = 1024;

/// What waits for the broker.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outlet {
    bytes: BytesMut,
    /// So many of them are written.
    written: usize,
    /// So many of them are whole packets.
    whole: usize,
    /// Where in its packet the domain is.
    place: Packets,
    /// The packet that is being written has lost its beginning.
    torn: Option<Torn>,
    /// The domain is still inside it.
    is_headless: bool,
    /// What the domain is inside of is lost.
    skips: bool,
    /// What comes after the packet that the domain is inside of.
    between: BytesMut,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Torn {
    what: Long,
    /// So many of its bytes are not written yet.
    left: usize,
}

/// A packet that was not kept to its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Long {
    Publish(PublishPacket),
    Other(u8),
}

/// What has been written to its end.
pub(super) enum Written<'w> {
    Whole(&'w [u8]),
    Long(Long),
}

/// What has come of pushing bytes.
pub(super) enum Pushed<'p> {
    /// The packet goes on.
    More,
    /// It is whole. Then [`Outlet::remove_last`] takes it back.
    Whole(&'p mut [u8]),
    /// One of this kind is whole, and is being written.
    Begun(u8),
    /// It has ended; it, or its beginning, is not here.
    Gone,
}

impl Outlet {
    pub fn len(&self) -> usize {
        self.bytes.len() + self.between.len()
    }

    /// The next bytes to be written; `limit` is how many may wait.
    pub fn next(&self, limit: usize) -> &[u8] {
        let last = self.bytes.get(self.whole..).unwrap_or_default();
        let waits = !self.is_headless
            && kind(last) != PUBLISH
            && last.len() <= SHORT
            && self.bytes.len() <= limit
            && self.written <= self.whole;
        let end = if waits { self.whole } else { self.bytes.len() };
        self.bytes.get(self.written..end).unwrap_or_default()
    }

    /// The next bytes of the domain: how many of them belong to one packet, and what has come of it. Those of
    /// one that is lost go nowhere.
    pub fn push(&mut self, bytes: &[u8]) -> (usize, Pushed<'_>) {
        // The detector has seen that this is MQTT.
        let size = self.place.advance(bytes).unwrap_or(bytes.len());
        let is_whole = self.place.is_at_boundary();
        if self.skips {
            self.skips = !is_whole;
            return (size, if is_whole { Pushed::Gone } else { Pushed::More });
        }
        self.bytes.extend_from_slice(bytes.get(..size).unwrap_or_default());
        if !is_whole {
            return (size, Pushed::More);
        }
        let start = std::mem::replace(&mut self.whole, self.bytes.len());
        let pushed = match self.bytes.get_mut(start..) {
            _ if std::mem::take(&mut self.is_headless) => Pushed::Gone,
            Some(packet) if self.written <= start => Pushed::Whole(packet),
            other => Pushed::Begun(other.map_or(0, |packet| kind(packet))),
        };
        (size, pushed)
    }

    /// Whether what is pushed next goes nowhere.
    pub fn skips(&self) -> bool {
        self.skips
    }

    /// Takes back the packet that has just become whole.
    pub fn remove_last(&mut self, size: usize) {
        self.whole = self.whole.saturating_sub(size);
        self.bytes.truncate(self.whole);
    }

    /// A packet of the gateway's own making, which comes as soon as the domain is between two packets.
    pub fn insert(&mut self, packet: &[u8]) {
        self.between.extend_from_slice(packet);
        self.settle();
    }

    /// The domain may be between two packets.
    pub fn settle(&mut self) {
        if !self.between.is_empty() && self.place.is_at_boundary() {
            self.bytes.unsplit(std::mem::take(&mut self.between));
            self.whole = self.bytes.len();
        }
    }

    /// A packet of the gateway's own making, which is the first that the broker is given.
    pub fn begin(packet: &[u8]) -> Self {
        Self { bytes: BytesMut::from(packet), whole: packet.len(), ..Self::default() }
    }

    /// So many bytes of [`Outlet::next`] were written.
    pub fn written(&mut self, count: usize, mut ended: impl FnMut(Written<'_>)) {
        self.written = self.written.saturating_add(count).min(self.bytes.len());
        if let Some(torn) = &mut self.torn {
            let here = torn.left.min(self.written);
            torn.left -= here;
            let what = (torn.left == 0).then_some(torn.what);
            self.advance(here);
            if let Some(what) = what {
                self.torn = None;
                ended(Written::Long(what));
            }
        }
        while let Some(size) = packet::size(&self.bytes).filter(|size| *size <= self.written) {
            ended(Written::Whole(self.bytes.get(..size).unwrap_or_default()));
            self.advance(size);
        }
        self.shrink();
    }

    /// So many bytes of [`Outlet::next`] were written, and nothing of them is kept.
    pub fn drain(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        self.is_headless |= count > self.whole;
        self.bytes.advance(count);
        self.whole = self.whole.saturating_sub(count);
        self.shrink();
    }

    /// What was long, and is empty, keeps no room.
    fn shrink(&mut self) {
        const LONG: usize = 64 * 1024;
        if self.bytes.is_empty() && self.bytes.capacity() > LONG {
            self.bytes = BytesMut::new();
        }
    }

    fn advance(&mut self, size: usize) {
        self.bytes.advance(size);
        self.written -= size;
        self.whole = self.whole.saturating_sub(size);
    }

    /// Gives up the beginning of the packet that is being written, if more than that may be held.
    pub fn make_room(&mut self, limit: usize, is_five: bool) {
        if self.bytes.len() <= limit || self.written == 0 {
            return;
        }
        let Some(size) = packet::size(&self.bytes) else { return };
        let what = match packet::publish(&self.bytes, is_five) {
            Some(head) if kind(&self.bytes) == PUBLISH => Long::Publish(head),
            _ => Long::Other(kind(&self.bytes)),
        };
        self.torn = Some(Torn { what, left: size.saturating_sub(self.written) });
        self.is_headless = self.whole == 0;
        self.advance(self.written);
    }

    /// Whether the broker has nothing of the packet that comes next.
    pub fn is_between_packets(&self) -> bool {
        self.written == 0 && self.torn.is_none()
    }

    /// Whether a packet that must not be lost has lost its beginning.
    pub fn is_torn(&self) -> bool {
        self.torn
            .is_some_and(|torn| !matches!(torn.what, Long::Publish(PublishPacket { qos: 0, .. })))
    }

    /// The connection is lost, and the next one begins with the first packet that the broker has not got whole,
    /// but for those that are `renewed`. Gives how many bytes go nowhere.
    pub fn begin_anew(&mut self, renewed: impl Fn(&[u8]) -> bool) -> usize {
        self.written = 0;
        let lost = self.torn.take().map_or(0, |torn| torn.left.min(self.bytes.len()));
        self.bytes.advance(lost);
        self.whole = self.whole.saturating_sub(lost);
        self.skips |= std::mem::take(&mut self.is_headless);
        let (mut kept, mut rest) =
            (BytesMut::new(), self.bytes.get(..self.whole).unwrap_or_default());
        while let Some(size) = packet::size(rest) {
            let Some((packet, after)) = rest.split_at_checked(size) else { break };
            if !renewed(packet) {
                kept.extend_from_slice(packet);
            }
            rest = after;
        }
        let last = self.bytes.split_off(self.whole);
        self.whole = kept.len();
        kept.unsplit(last);
        self.bytes = kept;
        lost
    }

    /// What is not written, which goes out before the connection is closed.
    pub fn take_rest(&mut self) -> BytesMut {
        let written = self.written;
        let mut rest = std::mem::take(self).bytes;
        rest.advance(written);
        rest
    }
}
