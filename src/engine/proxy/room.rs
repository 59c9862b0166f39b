//! How much is held for a domain and from it, and whether there is room for more.

use super::relay::Sockets;
use super::{Action, Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::publish::Publish;
use crate::engine::queue::QueuedLine;

impl Proxy {
    /// How many bytes of messages are held for and from the domain.
    #[must_use]
    pub fn held(&self) -> usize {
        let relayed = self.relay.as_ref().map_or(0, Sockets::held);
        relayed + self.input.held() + self.queue.bytes() + self.unacked.bytes() + self.calls.held()
    }

    /// The most bytes that may be held for now: `None` is as many as the limits allow. It is set while
    /// all domains together hold too many, so that those who hold the most are refused first.
    /// A line that is longer already is given up at once: its sender may never say any more.
    pub fn set_level(&mut self, level: Option<usize>, now: Now) {
        self.level = level;
        let limit = self.line_limit();
        self.input.set_limit(limit);
        if let Some(relay) = &mut self.relay {
            relay.set_limit(limit);
        }
        self.take_lines(now);
    }

    /// How long a line may be for now.
    pub(super) fn line_limit(&self) -> usize {
        self.level.unwrap_or(usize::MAX).min(self.rules.limits.line)
    }

    /// Whether `size` more bytes would be more than the domain's share.
    pub(super) fn is_over_level(&self, size: usize) -> bool {
        self.level.is_some_and(|level| self.held().saturating_add(size) > level)
    }

    /// Whether a publish of `size` bytes may join those that wait in memory, beside what weighs `more`.
    pub(super) fn has_room_beside(&self, more: usize, size: usize) -> bool {
        self.has_none_apart() && self.unacked.has_room(more, size) && !self.is_over_level(size)
    }

    pub(super) fn has_room_for(&self, publish: &Publish) -> bool {
        let size = publish.size();
        self.has_room_beside(0, size) || self.store_has_room(size, false)
    }

    /// Whether what says that a request came to nothing may wait for the broker with the rest: half of
    /// the room is for what has come to something.
    pub(super) fn has_room_to_refuse(&self, size: usize) -> bool {
        let half = self.unacked.has_room_to_refuse(size);
        (half && self.has_room_beside(0, size)) || self.store_has_room(size, false)
    }

    /// Whether something small may wait for the broker, whatever waits already.
    pub(super) fn has_any_room(&self) -> bool {
        (self.has_none_apart() && self.unacked.has_any_room()) || self.store_has_room(0, false)
    }

    /// Publishes what there is room for, in memory or in the store.
    pub(super) fn publish(&mut self, mut publish: Publish, mut sent: Sent) {
        self.set_id(&mut publish, &mut sent);
        if self.store.is_none() || self.has_room_beside(0, publish.size()) {
            self.publish_now(publish, sent);
        } else {
            self.publish_later(&publish, &sent);
        }
    }

    pub(super) fn publish_now(&mut self, publish: Publish, sent: Sent) {
        self.unacked.insert(&publish, sent);
        self.actions.push(Action::Publish(publish));
    }

    /// Puts a line into the queue, if there is room.
    pub(super) fn enqueue(&mut self, entry: QueuedLine, now: Now) -> Result<(), QueuedLine> {
        let size = entry.line.len();
        if !self.queue.has_room(size) || self.is_over_level(size) {
            return Err(entry);
        }
        let way = self.way_of(&entry, now);
        self.queue.push(entry, way, now.monotonic);
        self.actions.push(Action::Queued);
        Ok(())
    }
}
