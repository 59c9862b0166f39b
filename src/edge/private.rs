//! What the gateway makes on disk tells who says what to whom: nobody else may read it, whatever the umask is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Opens a file to append to and to read, which is made if need be.
pub(super) fn open(path: &Path) -> io::Result<File> {
    closed(options().read(true).create(true).open(path)?)
}

/// Makes a file to append to, which must not be there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    closed(options().create_new(true).open(path)?)
}

/// Makes a file to append to, in the place of what is there.
pub(super) fn replace(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => create(path),
    }
}

/// Makes a folder, and those above it; it may be there.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER).recursive(true).create(path)
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
