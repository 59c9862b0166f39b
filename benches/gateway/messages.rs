//! What the ends say to each other, in the words of both sides.

use std::fmt::Write as _;

/// The server on MQTT, and the legacy one.
pub const MQTT_SERVER: &str = "srv-mqtt";
pub const LEGACY_SERVER: &str = "srv-legacy";

/// How many files the large listing has: about 10 MB.
pub const FILES: usize = 100_000;
/// How large the file is that is created.
pub const CONTENTS: usize = 8 << 20;

/// A command of the benchmark's rows, less the side of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Disks,
    Files,
    Create,
    Pending,
}

/// Where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Mqtt,
    Legacy,
}

impl Server {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => MQTT_SERVER,
            Self::Legacy => LEGACY_SERVER,
        }
    }
}

impl Command {
    pub const ALL: [Self; 4] = [Self::Disks, Self::Files, Self::Create, Self::Pending];

    /// Its name on the legacy wire, for one of the two servers.
    pub fn legacy(self, server: Server) -> &'static str {
        match (self, server) {
            (Self::Disks, Server::Mqtt) => "disks_mqtt",
            (Self::Disks, Server::Legacy) => "disks_legacy",
            (Self::Files, Server::Mqtt) => "files_mqtt",
            (Self::Files, Server::Legacy) => "files_legacy",
            (Self::Create, Server::Mqtt) => "create_mqtt",
            (Self::Create, Server::Legacy) => "create_legacy",
            (Self::Pending, _) => "pending",
        }
    }

    /// Its root on MQTT.
    pub fn root(self, server: Server) -> String {
        format!("bench/{}", self.legacy(server))
    }

    /// The legacy line of a request.
    pub fn line(self, source: &str, server: Server) -> String {
        let arguments = match self {
            Self::Disks | Self::Pending => "{}".to_owned(),
            Self::Files => r#"{"nom_disque":"DISK1"}"#.to_owned(),
            Self::Create => {
                format!(r#"{{"filepath":"a/new.txt","disk":"DISK1","contents":"{}"}}"#, contents())
            }
        };
        format!(
            "{{\"type\":\"commande\",\"source\":\"{source}\",\"destination\":\"{}\",\"payload\":{{\"commande\":\"{}\",\"arguments\":{arguments}}}}}\n",
            server.name(),
            self.legacy(server)
        )
    }

    /// The payload of a request on MQTT.
    pub fn payload(self, source: &str) -> String {
        match self {
            Self::Disks | Self::Pending => format!(r#"{{"source":"{source}"}}"#),
            Self::Files => format!(r#"{{"source":"{source}","disk":"DISK1"}}"#),
            Self::Create => {
                let data = base64(contents().as_bytes());
                format!(
                    r#"{{"source":"{source}","filepath":"a/new.txt","disk":"DISK1","data":"{data}"}}"#
                )
            }
        }
    }

    /// The data of a legacy answer; `None`: it is never answered.
    pub fn data(self) -> Option<String> {
        match self {
            Self::Disks => Some(r#"["DISK1","Cl\u00e9 \u00c9l\u00e8ve"]"#.to_owned()),
            Self::Files => Some(format!(r#"{{"disk":"DISK1","files":[{}]}}"#, files(Server::Legacy))),
            Self::Create => Some(
                r#"{"filepath":"a/new.txt","disk":"DISK1","footprint":"6f5902ac237024bdd0c176cb93063dc4","success":true}"#
                    .to_owned(),
            ),
            Self::Pending => None,
        }
    }

    /// The payload of an answer on MQTT.
    pub fn answer(self) -> Option<String> {
        match self {
            Self::Disks => Some(
                r#"{"disks":[{"id":"DISK1","label":"DISK1"},{"id":"Cl\u00e9 \u00c9l\u00e8ve","label":"Cl\u00e9 \u00c9l\u00e8ve"}]}"#
                    .to_owned(),
            ),
            Self::Files => Some(format!(r#"{{"disk":"DISK1","files":[{}]}}"#, files(Server::Mqtt))),
            Self::Create => Some(r#"{"status":"ok"}"#.to_owned()),
            Self::Pending => None,
        }
    }
}

/// A notification from a legacy domain, and what it becomes on MQTT.
pub fn notification(source: &str) -> String {
    format!(
        "{{\"type\":\"notification\",\"source\":\"{source}\",\"destination\":\"vm-screen\",\"payload\":{{\"evenement\":\"moved\",\"data\":{{\"x\":640,\"y\":480}}}}}}\n"
    )
}
/// Where it is published, and what.
pub const MOVED: &str = "bench/moved/notification";
pub const MOVED_PAYLOAD: &str = r#"{"x":640,"y":480}"#;

/// As a server lists them: the members have the same names on both sides, but that a folder has no size
/// on the legacy one.
fn files(server: Server) -> String {
    let mut out = String::with_capacity(FILES * 110);
    for i in 0..FILES {
        if i > 0 {
            out.push(',');
        }
        let (folder, kind) = (i % 97, if i % 50 == 0 { "folder" } else { "file" });
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            r#"{{"type":"{kind}","path":"photos/2019/holidays-{folder:02}/","name":"IMG-{i:06} \u00e9t\u00e9.jpeg""#
        );
        match (kind, server) {
            ("file", _) => {
                let _ = write!(out, r#","size":{}"#, 1000 + i);
            }
            (_, Server::Mqtt) => out.push_str(r#","size":0"#),
            (_, Server::Legacy) => {}
        }
        out.push('}');
    }
    out
}

/// A text that needs no escapes.
fn contents() -> String {
    "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(CONTENTS).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
