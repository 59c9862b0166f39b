//! A broker, a gateway and its domains.

use crate::Res;
use crate::legacy_end::{LegacyEnd, Listening};
use crate::messages::{Command, LEGACY_SERVER, Server};
use crate::mqtt_end;
use crate::peers::Broker;
use crate::process::{Gateway, Setup, directory};
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Mosquitto, with the server on MQTT.
pub struct Floor {
    broker: Broker,
    /// It reads the broker's log, and does nothing else.
    runtime: Runtime,
}

impl Floor {
    /// Starts them.
    pub fn start() -> Res<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let broker = runtime.block_on(Broker::start())?;
        mqtt_end::serve(&broker.socket())?;
        Ok(Self { broker, runtime })
    }

    /// The broker's socket.
    pub fn socket(&self) -> PathBuf {
        self.broker.socket()
    }

    /// The broker's process.
    pub fn broker(&self) -> Res<u32> {
        self.broker.id().ok_or_else(|| "the broker is not running".into())
    }

    /// Starts a gateway with these legacy domains; `serves`: with the legacy server too.
    pub fn gateway(&mut self, setup: &Setup, names: &[&str], serves: bool) -> Res<World> {
        let directory = directory()?;
        let mut waiting = Vec::new();
        for name in names {
            waiting.push(Listening::start(directory.path(), name)?);
        }
        let server = serves.then(|| Listening::start(directory.path(), LEGACY_SERVER));
        let server = server.transpose()?;
        let gateway = Gateway::start(setup, directory, &self.socket())?;
        let ends = waiting.iter().map(Listening::accept).collect::<Res<Vec<_>>>()?;
        if let Some(server) = server {
            server.accept()?.serve();
            let topics = Command::ALL.iter().filter(|c| **c != Command::Pending);
            let topics = topics.map(|c| format!("{}/request", c.root(Server::Legacy)));
            self.runtime.block_on(self.broker.subscribed(LEGACY_SERVER, topics))?;
        }
        Ok(World { gateway, ends })
    }
}

/// A gateway and its legacy domains, the server not among them.
pub struct World {
    pub gateway: Gateway,
    pub ends: Vec<LegacyEnd>,
}

impl World {
    /// The first domain.
    pub fn first(&mut self) -> Res<&mut LegacyEnd> {
        self.ends.first_mut().ok_or_else(|| "no domain".into())
    }
}
