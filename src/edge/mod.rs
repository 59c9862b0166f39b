//! The edges: sockets, sessions, files and signals. They decide nothing about messages.
pub mod channel;
pub mod session;
pub mod watch;
