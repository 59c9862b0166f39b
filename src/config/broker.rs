//! `[broker]`: where the brokers are, and what the gateway shows them.

use super::Reader;
use crate::document::{Fields, Text};
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A UNIX socket: `unix:/path`.
    Unix(PathBuf),
    /// `tcp://host:port`, or `mqtts://host:port` for the same with TLS.
    Tcp {
        /// A name or an address; an IPv6 address stands without its brackets.
        host: String,
        /// The port, usually 1883, and 8883 with TLS.
        port: u16,
        /// Whether the connection is encrypted, and the broker has to prove its name.
        tls: bool,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, tls) = match self {
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port, tls } => (host, port, tls),
        };
        let scheme = if *tls { "mqtts" } else { "tcp" };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl Address {
    fn has_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `url`: one at least, in the order in which they are tried.
    pub addresses: Vec<Address>,
    /// What `mqtts://` needs, if one of the addresses is such.
    pub tls: Option<Tls>,
    /// `user`
    pub user: Option<String>,
    /// `password_file`
    pub password_file: Option<PathBuf>,
    /// `passwords`: then each domain logs in as itself.
    pub passwords: Option<PathBuf>,
    /// `keep_alive`
    pub keep_alive: Duration,
    /// `session_expiry`
    pub session_expiry: Duration,
}

/// The files with which the gateway and the broker prove to each other who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `ca_file`: the certificates of who vouches for the broker's.
    pub ca_file: PathBuf,
    /// `cert_file` and `key_file`, if the broker asks for them.
    pub client: Option<Client>,
}

/// The gateway's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `cert_file`
    pub cert_file: PathBuf,
    /// `key_file`
    pub key_file: PathBuf,
}

impl Broker {
    /// All its addresses, for a person.
    #[must_use]
    pub fn shown(&self) -> String {
        let all: Vec<_> = self.addresses.iter().map(Address::to_string).collect();
        all.join(", ")
    }

    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let client = self.tls.iter().filter_map(|tls| tls.client.as_ref());
        let client = client.flat_map(|client| [&client.cert_file, &client.key_file]);
        let passwords = self.password_file.iter().chain(&self.passwords);
        passwords.chain(self.tls.iter().map(|tls| &tls.ca_file)).chain(client)
    }
}

/// The keys whose values are files, as far as they are secret or change without the configuration.
pub(super) const FILES: [&str; 5] =
    ["password_file", "passwords", "ca_file", "cert_file", "key_file"];

impl Reader<'_, '_> {
    pub fn broker(&mut self, fields: &mut Fields<'_>) -> Option<Broker> {
        let Some(mut broker) = fields.fields("broker", self.found) else {
            let help = "add [broker] with `url = \"unix:/run/mosquitto/mqtt.sock\"`";
            self.add(0..0, "no broker is named", help);
            return None;
        };
        let addresses = self.addresses(&mut broker);
        let user = broker.text("user", self.found).map(|t| t.text);
        let file = broker.text("password_file", self.found);
        if let (Some(file), None) = (&file, &user) {
            self.add(file.span.clone(), "a password without a user", "add `user`");
        }
        let passwords = broker.text("passwords", self.found);
        if let (Some(passwords), None) = (&passwords, &user) {
            let message = "the domains have passwords, and the gateway itself has no user";
            let help = "add `user = \"passerelle\"`, and a line for it in that file";
            self.add(passwords.span.clone(), message, help);
        }
        let tls = self.tls(&mut broker, &addresses);
        let keep_alive = broker.duration("keep_alive", self.found);
        let session_expiry = broker.duration("session_expiry", self.found);
        broker.finish(self.found);
        Some(Broker {
            addresses: Some(addresses).filter(|all| !all.is_empty())?,
            tls,
            user,
            password_file: file.map(|file| self.beside(&file)),
            passwords: passwords.map(|file| self.beside(&file)),
            keep_alive: keep_alive.unwrap_or(Duration::from_secs(30)),
            session_expiry: session_expiry.unwrap_or(Duration::from_secs(3600)),
        })
    }

    /// A file that is named relative to the configuration.
    fn beside(&self, file: &Text) -> PathBuf {
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        folder.join(&file.text)
    }

    fn addresses(&mut self, broker: &mut Fields<'_>) -> Vec<Address> {
        if !broker.has("url") {
            let _ = broker.required("url", self.found);
            return Vec::new();
        }
        let list = broker.get("url").and_then(|value| value.get_ref().as_array());
        let is_empty = list.is_some_and(|list| list.is_empty());
        let urls = broker.texts("url", self.found);
        if is_empty {
            let help = "write `url = \"unix:/path/of/the.sock\"`, or a list of such";
            self.add(broker.span_of("url"), "`url` names no broker", help);
        }
        let mut addresses = Vec::new();
        for url in urls {
            let Some(address) = address(&url.text) else {
                let message = format!("{:?} is no broker's address", url.text);
                let help = "write `unix:/path/of/the.sock`, `tcp://host:port` or `mqtts://host:port`, an IPv6 address in brackets";
                self.add(url.span.clone(), message, help);
                continue;
            };
            if let Address::Unix(path) = &address {
                self.short_enough(path, &url);
            }
            if addresses.contains(&address) {
                let message = format!("{address} is named twice");
                self.add(url.span.clone(), message, "name each broker once");
            }
            addresses.push(address);
        }
        addresses
    }

    fn tls(&mut self, broker: &mut Fields<'_>, addresses: &[Address]) -> Option<Tls> {
        let [ca, cert, key] =
            ["ca_file", "cert_file", "key_file"].map(|key| broker.text(key, self.found));
        if !addresses.iter().any(Address::has_tls) {
            for file in [ca, cert, key].into_iter().flatten().filter(|_| !addresses.is_empty()) {
                let message = "a certificate or key without TLS";
                let help = "write the broker's `url` as `mqtts://host:port`, or leave this out";
                self.add(file.span, message, help);
            }
            return None;
        }
        if ca.is_none() && !broker.has("ca_file") {
            let message = "nothing says which broker to believe";
            let help =
                "add `ca_file`, with the certificate of the authority that signed the broker's";
            self.add(broker.span_of("url"), message, help);
        }
        let client = match (&cert, &key) {
            (Some(cert), Some(key)) => {
                Some(Client { cert_file: self.beside(cert), key_file: self.beside(key) })
            }
            (Some(cert), None) => {
                let help = "add `key_file`, with the private key of that certificate";
                self.add(cert.span.clone(), "a certificate without its key", help);
                None
            }
            (None, Some(key)) => {
                let help = "add `cert_file`, with the certificate of that key";
                self.add(key.span.clone(), "a key without its certificate", help);
                None
            }
            (None, None) => None,
        };
        Some(Tls { ca_file: self.beside(&ca?), client })
    }
}

fn address(url: &str) -> Option<Address> {
    if let Some(path) = url.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| Address::Unix(path.into()));
    }
    let (rest, tls) = match url.strip_prefix("mqtts://") {
        Some(rest) => (rest, true),
        None => (url.strip_prefix("tcp://")?, false),
    };
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok().then_some(address)?,
        None => {
            Some(host).filter(|host| !host.is_empty() && !host.contains(['[', ']', ':', '/']))?
        }
    };
    Some(Address::Tcp { host: host.to_owned(), port, tls })
}
