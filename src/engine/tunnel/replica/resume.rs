//! How a session goes on by another connection.

use super::{GivenStep, Kept, Replica, SaidStage};
use crate::engine::tunnel::packet::{self, PUBREC, PUBREL, acknowledgement};
use std::collections::VecDeque;

impl Replica {
    /// The session goes on by another connection. Gives what is to be said to the broker and to the domain.
    pub fn resume(&mut self, kept: Kept) -> (Vec<u8>, Vec<u8>) {
        self.resumed = true;
        let (mut to_broker, mut to_domain) = (Vec::new(), Vec::new());
        if kept == Kept::Yes {
            return (to_broker, to_domain);
        }
        for said in self.said.values_mut() {
            if let SaidStage::Received { released } = said.stage {
                said.stage = SaidStage::Again { released };
            }
        }
        if kept == Kept::Unknown {
            // A broker that has kept it goes on; another one has nothing to say to that.
            for given in self.given.values().filter(|given| given.step == GivenStep::Received) {
                to_broker.extend(
                    given.broker.map(|id| acknowledgement(PUBREC, id)).into_iter().flatten(),
                );
            }
            return (to_broker, to_domain);
        }
        // Nobody else brings to an end what the domain was given.
        self.given.retain(|_, given| !matches!(given.step, GivenStep::Done(_)));
        for (id, given) in &mut self.given {
            given.broker = None;
            if given.step == GivenStep::Received {
                given.step = GivenStep::Released;
                to_domain.extend(acknowledgement(PUBREL, *id));
            }
        }
        (to_broker, to_domain)
    }

    /// Identifiers that the domain has not in use.
    pub fn free_ids(&self) -> impl Iterator<Item = u16> {
        (1..=u16::MAX).rev().filter(|id| !self.said.contains_key(id))
    }

    /// What is to be said again, in its order.
    pub fn unfinished(&self) -> VecDeque<u16> {
        let mut all: Vec<_> = self.said.iter().map(|(id, said)| (said.order, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// One of these, as it is to be said again; `None`: it is over, or the domain has to go on with it.
    pub fn again(&self, id: u16) -> Option<Vec<u8>> {
        let said = self.said.get(&id)?;
        match said.stage {
            SaidStage::Received { released: false } => None,
            SaidStage::Received { released: true } => Some(acknowledgement(PUBREL, id).to_vec()),
            SaidStage::Sent | SaidStage::Again { .. } => {
                let mut packet = said.packet.clone()?.into_vec();
                packet::mark_repeated(&mut packet);
                Some(packet)
            }
        }
    }
}
