//! What the fuzz targets have in common: how bytes are cut, what gateways are driven with, and what
//! must hold of everything that they do.

pub mod cuts;
pub mod findings;
pub mod packets;
pub mod spelled;
pub mod tables;
pub mod watched;
