//! An authority of the test's own, and the certificates that it signs.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use tempfile::TempDir;

/// Who signs certificates, and a folder with what it has signed.
pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, which nobody believes that does not have its [`Authority::file`].
    pub fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { folder, issuer })
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for these names, or addresses; where it is, and where its key.
    pub fn sign(&self, names: &[&str]) -> Result<(PathBuf, PathBuf), Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let of = names.join("+");
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, of.clone());
        let issuer: &Issuer<'_, KeyPair> = &self.issuer;
        let certificate = params.signed_by(&key, issuer)?;
        let at = |what: &str| self.folder.path().join(format!("{of}.{what}"));
        fs::write(at("pem"), certificate.pem())?;
        fs::write(at("key"), key.serialize_pem())?;
        fs::set_permissions(at("key"), Permissions::from_mode(0o600))?;
        Ok((at("pem"), at("key")))
    }
}
