//! A serial port: one program has it at a time, in raw mode, and it is put back there if another program
//! changes that.

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, major, minor, stat};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio_serial::SerialStream;

/// Serial ports of virtual machines have no rate, but the library wants one.
const BAUD: u32 = 115_200;
/// Ends what somebody else has begun, or the kernel has echoed. It is no JSON, and not empty: the MVP's router
/// delays every message after an empty line.
const END_OF_LINE: &[u8] = b"#\n";
/// The ranges of devices that are terminals.
const DRIVERS: &str = "/proc/tty/drivers";

/// A serial port that is open.
#[derive(Debug)]
pub struct SerialPort {
    /// What bytes go through.
    pub(super) stream: SerialStream,
    pub(super) terminal: Terminal,
}

/// The terminal of a port, whose mode lasts for as long as somebody has one of these.
#[derive(Debug, Clone)]
pub struct Terminal {
    port: Arc<OwnedFd>,
    path: Arc<Path>,
}

impl SerialPort {
    /// Opens a port for this program alone, and sets raw mode at once. What had come in before is dropped: it
    /// may be the middle of a line, and was echoed. What goes out begins on a new line, whatever an earlier
    /// program had begun.
    ///
    /// # Errors
    /// Those of `open(2)`, `ENODEV` among them for a port of a hypervisor that has no backend yet (try again
    /// later); another program has it; and those of a path that is no terminal.
    pub fn open(path: &Path) -> io::Result<Self> {
        // To open a FIFO or a device of another kind may do something.
        if let Some(kind) = stat(path).ok().and_then(|found| wrong_kind(&found)) {
            return Err(no_port(kind));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let told = |error| told(error, path);
        let port = rustix::fs::open(path, flags, Mode::empty()).map_err(told)?;
        if let Some(kind) = wrong_kind(&fstat(&port)?) {
            return Err(no_port(kind));
        }
        let modes = tcgetattr(&port).map_err(told)?;
        // Nothing is done to a port that another program has. Root may open one all the same, but gets no lock.
        flock(&port, FlockOperation::NonBlockingLockExclusive).map_err(told)?;
        make_raw(&port, modes)?;
        begin_line(&port)?;
        flock(&port, FlockOperation::NonBlockingUnlock)?;
        // The library takes the lock, and keeps others from opening the port (TIOCEXCL), until it is closed.
        let builder = tokio_serial::new(path.to_string_lossy(), BAUD).exclusive(true);
        let stream = SerialStream::open(&builder).map_err(|error| match error.kind {
            tokio_serial::ErrorKind::NoDevice => told(Errno::WOULDBLOCK),
            _ => error.into(),
        })?;
        let terminal = Terminal { port: Arc::new(port), path: path.into() };
        Ok(Self { stream, terminal })
    }
}

impl Terminal {
    /// Sets raw mode again, if another program has changed it. Says whether it had.
    ///
    /// # Errors
    /// The port is lost.
    pub fn put_right(&self) -> io::Result<bool> {
        let port = &self.port;
        let modes = tcgetattr(port)?;
        if is_raw(&modes) {
            return Ok(false);
        }
        make_raw(port, modes)?;
        end_line(port);
        Ok(true)
    }

    /// Whether its path leads to another device by now, though this one may live.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        let device = |found: Stat| found.st_rdev;
        let now = stat(&*self.path).map(device);
        now.is_ok_and(|now| fstat(&self.port).map(device) != Ok(now))
    }
}

impl AsFd for SerialPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.port.as_fd()
    }
}

fn make_raw(port: &OwnedFd, mut modes: Termios) -> io::Result<()> {
    modes.make_raw();
    Ok(tcsetattr(port, OptionalActions::Now, &modes)?)
}

/// Whether bytes pass unchanged, both ways and as soon as they come, and none comes back.
fn is_raw(modes: &Termios) -> bool {
    let mut raw = modes.clone();
    raw.make_raw();
    let same = |of| modes.special_codes[of] == raw.special_codes[of];
    // The driver decides on the others.
    modes.input_modes == raw.input_modes
        && modes.output_modes == raw.output_modes
        && modes.local_modes == raw.local_modes
        && same(SpecialCodeIndex::VMIN)
        && same(SpecialCodeIndex::VTIME)
}

/// Drops what had come in, and begins a line. Where that takes no more, the line that may have been begun stays;
/// but an echo certainly is there to be ended.
fn begin_line(port: &OwnedFd) -> io::Result<()> {
    let echoed = rustix::io::ioctl_fionread(port)? > 0;
    if echoed {
        tcflush(port, QueueSelector::IFlush)?;
    }
    match end_line(port) {
        false if echoed => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

fn end_line(port: &OwnedFd) -> bool {
    rustix::io::write(port, END_OF_LINE).is_ok_and(|n| n == END_OF_LINE.len())
}

/// Says what an error means for a port.
fn told(error: Errno, path: &Path) -> io::Error {
    const REACH: &str = "the gateway is confined to the devices that it started with, and this is another: \
                         restart it";
    match error {
        Errno::BUSY | Errno::WOULDBLOCK => {
            let text = "another program has it, such as a second gateway: stop that program";
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        }
        // Its mode would let this user.
        Errno::ACCESS if is_permitted(path) => {
            io::Error::new(io::ErrorKind::PermissionDenied, REACH)
        }
        Errno::NOTTY => no_port("a device that is no terminal"),
        error => error.into(),
    }
}

/// Whether the mode of a path lets this user read and write.
pub fn is_permitted(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let how = Access::READ_OK | Access::WRITE_OK;
    accessat(CWD, path, how, AtFlags::EACCESS).is_ok()
}

fn no_port(kind: &str) -> io::Error {
    io::Error::other(format!("it is {kind}, and no serial port"))
}

/// What is there, if it cannot be a serial port.
#[must_use]
pub fn is_no_port(path: &Path) -> Option<&'static str> {
    stat(path).ok().and_then(|found| wrong_kind(&found))
}

fn wrong_kind(found: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Some("a regular file"),
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::BlockDevice => Some("a disk"),
        _ => {
            let drivers = std::fs::read_to_string(DRIVERS).ok()?;
            let device = (major(found.st_rdev), minor(found.st_rdev));
            (!has_terminal(&drivers, device)).then_some("a device that is no terminal")
        }
    }
}

/// Whether one of the ranges of terminals has a device. A line is
/// `driver /dev/name major minor[-minor] type`.
fn has_terminal(drivers: &str, (major, minor): (u32, u32)) -> bool {
    drivers.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        let (Some(of), Some(range)) = (words.next(), words.next()) else { return false };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return false;
        };
        of.parse() == Ok(major) && (first..=last).contains(&minor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_by_its_numbers() {
        let drivers = "hvc                  /dev/hvc      229 0-7 system\n\
                       serial               /dev/ttyS       4 64 serial\nodd\n";
        for (device, is) in [
            ((229, 0), true),
            ((229, 7), true),
            ((229, 8), false),
            ((4, 64), true),
            ((1, 3), false),
        ] {
            assert_eq!(has_terminal(drivers, device), is, "{device:?}");
        }
    }
}
