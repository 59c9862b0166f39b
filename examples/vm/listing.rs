//! A listing of several hundred kilobytes, which both sides know without having asked.

use crate::peers::{Disks, Missing};
use md5::{Digest as _, Md5};
use serde_json::Value;
use std::fmt::Write as _;

/// The files on the large disk.
const FILES: usize = 4000;

/// The disks of a server: two small ones, and `LARGE`.
pub fn disks() -> Result<Disks, Missing> {
    let build = || {
        let disks = Disks::new()?;
        for number in 0..FILES {
            let name = format!("dossier/une photo de vacances au nom assez long, {number:05}.jpeg");
            disks.put("LARGE", &name, b"x")?;
        }
        std::io::Result::Ok(disks)
    };
    build().map_err(|e| Missing::new(format!("no disks: {e}")))
}

/// What is to be in the listing of `LARGE`.
pub fn expected(disks: &Disks) -> Result<String, Missing> {
    let listing = disks.listing("LARGE");
    let listing = listing.map_err(|e| Missing::new(format!("no listing: {e}")))?;
    Ok(digest(&Value::Array(listing)))
}

/// How many files a listing has, and a digest of their names and sizes in its order.
pub fn digest(files: &Value) -> String {
    let files = files.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for file in files {
        // A folder has no size on the legacy wire, and 0 on MQTT. Writing to a String cannot fail.
        let size = file["size"].as_u64().unwrap_or_default();
        let _ = writeln!(text, "{} {} {size}", file["path"], file["name"]);
    }
    let digest = Md5::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} files, {hex}", files.len())
}

/// Whether this is how many bytes a listing of `LARGE` has.
pub fn is_large(bytes: &Value) -> bool {
    bytes.as_u64().is_some_and(|bytes| bytes > 400_000)
}
