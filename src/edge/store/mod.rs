//! The store on disk: a folder for each domain, in which its log is a row of segments.
//!
//! What a segment holds is said in [`crate::engine::store`]. A folder is a domain's name and `@`; one that
//! its domain has left, and that the gateway's own session sends from, has a number after that. `lock` is
//! locked (flock) while a gateway runs that writes there.
//!
//! It appends, and removes whole segments; no crate of those that were weighed does that for each domain apart: `redb`, `fjall` and
//! `sled` are databases, whose one file or one journal all domains share (what one damages or floods is
//! everyone's), and `redb` has in memory alone what it does not force to the disk; `yaque` and `queue-file` are
//! queues, of which only the head can be taken away, and a call is over before events that came before it.

mod back;
mod budget;
mod folder;
mod log;
mod open;
mod ranges;
mod scan;
mod shelf;
#[cfg(test)]
pub(super) mod tests;

pub use folder::{Content, KeptLog, Shown, drop_domain, list};
pub(super) use folder::{StoreFolder, make};
pub(super) use log::StoreLog;
pub(super) use open::FoundLog;
pub(super) use shelf::Shelf;

use std::time::Duration;

/// Where the system says which start of the machine this is.
pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which start of the machine this is.
///
/// # Errors
/// The system does not say: it names the file.
pub(super) fn boot_id() -> Result<String, String> {
    let id = std::fs::read_to_string(BOOT_ID).map_err(|error| format!("{BOOT_ID}: {error}"))?;
    match id.trim() {
        id if !id.is_empty() && id.len() < 64 => Ok(id.to_owned()),
        _ => Err(format!("{BOOT_ID}: it holds no id")),
    }
}

/// The time since the machine was started, sleep and all: nobody can set it.
pub(super) fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
