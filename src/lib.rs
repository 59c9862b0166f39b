//! passerelle: a migration gateway between the PSEC MVP messaging protocol and MQTT.
pub mod edge;
pub mod translate;
