//! The byte streams to legacy domains: a UNIX socket on Dom0, a serial port in a DomU.

use super::serial::{SerialPort, Terminal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How often the send queue is looked at while it drains: the kernel does not tell when it is empty.
const LOOK: Duration = Duration::from_millis(5);

/// A byte stream to legacy domains. Flushing does nothing: what was written is with the kernel.
#[derive(Debug)]
pub enum Channel {
    /// A socket on which the hypervisor's console backend listens.
    Unix(UnixStream),
    /// A tty in raw mode.
    Serial(SerialPort),
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

/// Whether that a path could not be opened means that nothing has its name. A link has it, too, wherever it leads:
/// who watches the link's folder does not see what it leads to appear.
pub fn is_absent(error: &io::Error, path: &Path) -> bool {
    error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err()
}

/// Opens a serial port: see [`SerialPort::open`].
///
/// # Errors
/// As there.
pub async fn open_serial(path: &Path) -> io::Result<Channel> {
    let path = path.to_owned();
    // Opening and setting up a tty may wait for what it still has to send.
    let opened = tokio::task::spawn_blocking(move || SerialPort::open(&path));
    opened.await.map_err(io::Error::other)?.map(Channel::Serial)
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

/// Reads what has come and was not read yet, `most` bytes or a little more. A console backend can write
/// nothing after that: it keeps it for the next client.
pub fn read_rest(channel: &Channel, most: usize) -> Vec<u8> {
    if let Channel::Unix(stream) = channel {
        // Of a connection that has ended there is something left to read, too.
        let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Read);
    }
    let (mut rest, mut buffer) = (Vec::new(), [0; 4096]);
    while rest.len() < most
        && let Ok(size @ 1..) = rustix::io::read(channel, &mut buffer)
    {
        rest.extend_from_slice(buffer.get(..size).unwrap_or_default());
    }
    rest
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

impl Channel {
    /// The terminal of a serial port.
    pub(super) fn terminal(&self) -> Option<Terminal> {
        match self {
            Self::Unix(_) => None,
            Self::Serial(port) => Some(port.terminal.clone()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Serial(port) => port.as_fd(),
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
            Self::Serial(port) => Pin::new(&mut port.stream).poll_read(cx, buf),
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
            Self::Serial(port) => Pin::new(&mut port.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The serial library would call tcdrain(3) here and block the whole thread for as long as
        // the other side does not read.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            // A tty has no end of file, and the library would block as above.
            Self::Serial(_) => Poll::Ready(Ok(())),
        }
    }
}
