//! A gateway, and what must hold of it whatever comes in.

use crate::cuts::Cuts;
use memchr::memmem;
use passerelle::conversation;
use passerelle::engine::clock::Now;
use passerelle::engine::hub::Hub;
use passerelle::engine::legacy;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::name::DomainName;
use passerelle::engine::proxy::Setting;
use passerelle::engine::publish::{Publish, Received};
use passerelle::engine::refusal::{HEAD, Refusal};
use passerelle::engine::rehearsal::{Observed, Rehearsal};
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const INSTANCE: &str = "dom0";
/// The most bytes of a notice, whatever the limit of a line.
const NOTICE: usize = 4096;
/// A day: after it nothing waits any more but for those who do not read.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that comes in.
#[derive(Debug, Clone)]
pub enum Step {
    /// Bytes from a domain.
    Bytes(DomainName, Vec<u8>),
    /// A message from the broker.
    Mqtt(Box<Received>),
    /// A domain's channel is there.
    Connect(DomainName),
    /// A domain's channel is gone.
    Disconnect(DomainName),
    /// A domain's channel is there, and cannot be opened.
    Unavailable(DomainName),
    /// A domain no longer reads.
    Stall(DomainName),
    /// A domain is to be taken for a legacy one again.
    TakeForLegacy(DomainName),
    /// The broker's answer to the next publish on a topic.
    Puback(String, u8),
    /// The connections to the broker are lost: all, or those of one client id.
    Lost(Option<String>),
    /// The broker can be reached again, with or without its sessions.
    Back(bool, Option<String>),
    /// What the broker says to a domain on MQTT.
    Tunnel(DomainName, Vec<u8>),
    /// The broker closes the connection of a domain on MQTT.
    TunnelClosed(DomainName),
    /// Nobody on MQTT subscribes to this topic any more.
    Nobody(String),
    /// Time passes.
    Elapse(Duration),
    /// Another mapping takes the place of the one before.
    Reload(&'static Arc<Table>),
}

/// A gateway to which these domains are connected.
#[must_use]
pub fn gateway(table: &Arc<Table>, limits: &Limits, legacy: &[DomainName]) -> Rehearsal {
    let setting = Setting {
        table: Arc::clone(table),
        policy: Arc::default(),
        limits: limits.clone(),
        instance: INSTANCE.into(),
        nonce: "call".into(),
    };
    let now = Now {
        monotonic: Duration::ZERO,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
    };
    Rehearsal::new(setting, legacy, now)
}

/// Gives a step to a gateway.
pub fn apply(gateway: &mut Rehearsal, step: &Step, limits: &Limits) {
    match step {
        Step::Bytes(name, bytes) => {
            gateway.receive(name, bytes);
        }
        Step::Mqtt(message) => gateway.publish(message),
        Step::Connect(name) => gateway.connect(name),
        Step::Disconnect(name) => gateway.disconnect(name),
        Step::Unavailable(name) => gateway.make_unavailable(name, "Permission denied"),
        Step::Stall(name) => gateway.stall(name),
        // Whether it can be is the engine's to say.
        Step::TakeForLegacy(name) => drop(gateway.take_for_legacy(name)),
        Step::Puback(topic, code) => gateway.answer_with(topic.clone(), *code),
        Step::Lost(client) => gateway.lose_broker(client.as_deref()),
        Step::Back(kept, client) => gateway.broker_is_back(*kept, client.as_deref()),
        Step::Tunnel(name, bytes) => gateway.say_in_tunnel(name, bytes),
        Step::TunnelClosed(name) => gateway.close_tunnel(name),
        Step::Nobody(topic) => gateway.desert(topic.clone()),
        Step::Elapse(span) => gateway.elapse(*span),
        Step::Reload(table) => gateway.reload(Arc::clone(table), limits.clone()),
    }
}

/// A domain's bytes, read as simply as can be.
#[derive(Debug, Default)]
struct Reader {
    connected: bool,
    line: Vec<u8>,
    too_long: bool,
}

impl Reader {
    /// The messages that are whole now: a line that is too long is one as soon as it is.
    fn read(&mut self, bytes: &[u8], limit: usize) -> (u64, Vec<Vec<u8>>) {
        let (mut count, mut lines) = (0, Vec::new());
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let content = part.strip_suffix(b"\n").unwrap_or(part);
            self.line.extend_from_slice(content);
            if self.line.len() > limit && !self.too_long {
                self.too_long = true;
                count += 1;
            }
            if content.len() < part.len() {
                let mut line = std::mem::take(&mut self.line);
                let too_long = std::mem::take(&mut self.too_long);
                while line.last() == Some(&b'\r') {
                    line.pop();
                }
                if !too_long && !line.iter().all(u8::is_ascii_whitespace) {
                    count += 1;
                    lines.push(line);
                }
            }
        }
        (count, lines)
    }
}

/// The gateway, a second one that is given the same bytes cut into pieces, and what was seen of both.
#[derive(Debug)]
pub struct Watched {
    gateway: Rehearsal,
    twin: Rehearsal,
    cuts: (u8, u8),
    limits: Limits,
    readers: BTreeMap<DomainName, Reader>,
    /// Those that have been legacy domains all the time.
    always: BTreeSet<DomainName>,
    /// Those that have said what is in no line, and may be MQTT: which of their bytes are lines is not for a
    /// naive reader to say.
    mixed: BTreeSet<DomainName>,
    /// Every line that came from a domain.
    sent: HashSet<(DomainName, Vec<u8>)>,
    largest: usize,
    received: u64,
    ended: u64,
}

impl Watched {
    /// A gateway to which these domains are connected; its twin's bytes are cut into these lengths.
    #[must_use]
    pub fn new(table: &Arc<Table>, limits: &Limits, legacy: &[DomainName], cuts: (u8, u8)) -> Self {
        let reader =
            |name: &DomainName| (name.clone(), Reader { connected: true, ..Reader::default() });
        Self {
            gateway: gateway(table, limits, legacy),
            twin: gateway(table, limits, legacy),
            cuts,
            limits: limits.clone(),
            readers: legacy.iter().map(reader).collect(),
            always: legacy.iter().cloned().collect(),
            mixed: BTreeSet::new(),
            sent: HashSet::new(),
            largest: limits.line.max(NOTICE),
            received: 0,
            ended: 0,
        }
    }

    /// Takes a step, and looks at everything that comes of it.
    pub fn step(&mut self, step: &Step) -> Vec<Observed> {
        let came = self.note(step);
        apply(&mut self.gateway, step, &self.limits);
        if let Step::Bytes(name, bytes) = step {
            for piece in Cuts::new(bytes, self.cuts.0, self.cuts.1) {
                self.twin.receive(name, piece);
            }
        } else {
            apply(&mut self.twin, step, &self.limits);
        }
        let effects = joined(self.gateway.take_effects());
        let twins = joined(self.twin.take_effects());
        assert_eq!(effects, twins, "the same, however the bytes are cut");
        for effect in &effects {
            self.check(effect);
        }
        self.check_counts(came);
        effects
    }

    /// Waits until nothing can be under way any more, but for domains that do not read.
    pub fn end(&mut self, all_read: bool) {
        self.step(&Step::Back(true, None));
        self.step(&Step::Elapse(DAY));
        let (counters, under_way) = self.gateway.ledger();
        if all_read {
            assert_eq!(under_way, 0, "after a day: {counters}");
        }
    }

    /// Takes note of what comes in. Says how many messages that are from a domain, at least and at most.
    fn note(&mut self, step: &Step) -> Option<RangeInclusive<u64>> {
        match step {
            Step::Bytes(name, bytes) => {
                let is_in_none =
                    |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n');
                if bytes.iter().any(is_in_none) {
                    self.mixed.insert(name.clone());
                    self.always.remove(name);
                }
                let reader = self.readers.get_mut(name).filter(|r| r.connected);
                let glued = reader.as_ref().map_or(0, |r| starts(&r.line) + starts(bytes));
                let (count, lines) =
                    reader.map(|r| r.read(bytes, self.limits.line)).unwrap_or_default();
                self.sent.extend(lines.into_iter().map(|line| (name.clone(), line)));
                // A piece of a message counts, and so does each that is glued to it.
                let most = count * 2 + if count > 0 { glued } else { 0 };
                return Some(count..=most).filter(|_| !self.mixed.contains(name));
            }
            Step::Mqtt(message) => {
                self.largest = self.largest.max(message.payload.len());
                // Who knows the correlation data of a call of the gateway's is taken for its requester.
                let secret = message.correlation.as_ref().is_some_and(|c| c.starts_with(b"call-"));
                let source = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
                if let (true, Some(source)) = (secret, source) {
                    self.always.remove(&source);
                }
            }
            Step::Connect(name) => {
                let reader = self.readers.entry(name.clone()).or_default();
                if !reader.connected {
                    *reader = Reader { connected: true, ..Reader::default() };
                }
            }
            Step::Disconnect(name) | Step::Unavailable(name) => {
                self.readers.remove(name);
                self.always.remove(name);
            }
            Step::Stall(_)
            | Step::TakeForLegacy(_)
            | Step::Puback(..)
            | Step::Lost(_)
            | Step::Back(..)
            | Step::Tunnel(..)
            | Step::TunnelClosed(_)
            | Step::Nobody(_)
            | Step::Elapse(_)
            | Step::Reload(_) => {}
        }
        None
    }

    fn check_counts(&mut self, came: Option<RangeInclusive<u64>>) {
        let (counters, under_way) = self.gateway.ledger();
        let open = u64::try_from(under_way).expect("a small number");
        assert_eq!(counters.received, counters.ended() + open, "{counters}, {open} under way");
        assert!(counters.received >= self.received && counters.ended() >= self.ended);
        if let Some(came) = came {
            let counted = counters.received - self.received;
            assert!(came.contains(&counted), "{came:?} lines count as {counted}");
        }
        (self.received, self.ended) = (counters.received, counters.ended());
        let stations = self.readers.len() + 3;
        let most =
            self.limits.line + 3 * (self.limits.queue.max(self.limits.outbox) + 2 * self.largest);
        let held = self.gateway.held();
        assert!(held <= stations * most, "{held} bytes are held");
    }

    fn check(&self, effect: &Observed) {
        let shown = conversation::render(effect);
        match effect {
            Observed::Published(client, publish) => self.check_publish(client, publish),
            Observed::Written(name, line) => self.check_line(name, line),
            Observed::Refused(refusal) => check_refusal(refusal),
            Observed::Mode(name, _) | Observed::Retry(name, _) => {
                assert!(self.readers.contains_key(name) || !self.always.contains(name), "{shown}");
            }
            Observed::Tunnelled(name, _, bytes) => {
                assert!(self.mixed.contains(name) && !bytes.is_empty(), "{shown}");
            }
            Observed::Subscribed(..)
            | Observed::Unsubscribed(..)
            | Observed::WrittenOn(..)
            | Observed::Offered(..) => {
                panic!("nobody asked: {shown}")
            }
            Observed::Ignored(..) => {}
        }
        assert!(conversation::is_effect(&shown).expect("an effect"), "{shown}");
    }

    fn check_publish(&self, client: &str, publish: &Publish) {
        let own = client == Hub::client_id(INSTANCE);
        let name = DomainName::parse(client).expect("a client id");
        assert!(
            own || self.readers.contains_key(&name) || !self.always.contains(&name),
            "{client}"
        );
        serde_json::from_slice::<IgnoredAny>(&publish.payload).expect("JSON is published");
        for topic in std::iter::once(&publish.topic).chain(&publish.response_topic) {
            assert!(!topic.is_empty() && topic.len() <= 0xFFFF, "{topic:?}");
            assert!(!topic.contains(['+', '#', '\0']) && !topic.starts_with('$'), "{topic:?}");
        }
        let most = 2 * self.largest + NOTICE;
        assert!(publish.payload.len() <= most, "{} bytes are published", publish.payload.len());
        if let (false, Some(source)) = (own, &publish.source) {
            assert_eq!(*source, name, "a session speaks as its domain");
        }
    }

    /// A line is one JSON object on one line, from somebody who may say it.
    fn check_line(&self, to: &DomainName, line: &[u8]) {
        let shown = String::from_utf8_lossy(line);
        let content = line.strip_suffix(b"\n").expect("a line ends");
        assert!(!content.contains(&b'\n'), "one line: {shown}");
        assert!(content.len() <= self.limits.line.max(NOTICE), "{} bytes", content.len());
        serde_json::from_slice::<IgnoredAny>(content).expect("a line is JSON");
        let message = legacy::parse(content, self.limits.depth + 2).expect("a line is a message");
        let source = DomainName::parse(&message.source).expect("a source is a name");
        assert!(!source.is_everyone(), "{shown}");
        if self.always.contains(&source) {
            let own = self.sent.contains(&(source.clone(), content.to_vec()));
            // A whole message may have stood between others, on one line.
            let is_in = |(from, line): &(DomainName, Vec<u8>)| {
                *from == source && memmem::find(line, content).is_some()
            };
            assert!(
                own || self.sent.iter().any(is_in),
                "{to} is told what {source} has not said: {shown}"
            );
        }
    }
}

/// How many messages may begin in some bytes.
fn starts(bytes: &[u8]) -> u64 {
    u64::try_from(memmem::find_iter(bytes, br#""type""#).count()).expect("a small number")
}

/// The effects with what goes through a tunnel in one piece.
fn joined(effects: Vec<Observed>) -> Vec<Observed> {
    let mut joined: Vec<Observed> = Vec::new();
    for effect in effects {
        if let (Some(Observed::Tunnelled(before, way, first)), Observed::Tunnelled(name, to, more)) =
            (joined.last_mut(), &effect)
            && (&*before, &*way) == (name, to)
        {
            *first = [&first[..], more].concat().into();
            continue;
        }
        joined.push(effect);
    }
    joined
}

fn check_refusal(refusal: &Refusal) {
    assert!(refusal.detail.len() <= 403, "{}", refusal.detail);
    assert!(refusal.head.len() <= 3 * HEAD);
}
