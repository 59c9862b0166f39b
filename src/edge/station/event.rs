//! What the session tells.

use super::super::session::Event;
use super::{Life, Station};

impl Station {
    pub(super) fn event(&mut self, event: Event, life: &mut Life) {
        let now = self.clock.now();
        match event {
            Event::Ready => {
                life.lost = false;
                life.reporter.session_ready(now.monotonic);
                tracing::info!(domain = %self.name, "session ready");
            }
            Event::Received(message, delivery) => {
                life.next_delivery += 1;
                life.deliveries.insert(life.next_delivery, delivery);
                self.proxy.deliver(message, life.next_delivery, now);
            }
            Event::Acknowledged { token, matched } => {
                self.proxy.acknowledged(token, matched, now);
                self.landed(token, life);
            }
            Event::Refused { token, reason, why } => {
                self.proxy.not_published(token, reason, &why, now);
                self.landed(token, life);
            }
            Event::Lost { why, contested } => {
                // The broker sends again what was not acknowledged on the connection that is gone.
                life.deliveries.clear();
                life.reporter.session_lost(contested);
                if !life.lost || contested {
                    tracing::warn!(domain = %self.name, why, contested, "session lost");
                }
                life.lost = true;
            }
        }
    }
}
