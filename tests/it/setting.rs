//! What the tests share: how they fail, and the gateway that they test.

use crate::peers::{Broker, Dom0, Gateway, Missing};
use std::fmt;
use std::panic::Location;
use std::path::Path;

/// A test's result: a failure says where it happened.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Any error, and where in the test it came up.
pub struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self(format!("{}: {error}", Location::caller()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_passerelle");

/// The project's own mapping files.
pub fn mappings() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))
}

/// A broker that forgets, and a gateway with the seed's mapping alone.
pub async fn setting() -> Result<Dom0, Missing> {
    setting_with(Broker::start().await?, |gateway| gateway).await
}

/// This broker, and a gateway configured further.
pub async fn setting_with(
    broker: Broker,
    configure: impl FnOnce(Gateway) -> Gateway,
) -> Result<Dom0, Missing> {
    Dom0::start(Path::new(PROGRAM), mappings(), broker, configure).await
}
