//! The documentation says what is so: its links lead somewhere, and what it shows is what the program
//! says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads the project's files"
)]

#[path = "../peers/authority.rs"]
mod authority;
mod blocks;
mod french;
mod keys;
mod links;
mod page;
mod shown;
mod status;
