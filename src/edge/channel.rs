//! The byte streams to legacy domains: a UNIX socket on Dom0, a serial port in a DomU.

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

/// How often the send queue is looked at while it drains: the kernel does not tell when it is empty.
const LOOK: Duration = Duration::from_millis(5);
/// Ends what the kernel has echoed. It is no JSON, and not empty: the MVP's router delays every
/// message after an empty line.
const END_OF_ECHO: &[u8] = b"#\n";

/// A byte stream to legacy domains. Flushing does nothing: what was written is with the kernel.
#[derive(Debug)]
pub enum Channel {
    /// A socket on which the hypervisor's console backend listens.
    Unix(UnixStream),
    /// A tty in raw mode.
    Serial {
        /// What comes in.
        reader: pipe::Receiver,
        /// What goes out.
        writer: pipe::Sender,
    },
}

/// Connects to a console backend.
///
/// Success proves little: a backend that has a client already leaves this one in its backlog. One
/// that is stuck has a full backlog, and then `connect` fails at once with `WouldBlock`, because
/// the socket does not block: try again later.
///
/// # Errors
/// Those of `connect(2)`.
pub async fn connect_unix(path: &Path) -> io::Result<Channel> {
    UnixStream::connect(path).await.map(Channel::Unix)
}

/// Opens a serial port, sets raw mode at once, and drops what had come in before: it may be the
/// middle of a line.
///
/// What came in before raw mode was echoed, and the echo may end in the middle of a line: then it is
/// ended, so that the first line written here stays whole.
///
/// # Errors
/// Those of `open(2)`, `ENODEV` among them for a port of a hypervisor that has no backend yet
/// (try again later), and those of a path that is no terminal.
pub async fn open_serial(path: &Path) -> io::Result<Channel> {
    let path = path.to_owned();
    // Opening a tty may wait for what an earlier user still had to send.
    let opened = tokio::task::spawn_blocking(move || open_raw(&path));
    let port = opened.await.map_err(io::Error::other)??;
    // A tty is read, written and waited for as a pipe is.
    let writer = pipe::Sender::from_owned_fd_unchecked(port.try_clone()?)?;
    let reader = pipe::Receiver::from_owned_fd_unchecked(port)?;
    Ok(Channel::Serial { reader, writer })
}

/// Between opening and raw mode nothing else is done: the kernel echoes meanwhile.
fn open_raw(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(path, flags, Mode::empty())?;
    let mut modes = tcgetattr(&port)?;
    modes.make_raw();
    modes.input_modes.remove(InputModes::IXOFF | InputModes::IXANY);
    modes.control_modes.remove(ControlModes::CRTSCTS);
    modes.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    tcsetattr(&port, OptionalActions::Now, &modes)?;
    if rustix::io::ioctl_fionread(&port)? > 0 {
        tcflush(&port, QueueSelector::IFlush)?;
        if rustix::io::write(&port, END_OF_ECHO)? < END_OF_ECHO.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
    Ok(port)
}

/// Waits until the other side has everything that was written, at most for `limit`. A backend
/// loses what it has not yet passed on when its client closes: so drain before closing. A tty
/// tells only about its own queue, not about the other side's.
pub async fn drain(channel: &Channel, limit: Duration) {
    let empty = async {
        while unsent(channel.as_fd()).is_ok_and(|bytes| bytes > 0) {
            sleep(LOOK).await;
        }
    };
    if timeout(limit, empty).await.is_err() {
        let bytes = unsent(channel.as_fd()).unwrap_or(0);
        tracing::debug!(bytes, "closing although not everything was taken");
    }
}

/// How much waits in the kernel: SIOCOUTQ of a socket and TIOCOUTQ of a tty, which are one number.
#[allow(unsafe_code)]
fn unsent(fd: BorrowedFd<'_>) -> io::Result<i32> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    const OUTQ: Opcode = 0x5411;
    // SAFETY: on Linux OUTQ is valid for sockets and ttys, and writes one C int, an `i32`, to its
    // argument; the `Getter` owns that argument for the whole call.
    let bytes = unsafe { ioctl(fd, Getter::<OUTQ, i32>::new()) };
    bytes.map_err(io::Error::from)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Serial { writer, .. } => writer.as_fd(),
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Serial { reader, .. } => Pin::new(reader).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Serial { writer, .. } => Pin::new(writer).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            // A tty has no end of file.
            Self::Serial { .. } => Poll::Ready(Ok(())),
        }
    }
}
