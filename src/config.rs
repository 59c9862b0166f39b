//! The configuration file: read, checked, and with the mapping that it names.

mod bare;
mod broker;
mod changes;
mod control;
mod folder;
mod metrics;
mod policy;
mod reach;
mod read;
mod relay;
mod store;

use crate::diagnostic::{Finding, Findings, Source};
use crate::document::{self, Fields, Places, Text};
use crate::engine::identity::Identity;
use crate::engine::limits::Limits;
use crate::engine::mapping::Table;
use crate::engine::mapping::table::Speaks;
use crate::engine::name::DomainName;
use crate::engine::policy::{Names, Pattern, Policy};
use crate::engine::status::MappingFile;
pub use bare::{Bare, load_bare};
pub use broker::{Address, Broker, Client, Tls};
pub use control::CONTROL;
pub use folder::meant;
pub use reach::{files, out_of_reach};
use read::Reader;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
pub use store::Sync;

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

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// `dir`
    pub dir: PathBuf,
    /// `size`: what all domains' logs may take, in bytes. 256 MiB.
    pub size: usize,
    /// `sync`. 1 s.
    pub sync: Sync,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// `level`. `info`.
    pub level: LogLevel,
    /// `format`. `text`.
    pub format: LogFormat,
    /// `rate`: about how many lines a second. 100.
    pub rate: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, rate: 100 }
    }
}

/// What is logged: this, and what matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What somebody has to mend.
    Error,
    /// What is not as it should be.
    Warn,
    /// What begins and ends.
    Info,
    /// What is done.
    Debug,
    /// What is said to the broker, and what it says.
    Trace,
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
    pub(crate) places: Places,
    /// The mapping.
    pub table: Table,
    /// `mappings`
    pub mappings: Vec<MappingFile>,
    /// The folders among `mappings`, and those in them.
    pub folders: Vec<PathBuf>,
    /// `instance`
    pub instance: String,
    /// `[broker]`
    pub broker: Broker,
    /// `[[channel]]`
    pub channels: Vec<Channel>,
    /// `[observe]`, if it says where to relay: then nothing goes to MQTT.
    pub observe: Option<Observe>,
    /// `[dom0]`, if it says where to relay: then the MVP's program on Dom0 goes on, and finds its sockets there.
    pub dom0: Option<PathBuf>,
    /// `[control]`: the socket on which the gateway can be asked, if there is to be one.
    pub control: Option<PathBuf>,
    /// `[metrics]`: the file that the gateway writes them to, if there is to be one.
    pub metrics: Option<PathBuf>,
    /// `[store]`, if it says where: then what waits for the broker outlives the gateway.
    pub store: Option<Store>,
    /// `[limits]`
    pub limits: Limits,
    /// `policy` and `[[allow]]`
    pub policy: Policy,
    /// `grace`
    pub grace: Duration,
    /// `watch`
    pub watch: bool,
    /// `confine`
    pub confine: bool,
    /// `state_dir`
    pub state_dir: PathBuf,
    /// `[log]`
    pub log: Log,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Error {
    /// It is wrong.
    Findings(Vec<Finding>),
    /// A file that it names cannot be read.
    Unreadable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Findings(findings) => {
                findings.iter().try_for_each(|finding| writeln!(f, "{finding}\n"))
            }
            Self::Unreadable(error) => f.write_str(error),
        }
    }
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
    load(&Source::read(path).map_err(Error::Unreadable)?)
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
    let dom0 = reader.dom0(&mut fields, &channels);
    let control = reader.control(&mut fields);
    let metrics = reader.metrics(&mut fields);
    let store = reader.store(&mut fields);
    let limits = reader.limits(&mut fields);
    let mut policy = reader.policy(&mut fields);
    if broker.as_ref().is_some_and(|broker| broker.passwords.is_some()) {
        policy.names = Names::Proved;
    }
    let grace = fields.duration("grace", reader.found).unwrap_or(Duration::from_secs(5));
    let watch = fields.flag("watch", reader.found).unwrap_or(false);
    let confine = fields.flag("confine", reader.found).unwrap_or(true);
    let state_dir = reader.state_dir(&mut fields);
    let log = reader.log(&mut fields);
    let places = fields.places();
    let serial = channels.iter().any(|c| matches!(c, Channel::Serial(..)));
    if let (true, Some(span)) = (serial, places.value("broker.passwords")) {
        let message = "`passwords` belongs to Dom0, where each channel is a domain";
        found.add(source, span, message, "name the one password with `password_file`");
    }
    fields.finish(&mut found);
    for name in mappings.iter().filter(|name| name.text.is_empty()) {
        let help = "name a mapping file, or a folder of them";
        found.add(source, name.span.clone(), "a name in `mappings` is empty", help);
    }
    let mapping = match mapping(source, &mappings, &speaks) {
        Ok(mapping) => {
            let table = &mapping.table;
            let known: Vec<&str> = table.dialects().collect();
            for name in spoken.iter().filter(|n| !known.contains(&n.text.as_str())) {
                let message = format!("no mapping file has the dialect {:?}", name.text);
                let help = format!("the dialects are: {}", known.join(", "));
                found.add(source, name.span.clone(), message, help);
            }
            Some(mapping)
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
    let (Some(broker), Some(mapping), true) = (broker, mapping, found.is_empty()) else {
        return Err(Error::Findings(found.into_sorted()));
    };
    let Mapping { table, files: mappings, folders } = mapping;
    Ok(Config {
        source: Arc::clone(source),
        places,
        table,
        mappings,
        folders,
        instance,
        broker,
        channels,
        observe,
        dom0,
        control,
        metrics,
        store,
        limits,
        policy,
        grace,
        watch,
        confine,
        state_dir,
        log,
    })
}

/// The policy of a configuration, whatever else is in it.
///
/// # Errors
/// Every finding in it.
pub fn policy_of(source: &Arc<Source>) -> Result<Policy, Vec<Finding>> {
    let mut found = Findings::default();
    let parsed = document::parse(source, &mut found);
    let policy = parsed.map(|root| {
        let mut fields = Fields::new(source, root.get_ref(), 0..0, "the configuration");
        Reader { source, found: &mut found }.policy(&mut fields)
    });
    match policy {
        Some(policy) if found.is_empty() => Ok(policy),
        _ => Err(found.into_sorted()),
    }
}

/// A mapping, and what it was read from.
struct Mapping {
    table: Table,
    files: Vec<MappingFile>,
    folders: Vec<PathBuf>,
}

#[allow(clippy::disallowed_methods, reason = "it reads the files that the configuration names")]
fn mapping(source: &Source, names: &[Text], speaks: &Speaks) -> Result<Mapping, Error> {
    let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    let (mut sources, mut folders) = (Vec::new(), Vec::new());
    for name in names.iter().filter(|name| !name.text.is_empty()) {
        let found = meant(&folder.join(&name.text), "toml").map_err(Error::Unreadable)?;
        for file in found.files {
            sources.push(Source::read(&file).map_err(Error::Unreadable)?);
        }
        folders.extend(found.folders);
    }
    let files = sources.iter().map(|s| MappingFile {
        file: s.name.clone(),
        sha256: Sha256::digest(&s.text).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    });
    let files = files.collect();
    let table = Table::compile(&sources, speaks).map_err(Error::Findings)?;
    Ok(Mapping { table, files, folders })
}

impl Config {
    /// Every domain that the configuration or its mapping names.
    #[must_use]
    pub fn domains(&self) -> BTreeSet<DomainName> {
        let mut domains = self.table.domains();
        let said = self.policy.rules.iter().flat_map(|rule| [&rule.from, &rule.to]).flatten();
        let said = said.filter_map(Pattern::exact);
        domains.extend(said.filter_map(|name| DomainName::parse(name).ok()));
        for channel in &self.channels {
            match channel {
                Channel::Unix(path) => domains.extend(domain_of(path)),
                Channel::Serial(_, local) => domains.extend(local.iter().cloned()),
            }
        }
        domains.retain(|name| name.is_dom0() || name.meaning().is_none());
        domains
    }

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

/// Where the memory is, if the configuration does not say.
pub const STATE_DIR: &str = "/var/lib/passerelle";

/// How a domain's socket is called.
const SOCKET: &str = "-msg.sock";
