//! The counters, and the end.

use super::super::hub::ToHub;
use super::super::station::Control;
use super::{End, Supervisor};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long somebody may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer than the grace period a domain's end may take. One whose disk hangs is left behind.
const LAST: Duration = Duration::from_secs(8);

impl Supervisor {
    /// The counters, a line for each domain and one for all.
    pub(super) async fn report(&self) {
        let mut sum = self.gone.clone();
        let mut under_way = 0;
        for (name, running) in &self.running {
            let (reply, counters) = oneshot::channel();
            let _ = running.control.send(Control::Count(reply));
            // A domain whose disk hangs does not answer.
            if let Ok(Ok((counters, open))) = timeout(PATIENCE, counters).await {
                tracing::info!(domain = %name, under_way = open, %counters, "counters");
                sum.add(&counters);
                under_way += open;
            }
        }
        let (reply, counters) = oneshot::channel();
        let _ = self.hub.send(ToHub::Count(reply)).await;
        if let Ok(counters) = counters.await {
            tracing::info!(domain = "(notifications)", under_way = 0, %counters, "counters");
            sum.add(&counters);
        }
        tracing::info!(under_way, counters = %sum, "counters in all");
    }

    /// Takes nothing more in, lets everything out, for the grace period at most.
    pub(super) async fn finish(
        mut self,
        hub_task: JoinHandle<usize>,
        stop_hub: CancellationToken,
        stop_at: watch::Sender<Option<Instant>>,
    ) {
        tracing::info!(grace = ?self.config.grace, "passerelle ends");
        stop_at.send_replace(Some(Instant::now() + self.config.grace));
        // Nobody ends while another may still pass something on to it.
        let (busy, mut all) = mpsc::channel(1);
        for running in self.running.values() {
            let _ = running.control.send(Control::Finish(busy.clone()));
        }
        let _ = self.hub.send(ToHub::Finish(busy)).await;
        let _ = timeout(PATIENCE, all.recv()).await;
        for running in self.running.values() {
            let _ = running.control.send(Control::End);
        }
        let mut left = 0;
        let last = Instant::now() + self.config.grace + LAST;
        while let Ok(Some(end)) = timeout_at(last, self.tasks.join_next()).await {
            match end {
                Ok(End::Tunnel(_)) => {}
                Ok(End::Station(end)) => {
                    if end.left > 0 {
                        tracing::warn!(domain = %end.name, messages = end.left, "left behind");
                    }
                    left += end.left;
                    self.gone.add(&end.counters);
                }
                Err(error) => tracing::error!(%error, "a domain's task failed"),
            }
        }
        let (reply, counters) = oneshot::channel();
        let _ = self.hub.send(ToHub::Count(reply)).await;
        if let Ok(Ok(counters)) = timeout(PATIENCE, counters).await {
            self.gone.add(&counters);
        }
        stop_hub.cancel();
        let notices = hub_task.await.unwrap_or(0);
        tracing::info!(left, notices_left = notices, counters = %self.gone, "passerelle has ended");
    }
}
