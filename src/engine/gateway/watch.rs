//! What crosses, for whoever watches.

use super::Gateway;
use super::domain::Domain;
use crate::engine::clock::Now;
use crate::engine::refusal::Refusal;
use crate::engine::tap::{Crossing, Ending};

/// What has crossed since it was last asked for, while somebody watches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    on: bool,
    crossings: Vec<Crossing>,
    /// The next refusal has been told, with all that is known of its message.
    told: bool,
}

impl Watch {
    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn crossed(&mut self, crossing: Crossing) {
        self.told = matches!(crossing.outcome, Ending::Refused(..));
        self.crossings.push(crossing);
    }

    /// A message was refused: of one that was refused later than it came, the refusal alone is left.
    pub fn refused(&mut self, refusal: &Refusal, now: Now) {
        if self.on && !std::mem::take(&mut self.told) {
            self.crossings.push(Crossing::refused(refusal, now));
        }
    }
}

impl Gateway {
    /// Somebody watches what crosses from now on, or nobody does any more.
    pub fn watch(&mut self, on: bool) {
        self.watch = Watch { on, ..Watch::default() };
        for proxy in self.domains.values_mut().filter_map(Domain::proxy_mut) {
            proxy.set_watched(on);
        }
        self.own.hub.set_watched(on);
    }

    /// What has crossed since this was last called, in its order. Nothing while nobody watches.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        std::mem::take(&mut self.watch.crossings)
    }
}
