//! The edges: sockets, sessions, files and signals. They decide nothing about messages.

#![allow(
    clippy::disallowed_methods,
    reason = "the clock, files and sockets are used here, and only here"
)]

mod broker;
pub mod channel;
mod clock;
pub mod confine;
mod exchange;
mod files;
pub mod heap;
mod hub;
mod ids;
pub mod lock;
pub mod log;
pub mod memory;
pub mod observe;
mod port;
mod private;
mod refusals;
pub mod regular;
pub mod retained;
pub mod secrets;
pub mod service;
pub mod session;
pub mod signals;
mod station;
mod status;
mod stderr;
pub mod store;
mod supervisor;
mod tunnel;
pub mod watch;

pub use supervisor::run;
