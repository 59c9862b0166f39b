//! The service manager, if it asked to be told (systemd's `Type=notify`): that the gateway has started, and
//! that it is alive. Under any other nothing is said.

use sd_notify::NotifyState;

/// It has started: what can keep it from it has not.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Says that it is alive, twice as often as is asked for, for as long as the gateway's one thread gets round to
/// it; and then never.
pub async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut beat = tokio::time::interval(limit / 2);
    loop {
        beat.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, help = "look whether the unit has `NotifyAccess=`", "the service manager cannot be told that the gateway is ready or alive");
    }
}
