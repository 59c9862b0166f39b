//! `make test-vm` and `make test-xen`: the built gateway and a guest's real `/dev/hvc2`.
//!
//! One program with two places. Outside the guest, `vm drive` boots guests, plays the broker, the
//! gateway and its peers there, and prints what crossed. In the guest, `vm agent` plays what it is told
//! to: a program of the MVP on `/dev/hvc2`, or the gateway itself with a broker and an application.
//! `tests/vm/` has what the guests are made of.

#![allow(clippy::disallowed_methods, reason = "the test plays the edges")]
#![allow(clippy::indexing_slicing, reason = "a JSON value has null for what is not there")]

mod agent;
mod bridge;
mod control;
mod dom0;
mod domu;
mod guest;
mod listing;
#[path = "../../tests/peers/mod.rs"]
mod peers;
mod tty;

use clap::Parser;
use guest::Host;
use peers::{Missing, Table};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A gateway at a real /dev/hvc2.
#[derive(Debug, Parser)]
enum Arguments {
    /// Boots guests and prints what crossed.
    Drive {
        #[command(flatten)]
        gateway: Built,
        /// QEMU's program, which runs the guests
        #[arg(long, required_unless_present = "xen")]
        qemu: Option<PathBuf>,
        /// This is Xen's Dom0: QEMU's program for the consoles of its domains
        #[arg(long, conflicts_with = "qemu")]
        xen: Option<PathBuf>,
        /// The guest's kernel
        #[arg(long)]
        kernel: PathBuf,
        /// The guest's initial file system
        #[arg(long)]
        initrd: PathBuf,
        /// How many seconds everything may take; each single wait has a shorter limit of its own
        #[arg(long)]
        limit: u64,
        /// Only this scene
        #[arg(long)]
        only: Option<Scene>,
    },
    /// Plays in the guest what it is told to.
    Agent {
        #[command(flatten)]
        gateway: Built,
        /// The port for orders
        #[arg(long)]
        control: PathBuf,
    },
}

/// Where the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scene {
    Dom0,
    Domu,
}

/// The gateway.
#[derive(Debug, Clone, clap::Args)]
pub struct Built {
    /// The gateway's program
    #[arg(long)]
    pub passerelle: PathBuf,
    /// The directory of its mapping files
    #[arg(long)]
    pub mappings: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse() {
        Arguments::Agent { gateway, control } => {
            match agent::run(&control, gateway.passerelle, gateway.mappings).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(missing) => {
                    eprintln!("vm agent: {missing}");
                    ExitCode::FAILURE
                }
            }
        }
        Arguments::Drive { gateway, qemu, xen, kernel, initrd, limit, only } => {
            let host = match (qemu, xen) {
                (_, Some(backend)) => Host::Xen { backend, kernel, initrd },
                (Some(program), None) => Host::Qemu { program, kernel, initrd },
                (None, None) => return ExitCode::FAILURE,
            };
            drive(&gateway, &host, Duration::from_secs(limit), only).await
        }
    }
}

async fn drive(built: &Built, host: &Host, limit: Duration, only: Option<Scene>) -> ExitCode {
    let mut table = Table::default();
    let ended = tokio::select! {
        ended = scenes(built, host, only, &mut table) => ended,
        () = told_to_end() => Err(Missing::new("interrupted")),
        () = tokio::time::sleep(limit) => Err(Missing::new(format!("not done after {limit:?}"))),
    };
    if let Err(missing) = ended {
        let text = format!("{missing}, at: {}", table.under_way());
        table.missing(text);
    }
    table.end()
}

async fn scenes(
    built: &Built,
    host: &Host,
    only: Option<Scene>,
    table: &mut Table,
) -> Result<(), Missing> {
    let disks = listing::disks()?;
    if only.is_none_or(|scene| scene == Scene::Dom0) {
        dom0::scene(built, host, &disks, table).await?;
    }
    if only.is_none_or(|scene| scene == Scene::Domu) {
        domu::scene(host, &disks, table).await?;
    }
    Ok(())
}

/// Guests end with this program only if it ends in its own time.
async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn right(is: bool, answer: &serde_json::Value) -> Result<(), Missing> {
    if is { Ok(()) } else { Err(Missing::new(format!("not the right answer: {answer}"))) }
}
