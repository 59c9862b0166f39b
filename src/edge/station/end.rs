//! The end of a station: what was written is let out, and what is left is handed over.

use super::super::channel::drain;
use super::super::hub::ToHub;
use super::{End, Life, Station};
use crate::translate::publish::Publish;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a channel that is closed may take to hand on what was written.
const DRAIN: Duration = Duration::from_secs(2);
/// The least that it may take.
const MOMENT: Duration = Duration::from_millis(100);

impl Station {
    pub(super) async fn end(mut self, mut life: Life) -> End {
        let connected = life.link.is_some();
        if life.removed {
            self.retire(&mut life).await;
        }
        if let Some(link) = life.link.take() {
            let channel = link.reader.unsplit(link.writer);
            drain(&channel, self.time_left(DRAIN)).await;
        }
        if let Some(session) = life.session.take() {
            // A good-bye that the broker does not take is not worth more than the grace period.
            let _ = timeout(self.time_left(DRAIN), session.close()).await;
        }
        let left = self.proxy.left();
        End { name: self.name, counters: self.proxy.counters().clone(), left, connected }
    }

    /// `most`, or what is left of the grace period, but a moment at least.
    fn time_left(&self, most: Duration) -> Duration {
        let left = self.limit.borrow().map(|limit| limit.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| left.clamp(MOMENT, most))
    }

    /// The domain is no longer a legacy domain here. The broker forgets its session by itself; to make
    /// it forget would take a connection under the domain's name, which may be the domain's own by now.
    async fn retire(&mut self, life: &mut Life) {
        if let Some(session) = life.session.take() {
            let unacknowledged = session.unacknowledged();
            session.close().await;
            for publish in unacknowledged {
                self.hand_over(publish).await;
            }
        }
        self.proxy.set_roster(Arc::clone(&self.directory.borrow().roster));
        self.proxy.retire(self.clock.now());
        self.act(life).await;
        tracing::info!(domain = %self.name, "no longer a legacy domain here");
    }

    pub(super) async fn hand_over(&mut self, publish: Publish) {
        let token = publish.token;
        if self.hub.send(ToHub::HandOver(publish)).await.is_ok() {
            self.proxy.acknowledged(token, true, self.clock.now());
        }
    }
}
