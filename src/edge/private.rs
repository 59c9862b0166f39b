//! What the gateway makes on disk tells who says what to whom: nobody else may read it, whatever the umask is.

use super::regular;
use rustix::fs::{Access, access};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Opens a file to append to and to read, which is made if need be.
pub(super) fn open(path: &Path) -> io::Result<File> {
    closed(regular::open(path, options().read(true).create(true))?)
}

/// Opens a file to read and to write over, which is made if need be.
pub(super) fn keep(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    closed(regular::open(path, options.read(true).write(true).create(true).mode(FILE))?)
}

/// Makes a file to append to, which must not be there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    closed(regular::open(path, options().create_new(true))?)
}

/// Makes a file to append to, in the place of what is there.
pub(super) fn replace(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => create(path),
    }
}

/// Replaces a file whole: whoever reads it, and whenever the power fails, finds the old or the new one.
///
/// # Errors
/// Those of the disk, or something that cannot be replaced has its name.
pub(super) fn replace_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let (file, new) = write_beside(path, text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes what is to replace a file: gives it, and where it is.
///
/// # Errors
/// Those of the disk.
pub(super) fn write_beside(path: &Path, text: &[u8]) -> io::Result<(File, PathBuf)> {
    let new = beside(path);
    let mut file = replace(&new)?;
    file.write_all(text)?;
    Ok((file, new))
}

/// Makes a folder, and those above it; it may be there.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER).recursive(true).create(path)
}

/// Whether something lies there that [`replace_whole`] cannot replace.
pub(super) fn is_in_the_way(path: &Path) -> bool {
    [path, &beside(path)].iter().any(|path| path.symlink_metadata().is_ok_and(|m| m.is_dir()))
}

fn beside(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    new.into()
}

/// Names the confinement where that is why nothing can be made in a folder, though its mode would let this user: one
/// that was removed and made anew is another than the gateway started with.
pub(super) fn explained(folder: &Path, error: io::Error) -> io::Error {
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let may = access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if error.kind() != ErrorKind::PermissionDenied || !may {
        return error;
    }
    let text = format!(
        "{error}: the folder {} was removed, and the gateway is confined to the one that it started with: \
         make it, and restart the gateway",
        folder.display()
    );
    io::Error::new(error.kind(), text)
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.append(true).mode(FILE);
    options
}

/// An earlier version may have made it, and a umask may forbid its owner to read it.
fn closed(file: File) -> io::Result<File> {
    if file.metadata()?.permissions().mode() & 0o777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}
