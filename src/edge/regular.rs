//! Files in folders in which anything may lie: a FIFO, a device, a link, a folder of the same name. None of
//! them holds anybody up, and none is followed.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// Those of `open(2)`; and it is none, which [`is_none`] tells.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let mut options = options.clone();
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(NotRegular.into()),
        Err(error) => match path.symlink_metadata() {
            Ok(there) if !there.is_file() => Err(NotRegular.into()),
            _ => Err(error),
        },
    }
}

/// Reads a regular file whole.
///
/// # Errors
/// As for [`open`], and those of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, File::options().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether that is what was wrong: the file is another kind of thing.
#[must_use]
pub fn is_none(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotRegular>())
}

#[derive(Debug, thiserror::Error)]
#[error("it is no regular file: remove it")]
struct NotRegular;

impl From<NotRegular> for io::Error {
    fn from(error: NotRegular) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::private::replace_whole;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;

    #[test]
    fn whatever_lies_there_holds_nobody_up() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        for name in ["fifo", "folder", "link", "zero"] {
            assert!(is_none(&read(&at(name)).unwrap_err()), "{name}");
            let options = File::options().append(true).create(true).clone();
            assert!(is_none(&open(&at(name), &options).unwrap_err()), "{name}");
        }
        assert_eq!(read(&at("file")).unwrap(), b"text");
        assert_eq!(read(&at("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        for name in ["fifo", "link", "file", "absent"] {
            mknodat(CWD, at(&format!("{name}.new")), FileType::Fifo, Mode::RWXU, 0).unwrap();
            replace_whole(&at(name), b"new").unwrap();
            assert_eq!(read(&at(name)).unwrap(), b"new", "{name}");
        }
    }
}
