//! The rows of the matrix.

use super::backend::Make;
use super::peers::Missing;
use super::peers::broker::Persistence;
use super::world::{Account, Setting};
use super::{broker_rows, domain_rows, gateway_rows, hostile};
use std::time::{Duration, Instant};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    BrokerKilled,
    BrokerKilledKept,
    BrokerStopped,
    BrokerStoppedKept,
    BrokerAbsent,
    BrokerAbsentAtTheEnd,
    GatewayEnded,
    GatewayKilled,
    DomainRestarts,
    DomainNeverReads,
    DomainBytewise,
    DomainFloods,
    DomainTornLines,
    DomainHostile,
    BackendVirtio,
    BackendXen,
    DiskFull,
    Clock,
}

/// The table's head.
pub const TITLE: &str = "fault                                times   sent delivered  again bare ignored stored risk forgot thrown  lost    s  refused";

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::BrokerKilled => "broker killed, forgets",
            Self::BrokerKilledKept => "broker killed, remembers",
            Self::BrokerStopped => "broker stopped, goes on",
            Self::BrokerStoppedKept => "the same, one that remembers",
            Self::BrokerAbsent => "broker's socket absent, seconds",
            Self::BrokerAbsentAtTheEnd => "the same, and the gateway ends",
            Self::GatewayEnded => "gateway ended, started",
            Self::GatewayKilled => "gateway killed, started",
            Self::DomainRestarts => "domain restarts",
            Self::DomainNeverReads => "domain never reads, lines",
            Self::DomainBytewise => "domain writes bytewise, lines",
            Self::DomainFloods => "domain floods, lines",
            Self::DomainTornLines => "domain goes in a line",
            Self::DomainHostile => "domain hostile, others' messages",
            Self::BackendVirtio => "virtio backend discards",
            Self::BackendXen => "Xen backend discards",
            Self::DiskFull => "disk full",
            Self::Clock => "clock jumps a day",
        }
    }

    /// How often, in full and in short.
    fn times(self, short: bool) -> u32 {
        let (full, brief) = match self {
            Self::BrokerAbsent => (60, 3),
            Self::BrokerAbsentAtTheEnd => (5, 5),
            Self::DomainRestarts | Self::DomainTornLines => (100, 10),
            Self::DomainNeverReads => (4000, 3000),
            Self::DomainBytewise => (500, 50),
            Self::DomainFloods => (20_000, 5000),
            Self::DomainHostile => (3000, 400),
            Self::BackendVirtio | Self::BackendXen => (5, 1),
            Self::DiskFull => (5, 1),
            Self::Clock => (8, 4),
            _ => (30, 3),
        };
        if short { brief } else { full }
    }

    /// Runs it, and prints its line. Says whether all is well.
    pub async fn run(self, setting: &Setting, short: bool) -> bool {
        let (times, began) = (self.times(short), Instant::now());
        let setting = Setting { seed: setting.seed.wrapping_add(self as u64), ..setting.clone() };
        let outcome = match tokio::time::timeout(LIMIT, self.play(setting, times)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Missing::new(format!("not over after {LIMIT:?}"))),
        };
        let name = self.name();
        match outcome {
            Ok(Some(account)) => print(name, times, &account, began.elapsed()),
            Ok(None) => {
                println!(
                    "{name:<36} not tested: this machine lacks what it takes (see CONTRIBUTING.md)"
                );
                true
            }
            Err(missing) => {
                let why: String = missing.to_string().chars().take(2000).collect();
                println!("{name:<36} {times:>5} FAILED: {why}");
                false
            }
        }
    }

    async fn play(self, setting: Setting, times: u32) -> Result<Option<Account>, Missing> {
        use Persistence::{Kept, Lost};
        match self {
            Self::BrokerKilled => broker_rows::killed(setting, Lost, times).await,
            Self::BrokerKilledKept => broker_rows::killed(setting, Kept, times).await,
            Self::BrokerStopped => broker_rows::stopped(setting, Lost, times).await,
            Self::BrokerStoppedKept => broker_rows::stopped(setting, Kept, times).await,
            Self::BrokerAbsent => {
                broker_rows::absent(setting, Duration::from_secs(times.into())).await
            }
            Self::BrokerAbsentAtTheEnd => broker_rows::absent_at_the_end(setting, times).await,
            Self::GatewayEnded => gateway_rows::ended(setting, times).await,
            Self::GatewayKilled => gateway_rows::killed(setting, times).await,
            Self::DomainRestarts => domain_rows::restarts(setting, times).await,
            Self::DomainNeverReads => domain_rows::never_reads(setting, times).await,
            Self::DomainBytewise => domain_rows::bytewise(setting, times).await,
            Self::DomainFloods => domain_rows::floods(setting, times).await,
            Self::DomainTornLines => domain_rows::torn_lines(setting, times).await,
            Self::DomainHostile => hostile::beside(setting, times).await,
            Self::BackendVirtio => domain_rows::discards(setting, Make::Virtio, times).await,
            Self::BackendXen => domain_rows::discards(setting, Make::Xen, times).await,
            Self::DiskFull => return gateway_rows::disk_full(setting, times).await,
            Self::Clock => return gateway_rows::clock(setting, times).await,
        }
        .map(Some)
    }
}

/// No row takes longer.
const LIMIT: Duration = Duration::from_secs(300);

fn print(name: &str, times: u32, account: &Account, took: Duration) -> bool {
    let Account { tally: t, ignored, again, wrong, notes } = account;
    let refused: Vec<_> = t.refused.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    println!(
        "{name:<36} {times:>5} {:>6} {:>9} {:>6} {:>4} {ignored:>7} {:>6} {:>4} {:>6} {:>6} {:>5} {:>4}  {} {}",
        t.sent,
        t.delivered,
        again.0,
        again.1,
        t.stored,
        t.at_risk,
        t.forgotten,
        t.discarded,
        t.lost.len(),
        took.as_secs(),
        if wrong.is_empty() { "ok" } else { "FAILED" },
        if refused.is_empty() { "-".to_owned() } else { refused.join(", ") },
    );
    for what in notes.iter().chain(wrong) {
        println!("    {what}");
    }
    wrong.is_empty()
}
