//! How much work bytes make, counted in steps: a byte that is looked at or moved, a member or a row that is
//! compared. Tests and fuzz targets hold it to a bound; a build without debug assertions counts nothing.

use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// Counts so many steps. Whoever looks at bytes that come from outside says so.
#[inline]
pub(crate) fn count(steps: usize) {
    if cfg!(debug_assertions) {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        TAKEN.set(TAKEN.get().saturating_add(steps));
    }
}

/// How many steps this thread has taken since it was last asked; 0 in a build that does not count.
pub fn taken() -> u64 {
    TAKEN.take()
}
