//! passerelle: a migration gateway between the PSEC MVP messaging protocol and MQTT.
//!
//! The way of a message: a pump in [`edge`] reads bytes, the [`engine`] decides what becomes of them, and a
//! pump writes them. ARCHITECTURE.md has the picture.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod cmd;
pub mod config;
pub mod conversation;
pub mod diagnostic;
pub mod document;
pub mod edge;
pub mod engine;
pub mod printable;
