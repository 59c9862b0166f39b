//! What a path means: a file, or a folder that stands for the files in it.

use std::io;
use std::path::{Path, PathBuf};

/// The files that a path means, and the folders in which they are looked for.
#[derive(Debug, Default)]
pub struct Meant {
    /// The files, folder by folder, in the order of their names.
    pub files: Vec<PathBuf>,
    /// The folder that was named, and those in it; none if a file was named.
    pub folders: Vec<PathBuf>,
}

/// What a path means: itself, or the files in a folder that have this ending, at any depth. What is hidden in it,
/// and what is a link to a folder, is left out.
///
/// # Errors
/// A line that names the path, and what the system says, or that there is no such file.
pub fn meant(path: &Path, ending: &str) -> Result<Meant, String> {
    let mut meant = Meant::default();
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match path.metadata() {
        Ok(found) if found.is_dir() => meant.look_into(path, ending).map_err(|e| told(&e))?,
        Ok(_) => meant.files.push(path.to_owned()),
        Err(error) => return Err(told(&error)),
    }
    match meant.files.is_empty() {
        true => Err(told(&format_args!("there is no file *.{ending}"))),
        false => Ok(meant),
    }
}

impl Meant {
    #[allow(clippy::disallowed_methods, reason = "it looks into the folder that the user names")]
    fn look_into(&mut self, folder: &Path, ending: &str) -> io::Result<()> {
        self.folders.push(folder.to_owned());
        let mut entries = folder.read_dir()?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.look_into(&path, ending)?;
            } else if path.extension().is_some_and(|e| e == ending) && !path.is_dir() {
                self.files.push(path);
            }
        }
        Ok(())
    }
}
