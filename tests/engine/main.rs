//! The engine as a whole, without a process, a socket or a clock: every way of cutting, there and
//! back, any input at all, and the rules of who is told what.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads the mappings that it is about, and a clock"
)]

mod coverage;
mod cuts;
mod detector;
mod healing;
mod kit;
mod ledger;
mod loader;
mod names;
mod pairs;
mod policy;
mod recording;
mod relay;
mod reload;
mod round_trips;
mod rules;
mod session;
mod status;
mod steps;
mod store;
mod suggest;
mod tunnel;
mod unanswered;
mod work;
