//! What most tests begin with: a broker, and the built gateway on Dom0.

use crate::peers::{
    Broker, Disks, ERROR, Gateway, LegacyDomain, Missing, MvpServer, NEW_FILE, ROOTS,
};
use std::fmt;
use std::panic::Location;
use std::path::Path;
use tempfile::TempDir;

/// A test's result: a failure says where it happened.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Any error, and where in the test it came up.
pub struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self(format!("{}: {error}", Location::caller()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_passerelle");

/// The project's own mapping files.
pub fn mappings() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))
}

/// A broker and a gateway on Dom0, which serves the sockets of a directory.
pub struct Setting {
    pub broker: Broker,
    pub gateway: Gateway,
    sockets: TempDir,
}

impl Setting {
    /// With the seed's mapping alone.
    pub async fn new() -> Result<Self, Missing> {
        Self::with(Broker::start().await?, |gateway| gateway).await
    }

    /// With this broker, and a gateway configured further. Returns once the gateway hears what
    /// everyone is told.
    pub async fn with(
        mut broker: Broker,
        configure: impl FnOnce(Gateway) -> Gateway,
    ) -> Result<Self, Missing> {
        let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let gateway = Gateway::new(PROGRAM, mappings(), &broker.gate())?.on_dom0(sockets.path());
        let gateway = configure(gateway).start()?;
        broker
            .subscribed("passerelle-dom0", [NEW_FILE, ERROR])
            .await
            .map_err(|missing| {
                Missing::new(format!("{missing}\nthe gateway's log:\n{}", gateway.log()))
            })?;
        Ok(Self {
            broker,
            gateway,
            sockets,
        })
    }

    /// A domain of the MVP, connected.
    pub async fn legacy(&self, name: &str) -> Result<LegacyDomain, Missing> {
        let domain = LegacyDomain::start(self.sockets.path(), name)?;
        domain.connected().await?;
        Ok(domain)
    }

    /// `sys-usb` of the MVP, connected, and called from MQTT when this returns.
    pub async fn mvp_server(&mut self) -> Result<MvpServer, Missing> {
        let disks = Disks::new().map_err(|e| Missing::new(e.to_string()))?;
        let server = MvpServer::start(self.sockets.path(), "sys-usb", disks)?;
        server.domain.connected().await?;
        self.served("sys-usb").await?;
        Ok(server)
    }

    /// Waits until `domain` can be asked for everything from MQTT.
    pub async fn served(&mut self, domain: &str) -> Result<(), Missing> {
        self.broker
            .subscribed(domain, ROOTS.map(|root| format!("{root}/request")))
            .await
    }
}
