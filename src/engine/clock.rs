//! Time as the engine is told it.

use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// The time at which something comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Time since some beginning; it never goes back and the wall clock cannot move it.
    pub monotonic: Duration,
    /// The wall clock, only for what is shown or sent.
    pub wall: SystemTime,
}

impl Now {
    /// The wall clock as RFC 3339 in UTC, to the second.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        const LAST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z: what the format can show
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let shown = Duration::from_secs(since.as_secs().min(LAST));
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + shown).to_string()
    }
}
