//! Which gateway it is: two of one name are told apart.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How long another gateway counts as there after it has said so: it fights for the session, and says it again.
const THERE: Duration = Duration::from_secs(300);

/// What tells a gateway that runs from another of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub id: u32,
    /// The machine that it runs on.
    pub host: String,
    /// Its `state_dir`, which one gateway has at a time.
    pub state_dir: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, host, state_dir } = self;
        write!(f, "process {id} on {host}, whose `state_dir` is {state_dir}")
    }
}

/// Another gateway of this name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Other {
    pub process: Process,
    /// When it counts as gone.
    pub until: Duration,
}

impl Other {
    /// The gateway that has said this of itself, if it is online and is not `own`. One with the same `state_dir`
    /// is an earlier run of this one.
    pub fn read(state: &[u8], own: &Process, now: Duration) -> Option<Self> {
        #[derive(Deserialize)]
        struct Online {
            state: String,
            process: Process,
        }
        let Online { state, process } = serde_json::from_slice(state).ok()?;
        let same = process.host == own.host && process.state_dir == own.state_dir;
        let until = now.saturating_add(THERE);
        (state == "online" && !same).then_some(Self { process, until })
    }
}
