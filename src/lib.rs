//! passerelle: a migration gateway between the PSEC MVP messaging protocol and MQTT.
//!
//! The way of a message: [`edge`] reads bytes or MQTT messages, [`translate`] decides what becomes
//! of them, and [`edge`] does it.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod cmd;
pub mod config;
pub mod conversation;
pub mod diagnostic;
pub mod document;
pub mod edge;
pub mod printable;
pub mod translate;
