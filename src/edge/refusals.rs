//! The log of refusals.

use crate::engine::refusal::Refusal;

/// Logs a refusal. The log itself sees to it that a flood of them does not fill the disk; the counters of
/// the status have them all.
pub(super) fn log(refusal: &Refusal) {
    let Refusal { reason, from, detail, head } = refusal;
    tracing::warn!(domain = %from, reason = reason.as_str(), detail, head, "refused");
}
