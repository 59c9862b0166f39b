//! What the log says of a session: each reason for having no broker once, and how often it came again.

use crate::engine::name::DomainName;
use serde::{Deserialize, Serialize};

/// What was logged last of a session.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionLog {
    /// Whose it is; the gateway's own, if nobody's.
    domain: Option<DomainName>,
    /// Whether that was that it is ready.
    ready: bool,
    /// How often the last reason came.
    times: u64,
}

impl SessionLog {
    /// For the session of a domain, or for the gateway's own.
    #[must_use]
    pub fn new(domain: Option<DomainName>) -> Self {
        Self { domain, ready: false, times: 0 }
    }

    /// It is ready. A session that is lost again and again for one reason says so once.
    pub fn ready(&mut self) {
        let attempts = std::mem::take(&mut self.times) + 1;
        match &self.domain {
            _ if self.ready => {
                tracing::debug!(domain = ?self.domain, attempts, "session ready again")
            }
            Some(domain) => tracing::info!(%domain, attempts, "session ready"),
            None => tracing::info!(attempts, "the gateway's own session is ready"),
        }
        self.ready = true;
    }

    /// It is lost, or could not begin; so many times in a row for this reason.
    pub fn lost(&mut self, why: &str, contested: bool, times: u64) {
        if times == 1 {
            let before = std::mem::take(&mut self.times);
            match &self.domain {
                Some(domain) => tracing::warn!(%domain, why, contested, before, "session lost"),
                None => tracing::warn!(why, contested, before, "the gateway's own session is lost"),
            }
            self.ready = false;
        }
        self.times = times;
    }

    /// It is over; what follows is another.
    pub fn left(&mut self) {
        (self.ready, self.times) = (false, 0);
    }
}
