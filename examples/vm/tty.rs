//! A console port as a program in a guest opens it.

use crate::peers::{DEADLINE, Missing};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::unix::pipe::{Receiver, Sender};

/// An open port.
pub struct Tty {
    fd: OwnedFd,
    /// Whether the kernel echoed what came in when it was opened.
    pub echoed: bool,
}

impl Tty {
    /// Opens a port and leaves its settings as they are, as a program does that knows no better.
    /// A port that has no backend yet is tried again for a while.
    pub async fn open(path: &Path) -> Result<Self, Missing> {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let attempts = async {
            loop {
                pace.tick().await;
                match open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty()) {
                    Err(Errno::NODEV | Errno::NOENT) => {}
                    other => return other,
                }
            }
        };
        let at = |e: &dyn std::fmt::Display| Missing::new(format!("{}: {e}", path.display()));
        let fd = match tokio::time::timeout(DEADLINE, attempts).await {
            Ok(opened) => opened.map_err(|e| at(&e))?,
            Err(_) => return Err(at(&"no such device, all the time")),
        };
        let modes = tcgetattr(&fd).map_err(|e| at(&e))?.local_modes;
        Ok(Self { fd, echoed: modes.contains(LocalModes::ECHO | LocalModes::ICANON) })
    }

    /// Sets raw mode.
    pub fn raw(self) -> Result<Self, Missing> {
        let set = || {
            let mut modes = tcgetattr(&self.fd)?;
            modes.make_raw();
            tcsetattr(&self.fd, OptionalActions::Now, &modes)
        };
        set().map_err(|e| Missing::new(format!("no raw mode: {e}")))?;
        Ok(self)
    }

    /// Drops what has come in so far.
    pub fn emptied(self) -> Result<Self, Missing> {
        tcflush(&self.fd, QueueSelector::IFlush)
            .map_err(|e| Missing::new(format!("not emptied: {e}")))?;
        Ok(self)
    }

    /// Its two directions.
    pub fn split(self) -> Result<(Receiver, Sender), Missing> {
        let halves = || {
            let reader = Receiver::from_owned_fd_unchecked(self.fd.as_fd().try_clone_to_owned()?)?;
            Ok((reader, Sender::from_owned_fd_unchecked(self.fd)?))
        };
        halves().map_err(|e: std::io::Error| Missing::new(format!("a port: {e}")))
    }
}
