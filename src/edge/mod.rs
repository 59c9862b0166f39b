//! The edges: sockets, sessions, files and signals. They decide nothing about messages.

#![allow(
    clippy::disallowed_methods,
    reason = "the clock, files and sockets are used here, and only here"
)]

pub mod channel;
mod clock;
mod exchange;
mod hub;
pub mod log;
pub mod session;
mod station;
mod supervisor;
pub mod watch;

pub use supervisor::run;
