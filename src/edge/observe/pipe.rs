//! Reading and writing sockets of which one may be gone.

use super::backlog::Backlog;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::time::timeout;

/// The bytes that are read at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// More than the kernel holds of a side that has closed its end.
const REST: usize = 4 * 1024 * 1024;

/// What was written by a side that has closed its end.
pub(super) fn rest_of(stream: &UnixStream) -> Vec<u8> {
    let (mut rest, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    while let Ok((_, read)) = recv(stream, &mut buffer[..], RecvFlags::DONTWAIT) {
        if read == 0 || rest.len() > REST {
            break;
        }
        rest.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    rest
}

/// Has a router read the last of a domain that is gone, for as long as it reads.
pub(super) async fn read_out(
    mut router: UnixStream,
    mut backlog: Backlog,
    stuck: Duration,
    name: String,
) {
    while !backlog.chunk().is_empty() {
        match timeout(stuck, router.write(backlog.chunk())).await {
            Ok(Ok(wrote)) if wrote > 0 => backlog.taken(wrote),
            _ => {
                let bytes = backlog.chunk().len();
                return tracing::warn!(domain = %name, bytes, help = "look whether the router hangs", "the router did not read the last of a domain that is gone: it is lost");
            }
        }
    }
}

/// Reads, if there is anything to read from.
pub(super) async fn read(reader: Option<ReadHalf<'_>>, buffer: &mut [u8]) -> io::Result<usize> {
    match reader {
        Some(mut reader) => reader.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Writes, if there is anything to write, and to write to.
pub(super) async fn write(writer: Option<WriteHalf<'_>>, bytes: &[u8]) -> io::Result<usize> {
    match writer.filter(|_| !bytes.is_empty()) {
        Some(mut writer) => writer.write(bytes).await,
        None => std::future::pending().await,
    }
}
