//! What a migrated `sys-usb` answers, in each of the four dialects.

use super::Disks;
use super::disks::REPOSITORY;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Read as _;

/// How a migrated domain speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The seed's two tables, MQTT 5.
    Psec,
    /// The first library, MQTT 3.1.1.
    Lib2024,
    /// The library's version 1.1, MQTT 3.1.1.
    Lib11,
    /// Safecor 1.2, MQTT 3.1.1.
    Safecor12,
}

/// One message that a server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// On the request's response topic.
    Answer(Value),
    /// On a topic of its own.
    Tell(&'static str, Value),
    /// Nothing, now or ever again.
    Dies,
}

use Reply::{Answer, Tell};

impl Dialect {
    /// The name that the mapping file and the configuration give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Psec => "psec",
            Self::Lib2024 => "psec-lib-2024",
            Self::Lib11 => "psec-lib-1.1",
            Self::Safecor12 => "safecor-1.2",
        }
    }

    /// The roots that a server of it takes requests on.
    pub fn roots(self) -> Vec<&'static str> {
        let mut roots = super::ROOTS.to_vec();
        if self == Self::Safecor12 {
            roots.retain(|root| *root != "system/misc/benchmark");
        }
        if self != Self::Psec {
            for root in &mut roots {
                *root = match *root {
                    "system/disks/remove_file" => "system/disks/delete_file",
                    "system/disks/get_file_footprint" if self == Self::Safecor12 => {
                        "system/disks/file_fingerprint"
                    }
                    "system/disks/get_file_footprint" => "system/disks/file_footprint",
                    "system/components/discover" => "system/discover/components",
                    same => same,
                };
            }
        }
        roots
    }

    /// What a server called `server` sends for a request, in order.
    pub fn replies(self, server: &str, disks: &Disks, root: &str, request: &Value) -> Vec<Reply> {
        let command = root.rsplit('/').next().unwrap_or_default();
        match self {
            Self::Psec => psec(server, disks, command, request),
            Self::Lib2024 => library(server, disks, command, request, false),
            Self::Lib11 => library(server, disks, command, request, true),
            Self::Safecor12 => super::safecor::replies(disks, command, request),
        }
    }
}

fn psec(server: &str, disks: &Disks, command: &str, r: &Value) -> Vec<Reply> {
    let status = |done: bool| Answer(json!({"status": if done { "ok" } else { "error" }}));
    let new_file = |disk: &Value| {
        let size = disks.get(text(disk), text(&r["filepath"])).map_or(0, |contents| contents.len());
        Tell(
            super::NEW_FILE,
            json!({"disk": disk, "filepath": r["filepath"], "size_in_bytes": size}),
        )
    };
    match command {
        "list_disks" => {
            let names = disks.names().unwrap_or_default();
            let disks: Vec<_> =
                names.iter().map(|name| json!({"label": name, "id": name})).collect();
            vec![Answer(json!({"disks": disks}))]
        }
        "list_files" => {
            let mut files = disks.listing(text(&r["disk"])).unwrap_or_default();
            for file in &mut files {
                if file["type"] == "folder" {
                    file["size"] = json!(0);
                }
            }
            vec![Answer(json!({"disk": r["disk"], "files": files}))]
        }
        "read_file"
            if disks.copy(text(&r["source_disk"]), text(&r["filepath"]), REPOSITORY).is_ok() =>
        {
            vec![status(true), new_file(&json!(REPOSITORY))]
        }
        "copy_file"
            if disks
                .copy(text(&r["source_disk"]), text(&r["filepath"]), text(&r["target_disk"]))
                .is_ok() =>
        {
            vec![status(true), new_file(&r["target_disk"])]
        }
        "remove_file" => vec![status(disks.remove(text(&r["disk"]), text(&r["filepath"])).is_ok())],
        "benchmark" if r["module"] == "inputs" => {
            vec![Answer(json!({"status": "finished", "duration": 0, "iterations": 5}))]
        }
        "benchmark" => vec![
            Answer(json!({"status": "started"})),
            Answer(json!({"status": "finished", "metrics": [1.50, 2]})),
        ],
        "get_file_footprint" => {
            let footprint =
                disks.footprint(text(&r["disk"]), text(&r["filepath"])).unwrap_or_default();
            vec![Answer(json!({"footprint": footprint}))]
        }
        "create_file" => {
            let contents = STANDARD.decode(text(&r["data"]));
            let created =
                |contents: Vec<u8>| disks.create(text(&r["disk"]), text(&r["filepath"]), &contents);
            vec![status(contents.is_ok_and(|contents| created(contents).is_ok()))]
        }
        "discover" => {
            vec![Answer(json!({"components": [{"id": server, "label": "Disks", "type": "core"}]}))]
        }
        _ => vec![status(false)],
    }
}

fn library(server: &str, disks: &Disks, command: &str, r: &Value, newer: bool) -> Vec<Reply> {
    let (disk, path) = (text(&r["disk"]), text(&r["filepath"]));
    // The newer one answers a listing twice.
    let listed = |answer: Reply| {
        if newer { vec![answer.clone(), answer] } else { vec![answer] }
    };
    match command {
        "list_disks" => listed(Answer(json!({"disks": disks.names().unwrap_or_default()}))),
        "list_files" if newer && (r.get("recursive").is_none() || r.get("from_dir").is_none()) => {
            vec![]
        }
        "list_files" => match disks.listing(disk) {
            Ok(files) if disk == REPOSITORY => vec![Answer(json!({"disk": disk, "files": files}))],
            Ok(files) => listed(Answer(json!({"disk": disk, "files": files}))),
            Err(_) => vec![],
        },
        "read_file" if newer => read_newer(disks, disk, path),
        "read_file"
            if disks.copy(text(&r["source_disk"]), path, text(&r["target_disk"])).is_ok() =>
        {
            vec![
                Tell(
                    "system/disks/new_file/notification",
                    json!({"disk": r["target_disk"], "filepath": path}),
                ),
                Answer(json!({"status": "ok"})),
            ]
        }
        "copy_file" if newer => {
            let target = text(&r["destination"]);
            let status = if disks.copy(disk, path, target).is_ok() { "ok" } else { "error" };
            let footprint = disks.footprint(target, path).unwrap_or_default();
            let told = json!({"disk": target, "filepath": path,
                              "source_footprint": footprint, "dest_footprint": footprint});
            let answer = json!({"filepath": path, "status": status, "footprint": footprint});
            vec![Tell("system/disks/new_file/notification", told), Answer(answer)]
        }
        // Neither answers a delete, nor the first one a copy; these do as they are told all the same.
        "copy_file" => {
            let _ = disks.copy(disk, path, text(&r["destination"]));
            vec![]
        }
        "delete_file" => {
            let _ = disks.remove(disk, path);
            vec![]
        }
        "file_footprint" => {
            let footprint = disks.footprint(disk, path).unwrap_or_default();
            vec![Answer(json!({"filepath": path, "disk": disk, "footprint": footprint}))]
        }
        "create_file" => create_library(disks, r, newer),
        "components" => {
            let mut component = json!({"id": "disks", "label": "Disks", "type": "core"});
            if newer {
                component["domain_name"] = json!(server);
                component["state"] = json!("ready");
            }
            vec![Answer(json!({"components": [component]}))]
        }
        "benchmark" if r["module"] == "inputs" => {
            vec![Answer(json!({"id": "inputs", "duration": 0, "iterations": 5}))]
        }
        "benchmark" => vec![
            Answer(json!({"id": "files", "state": "started"})),
            Answer(json!({"id": "files", "estatetat": "finished", "metrics": [1.50, 2]})),
        ],
        _ => vec![],
    }
}

fn read_newer(disks: &Disks, disk: &str, path: &str) -> Vec<Reply> {
    if disks.copy(disk, path, REPOSITORY).is_err() {
        let error =
            json!({"disk": disk, "filepath": path, "error": "The file could not be copied"});
        return vec![Tell("system/events/error", error)];
    }
    let footprint = disks.footprint(disk, path).unwrap_or_default();
    let told = json!({"disk": REPOSITORY, "filepath": path,
                      "source_footprint": footprint, "dest_footprint": footprint});
    vec![Tell("system/disks/new_file", told)]
}

fn create_library(disks: &Disks, r: &Value, newer: bool) -> Vec<Reply> {
    let (disk, path) = (text(&r["disk"]), text(&r["filepath"]));
    let mut contents = STANDARD.decode(text(&r["data"])).unwrap_or_default();
    if r["compressed"] == true {
        let mut inflated = Vec::new();
        if flate2::read::ZlibDecoder::new(&*contents).read_to_end(&mut inflated).is_ok() {
            contents = inflated;
        }
    }
    let success = disks.create(disk, path, &contents).is_ok();
    let footprint = disks.footprint(disk, path).unwrap_or_default();
    let shown =
        if newer && success { format!("/media/usb/{disk}/{path}") } else { path.to_owned() };
    vec![Answer(
        json!({"filepath": shown, "disk": disk, "footprint": footprint, "success": success}),
    )]
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
