//! Real directories that a server of either generation serves as its disks.

use super::json::{name_of, text_of};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The name of the local repository, where a file that is read goes.
pub const REPOSITORY: &str = "__repository__";

/// A temporary directory with one directory for each disk. Clones are the same disks.
#[derive(Clone)]
pub struct Disks {
    root: Arc<TempDir>,
}

impl Disks {
    /// Two disks, `DISK1` with a few files and an empty `Clé Élève`, and the repository.
    pub fn new() -> io::Result<Self> {
        let disks = Self::empty()?;
        fs::create_dir(disks.root.path().join("Clé Élève"))?;
        disks.put("DISK1", "hello.txt", b"hello world\n")?;
        disks.put("DISK1", "dossier 1/fichier.txt", b"fichier\n")?;
        Ok(disks)
    }

    /// Nothing but the repository.
    pub fn empty() -> io::Result<Self> {
        let root = Arc::new(tempfile::tempdir()?);
        fs::create_dir(root.path().join(REPOSITORY))?;
        Ok(Self { root })
    }

    /// Writes a file, and its directories.
    pub fn put(&self, disk: &str, path: &str, contents: &[u8]) -> io::Result<()> {
        let file = self.file(disk, path)?;
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(file, contents)
    }

    /// What a file holds.
    pub fn get(&self, disk: &str, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.file(disk, path)?)
    }

    /// Whether a file is there.
    pub fn has(&self, disk: &str, path: &str) -> bool {
        self.file(disk, path).is_ok_and(|file| file.is_file())
    }

    /// The names of the disks, sorted.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<String> =
            entries(self.root.path())?.iter().filter_map(|e| e.file_name()).map(text_of).collect();
        names.retain(|name| name != REPOSITORY);
        Ok(names)
    }

    /// The whole tree of a disk as the MVP lists it: folders have no size.
    pub fn listing(&self, disk: &str) -> io::Result<Vec<Value>> {
        let mut files = Vec::new();
        list(&self.file(disk, "")?, "/", &mut files)?;
        Ok(files)
    }

    /// The MD5 of a file, in hexadecimal.
    pub fn footprint(&self, disk: &str, path: &str) -> io::Result<String> {
        let digest = Md5::digest(self.get(disk, path)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Creates a file in a directory that exists.
    pub fn create(&self, disk: &str, path: &str, contents: &[u8]) -> io::Result<()> {
        fs::write(self.file(disk, path)?, contents)
    }

    /// Copies a file to the same path on another disk.
    pub fn copy(&self, disk: &str, path: &str, target: &str) -> io::Result<()> {
        let contents = self.get(disk, path)?;
        self.file(target, "")?.read_dir()?;
        self.put(target, path, &contents)
    }

    /// Deletes a file.
    pub fn remove(&self, disk: &str, path: &str) -> io::Result<()> {
        fs::remove_file(self.file(disk, path)?)
    }

    fn file(&self, disk: &str, path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(&name_of(disk)).join(name_of(path.trim_start_matches('/')));
        if relative.components().all(|part| matches!(part, Component::Normal(_))) {
            Ok(self.root.path().join(relative))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that leaves its disk"))
        }
    }
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = fs::read_dir(directory)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn list(directory: &Path, path: &str, files: &mut Vec<Value>) -> io::Result<()> {
    for entry in entries(directory)? {
        let name = entry.file_name().map(text_of).unwrap_or_default();
        let meta = fs::symlink_metadata(&entry)?;
        if meta.is_dir() {
            let inside = format!("{}/{name}", path.trim_end_matches('/'));
            files.push(json!({"type": "folder", "path": path, "name": name}));
            list(&entry, &inside, files)?;
        } else {
            files.push(json!({"type": "file", "path": path, "name": name, "size": meta.len()}));
        }
    }
    Ok(())
}
