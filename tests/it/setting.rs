//! What the tests share: how they fail, and the gateway that they test.

use crate::peers::{Broker, DEADLINE, Dialect, Dom0, Gateway, Missing};
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

/// Whether a domain on MQTT has to prove who it is.
pub const PROVES: bool = false;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_passerelle");

/// How a run of the program ended.
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n{}{}", self.code, self.out, self.err)
    }
}

/// Runs a subcommand on a gateway's configuration.
pub async fn passerelle(gateway: &Gateway, command: &str, more: &[&str]) -> Outcome<Ended> {
    let config = gateway.config_file();
    let mut program = tokio::process::Command::new(PROGRAM);
    program.arg(command).arg("--config").arg(config).args(more).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, program.output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Ended { code, out: text(output.stdout), err: text(output.stderr) })
}

/// Runs it again and again until it ends as wanted.
pub async fn until(
    gateway: &Gateway,
    command: &str,
    more: &[&str],
    wanted: impl Fn(&Ended) -> bool,
) -> Outcome<Ended> {
    let mut last = String::new();
    let tries = async {
        // Paces the attempts.
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            pace.tick().await;
            let ended = passerelle(gateway, command, more).await?;
            if wanted(&ended) {
                return Ok(ended);
            }
            last = ended.to_string();
        }
    };
    match tokio::time::timeout(DEADLINE, tries).await {
        Ok(ended) => ended,
        Err(_) => Err(Missing::new(format!("`{command}` does not end as wanted: {last}")).into()),
    }
}

/// The project's own mapping files.
pub fn mappings() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))
}

/// A broker that forgets, and a gateway with the seed's mapping alone.
pub async fn setting() -> Result<Dom0, Missing> {
    setting_with(Broker::start().await?, |gateway| gateway).await
}

/// The same, with a dialect that a domain speaks.
pub async fn setting_of(domain: &str, dialect: Dialect) -> Result<Dom0, Missing> {
    setting_with(Broker::start().await?, |gateway| gateway.with_dialect(domain, dialect)).await
}

/// This broker, and a gateway configured further.
pub async fn setting_with(
    broker: Broker,
    configure: impl FnOnce(Gateway) -> Gateway,
) -> Result<Dom0, Missing> {
    Dom0::start(Path::new(PROGRAM), mappings(), broker, configure).await
}
