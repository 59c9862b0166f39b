//! The pure middle: bytes and time in, actions out. No IO, no clock, no task.
pub mod clock;
pub mod coverage;
pub mod frame;
pub mod gateway;
pub mod hub;
pub mod json;
pub mod legacy;
pub mod limits;
pub mod mapping;
pub mod name;
pub mod proxy;
pub mod publish;
pub mod queue;
pub mod refusal;
pub mod roster;
pub mod subscriptions;
pub mod tunnel;
