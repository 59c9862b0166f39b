//! Signals that mean something to a gateway that runs must not end one that starts.

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGHUP and SIGUSR1 end nothing: before somebody waits for them, they do nothing at all. To be
/// called before anything else.
///
/// # Errors
/// The system lets nobody handle them.
pub fn hold(runtime: &Runtime) -> Result<(), String> {
    let _in_it = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::user_defined1()] {
        // Its handler stays for as long as the process.
        let _ = signal(kind).map_err(|e| format!("signals: {e}"))?;
    }
    Ok(())
}
