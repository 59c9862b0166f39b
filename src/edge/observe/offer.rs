//! A socket that is offered to the old router in the place of a domain's own.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// How many clients may wait while one is served, as with a console's backend.
const WAITING: u32 = 1;

/// A socket that listens. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Offer {
    listener: UnixListener,
    path: PathBuf,
    /// Its file: device and number. Another that has taken its place is left alone.
    file: (u64, u64),
}

/// The folder of the offered sockets.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    mode: u32,
}

impl Folder {
    /// Looks at the folder, and removes the sockets that a killed gateway has left in it: the router would find
    /// domains that are not there.
    ///
    /// # Errors
    /// Those of listing the folder.
    pub async fn open(path: PathBuf) -> io::Result<Self> {
        let mode = fs::metadata(&path)?.mode() & 0o7777;
        sweep(&path).await?;
        Ok(Self { path, mode })
    }

    /// Where a file of this name is in it.
    pub fn at(&self, file: &OsStr) -> PathBuf {
        self.path.join(file)
    }

    /// Makes it anew if somebody has removed it.
    ///
    /// # Errors
    /// It cannot be made; the error names it.
    pub fn make(&self) -> io::Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let made = fs::create_dir(&self.path)
            .and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode)));
        let path = self.path.display();
        match made {
            Ok(()) => tracing::warn!(%path, "the relay's folder was removed: made anew"),
            // Another domain's task was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let text = format!("{path}: removed, and cannot be made anew: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
        Ok(())
    }
}

impl Offer {
    /// Offers `path` in the place of the domain's `own` socket: whoever may connect to that one may
    /// connect to this one, and nobody else. It appears when it is ready, and takes the place of one
    /// that a killed gateway has left behind.
    ///
    /// # Errors
    /// Something else has the path: a file that is no socket, or a program that listens. And those of
    /// making a socket.
    pub async fn open(path: PathBuf, own: &Path) -> io::Result<Self> {
        if is_there(&path)? && !is_stale(&path).await? {
            let text = format!("{}: another program listens there", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let like = fs::metadata(own)?;
        let new = beside(&path);
        if is_there(&new)? {
            fs::remove_file(&new)?;
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(&new)?;
        let (user, group) = (like.uid(), like.gid());
        // Only root may give a file away. Others came to the domain's socket by their group, which
        // they may give, or because everyone may.
        let given =
            chown(&new, Some(user), Some(group)).or_else(|_| chown(&new, None, Some(group)));
        if let Err(error) = given {
            tracing::debug!(path = %path.display(), %error, "not given to the owner of the domain's socket");
        }
        fs::set_permissions(&new, fs::Permissions::from_mode(like.mode() & 0o777))?;
        let listener = socket.listen(WAITING)?;
        let made = fs::metadata(&new)?;
        fs::rename(&new, &path)?;
        Ok(Self { listener, path, file: (made.dev(), made.ino()) })
    }

    /// Whether its file is there.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.file)
    }

    /// The next client.
    ///
    /// # Errors
    /// Those of `accept(2)`.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the relay's socket stays behind");
        }
    }
}

/// The hidden name, no longer than the other, under which a socket is made.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{}-new", name.trim_end_matches("-msg.sock")))
}

/// Whether a socket has the path.
fn is_there(path: &Path) -> io::Result<bool> {
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
async fn is_stale(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
    }
}

async fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = name.ends_with("-msg.sock") || (name.starts_with('.') && name.ends_with("-new"));
        if ours && is_there(&path).unwrap_or(false) && is_stale(&path).await.unwrap_or(false) {
            tracing::info!(path = %path.display(), "a socket that was left behind is removed");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
