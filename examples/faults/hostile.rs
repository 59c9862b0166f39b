//! A domain that was taken over does what it can, beside all the others: their ledger balances, the gateway
//! stays small, and its log grows no faster than it may. How long their calls take meanwhile is measured.

use super::ledger::{Kind, Ledger};
use super::peers::raw_mqtt::{LEVELS, publish};
use super::peers::{Hello, Missing, legacy};
use super::soak::{at, latencies};
use super::world::{Account, Setting, World};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

/// What the gateway may have in memory: as `tests/it/hostile` has it.
const MOST_MEMORY: usize = 64 << 20;
/// What the log may grow by, in lines a second and at once, of so many bytes: `docs/monitoring.md`.
const LOG: (f64, f64, f64) = (100.0, 500.0, 4096.0);

/// What a hostile domain does, over and over.
struct Attack {
    name: &'static str,
    /// What it writes.
    bytes: fn() -> Vec<u8>,
    /// Whether it reads what it is sent.
    reads: bool,
    /// Whether its channel is closed after each round.
    closes: bool,
}

const QUIET: Attack = Attack { name: "nothing", bytes: Vec::new, reads: true, closes: false };

const ATTACKS: [Attack; 13] = [
    Attack { name: "CONNECTs", bytes: connects, ..QUIET },
    Attack { name: "CONNECTs, lines in turn", bytes: turns, ..QUIET },
    Attack { name: "bytes 0x10", bytes: || vec![0x10; 64 << 10], ..QUIET },
    Attack { name: "CONNECTs in client ids", bytes: poison, ..QUIET },
    Attack { name: "no JSON", bytes: || b"no message\n".repeat(1000), ..QUIET },
    Attack { name: "a line without an end", bytes: || vec![b'x'; 64 << 10], ..QUIET },
    Attack { name: "others' names", bytes: || told("sys-usb", "tous", "{}"), ..QUIET },
    Attack { name: "large requests", bytes: large, ..QUIET },
    Attack { name: "requests that nobody answers", bytes: asks, ..QUIET },
    Attack { name: "the same, and reads nothing", bytes: asks, reads: false, ..QUIET },
    Attack { name: "odd characters for everyone", bytes: odd, ..QUIET },
    Attack { name: "odd topics on MQTT", bytes: topics, ..QUIET },
    Attack { name: "a channel that opens and closes", bytes: turns, closes: true, ..QUIET },
];

/// One attack after the other, each for so many messages of the others.
pub async fn beside(setting: Setting, messages: u32) -> Result<Account, Missing> {
    let messages = usize::try_from(messages).unwrap_or(usize::MAX);
    let world = World::start_with(&setting, "").await?;
    let mut notes = vec![TITLE.to_owned()];
    let mut wrong = Vec::new();
    for attack in [&QUIET].into_iter().chain(&ATTACKS).chain([&QUIET]) {
        let before = Sight::of(&world)?;
        let hostile = attack.start(world.sockets())?;
        world.more(messages).await?;
        drop(hostile);
        let _ = fs::remove_file(path(world.sockets()));
        let after = Sight::of(&world)?;
        let cost = after.since(&before);
        notes.push(cost.line(attack.name, &world.ledger, before.at));
        if cost.log > (LOG.0 * cost.seconds + LOG.1) * LOG.2 {
            wrong.push(format!("{}: {:.0} bytes of log", attack.name, cost.log));
        }
        if cost.peak >= MOST_MEMORY {
            wrong.push(format!("{}: {} KiB of memory", attack.name, cost.peak >> 10));
        }
    }
    let mut account = world.end().await?;
    account.notes = notes;
    account.wrong.extend(wrong);
    Ok(account)
}

fn path(sockets: &Path) -> std::path::PathBuf {
    sockets.join("vm-hostile-msg.sock")
}

impl Attack {
    /// A domain that does it, until it is told to stop.
    fn start(&self, sockets: &Path) -> Result<Hostile, Missing> {
        let failed = |e: std::io::Error| Missing::new(format!("vm-hostile: {e}"));
        let Self { bytes, reads, closes, .. } = *self;
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().map_err(failed)?;
        let within = runtime.enter();
        let listener = UnixListener::bind(path(sockets)).map_err(failed)?;
        drop(within);
        runtime.spawn(async move {
            while let Ok((channel, _)) = listener.accept().await {
                let (mut reader, mut writer) = channel.into_split();
                let bytes = bytes();
                let write = async {
                    while !bytes.is_empty() && writer.write_all(&bytes).await.is_ok() && !closes {}
                    if bytes.is_empty() {
                        std::future::pending::<()>().await;
                    }
                };
                let read = async {
                    let mut buffer = vec![0; 64 << 10];
                    while reads && reader.read(&mut buffer).await.is_ok_and(|size| size > 0) {}
                    if !reads {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = write => {}
                    () = read => {}
                }
            }
        });
        Ok(Hostile(Some(runtime)))
    }
}

/// The domain, until it is dropped. It has a thread of its own: on the others' it would be they who wait for
/// their turn, and not the gateway that lets them wait.
struct Hostile(Option<Runtime>);

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn connects() -> Vec<u8> {
    let hello = |level| Hello { level, id: "storm", ..Hello::default() }.packet();
    LEVELS.map(hello).concat().repeat(100)
}

fn turns() -> Vec<u8> {
    [&connects()[..], b"{\"type\":\"notification\"}\n"].concat()
}

/// CONNECTs in the client id of one that is wrong only at its end.
fn poison() -> Vec<u8> {
    let header = b"\x10\xC2\x80\x02\0\x04MQTT\x04\x02\0\x3C\x7F\x7F";
    [header.repeat(0x7F7F / header.len()), vec![0xFF; header.len()]].concat()
}

fn told(from: &str, to: &str, data: &str) -> Vec<u8> {
    let data = serde_json::from_str(data).unwrap_or_default();
    (legacy::notification(from, to, "test", &data) + "\n").repeat(500).into()
}

fn large() -> Vec<u8> {
    let text = json!({ "text": "x".repeat(600 << 10) });
    (legacy::command("vm-hostile", "sys-usb", "ask", &text) + "\n").into()
}

fn asks() -> Vec<u8> {
    let ask = |to, name| legacy::command("vm-hostile", to, name, &json!({})) + "\n";
    [ask("vm-new", "call"), ask("sys-usb", "ask")].concat().repeat(200).into()
}

fn odd() -> Vec<u8> {
    told("vm-hostile", "tous", "{\"\\u202e\\u0000\\u200b\":\"\\u001b[2J\\u009b\\u007f\"}")
}

/// A tunnel that publishes, on topics of its own and on those of others.
fn topics() -> Vec<u8> {
    let hello = Hello { level: 5, id: "vm-hostile", ..Hello::default() }.packet();
    let odd = ["$SYS/broker", "passerelle/dom0/status", "faults/ask/request", "\u{202e}/\u{9b}"];
    let said = odd.map(|topic| publish(5, 0, 0, topic, b"{")).concat();
    [hello, said.repeat(20)].concat()
}

/// What the gateway has cost so far.
struct Sight {
    at: Instant,
    peak: usize,
    log: u64,
    /// In seconds.
    processor: f64,
}

/// What it cost between two of them.
struct Cost {
    seconds: f64,
    peak: usize,
    log: f64,
    processor: f64,
}

const TITLE: &str = "its neighbour does                    s  KiB peak  log B/s  CPU %  call p50    p99 ms   ask p50    p99 ms";

impl Sight {
    fn of(world: &World) -> Result<Self, Missing> {
        let failed = |e: std::io::Error| Missing::new(format!("the gateway cannot be seen: {e}"));
        Ok(Self {
            at: Instant::now(),
            peak: world.gateway.peak_memory()?,
            log: fs::metadata(world.gateway.log_file()).map_err(failed)?.len(),
            processor: world.gateway.processor_time()?.as_secs_f64(),
        })
    }

    #[allow(clippy::cast_precision_loss)]
    fn since(&self, before: &Self) -> Cost {
        Cost {
            seconds: (self.at - before.at).as_secs_f64(),
            peak: self.peak,
            log: (self.log - before.log) as f64,
            processor: self.processor - before.processor,
        }
    }
}

impl Cost {
    fn line(&self, name: &str, ledger: &Ledger, from: Instant) -> String {
        let of = |kind| ledger.look(|book| latencies(book, kind, from));
        let (calls, asks) = (of(Kind::Call), of(Kind::Ask));
        let Self { seconds, peak, log, processor } = self;
        format!(
            "{name:<34} {seconds:>5.1} {:>9} {:>8.0} {:>6.0} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            peak >> 10,
            log / seconds,
            100.0 * processor / seconds,
            at(&calls, 0.5),
            at(&calls, 0.99),
            at(&asks, 0.5),
            at(&asks, 0.99),
        )
    }
}
