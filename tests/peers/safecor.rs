//! What a `sys-usb` of Safecor 1.2 answers, and what it leaves unanswered.

use super::Disks;
use super::dialects::Reply::{self, Answer, Dies, Tell};
use super::dialects::text;
use super::disks::REPOSITORY;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Read as _;

const NEW_FILE: &str = "system/disks/new_file";
const COPIED: &str = "system/disks/new_file/notification";
const ERROR: &str = "system/events/error";

/// What is said when it starts, on `system/discover/components/response`.
pub fn components() -> Value {
    json!({"components": [{"id": "safecor_disk_controller", "domain_name": "sys-usb",
                           "label": "System Disk controller", "type": "core", "state": "ready"}]})
}

/// What it sends for a request, in order.
pub fn replies(disks: &Disks, command: &str, r: &Value) -> Vec<Reply> {
    let (disk, path) = (text(&r["disk"]), text(&r["filepath"]));
    match command {
        "list_disks" => {
            let answer = Answer(json!({"disks": disks.names().unwrap_or_default()}));
            vec![answer.clone(), answer]
        }
        "list_files" => listing(disks, disk, r),
        "read_file" => read(disks, disk, path),
        "copy_file" => copy(disks, disk, path, text(&r["destination"])),
        "file_fingerprint" => {
            let fingerprint = disks.footprint(disk, path).unwrap_or_default();
            vec![Answer(json!({"filepath": path, "disk": disk, "fingerprint": fingerprint}))]
        }
        "create_file" => create(disks, disk, path, r),
        // A deletion is taken, and not done; the components are not JSON, which raises.
        _ => vec![],
    }
}

fn listing(disks: &Disks, disk: &str, r: &Value) -> Vec<Reply> {
    let (Some(recursive), Some(folder)) = (r["recursive"].as_bool(), r["from_dir"].as_str()) else {
        let missing = "Missing arguments for system/disks/list_files";
        return vec![event(missing), event(missing)];
    };
    let Ok(files) = disks.listing(disk) else { return vec![] };
    let answer = |files: &[&Value]| Answer(json!({"disk": disk, "files": files}));
    if disk == REPOSITORY {
        return vec![answer(&files.iter().collect::<Vec<_>>())];
    }
    if !folder.is_empty() && !folder.starts_with('/') {
        return vec![];
    }
    let at = if folder.is_empty() { "/" } else { folder };
    let below = |path: &str| path == at || (recursive && path.starts_with(folder));
    let those: Vec<_> = files.iter().filter(|file| below(text(&file["path"]))).collect();
    vec![answer(&those), answer(&those)]
}

fn read(disks: &Disks, disk: &str, path: &str) -> Vec<Reply> {
    let fits = path.starts_with('/') && disk != REPOSITORY;
    if !fits || disks.copy(disk, path, REPOSITORY).is_err() {
        let error = "The file could not be copied";
        return vec![Tell(ERROR, json!({"disk": disk, "filepath": path, "error": error}))];
    }
    vec![Tell(NEW_FILE, new_file(disks, REPOSITORY, path))]
}

/// To what is no disk it copies as well: into a folder of its own.
fn copy(disks: &Disks, disk: &str, path: &str, target: &str) -> Vec<Reply> {
    let ended = |status: &str, fingerprint: String| {
        Answer(json!({"filepath": path, "status": status, "fingerprint": fingerprint}))
    };
    let is_disk = disks.names().unwrap_or_default().iter().any(|name| name == target);
    if is_disk && path.starts_with('/') && disks.copy(disk, path, target).is_ok() {
        let told = new_file(disks, target, path);
        let fingerprint = text(&told["dest_fingerprint"]).to_owned();
        return vec![Tell(COPIED, told), ended("ok", fingerprint)];
    }
    if !is_disk && target != REPOSITORY {
        return vec![ended("ok", disks.footprint(disk, path).unwrap_or_default())];
    }
    vec![event("La copie du fichier a échoué."), ended("error", String::new())]
}

fn create(disks: &Disks, disk: &str, path: &str, r: &Value) -> Vec<Reply> {
    if disk == REPOSITORY {
        return vec![];
    }
    let Some(data) = r["data"].as_str() else {
        return vec![event("Missing argument in the create_file command")];
    };
    let Ok(mut contents) = STANDARD.decode(data) else { return vec![Dies] };
    if r["compressed"].as_bool().unwrap_or(false) {
        let mut inflated = Vec::new();
        if flate2::read::ZlibDecoder::new(&*contents).read_to_end(&mut inflated).is_err() {
            return vec![Dies];
        }
        contents = inflated;
    }
    let success = disks.create(disk, path, &contents).is_ok();
    let fingerprint = disks.footprint(disk, path).unwrap_or_default();
    let shown = if success { format!("/media/usb/{disk}/{path}") } else { path.to_owned() };
    let answer =
        json!({"filepath": shown, "disk": disk, "fingerprint": fingerprint, "success": success});
    vec![Answer(answer)]
}

fn new_file(disks: &Disks, disk: &str, path: &str) -> Value {
    let fingerprint = disks.footprint(disk, path).unwrap_or_default();
    json!({"disk": disk, "filepath": path,
           "source_fingerprint": fingerprint, "dest_fingerprint": fingerprint})
}

fn event(description: &str) -> Reply {
    let event = json!({"component": "sys-usb", "module": "USB controller",
                       "datetime": "2026-11-28 04:43:18.130", "description": description});
    Tell(ERROR, event)
}
