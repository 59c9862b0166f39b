//! TLS to the broker: who is believed, and what the gateway shows of itself.
//!
//! rustls does the work, with ring's arithmetic. Only who is named in `ca_file` is believed: an appliance has
//! no use for the authorities of the whole world.

use super::secrets;
use crate::config::{Address, Broker, Client, Tls};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A key of `[broker]` that names a wrong file; what is wrong with it, and the way out.
#[derive(Debug)]
pub(super) struct Fault {
    pub key: &'static str,
    pub message: String,
    pub help: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; help: {}", self.message, self.help)
    }
}

/// What connections with TLS are made with; `None`: none has TLS.
pub(super) fn connector(broker: &Broker, state_dir: &Path) -> Result<Option<TlsConnector>, Fault> {
    let Some(tls) = &broker.tls else { return Ok(None) };
    for address in &broker.addresses {
        if let Address::Tcp { host, tls: true, .. } = address
            && ServerName::try_from(host.as_str()).is_err()
        {
            let message = format!("{host:?} is no name that a certificate can have");
            let help = "name the broker as its certificate does".to_owned();
            return Err(Fault { key: "broker.url", message, help });
        }
    }
    let config = config(tls, state_dir)?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn config(tls: &Tls, state_dir: &Path) -> Result<ClientConfig, Fault> {
    let ca_file = &tls.ca_file;
    let wrong = |why: &dyn fmt::Display| Fault {
        key: "broker.ca_file",
        message: format!("{}: {why}", ca_file.display()),
        help: "write the certificate of the broker's authority to it, in PEM".to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file).map_err(|why| wrong(&why))? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?.with_root_certificates(roots);
    match &tls.client {
        None => Ok(builder.with_no_client_auth()),
        Some(client) => {
            let (chain, key) = own(client, state_dir)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| Fault {
                key: "broker.key_file",
                message: format!(
                    "{} and {} do not belong together: {error}",
                    client.cert_file.display(),
                    client.key_file.display()
                ),
                help: "name the certificate that was made for this key".to_owned(),
            })
        }
    }
}

/// The gateway's own certificate, with those that vouch for it, and its key.
fn own(
    client: &Client,
    state_dir: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    let Client { cert_file, key_file } = client;
    let chain = certificates(cert_file).map_err(|why| Fault {
        key: "broker.cert_file",
        message: format!("{}: {why}", cert_file.display()),
        help: "write the gateway's certificate to it, in PEM".to_owned(),
    })?;
    let wrong = |message: String, help: &str| Fault {
        key: "broker.key_file",
        message,
        help: help.to_owned(),
    };
    let text =
        secrets::key(key_file, state_dir).map_err(|error| match error.split_once("; help: ") {
            Some((message, help)) => wrong(message.to_owned(), help),
            None => wrong(error, "name a good file"),
        })?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let why = pem_fault(&error, "private key");
        let help = "write the key of `cert_file` to it, in PEM and without a passphrase";
        wrong(format!("{}: {why}", key_file.display()), help)
    })?;
    Ok((chain, key))
}

/// The certificates of a PEM file: one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    // To open a FIFO would wait for whoever writes to it.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err("it is no regular file".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(pem_fault(&pem::Error::NoItemsFound, "certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(pem_fault(&error, "certificate")),
    }
}

fn pem_fault(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        _ => format!("it is no PEM: {error}"),
    }
}

/// Has a broker prove that it has this name, and goes on encrypted.
///
/// # Errors
/// Those of the connection, and why the broker is not believed.
pub(super) async fn secure(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    connector.connect(name, stream).await.map_err(explain)
}

/// A fault of TLS in the words of who has to mend it.
pub(super) fn explain(error: io::Error) -> io::Error {
    let fault = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    let Some(fault) = fault else { return error };
    let way = match fault {
        // An authority that was made anew has its old name, and another key.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "no authority of `broker.ca_file` has signed the broker's certificate",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate has another name than `broker.url`",
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "the broker's certificate does not hold now: look at it, and at this machine's clock",
        Error::InvalidCertificate(_) => "the broker's certificate is not believed",
        Error::AlertReceived(_) => "the broker refuses the gateway: look at `broker.cert_file`",
        Error::InvalidMessage(_) => "the broker speaks no TLS on this port",
        _ => "TLS",
    };
    io::Error::new(error.kind(), format!("{way} ({fault})"))
}
