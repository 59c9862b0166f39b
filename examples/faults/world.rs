//! A broker, the gateway, two legacy domains and three on MQTT, who talk all the time; and the account of
//! it at the end.

use super::guest::{CALLER, Guest, Piece};
use super::ledger::{Entry, Kind, Ledger, Tally};
use super::log::Log;
use super::mqtt::{Receivers, talk};
use super::peers::broker::Persistence;
use super::peers::{Broker, Gateway, Missing};
use super::tap::Tap;
use super::wire;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Calls end after 4 s; who has heard nothing for so long will hear no more.
const QUIET: Duration = Duration::from_secs(6);
/// A session whose broker closed it again and again, soon after it began, is taken for contested: the gateway
/// tries once a minute.
const CONTESTED: Duration = Duration::from_secs(70);

/// Random numbers that are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        least + (z ^ (z >> 31)) % (most - least + 1)
    }
}

/// What a row wants.
#[derive(Clone)]
pub struct Setting {
    /// The gateway's program.
    pub program: PathBuf,
    /// Whether the broker's memory outlives it.
    pub persistence: Persistence,
    /// A line for the beginning of its configuration.
    pub key: &'static str,
    /// The gateway's tables; the store is one.
    pub tables: String,
    /// Where the random numbers begin.
    pub seed: u64,
    /// How much time there is between two things that are said.
    pub pace: Duration,
}

/// The table of a gateway with a store.
pub const STORE: &str = "[store]\ndir = \"store\"\n";

/// Everyone.
pub struct World {
    pub broker: Broker,
    pub tap: Tap,
    pub gateway: Gateway,
    pub usb: Guest,
    pub gui: Guest,
    pub ledger: Ledger,
    pub random: Random,
    seed: u64,
    pub receivers: Receivers,
    sockets: TempDir,
    program: PathBuf,
    persistence: Persistence,
    log: Log,
    stop: watch::Sender<bool>,
    load: JoinSet<()>,
    stop_mqtt: watch::Sender<bool>,
    mqtt: JoinSet<()>,
    /// What the broker had may be gone.
    pub broker_forgets: bool,
}

/// How a row ended.
pub struct Account {
    /// What became of the messages.
    pub tally: Tally,
    /// The gateway's own count of what needed nothing done.
    pub ignored: u64,
    /// Messages that came again: with a mark, and without.
    pub again: (usize, usize),
    /// What must not be.
    pub wrong: Vec<String>,
    /// What was measured.
    pub notes: Vec<String>,
}

impl World {
    /// Starts all of them; they talk when this returns.
    pub async fn start(setting: &Setting) -> Result<Self, Missing> {
        // Every refusal is accounted for.
        Self::start_with(setting, "[log]\nrate = 1000000\n").await
    }

    /// The same, with more of the gateway's tables.
    pub async fn start_with(setting: &Setting, tables: &str) -> Result<Self, Missing> {
        let ledger = Ledger::new();
        let mut broker = Broker::start_with(setting.persistence, "").await?;
        let tap = Tap::new(&broker.socket(), ledger.clone())?;
        let sockets = tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?;
        let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
        let receivers = Receivers::start(&broker.socket(), &ledger).await?;
        let usb = Guest::start(sockets.path(), "sys-usb", ledger.clone())?;
        let gui = Guest::start(sockets.path(), CALLER, ledger.clone())?;
        let mut gateway = Gateway::new(&setting.program, &mappings, &tap.socket())?
            .on_dom0(sockets.path())
            .with_rows("faults.toml", include_str!("rows.toml"))
            .with_key(setting.key)
            .with_control()
            .with(&setting.tables)
            .with(tables)
            .with_argument("--log-format=json")
            .start()?;
        let ready = async {
            broker.subscribed("passerelle-dom0", ["faults/news/notification"]).await?;
            broker.subscribed("sys-usb", ["faults/ask/request"]).await?;
            usb.connected().await?;
            gui.connected().await
        };
        tokio::select! {
            ready = ready => ready?,
            gave_up = gateway.gave_up() => return Err(gave_up),
        }
        let (stop, stopped) = watch::channel(false);
        let mut load = JoinSet::new();
        let mut random = Random(setting.seed);
        let mut seed = || Random(random.between(0, u64::MAX - 1));
        let pace = setting.pace;
        load.spawn(say(usb.outgoing(), ledger.clone(), seed(), pace, stopped.clone()));
        load.spawn(call(gui.outgoing(), ledger.clone(), pace * 3 / 2, stopped));
        let (stop_mqtt, mqtt_stopped) = watch::channel(false);
        let mut mqtt = JoinSet::new();
        mqtt.spawn(talk(broker.socket(), ledger.clone(), pace * 3 / 2, mqtt_stopped));
        let world = Self {
            log: Log::new(&gateway),
            program: setting.program.clone(),
            persistence: setting.persistence,
            broker_forgets: false,
            broker,
            tap,
            gateway,
            usb,
            gui,
            ledger,
            random,
            seed: setting.seed,
            receivers,
            sockets,
            stop,
            load,
            stop_mqtt,
            mqtt,
        };
        world.more(50).await?;
        Ok(world)
    }

    /// One more legacy domain, connected.
    pub async fn guest(&self, name: &str) -> Result<Guest, Missing> {
        let guest = Guest::start(self.sockets(), name, self.ledger.clone())?;
        guest.connected().await?;
        Ok(guest)
    }

    /// The directory of the domains' sockets.
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// Waits until so many more messages were sent.
    pub async fn more(&self, count: usize) -> Result<(), Missing> {
        let goal = self.ledger.look(|book| book.sent) + count;
        self.ledger.until("more to be sent", |book| book.sent >= goal).await
    }

    /// The same, of legacy domains: they go on when there is no broker.
    pub async fn more_from_legacy(&self, count: usize) -> Result<(), Missing> {
        let goal = self.ledger.look(|book| book.from_legacy) + count;
        self.ledger.until("more from legacy domains", |book| book.from_legacy >= goal).await
    }

    /// Waits for a random number of messages in the middle of which something is to happen.
    pub async fn some_more(&mut self) -> Result<(), Missing> {
        let count = self.random.between(20, 120);
        self.more(usize::try_from(count).unwrap_or_default()).await
    }

    /// The same, without a broker.
    pub async fn some_more_from_legacy(&mut self) -> Result<(), Missing> {
        let count = self.random.between(10, 100);
        self.more_from_legacy(usize::try_from(count).unwrap_or_default()).await
    }

    /// Kills the broker, and starts it again some messages later. One that forgets is open to the gateway
    /// when those who receive have told it so.
    pub async fn kill_broker(&mut self) -> Result<(), Missing> {
        self.broker_forgets = true;
        let forgets = self.persistence == Persistence::Lost;
        self.broker.kill().await?;
        self.receivers.cut_off().await?;
        if forgets {
            self.tap.shut().await?;
        }
        self.some_more_from_legacy().await?;
        self.broker.run().await?;
        if forgets {
            self.receivers.subscribed().await?;
            self.tap.open()?;
        }
        Ok(())
    }

    /// Kills the gateway and starts it again. It may lose what it had read last, and what was in its
    /// memory for a legacy domain.
    pub async fn kill_gateway(&mut self) -> Result<(), Missing> {
        self.gateway.kill().await?;
        for guest in [&self.usb, &self.gui] {
            guest.disconnected().await?;
            guest.gateway_was_killed();
        }
        self.ledger.gateway_was_killed();
        self.restarted().await
    }

    /// Ends the gateway and starts it again.
    pub async fn end_gateway(&mut self) -> Result<(), Missing> {
        self.gateway.terminate()?;
        self.gateway.ended().await?;
        self.restarted().await
    }

    async fn restarted(&mut self) -> Result<(), Missing> {
        self.gateway.run().map_err(|e| Missing::new(e.to_string()))?;
        self.usb.connected().await?;
        self.gui.connected().await
    }

    /// Nobody on MQTT begins anything any more, and what was begun has ended.
    pub async fn hush_mqtt(&mut self) -> Result<(), Missing> {
        self.stop_mqtt.send_replace(true);
        while self.mqtt.join_next().await.is_some() {}
        let over = |(number, e): (&u64, &Entry)| {
            e.came > 0 || e.sent.is_none() || !matches!(Kind::of(*number), Kind::News | Kind::Ask)
        };
        self.ledger.until("the end on MQTT", |book| book.entries.iter().all(over)).await
    }

    /// Nobody begins anything any more, and all that domains had to say is read.
    pub async fn hush(&mut self) -> Result<(), Missing> {
        self.stop_mqtt.send_replace(true);
        while self.mqtt.join_next().await.is_some() {}
        self.stop.send_replace(true);
        while self.load.join_next().await.is_some() {}
        self.usb.idle().await?;
        self.gui.idle().await
    }

    /// Waits until everything has ended, ends the gateway, and accounts for every message.
    pub async fn end(mut self) -> Result<Account, Missing> {
        self.hush().await?;
        // Paces the looks at the gateway's log.
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        let (mut open, mut since) = (usize::MAX, Instant::now());
        let mut patience = QUIET;
        while open > 0 && since.elapsed() < patience {
            pace.tick().await;
            let tally = self.tally(&Default::default());
            patience = if tally.lost.is_empty() { QUIET } else { CONTESTED };
            let now = tally.lost.len() + tally.forgotten + tally.at_risk;
            if now != open {
                (open, since) = (now, Instant::now());
            }
        }
        let mut account = self.account().await?;
        let stored = account.tally.stored;
        if stored > 0 {
            account.wrong.push(format!("{stored} stay in the store although the broker is there"));
        }
        Ok(account)
    }

    /// Ends the gateway, and accounts for every message.
    pub async fn account(mut self) -> Result<Account, Missing> {
        self.gateway.terminate()?;
        let ended = self.gateway.ended().await?;
        let stored = self.log.stored(&self.program, &self.gateway).await?;
        let tally = self.tally(&stored);
        let (again, bare) = self.ledger.look(|book| (book.again, book.bare_events));
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        must(ended.success(), format!("the gateway ended: {ended}"));
        must(tally.lost.is_empty(), format!("lost: {}", named(&tally.lost)));
        must(tally.twofold.is_empty(), format!("came and refused: {}", named(&tally.twofold)));
        must(tally.untold.is_empty(), format!("told nobody: {}", tally.untold.join(", ")));
        must(tally.stored == 0 || tally.stored <= stored.len(), "the store has less".to_owned());
        let keeps = self.gateway.folder().join("store").exists();
        must(!keeps || bare == 0, format!("{bare} events came again without a mark"));
        let left = self.log.left;
        must(left == 0 || tally.stored > 0, format!("the gateway left {left} behind"));
        if !wrong.is_empty() {
            let kept = std::env::temp_dir().join(format!("passerelle-faults-{}.log", self.seed));
            let copied = std::fs::copy(self.gateway.log_file(), &kept);
            wrong.extend(copied.map(|_| format!("the gateway's log: {}", kept.display())));
        }
        Ok(Account { ignored: self.log.ignored, again, tally, wrong, notes: Vec::new() })
    }

    fn tally(&mut self, stored: &std::collections::BTreeSet<u64>) -> Tally {
        self.log.read();
        self.ledger.look(|book| Tally::of(book, &self.log.refused, stored, self.broker_forgets))
    }
}

/// The first numbers, with their kinds.
fn named(numbers: &[u64]) -> String {
    let shown = numbers.iter().take(8).map(|n| format!("{:?} {n}", Kind::of(*n)));
    format!("{} ({})", numbers.len(), shown.collect::<Vec<_>>().join(", "))
}

/// `sys-usb` tells a domain on MQTT and a legacy one something, in pieces of some lines.
async fn say(
    to: mpsc::Sender<Piece>,
    ledger: Ledger,
    mut random: Random,
    pace: Duration,
    stop: watch::Receiver<bool>,
) {
    let mut pace = paced(pace);
    while !*stop.borrow() {
        pace.tick().await;
        let mut piece = Piece::default();
        for _ in 0..random.between(1, 6) {
            let (kind, to, event) = match random.between(0, 1) {
                0 => (Kind::Event, "vm-new", "event"),
                _ => (Kind::Direct, CALLER, "test"),
            };
            let number = ledger.number(kind);
            piece.add(&wire::tell("sys-usb", to, event, number), number);
        }
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

/// `vm-gui` calls a domain on MQTT.
async fn call(
    to: mpsc::Sender<Piece>,
    ledger: Ledger,
    pace: Duration,
    stop: watch::Receiver<bool>,
) {
    // The gateway's own limit is twice that.
    const MOST: usize = 512;
    let mut pace = paced(pace);
    while !*stop.borrow() {
        pace.tick().await;
        if ledger.look(|book| book.calls) >= MOST {
            continue;
        }
        let (mut piece, number) = (Piece::default(), ledger.number(Kind::Call));
        piece.add(&wire::call(CALLER, number), number);
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

fn paced(pace: Duration) -> tokio::time::Interval {
    let mut pace = tokio::time::interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
