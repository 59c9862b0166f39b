//! A pseudo-terminal in the place of `/dev/hvc2`.

use super::{DEADLINE, LegacyDomain, Missing};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, tcgetattr, tcsetattr,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe::{Receiver, Sender};

/// A pair of which the gateway opens one end by its path.
pub struct Pty {
    path: PathBuf,
    // Kept open, so that the other end never sees a hang-up: hvc has none.
    end: OwnedFd,
}

impl Pty {
    /// A new pair, in the line discipline's default mode, and the domain that speaks at its far end.
    pub fn open(domain: &str) -> io::Result<(Self, LegacyDomain)> {
        // A gateway that had it too would keep it from hanging up.
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&far)?;
        unlockpt(&far)?;
        let name = ptsname(&far, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = rustix::fs::open(&path, flags, Mode::empty())?;
        rustix::fs::fcntl_setfl(&far, OFlags::RDWR | OFlags::NONBLOCK)?;
        let reader = Receiver::from_owned_fd_unchecked(far.try_clone()?)?;
        let writer = Sender::from_owned_fd_unchecked(far)?;
        Ok((Self { path, end }, LegacyDomain::over(domain, reader, writer)))
    }

    /// The path of the gateway's end.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another program changes its settings: the kernel echoes, and cuts lines.
    pub fn cook(&self) -> io::Result<()> {
        let mut modes = tcgetattr(&self.end)?;
        modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON;
        modes.input_modes |= InputModes::ICRNL;
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        Ok(tcsetattr(&self.end, OptionalActions::Now, &modes)?)
    }

    /// Another program changes its settings: whoever reads gets nothing before so many bytes are there, or for 0
    /// does not wait at all.
    pub fn holds_back(&self, least: u8) -> io::Result<()> {
        let mut modes = tcgetattr(&self.end)?;
        modes.special_codes[SpecialCodeIndex::VMIN] = least;
        Ok(tcsetattr(&self.end, OptionalActions::Now, &modes)?)
    }

    /// Waits until the gateway has set raw mode: no echo, no lines.
    pub async fn raw(&self) -> Result<(), Missing> {
        let raw = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            loop {
                let modes = tcgetattr(&self.end)?.local_modes;
                if !modes.intersects(LocalModes::ECHO | LocalModes::ICANON) {
                    return io::Result::Ok(());
                }
                looks.tick().await;
            }
        };
        match tokio::time::timeout(DEADLINE, raw).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Missing::new(format!("{} is not set to raw mode", self.path.display()))),
        }
    }
}
