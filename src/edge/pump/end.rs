//! The end of a pump: what was written is let out, and what is left is kept for the next run.

use super::DomainPump;
use crate::edge::channel::{drain, read_rest};
use crate::engine::gateway::Gateway;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a disk may take to take the last.
const LAST: Duration = Duration::from_secs(2);
/// How much may have come that was not read yet: more than a socket holds.
const REST: usize = 1024 * 1024;

impl DomainPump {
    /// The gateway ends.
    pub(super) async fn end(mut self) {
        let on_mqtt = self.ask(Gateway::is_on_mqtt);
        let until = Instant::now() + self.shared.farewell;
        if let Some(channel) = self.port.take() {
            drain(&channel, self.shared.farewell).await;
            if (self.journal.is_some() && !on_mqtt) || self.ask(Gateway::is_suspended) {
                // What the domain has said and nobody has read yet is for the next run.
                let rest = read_rest(&channel, REST);
                self.tell(|gateway, name, now| gateway.received_last(name, &rest, now));
            }
        }
        // A disk that hangs is not worth more than the domain's end.
        if timeout(LAST, self.suspend()).await.is_err() {
            tracing::error!(domain = %self.name, help = "look at the disk of `store.dir`", "the store takes too long: what could not be written is lost");
        }
        self.tell(Gateway::leave_broker);
        let _ = timeout_at(until, self.carry_out()).await;
        let (_, hanging_up) = self.link.parts();
        let _ = timeout_at(until, hanging_up.over()).await;
        self.tell(Gateway::ended);
    }
}
