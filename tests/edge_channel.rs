//! Channels: a pty stands for a serial port, a listener for a console backend.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use passerelle::edge::channel::{Channel, connect_unix, drain, open_serial};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, tcgetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The other side of a serial port, and the port's path.
fn pty() -> (File, PathBuf) {
    let other: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&other).unwrap();
    unlockpt(&other).unwrap();
    let name = ptsname(&other, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned();
    (File::from(other), path)
}

#[tokio::test]
async fn every_byte_passes_a_serial_port_unchanged_both_ways() {
    let (mut other, path) = pty();
    let mut port = open_serial(&path).await.unwrap();
    let modes = tcgetattr(&port).unwrap();
    assert!(
        !modes.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    );
    assert!(!modes.output_modes.contains(OutputModes::OPOST));

    let all: Vec<u8> = (0..=255).collect();
    other.write_all(&all).unwrap();
    let mut got = vec![0; 256];
    port.read_exact(&mut got).await.unwrap();
    assert_eq!(got, all);

    port.write_all(&all).await.unwrap();
    port.flush().await.unwrap();
    drain(&port, Duration::from_secs(1)).await;
    let mut got = vec![0; 2 + 256];
    other.read_exact(&mut got).unwrap();
    // Whatever an earlier program had begun is ended.
    assert_eq!(got, [b"#\n", &*all].concat());
    // Neither side has anything left: no echo.
    rustix::fs::fcntl_setfl(&other, OFlags::NONBLOCK).unwrap();
    assert_eq!(other.read(&mut got).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_echo_from_before_raw_mode_does_not_spoil_the_first_line() {
    let (mut other, path) = pty();
    // As long as this is open, the port keeps its mode: the kernel echoes.
    let _cooked = File::options().read(true).write(true).open(&path).unwrap();
    other.write_all(b"{\"half a line").unwrap();
    let mut echo = [0; 13];
    other.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"{\"half a line");

    let mut port = open_serial(&path).await.unwrap();
    port.write_all(b"{\"whole\":1}\n").await.unwrap();
    let mut got = [0; 14];
    other.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"#\n{\"whole\":1}\n");

    // What came before is dropped, and what comes now is not.
    other.write_all(b"new").unwrap();
    let mut new = [0; 3];
    port.read_exact(&mut new).await.unwrap();
    assert_eq!(&new, b"new");
}

#[tokio::test]
async fn a_port_whose_other_side_does_not_read_blocks_nobody() {
    let (_other, path) = pty();
    let mut port = open_serial(&path).await.unwrap();
    let flood = vec![b'x'; 1 << 20];
    let limit = Duration::from_millis(200);
    assert!(tokio::time::timeout(limit, port.write_all(&flood)).await.is_err());
    // Each of these would wait for ever if tcdrain(3) were called.
    port.flush().await.unwrap();
    drain(&port, Duration::from_millis(50)).await;
    drop(port);
}

#[tokio::test]
async fn what_is_no_serial_port_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), Path::new("/dev/null"), Path::new("/tmp")] {
        let error = open_serial(path).await.unwrap_err();
        assert!(error.to_string().ends_with("and no serial port"), "{error}");
    }
    let missing = open_serial(Path::new("/nonexistent/hvc2")).await.unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn draining_waits_until_the_backend_has_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm-gui-msg.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut channel = connect_unix(&path).await.unwrap();
    assert!(matches!(channel, Channel::Unix(_)));
    let (mut backend, _) = listener.accept().await.unwrap();
    channel.write_all(&[b'x'; 50_000]).await.unwrap();
    const LONG: Duration = Duration::from_secs(3600);
    let early = tokio::time::timeout(Duration::from_millis(50), drain(&channel, LONG)).await;
    assert!(early.is_err(), "the backend has read nothing yet");
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        backend.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    tokio::time::timeout(Duration::from_secs(60), drain(&channel, LONG)).await.unwrap();
    drop(channel);
    assert_eq!(reader.await.unwrap(), 50_000);
}

#[tokio::test]
async fn a_stuck_backend_with_a_full_backlog_fails_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stuck.sock");
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let _listener = socket.listen(1).unwrap();
    let mut kept = Vec::new();
    let error = loop {
        let attempt = connect_unix(&path);
        match tokio::time::timeout(Duration::from_secs(5), attempt).await.unwrap() {
            Ok(channel) => kept.push(channel),
            Err(error) => break error,
        }
        assert!(kept.len() < 10, "the backlog never fills");
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}
