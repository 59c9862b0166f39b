//! Every message by its number, and what became of it.

use super::peers::{DEADLINE, Missing};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a message is, and which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A legacy domain's event, to MQTT.
    Event,
    /// A line from one legacy domain to another.
    Direct,
    /// The same, from or to a domain that misbehaves.
    Aside,
    /// An event on MQTT, to the legacy domains.
    News,
    /// A legacy domain calls one on MQTT.
    Call,
    /// One on MQTT calls a legacy domain.
    Ask,
}

const KINDS: [Kind; 6] =
    [Kind::Event, Kind::Direct, Kind::Aside, Kind::News, Kind::Call, Kind::Ask];

impl Kind {
    /// The kind of the message with this number.
    pub fn of(number: u64) -> Self {
        let at = usize::try_from(number % 8).unwrap_or_default();
        KINDS.get(at).copied().unwrap_or(Self::Event)
    }
}

/// What is known of one message.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// When it was first written.
    pub begun: Option<Instant>,
    /// Whether the gateway, or the broker for one from MQTT, has it: when it was sent.
    pub sent: Option<Instant>,
    /// When its receiver first had it, or its caller the answer.
    pub at: Option<Instant>,
    /// How often that was.
    pub came: usize,
    /// How often its caller was told that it came to nothing.
    pub failed: usize,
    /// The broker has acknowledged it, or its answer, to the gateway.
    pub acknowledged: bool,
    /// The gateway has acknowledged it, or its answer, to the broker.
    pub taken: bool,
    /// It was in what the gateway had read last before it was killed, or in memory alone.
    pub at_risk: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Book {
    /// By number.
    pub entries: BTreeMap<u64, Entry>,
    /// How many were sent.
    pub sent: usize,
    /// How many of these by legacy domains.
    pub from_legacy: usize,
    /// How many calls wait for their end.
    pub calls: usize,
    /// Messages that came again, and by whose marks that can be told; and those without.
    pub again: (usize, usize),
    /// Events that came again without a mark.
    pub bare_events: usize,
    /// What a legacy domain was told of its calls, by reason.
    pub told: BTreeMap<String, usize>,
    /// What a backend has discarded.
    pub discarded: BTreeSet<u64>,
    next: u64,
}

/// The book, which everyone writes in.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<watch::Sender<Book>>);

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Book::default())))
    }

    /// A number for a new message. It is not sent yet.
    pub fn number(&self, kind: Kind) -> u64 {
        let mut number = 0;
        self.0.send_if_modified(|book| {
            book.next += 1;
            number = book.next * 8 + kind as u64;
            false
        });
        number
    }

    fn entry(&self, number: u64, change: impl FnOnce(&mut Book, &mut Entry)) {
        self.0.send_modify(|book| {
            let mut entry = book.entries.remove(&number).unwrap_or_default();
            change(book, &mut entry);
            book.entries.insert(number, entry);
        });
    }

    /// It is being written. Again changes nothing.
    pub fn begun(&self, number: u64) {
        self.entry(number, |_, entry| entry.begun = entry.begun.or_else(|| Some(Instant::now())));
    }

    /// It has been sent. Again changes nothing.
    pub fn sent(&self, number: u64) {
        let kind = Kind::of(number);
        self.entry(number, |book, entry| {
            if entry.sent.is_none() {
                entry.sent = Some(Instant::now());
                book.sent += 1;
                book.from_legacy += usize::from(!matches!(kind, Kind::News | Kind::Ask));
                book.calls += usize::from(kind == Kind::Call && entry.came == 0);
            }
        });
    }

    /// It has come, or its answer; `marked`, if the receiver can tell whether it has come before.
    pub fn came(&self, number: u64, marked: bool) {
        let kind = Kind::of(number);
        self.entry(number, |book, entry| {
            entry.came += 1;
            if entry.came == 1 {
                entry.at = Some(Instant::now());
                book.calls -=
                    usize::from(kind == Kind::Call && entry.sent.is_some() && book.calls > 0);
            } else if marked {
                book.again.0 += 1;
            } else {
                book.again.1 += 1;
                book.bare_events += usize::from(kind == Kind::Event);
            }
        });
    }

    /// Its caller was told that it came to nothing.
    pub fn failed(&self, number: u64) {
        self.entry(number, |_, entry| entry.failed += 1);
    }

    /// A legacy domain was told that a call of its own came to nothing.
    pub fn told(&self, reason: &str) {
        self.0.send_modify(|book| {
            book.calls = book.calls.saturating_sub(1);
            *book.told.entry(reason.to_owned()).or_default() += 1;
        });
    }

    /// The broker has acknowledged it to the gateway.
    pub fn acknowledged(&self, number: u64) {
        self.entry(number, |_, entry| entry.acknowledged = true);
    }

    /// The gateway has acknowledged it to the broker.
    pub fn taken(&self, number: u64) {
        self.entry(number, |_, entry| entry.taken = true);
    }

    /// The gateway may have lost it when it was killed.
    pub fn at_risk(&self, numbers: &[u64]) {
        for number in numbers {
            self.entry(*number, |_, entry| entry.at_risk = true);
        }
    }

    /// The gateway was killed. What was on its way to a legacy domain was in memory: of what goes in one
    /// order that is what is after the last that came; and the calls that it had taken.
    pub fn gateway_was_killed(&self) {
        self.0.send_modify(|book| {
            let last = |kind| {
                let came =
                    book.entries.iter().rev().find(|(n, e)| Kind::of(**n) == kind && e.came > 0);
                came.map_or(0, |(number, _)| *number)
            };
            let (direct, news) = (last(Kind::Direct), last(Kind::News));
            for (number, entry) in book.entries.iter_mut().filter(|(_, e)| e.came == 0) {
                entry.at_risk |= match Kind::of(*number) {
                    Kind::Direct => entry.sent.is_some() && *number > direct,
                    Kind::News => entry.taken && *number > news,
                    Kind::Ask => entry.taken,
                    _ => false,
                };
            }
        });
    }

    /// A backend has thrown it away.
    pub fn discarded(&self, number: u64) {
        self.0.send_modify(|book| {
            book.discarded.insert(number);
        });
    }

    /// Looks at the book.
    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Waits until the book is so.
    pub async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&Book) -> bool,
    ) -> Result<(), Missing> {
        if self.within(DEADLINE, wanted).await {
            return Ok(());
        }
        let text = self.look(|b| format!("{} sent, {} calls wait", b.sent, b.calls));
        Err(Missing::new(format!("waited for {what} in vain: {text}")))
    }

    /// The same, within a time; whether it is so.
    pub async fn within(&self, time: Duration, wanted: impl FnMut(&Book) -> bool) -> bool {
        let mut seen = self.0.subscribe();
        tokio::time::timeout(time, seen.wait_for(wanted)).await.is_ok()
    }

    /// Forgets the messages that were sent longer ago than this: a soak has millions.
    pub fn forget(&self, older: Duration) {
        self.0.send_modify(|book| {
            book.entries.retain(|_, e| e.sent.is_none_or(|at| at.elapsed() < older));
        });
    }
}

/// How many messages ended how.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: usize,
    pub delivered: usize,
    pub refused: BTreeMap<String, usize>,
    pub stored: usize,
    /// The broker had acknowledged them, and nobody has seen them since.
    pub forgotten: usize,
    pub at_risk: usize,
    pub discarded: usize,
    pub lost: Vec<u64>,
    /// Delivered and refused as well.
    pub twofold: Vec<u64>,
    /// Calls that were refused without a word to the caller.
    pub untold: Vec<String>,
}

impl Tally {
    /// What became of everything that was sent, with what the gateway's log says it has refused and what
    /// its store holds. `broker_forgets` is whether the broker may have forgotten what it had.
    pub fn of(
        book: &Book,
        refused: &BTreeMap<u64, String>,
        stored: &BTreeSet<u64>,
        broker_forgets: bool,
    ) -> Self {
        let mut tally = Self { discarded: book.discarded.len(), ..Self::default() };
        let mut unheard = BTreeMap::<&str, usize>::new();
        for (number, entry) in book.entries.iter().filter(|(_, e)| e.sent.is_some()) {
            let kind = Kind::of(*number);
            tally.sent += 1;
            let reason = refused.get(number);
            let forgotten = match kind {
                Kind::Event => entry.acknowledged,
                Kind::News => !entry.taken,
                Kind::Ask => !entry.taken || entry.acknowledged,
                _ => false,
            };
            // An answer may still come to whom it was said that none has come in time; and a call from MQTT
            // that was refused may come to the gateway again, from a broker that has not heard of it.
            let late = match kind {
                Kind::Call => reason.is_some_and(|reason| reason == "expired"),
                Kind::Ask => reason.is_some(),
                _ => false,
            };
            if entry.came > 0 && !late {
                tally.delivered += 1;
                if reason.is_some() && !entry.at_risk {
                    tally.twofold.push(*number);
                }
            } else if let Some(reason) = reason {
                *tally.refused.entry(reason.clone()).or_default() += 1;
                if kind == Kind::Call {
                    *unheard.entry(reason).or_default() += 1;
                } else if kind == Kind::Ask
                    && entry.failed == 0
                    && !broker_forgets
                    // What says so has no room either.
                    && reason != "store_full"
                {
                    tally.untold.push(format!("Ask {number}: {reason}"));
                }
            } else if stored.contains(number) {
                tally.stored += 1;
            } else if broker_forgets && forgotten {
                tally.forgotten += 1;
            } else if entry.at_risk {
                tally.at_risk += 1;
            } else {
                tally.lost.push(*number);
            }
        }
        for (reason, count) in unheard {
            let told = book.told.get(reason).copied().unwrap_or_default();
            if told < count {
                tally.untold.push(format!("{count} calls: {reason}, of which {told} were told"));
            }
        }
        tally
    }
}
