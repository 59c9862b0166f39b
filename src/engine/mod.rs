//! The engine: bytes, events and the time in, effects out. No IO, no clock, no task.

pub mod acl;
pub mod bucket;
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
pub mod password;
pub mod policy;
pub mod proxy;
pub mod publish;
pub mod queue;
pub mod quota;
pub mod refusal;
pub mod rehearsal;
pub mod roster;
pub mod session;
pub mod status;
pub mod store;
pub mod subscriptions;
pub mod tunnel;
