//! The pure middle: bytes and time in, actions out. No IO, no clock, no task.
pub mod name;
pub mod publish;
pub mod clock;
pub mod frame;
pub mod json;
pub mod mapping;
