//! `sys-usb` of the MVP: serves real directories over the legacy protocol.

use super::disks::REPOSITORY;
use super::legacy::{LegacyDomain, Line, Wire, notification, response};
use super::{Disks, Inbox, Missing};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::mpsc;

/// A server of the MVP's dictionary. Like the shipped one it answers nothing to what fails; unlike
/// it, it creates, copies and deletes, and says so.
pub struct MvpServer {
    /// Its channel; the inbox has every line that the server was sent, answered or not.
    pub domain: LegacyDomain,
    /// What it serves.
    pub disks: Disks,
}

impl MvpServer {
    /// Starts one as the domain `name` on its socket in `directory`, and says that it is ready.
    pub fn start(directory: &Path, name: &str, disks: Disks) -> Result<Self, Missing> {
        Ok(Self::over(LegacyDomain::start(directory, name)?, disks))
    }

    /// Serves a channel that is there already.
    pub fn over(mut domain: LegacyDomain, disks: Disks) -> Self {
        let (seen, inbox) = mpsc::unbounded_channel();
        let mut asked =
            std::mem::replace(&mut domain.inbox, Inbox::new(domain.name.clone(), inbox));
        let server =
            Answering { name: domain.name.clone(), wire: domain.wire(), disks: disks.clone() };
        server.tell("Dom0", "etat_domu", &json!({"pret": 1}));
        tokio::spawn(async move {
            // Waits for as long as it takes: the end of the channel ends it.
            while let Ok(line) = asked.expect_within(FOREVER, "a command", |_| true).await {
                server.answer(&line);
                let _ = seen.send(line);
            }
        });
        Self { domain, disks }
    }
}

const FOREVER: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);

struct Answering {
    name: String,
    wire: Wire,
    disks: Disks,
}

impl Answering {
    fn answer(&self, line: &Line) {
        let from = line.value["source"].as_str().unwrap_or_default();
        let a = line.arguments();
        let say =
            |name: &str, data: Value| self.wire.line(&response(&self.name, from, name, &data));
        match line.name("commande") {
            Some("liste_disques") => {
                if let Ok(names) = self.disks.names() {
                    say("liste_disques", json!(names));
                }
            }
            Some("liste_fichiers") => {
                if let Ok(files) = self.disks.listing(text(a, "nom_disque")) {
                    say("liste_fichiers", json!({"disk": a["nom_disque"], "files": files}));
                }
            }
            Some("lit_fichier") => self.read(a),
            Some("copie_fichier") if a.get("nom_fichier").is_some() => self.remove(a),
            Some("copie_fichier") => self.copy(a),
            Some("supprime_fichier") => self.remove(a),
            Some("start_benchmark") if a["id_benchmark"] == "inputs" => {
                say("benchmark_inputs", json!({"duration": 0, "iterations": 5}));
            }
            Some("start_benchmark") => {
                say("benchmark_files", json!({"etat": "demarre"}));
                say("benchmark_files", json!({"etat": "termine", "metrics": [1.50, 2]}));
            }
            Some("get_file_footprint") => {
                let footprint = self.disks.footprint(text(a, "disk"), text(a, "filepath")).ok();
                say(
                    "file_footprint",
                    json!({"filepath": a["filepath"], "disk": a["disk"], "footprint": footprint}),
                );
            }
            Some("create_file") => say("file_creation", self.create(a)),
            Some("liste_composants") => {
                say("etat_composant", json!({"composant": self.name, "etat": "ok"}))
            }
            _ => {}
        }
    }

    fn read(&self, a: &Value) {
        let (disk, path) = (text(a, "nom_disque"), text(a, "chemin_fichier"));
        let Ok(footprint) = self.disks.footprint(disk, path) else {
            return;
        };
        if self.disks.copy(disk, path, REPOSITORY).is_ok() {
            let data = json!({"source_disk": disk, "filepath": path, "disk": "/usr/lib/psec/storage/.",
                              "original_footprint": footprint, "etat": "disponible"});
            self.tell("tous", "fichier", &data);
        }
    }

    fn copy(&self, a: &Value) {
        let path = text(a, "filepath");
        if self.disks.copy(text(a, "disk"), path, text(a, "destination")).is_ok() {
            self.tell("tous", "fichier", &json!({"fichier": path, "etat": "copié"}));
        }
    }

    fn remove(&self, a: &Value) {
        let path = text(a, "nom_fichier");
        if self.disks.remove(text(a, "nom_disque"), path).is_ok() {
            self.tell("tous", "fichier", &json!({"fichier": path, "etat": "supprimé"}));
        }
    }

    fn create(&self, a: &Value) -> Value {
        let (disk, path) = (text(a, "disk"), text(a, "filepath"));
        let done = self.disks.create(disk, path, text(a, "contents").as_bytes());
        let footprint = self.disks.footprint(disk, path).unwrap_or_default();
        json!({"filepath": path, "disk": disk, "footprint": footprint, "success": done.is_ok()})
    }

    fn tell(&self, destination: &str, event: &str, data: &Value) {
        self.wire.line(&notification(&self.name, destination, event, data));
    }
}

fn text<'a>(arguments: &'a Value, member: &str) -> &'a str {
    arguments[member].as_str().unwrap_or_default()
}
