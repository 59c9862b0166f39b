//! A UNIX socket of the gateway's own. It appears when it is ready, takes the place of one that a killed gateway
//! has left behind, and goes with the gateway.

mod folder;

pub(super) use folder::{OfferFolder, offer};

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// A socket that listens. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Offered {
    listener: UnixListener,
    path: PathBuf,
    /// Its file: device and number. Another that has taken its place is left alone.
    file: (u64, u64),
}

impl Offered {
    /// Offers a socket at which so many clients may wait. `prepare` says whose the file is, before anybody can
    /// find it.
    ///
    /// # Errors
    /// Something else has the path: a file that is no socket, or a program that listens. Those of `prepare`,
    /// and of making a socket.
    pub async fn open(
        path: PathBuf,
        waiting: u32,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        if is_there(&path)? && !is_stale(&path).await? {
            let text = format!("{}: another program listens there", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let new = beside(&path);
        if is_there(&new)? {
            fs::remove_file(&new)?;
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(&new)?;
        prepare(&new)?;
        let listener = socket.listen(waiting)?;
        let made = fs::metadata(&new)?;
        fs::rename(&new, &path)?;
        Ok(Self { listener, path, file: (made.dev(), made.ino()) })
    }

    /// Whether its file is there.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.file)
    }

    /// A file descriptor to give up when there is no other left.
    pub fn reserve(&self) -> Option<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned().ok()
    }

    /// The next client. Cancel-safe.
    ///
    /// # Errors
    /// Those of `accept(2)`.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, help = "the next start replaces it", "its socket cannot be removed");
        }
    }
}

/// The hidden name, no longer than the other, under which a socket is made.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".sock").unwrap_or(&name);
    path.with_file_name(format!(".{}-new", name.strip_suffix("-msg").unwrap_or(name)))
}

/// Whether a socket has the path.
///
/// # Errors
/// Something else has it, or nobody can tell.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => Ok(true),
        Ok(_) => {
            let text = format!("{}: there is a file that is no socket", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether nobody listens on a socket any more.
///
/// # Errors
/// Nobody can tell.
pub(super) async fn is_stale(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
    }
}
