//! What the domain says, and what of it the broker has.

use super::{
    ALIAS, EACH, Given, GivenStep, MOST, Passage, Replica, STEPWISE, SaidPacket, SaidStage,
    TOO_MANY,
};
use crate::engine::tunnel::packet::{
    self, AUTH, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PublishPacket, SUBSCRIBE,
    UNSUBSCRIBE, has_failed, id, kind,
};

impl Replica {
    /// The domain says this; `through`: the broker hears it.
    pub fn said(&mut self, packet: &mut [u8], through: bool) -> Passage {
        self.subscribes |= kind(packet) == SUBSCRIBE;
        let passes = Passage { passes: through, ..Passage::default() };
        match (kind(packet), id(packet)) {
            (PINGREQ, _) if through => {
                self.pings += 1;
                Passage::PASSES
            }
            (PUBACK, Some(id)) => self.done(id, PUBACK, packet, passes),
            (PUBREC, Some(id)) if has_failed(packet) => self.done(id, PUBREC, packet, passes),
            (PUBCOMP, Some(id)) => self.done(id, PUBCOMP, packet, passes),
            (PUBREC, Some(id)) => match self.given.get_mut(&id) {
                Some(Given { broker: None, step }) => {
                    *step = GivenStep::Released;
                    Passage::domain(PUBREL, id)
                }
                Some(Given { broker: Some(broker), step }) => {
                    *step = GivenStep::Received;
                    packet::set_id(packet, *broker);
                    passes
                }
                None => passes,
            },
            (PUBREL, Some(id)) => match self.said.get_mut(&id).map(|said| &mut said.stage) {
                Some(SaidStage::Again { released }) => {
                    *released = true;
                    Passage::ENDS
                }
                Some(SaidStage::Received { released }) => {
                    *released = true;
                    passes
                }
                _ => Passage::PASSES,
            },
            (AUTH, _) => {
                self.lose_track(STEPWISE);
                Passage::PASSES
            }
            _ => Passage::PASSES,
        }
    }

    /// The domain has acknowledged a message to its end.
    fn done(&mut self, id: u16, how: u8, packet: &mut [u8], passes: Passage) -> Passage {
        let Some(given) = self.given.get_mut(&id) else { return passes };
        let Some(broker) = given.broker else {
            self.given.remove(&id);
            return Passage::ENDS;
        };
        given.step = GivenStep::Done(how);
        packet::set_id(packet, broker);
        passes
    }

    /// What waits for the broker when a connection ends, and is said anew on the next one, or is answered by
    /// the gateway.
    pub fn is_renewed(&self, packet: &[u8]) -> bool {
        match kind(packet) {
            PUBACK | PUBREC | PUBCOMP | PINGREQ => true,
            PUBREL => id(packet).is_some_and(|id| self.said.contains_key(&id)),
            _ => false,
        }
    }

    /// All of a packet of the domain's has been written to the broker; so many bytes may be held.
    pub fn sent(&mut self, packet: &[u8], room: usize) {
        let number = match kind(packet) {
            PUBLISH => match packet::publish(packet, self.is_five) {
                Some(head) => return self.published(head, Some(packet), room),
                None => return self.lose_track("a PUBLISH is malformed"),
            },
            SUBSCRIBE | UNSUBSCRIBE => id(packet),
            PUBACK | PUBREC | PUBCOMP => {
                let gone = id(packet).and_then(|id| self.of_broker(id));
                let is_done = |given: &Given| matches!(given.step, GivenStep::Done(_));
                if let Some(id) = gone.filter(|id| self.given.get(id).is_some_and(is_done)) {
                    self.given.remove(&id);
                }
                None
            }
            _ => None,
        };
        if let Some(number) = number {
            self.keep(number, Some(packet), room);
        }
    }

    /// A PUBLISH has been written to the broker; `packet` is all of it, if it was kept so long.
    pub fn published(&mut self, head: PublishPacket, packet: Option<&[u8]>, room: usize) {
        if head.has_alias {
            self.lose_track(ALIAS);
        }
        if head.qos > 0 {
            self.keep(head.id, packet, room);
        }
    }

    fn keep(&mut self, id: u16, packet: Option<&[u8]>, room: usize) {
        self.forget(id);
        if self.said.len() >= MOST {
            return self.lose_track(TOO_MANY);
        }
        let fits = |packet: &&[u8]| self.held() + EACH + packet.len() <= room;
        let packet: Option<Box<[u8]>> = packet.filter(fits).map(Into::into);
        self.bytes += packet.as_ref().map_or(0, |packet| packet.len());
        self.count += 1;
        self.said.insert(id, SaidPacket { order: self.count, packet, stage: SaidStage::Sent });
    }

    pub(super) fn forget(&mut self, id: u16) -> Option<Box<[u8]>> {
        let packet = self.said.remove(&id)?.packet;
        self.bytes -= packet.as_ref().map_or(0, |packet| packet.len());
        packet
    }
}
