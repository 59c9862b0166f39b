//! The pure middle: bytes and time in, actions out. No IO, no clock, no task.
pub mod name;
pub mod publish;
