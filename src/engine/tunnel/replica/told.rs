//! What the broker says, and what of it the domain has.

use super::{ALIAS, Given, GivenStep, MOST, Passage, Replica, STEPWISE, SaidStage, TOO_MANY};
use crate::engine::tunnel::packet::{
    self, AUTH, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PublishPacket, SUBACK,
    UNSUBACK, has_failed, id, kind,
};

impl Replica {
    /// The broker says this, to the domain.
    pub fn told(&mut self, packet: &mut [u8]) -> Passage {
        match (kind(packet), id(packet)) {
            (PUBLISH, _) => match packet::publish(packet, self.is_five) {
                Some(head) => self.delivered(head, packet),
                None => Passage::PASSES,
            },
            (PUBREL, Some(id)) => self.release(id, packet),
            (PUBREC, Some(id)) if !has_failed(packet) => self.received(id),
            (PUBACK | PUBREC | PUBCOMP, Some(id)) => {
                self.forget(id);
                Passage::PASSES
            }
            (SUBACK, Some(id)) => {
                let known = self.said.contains_key(&id);
                match self.forget(id) {
                    Some(subscribe) => {
                        let granted = self.filters.subscribed(&subscribe, packet, self.is_five);
                        if granted.is_err() {
                            self.lose_track("it has too many subscriptions");
                        }
                    }
                    None if known => self.lose_track("a SUBSCRIBE was too long to be kept"),
                    None => {}
                }
                Passage::PASSES
            }
            (UNSUBACK, Some(id)) => {
                if let Some(unsubscribe) = self.forget(id) {
                    self.filters.unsubscribed(&unsubscribe, self.is_five);
                }
                Passage::PASSES
            }
            (PINGRESP, _) => {
                self.pings = self.pings.saturating_sub(1);
                Passage::PASSES
            }
            (AUTH, _) => {
                self.lose_track(STEPWISE);
                Passage::PASSES
            }
            _ => Passage::PASSES,
        }
    }

    pub(super) fn of_broker(&self, id: u16) -> Option<u16> {
        let is_it = |given: &Given| given.broker == Some(id);
        if self.given.get(&id).is_some_and(is_it) {
            return Some(id);
        }
        // Before the second connection there is no other.
        let mut all = self.given.iter().filter(|_| self.resumed);
        all.find(|(_, given)| is_it(given)).map(|(id, _)| *id)
    }

    /// A PUBLISH for the domain, of which this is the beginning at least.
    pub fn delivered(&mut self, head: PublishPacket, packet: &mut [u8]) -> Passage {
        if head.has_alias {
            self.lose_track(ALIAS);
        }
        if head.qos == 0 {
            return Passage::PASSES;
        }
        if let Some(id) = self.of_broker(head.id) {
            if head.repeated {
                return self.delivered_again(id, head.id);
            }
            self.clash(id);
        }
        if self.given.len() >= MOST {
            self.lose_track(TOO_MANY);
            return Passage::PASSES;
        }
        let is_free = |id: &u16| !self.given.contains_key(id);
        let mut others = (1..=u16::MAX).rev();
        let own = Some(head.id).filter(is_free).or_else(|| others.find(is_free));
        let Some(own) = own else { return Passage::PASSES };
        packet::put(packet, head.id_at, own);
        self.given.insert(own, Given { broker: Some(head.id), step: GivenStep::Given });
        Passage::PASSES
    }

    /// The domain has it, and what it has said of it is said again.
    fn delivered_again(&mut self, id: u16, broker: u16) -> Passage {
        match self.given.get(&id).map(|given| given.step) {
            Some(GivenStep::Done(how)) => {
                self.given.remove(&id);
                Passage::broker(how, broker)
            }
            Some(GivenStep::Received | GivenStep::Released) => Passage::broker(PUBREC, broker),
            Some(GivenStep::Given) | None => Passage::ENDS,
        }
    }

    /// The broker uses an identifier anew: what had it is the broker's no more.
    fn clash(&mut self, id: u16) {
        match self.given.get_mut(&id) {
            Some(Given { step: GivenStep::Done(_), .. }) => drop(self.given.remove(&id)),
            Some(given) => given.broker = None,
            None => {}
        }
    }

    fn release(&mut self, broker: u16, packet: &mut [u8]) -> Passage {
        let Some(id) = self.of_broker(broker) else {
            // The domain has answered that on an earlier connection.
            return if self.resumed { Passage::broker(PUBCOMP, broker) } else { Passage::PASSES };
        };
        let Some(given) = self.given.get_mut(&id) else { return Passage::PASSES };
        match given.step {
            GivenStep::Given | GivenStep::Received => {
                given.step = GivenStep::Released;
                packet::set_id(packet, id);
                Passage::PASSES
            }
            GivenStep::Released => Passage::ENDS,
            GivenStep::Done(how) => {
                self.given.remove(&id);
                Passage::broker(how, broker)
            }
        }
    }

    fn received(&mut self, id: u16) -> Passage {
        let Some(said) = self.said.get_mut(&id) else { return Passage::PASSES };
        match said.stage {
            SaidStage::Sent => {
                said.stage = SaidStage::Received { released: false };
                Passage::PASSES
            }
            SaidStage::Again { released } | SaidStage::Received { released } => {
                said.stage = SaidStage::Received { released };
                if released { Passage::broker(PUBREL, id) } else { Passage::ENDS }
            }
        }
    }
}
