//! The edges: sockets, sessions, files and signals. They decide nothing about messages.

#![allow(
    clippy::disallowed_methods,
    reason = "the clock, files and sockets are used here, and only here"
)]

pub mod broker;
pub mod channel;
mod clock;
pub mod confine;
pub mod control;
mod files;
pub mod grounds;
mod handle;
pub mod heap;
mod journal;
pub mod lock;
pub mod log;
pub mod memory;
mod metrics;
pub mod observe;
mod offered;
mod own_pump;
mod private;
mod pump;
mod recorder;
mod refusals;
pub mod regular;
mod reload;
pub mod retained;
mod run;
pub mod secrets;
mod serial;
pub mod service;
pub mod session;
pub mod signals;
mod stderr;
pub mod store;
mod suspended;
mod taps;
mod tls;
pub mod watch;

pub use run::run;
