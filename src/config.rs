//! The configuration file: read, checked, and with the mapping that it names.

mod changes;
mod observe;

use crate::diagnostic::{Finding, Findings, Source};
use crate::document::{self, Fields, Places, Text};
use crate::translate::limits::Limits;
use crate::translate::mapping::Table;
use crate::translate::mapping::table::Speaks;
use crate::translate::name::DomainName;
use crate::translate::proxy::Identity;
use crate::translate::status::MappingFile;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A UNIX socket: `unix:/path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp(String, u16),
}

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `url`
    pub address: Address,
    /// `user`
    pub user: Option<String>,
    /// `password_file`
    pub password_file: Option<PathBuf>,
    /// `keep_alive`
    pub keep_alive: Duration,
    /// `session_expiry`
    pub session_expiry: Duration,
}

/// `[[channel]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// `unix`: one domain a socket, whose name is the file's.
    Unix(PathBuf),
    /// `serial` and `local`: everything but these names is behind it.
    Serial(PathBuf, Vec<DomainName>),
}

/// `[observe]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// `relay`: the directory in which the old router finds the domains' sockets.
    pub relay: PathBuf,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Everything that `passerelle run` is told.
#[derive(Debug)]
pub struct Config {
    /// The file.
    pub source: Arc<Source>,
    /// Where its keys stand.
    places: Places,
    /// The mapping.
    pub table: Table,
    /// `mappings`
    pub mappings: Vec<MappingFile>,
    /// `instance`
    pub instance: String,
    /// `[broker]`
    pub broker: Broker,
    /// `[[channel]]`
    pub channels: Vec<Channel>,
    /// `[observe]`, if it says where to relay: then nothing goes to MQTT.
    pub observe: Option<Observe>,
    /// `[limits]`
    pub limits: Limits,
    /// `grace`
    pub grace: Duration,
    /// `watch`
    pub watch: bool,
    /// `state_dir`
    pub state_dir: PathBuf,
    /// `log.level`
    pub log_level: Option<String>,
    /// `log.format`
    pub log_format: LogFormat,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Error {
    /// It is wrong.
    Findings(Vec<Finding>),
    /// A file that it names cannot be read.
    Unreadable(String),
}

/// Whether a TOML text is a configuration rather than a mapping.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    ["broker", "channel", "mappings", "instance"].iter().any(|k| table.get_ref().contains_key(*k))
}

/// Reads a configuration file, and all that it names.
///
/// # Errors
/// As [`load`].
#[allow(clippy::disallowed_methods, reason = "it reads the file that the user names")]
pub fn load_file(path: &Path) -> Result<Config, Error> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => load(&Arc::new(Source { name, text })),
        Err(error) => Err(Error::Unreadable(format!("{name}: {error}"))),
    }
}

/// The files that a configuration is made of, its own first, as far as it can be read.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "it reads the file that the user names")]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let source = Arc::new(Source { name: path.display().to_string(), text });
    let (table, _) = toml::de::DeTable::parse_recoverable(&source.text);
    let mut fields = Fields::new(&source, table.get_ref(), 0..0, "the configuration");
    let named = fields.texts("mappings", &mut Findings::default());
    let folder = path.parent().unwrap_or(Path::new(""));
    let named = named.iter().map(|name| folder.join(&name.text));
    std::iter::once(path.to_owned()).chain(named).collect()
}

/// Reads a configuration and the mapping files that it names, relative to it.
///
/// # Errors
/// Every finding in it, or else every finding in its mapping; or the file that cannot be read.
pub fn load(source: &Arc<Source>) -> Result<Config, Error> {
    let mut found = Findings::default();
    let parsed = document::parse(source, &mut found);
    let root = parsed.ok_or_else(|| Error::Findings(std::mem::take(&mut found).into_sorted()))?;
    let mut fields = Fields::new(source, root.get_ref(), 0..0, "the configuration");
    let mut reader = Reader { source, found: &mut found };
    let mappings = fields.texts("mappings", reader.found);
    if mappings.is_empty() {
        reader.add(0..0, "no mapping file is named", "add `mappings = [\"mappings/psec.toml\"]`");
    }
    let instance = reader.instance(&mut fields);
    let broker = reader.broker(&mut fields);
    let (speaks, spoken) = reader.dialects(&mut fields);
    let channels = reader.channels(&mut fields);
    let observe = reader.observe(&mut fields, &channels);
    let limits = reader.limits(&mut fields);
    let grace = fields.duration("grace", reader.found).unwrap_or(Duration::from_secs(5));
    let watch = fields.flag("watch", reader.found).unwrap_or(false);
    let state_dir = reader.state_dir(&mut fields);
    let (log_level, log_format) = reader.log(&mut fields);
    let places = fields.places();
    fields.finish(&mut found);
    let table = match mapping(source, &mappings, &speaks) {
        Ok((table, files)) => {
            let known: Vec<&str> = table.dialects().collect();
            for name in spoken.iter().filter(|n| !known.contains(&n.text.as_str())) {
                let message = format!("no mapping file has the dialect {:?}", name.text);
                let help = format!("the dialects are: {}", known.join(", "));
                found.add(source, name.span.clone(), message, help);
            }
            Some((table, files))
        }
        Err(Error::Findings(more)) => {
            found.extend(more);
            None
        }
        Err(unreadable) if found.is_empty() => return Err(unreadable),
        Err(Error::Unreadable(why)) => {
            let span = mappings.first().map_or(0..0, |m| m.span.clone());
            found.add(source, span, why, "name a file that can be read");
            None
        }
    };
    let (Some(broker), Some((table, mappings)), true) = (broker, table, found.is_empty()) else {
        return Err(Error::Findings(found.into_sorted()));
    };
    Ok(Config {
        source: Arc::clone(source),
        places,
        table,
        mappings,
        instance,
        broker,
        channels,
        observe,
        limits,
        grace,
        watch,
        state_dir,
        log_level,
        log_format,
    })
}

#[allow(clippy::disallowed_methods, reason = "it reads the files that the configuration names")]
fn mapping(
    source: &Source,
    names: &[Text],
    speaks: &Speaks,
) -> Result<(Table, Vec<MappingFile>), Error> {
    let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    let read = |name: &Text| {
        let path = folder.join(&name.text);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::Unreadable(format!("{}: {e}", path.display())))?;
        Ok(Arc::new(Source { name: path.display().to_string(), text }))
    };
    let sources: Vec<_> = names.iter().map(read).collect::<Result<_, _>>()?;
    let files = sources.iter().map(|s| MappingFile {
        file: s.name.clone(),
        sha256: Sha256::digest(&s.text).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    });
    let files = files.collect();
    Ok((Table::compile(&sources, speaks).map_err(Error::Findings)?, files))
}

impl Config {
    /// Whose the channels are: `None` on Dom0, where each socket is a domain of its own.
    #[must_use]
    pub fn behind(&self) -> Option<Identity> {
        self.channels.iter().find_map(|c| match c {
            Channel::Unix(_) => None,
            Channel::Serial(_, local) => Some(Identity::Behind {
                own: local.first().cloned()?,
                local: local.iter().cloned().collect(),
            }),
        })
    }
}

/// The domain whose socket this is: the file's name less `-msg.sock`.
#[must_use]
pub fn domain_of(socket: &Path) -> Option<DomainName> {
    let name = socket.file_name()?.to_str()?.strip_suffix(SOCKET)?;
    DomainName::parse(name).ok()
}

/// Where the memory of who has spoken legacy is kept.
const STATE_DIR: &str = "/var/lib/passerelle";

/// How a domain's socket is called.
const SOCKET: &str = "-msg.sock";

struct Reader<'f, 's> {
    source: &'s Arc<Source>,
    found: &'f mut Findings,
}

impl Reader<'_, '_> {
    fn add(
        &mut self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.add(self.source, span, message, help);
    }

    fn name(&mut self, text: &Text) -> Option<DomainName> {
        match DomainName::parse(&text.text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.add(text.span.clone(), error.to_string(), "write another name");
                None
            }
        }
    }

    fn instance(&mut self, fields: &mut Fields<'_>) -> String {
        let Some(text) = fields.text("instance", self.found) else { return "dom0".into() };
        self.name(&text);
        text.text
    }

    fn state_dir(&mut self, fields: &mut Fields<'_>) -> PathBuf {
        let Some(text) = fields.text("state_dir", self.found) else { return STATE_DIR.into() };
        if text.text.is_empty() {
            let help = format!("name a folder, or leave it out for {STATE_DIR}");
            self.add(text.span, "`state_dir` is empty", help);
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        folder.join(text.text)
    }

    fn broker(&mut self, fields: &mut Fields<'_>) -> Option<Broker> {
        let Some(mut broker) = fields.fields("broker", self.found) else {
            let help = "add [broker] with `url = \"unix:/run/mosquitto/mqtt.sock\"`";
            self.add(0..0, "no broker is named", help);
            return None;
        };
        let url = broker.required("url", self.found);
        let address = url.as_ref().and_then(|url| {
            let address = address(&url.text);
            if address.is_none() {
                let message = format!("{:?} is no broker's address", url.text);
                let help = "write `unix:/path/of/the.sock` or `tcp://host:port`";
                self.add(url.span.clone(), message, help);
            }
            address
        });
        let user = broker.text("user", self.found).map(|t| t.text);
        let file = broker.text("password_file", self.found);
        if let (Some(file), None) = (&file, &user) {
            self.add(file.span.clone(), "a password without a user", "add `user`");
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        let password_file = file.map(|f| folder.join(f.text));
        let keep_alive = broker.duration("keep_alive", self.found);
        let session_expiry = broker.duration("session_expiry", self.found);
        broker.finish(self.found);
        Some(Broker {
            address: address?,
            user,
            password_file,
            keep_alive: keep_alive.unwrap_or(Duration::from_secs(30)),
            session_expiry: session_expiry.unwrap_or(Duration::from_secs(3600)),
        })
    }

    fn dialects(&mut self, fields: &mut Fields<'_>) -> (Speaks, Vec<Text>) {
        let mut speaks = Speaks::default();
        let mut spoken = Vec::new();
        let Some((table, _)) = fields.table("dialects", self.found) else {
            return (speaks, spoken);
        };
        for (key, value) in table.iter() {
            let what = "a dialect's name";
            let Some(name) = document::text(self.source, value, what, self.found) else { continue };
            spoken.push(name.clone());
            if key.get_ref() == "default" {
                speaks.default = Some(name.text);
            } else {
                let text = Text { text: key.get_ref().to_string(), span: key.span() };
                if let Some(domain) = self.name(&text) {
                    speaks.domains.insert(domain, name.text);
                }
            }
        }
        (speaks, spoken)
    }

    fn channels(&mut self, fields: &mut Fields<'_>) -> Vec<Channel> {
        let mut channels = Vec::new();
        let mut all = fields.tables("channel", "a channel", self.found);
        for channel in &mut all {
            channels.extend(self.channel(channel));
        }
        let serial = channels.iter().any(|c| matches!(c, Channel::Serial(..)));
        if all.is_empty() {
            let help =
                "add [[channel]] with `unix = \"/var/run/*-msg.sock\"`, or `serial` and `local`";
            self.add(0..0, "no channel is named", help);
        } else if serial && all.len() > 1 {
            let span = all.get(1).map_or(0..0, Fields::span);
            let help = "keep the one with `serial`, or those with `unix`";
            self.add(span, "a serial line is the only channel of its gateway", help);
        }
        for channel in all {
            channel.finish(self.found);
        }
        channels
    }

    fn channel(&mut self, fields: &mut Fields<'_>) -> Option<Channel> {
        let unix = fields.text("unix", self.found);
        let serial = fields.text("serial", self.found);
        let local = fields.texts("local", self.found);
        match (unix, serial) {
            (Some(unix), None) => {
                let path = PathBuf::from(&unix.text);
                let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
                if !file.ends_with(SOCKET) || folder.contains('*') || file.matches('*').count() > 1
                {
                    let message = format!("{:?} names no domains' sockets", unix.text);
                    let help = "write a path that ends with -msg.sock, with one `*` at most, in the file's name";
                    self.add(unix.span, message, help);
                }
                if let Some(local) = local.first() {
                    self.add(
                        local.span.clone(),
                        "`local` belongs to a serial line",
                        "leave it out",
                    );
                }
                Some(Channel::Unix(path))
            }
            (None, Some(serial)) => {
                if local.is_empty() {
                    let help = "add `local = [\"this domain's name\"]`";
                    self.add(
                        fields.span(),
                        "a serial line needs to know who is on this side",
                        help,
                    );
                }
                let local = local.iter().filter_map(|t| self.name(t)).collect();
                Some(Channel::Serial(serial.text.into(), local))
            }
            _ => {
                let help = "write `unix = \"/var/run/*-msg.sock\"`, or `serial = \"/dev/hvc2\"` and `local`";
                self.add(fields.span(), "a channel is `unix` or `serial`", help);
                None
            }
        }
    }

    fn limits(&mut self, fields: &mut Fields<'_>) -> Limits {
        let mut limits = Limits::default();
        let Some(mut table) = fields.fields("limits", self.found) else { return limits };
        for (key, place) in [
            ("line", &mut limits.line),
            ("queue", &mut limits.queue),
            ("outbox", &mut limits.outbox),
            ("memory", &mut limits.memory),
            ("mirror_size", &mut limits.mirror_size),
        ] {
            if let Some(size) = self.size(&mut table, key) {
                *place = size;
            }
        }
        for (key, place) in [("depth", &mut limits.depth), ("calls", &mut limits.calls)] {
            let Some(number) = table.number(key, self.found) else { continue };
            match usize::try_from(number) {
                Ok(number) if number > 0 => *place = number,
                _ => {
                    let help = "write 1 or more, or leave it out for the default";
                    self.add(table.span_of(key), format!("`{key}` cannot be {number}"), help);
                }
            }
        }
        for (key, place) in [
            ("stuck", &mut limits.stuck),
            ("away", &mut limits.away),
            ("remember", &mut limits.remember),
        ] {
            *place = table.duration(key, self.found).unwrap_or(*place);
        }
        limits.mirror = table.flag("mirror", self.found).unwrap_or(limits.mirror);
        table.finish(self.found);
        limits
    }

    /// A number of bytes: `1048576`, `"64 KiB"`, `"16 MiB"`.
    fn size(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<usize> {
        let value = fields.get(key)?;
        let size = match value.get_ref().as_str() {
            Some(text) => parse_size(text),
            None => document::integer(value.get_ref()).and_then(|n| usize::try_from(n).ok()),
        };
        if size.is_none_or(|s| s == 0) {
            fields.wrong_kind(key, value, "a size such as \"16 MiB\", or bytes", self.found);
        }
        size
    }

    fn log(&mut self, fields: &mut Fields<'_>) -> (Option<String>, LogFormat) {
        let Some(mut log) = fields.fields("log", self.found) else {
            return (None, LogFormat::Text);
        };
        let level = log.text("level", self.found);
        let format = log.text("format", self.found);
        log.finish(self.found);
        const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
        if let Some(level) = level.as_ref().filter(|l| !LEVELS.contains(&l.text.as_str())) {
            let message = format!("there is no log level {:?}", level.text);
            let help = "the levels are error, warn, info, debug, trace";
            self.add(level.span.clone(), message, help);
        }
        let format = match format.as_ref().map(|t| t.text.as_str()) {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                let span = format.as_ref().map_or(0..0, |t| t.span.clone());
                let message = format!("there is no log format {other:?}");
                self.add(span, message, "the formats are text and json");
                LogFormat::Text
            }
        };
        (level.map(|t| t.text), format)
    }
}

fn address(url: &str) -> Option<Address> {
    if let Some(path) = url.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| Address::Unix(path.into()));
    }
    let (host, port) = url.strip_prefix("tcp://")?.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| Address::Tcp(host.to_owned(), port))
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = match text.get(digits.len()..)?.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
