//! The folder of the sockets that the old router on Dom0 is offered in the place of the domains' own.

use super::{Offered, is_stale, is_there};
use crate::edge::private;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// How many clients may wait while one is served, as with a console's backend.
const WAITING: u32 = 1;

/// The folder of the offered sockets.
#[derive(Debug, Clone)]
pub(in crate::edge) struct OfferFolder {
    path: PathBuf,
    mode: u32,
}

impl OfferFolder {
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
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
                let error = private::explained(&self.path, error);
                let text = format!("{path}: removed, and cannot be made anew: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
        Ok(())
    }
}

/// Offers `path` in the place of the domain's `own` socket: whoever may connect to that one may connect to this
/// one, and nobody else. Of one that has none, `own` is the folder: then it is whoever is of its group.
///
/// # Errors
/// Those of [`Offered::open`].
pub(in crate::edge) async fn offer(path: PathBuf, own: &Path) -> io::Result<Offered> {
    let like = fs::metadata(own)?;
    let prepare = |new: &Path| {
        let (user, group) = (like.uid(), like.gid());
        // Only root may give a file away. Others came to the domain's socket by their group, which
        // they may give, or because everyone may.
        let given = chown(new, Some(user), Some(group)).or_else(|_| chown(new, None, Some(group)));
        if let Err(error) = given {
            let path = new.display();
            tracing::debug!(%path, %error, "not given to the owner of the domain's socket");
        }
        let mode = if like.is_dir() { 0o660 } else { like.mode() & 0o777 };
        fs::set_permissions(new, fs::Permissions::from_mode(mode))
    };
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let offered = Offered::open(path, WAITING, prepare).await;
    offered.map_err(|error| private::explained(&folder, error))
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
