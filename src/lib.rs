//! passerelle: a migration gateway between the PSEC MVP messaging protocol and MQTT.
pub mod diagnostic;
pub mod document;
pub mod edge;
pub mod translate;
