//! What most tests and the demo begin with: a broker, and the gateway on Dom0.

use super::{
    Broker, Console, Disks, ERROR, Gateway, LegacyDomain, Missing, MvpServer, NEW_FILE, ROOTS,
};
use std::path::Path;
use tempfile::TempDir;

/// A broker and a gateway, which serves the sockets of a directory.
pub struct Dom0 {
    /// The broker.
    pub broker: Broker,
    /// The gateway.
    pub gateway: Gateway,
    sockets: TempDir,
}

impl Dom0 {
    /// Starts `program` with the mapping files of `mappings`, configured further. Returns once the
    /// gateway hears what everyone is told.
    pub async fn start(
        program: &Path,
        mappings: &Path,
        mut broker: Broker,
        configure: impl FnOnce(Gateway) -> Gateway,
    ) -> Result<Self, Missing> {
        let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let gateway = Gateway::new(program, mappings, &broker.gate())?.on_dom0(sockets.path());
        let mut gateway = configure(gateway).start()?;
        let heard = tokio::select! {
            heard = broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]) => heard,
            gave_up = gateway.gave_up() => return Err(gave_up),
        };
        heard.map_err(|missing| {
            Missing::new(format!("{missing}\nthe gateway's log:\n{}", gateway.log()))
        })?;
        Ok(Self { broker, gateway, sockets })
    }

    /// The directory of the domains' sockets.
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// A domain of the MVP, connected.
    pub async fn legacy(&self, name: &str) -> Result<LegacyDomain, Missing> {
        let domain = LegacyDomain::start(self.sockets.path(), name)?;
        domain.connected().await?;
        Ok(domain)
    }

    /// A domain's console, connected; no program has opened its port yet.
    pub async fn console(&self, name: &str) -> Result<Console, Missing> {
        let console = Console::start(self.sockets.path(), name)?;
        console.connected().await?;
        Ok(console)
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
        self.broker.subscribed(domain, ROOTS.map(|root| format!("{root}/request"))).await
    }
}
