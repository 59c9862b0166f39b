//! The peers of a gateway, played for real: a broker, domains of the MVP and domains on MQTT.
//!
//! The integration tests and the demo share them. Nothing here sleeps: everything waits for an
//! event, and gives up after [`DEADLINE`] with a [`Missing`] that says what was waited for and what
//! came instead.

#![allow(
    dead_code,
    unused_imports,
    reason = "each program that takes this module in uses a part of it"
)]
#![allow(clippy::disallowed_methods, reason = "tests and the demo play the edges")]
#![allow(clippy::indexing_slicing, reason = "a JSON value has null for what is not there")]

pub mod authority;
pub mod broker;
pub mod console;
pub mod dialects;
pub mod disks;
pub mod dom0;
pub mod foreign;
pub mod gateway;
pub mod go_between;
pub mod inbox;
pub mod json;
pub mod legacy;
pub mod mqtt_peer;
pub mod mqtt_peer_311;
pub mod mqtt_server;
pub mod mvp_router;
pub mod mvp_server;
pub mod pty;
pub mod raw_mqtt;
pub mod safecor;
pub mod table;

pub use authority::Authority;
pub use broker::Broker;
pub use console::Console;
pub use dialects::Dialect;
pub use disks::Disks;
pub use dom0::Dom0;
pub use gateway::Gateway;
pub use go_between::GoBetween;
pub use inbox::{Inbox, Missing};
pub use legacy::{LegacyDomain, Line};
pub use mqtt_peer::MqttPeer;
pub use mqtt_peer_311::MqttPeer311;
pub use mqtt_server::MqttServer;
pub use mvp_router::MvpRouter;
pub use mvp_server::MvpServer;
pub use pty::Pty;
pub use raw_mqtt::{Hello, RawMqtt};
pub use table::Table;

use std::time::Duration;

/// How long anything is waited for, unless a test says otherwise. An emulated machine on a busy one needs
/// much of it; a test that passes, next to nothing.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a domain, an application or the gateway logs in with, where the broker asks for it.
pub fn secret_of(user: &str) -> String {
    format!("secret of {user}")
}

/// The roots of the seed's first table.
pub const ROOTS: [&str; 9] = [
    "system/disks/list_disks",
    "system/disks/list_files",
    "system/disks/read_file",
    "system/disks/copy_file",
    "system/disks/remove_file",
    "system/misc/benchmark",
    "system/disks/get_file_footprint",
    "system/disks/create_file",
    "system/components/discover",
];

/// Where a new file is announced.
pub const NEW_FILE: &str = "system/disk/new_file/notification";

/// Where an error is announced.
pub const ERROR: &str = "system/events/error/notification";
