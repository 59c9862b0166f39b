//! Whose the client ids are, for all tunnels: two that ask at once for one id must not both have it.

use crate::translate::tunnel::ids::Ids;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The one account of client ids, which each tunnel has.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedIds(Arc<Mutex<Ids>>);

impl SharedIds {
    /// The account, for a moment: never across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
