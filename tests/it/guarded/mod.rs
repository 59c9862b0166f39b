//! A broker that grants everyone what `passerelle acl` says, and a policy that denies: what is allowed
//! works as it does without, and what is not is refused.

mod borrowed;
mod recording;
mod refused;
mod setting;

#[path = "../libraries.rs"]
mod libraries;
#[path = "../rows.rs"]
mod rows;
