//! The built program between real peers and a real broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the edges"
)]
#![allow(clippy::duplicate_mod, reason = "the rows are tested with an ACL and without")]

#[path = "../peers/mod.rs"]
mod peers;

mod away;
mod broker;
mod brokers;
mod confined;
mod control;
mod dom0;
mod domu;
mod domu_port;
mod examples;
mod guarded;
mod hostile;
mod identity;
mod libraries;
mod log;
mod log_bound;
mod observe;
mod ourselves;
mod ourselves_twice;
mod private;
mod ready;
mod recording;
mod reload;
mod report;
mod routing;
mod rows;
mod safecor;
mod setting;
mod status;
mod store;
mod store_disk;
mod tap;
mod tls;
mod tunnel;

mod tunnel_heals;
mod tunnel_observed;
mod tunnel_packets;
mod tunnel_switch;
