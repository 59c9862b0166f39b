//! A tunnel: each connection to the broker is given a CONNECT that the domain may make, from the domain,
//! and what follows it, word for word; every other byte of the domain is counted; both sides' packets stay
//! whole.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use passerelle::engine::name::DomainName;
use passerelle::engine::refusal::Reason;
use passerelle::engine::tunnel::connect::{Connect, FIRST, Found, LARGEST, find};
use passerelle::engine::tunnel::detector::Detector;
use passerelle::engine::tunnel::ids::Ids;
use passerelle::engine::tunnel::{Order, Tunnel};
use passerelle_fuzz::cuts::Cuts;
use passerelle_fuzz::packets::{connect, ends, packet};
use passerelle_fuzz::spelled::{SEPARATOR, name};
use std::collections::BTreeSet;
use std::time::Duration;

const OWN: &str = "passerelle-dom0";
const LIMIT: usize = 600;
const IDS: [&str; 9] =
    ["vm-gui", "sys-usb", "vm-scan", OWN, "", "Dom0", "tous", "an/y", "application-1"];
const LINE: &[u8] = b"{\"type\":\"commande\"}\n";

/// The connection to the broker, as the edge has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    None,
    Opening,
    Open,
}

struct Play {
    tunnel: Tunnel,
    domains: BTreeSet<DomainName>,
    ids: Ids,
    now: Duration,
    link: Link,
    /// The connections before that are being closed, and how many bytes each is still given.
    closing: Vec<usize>,
    /// Everything that came from the domain on this channel.
    channel: Vec<u8>,
    /// What this connection to the broker was given.
    given: Vec<u8>,
    /// What the broker says, and how much of it was read.
    broker: Vec<u8>,
    /// What the domain was given since its last CONNECT.
    told: Vec<u8>,
    pushed: usize,
    out: usize,
    /// By how much the CONNECTs before this one have grown, since they say who they are from.
    grown: isize,
    /// Bytes may be gone that nobody counts: a refused CONNECT, or half a one of a lost channel.
    uncounted: bool,
    /// The channel is there.
    there: bool,
    over: bool,
}

impl Play {
    fn new() -> Self {
        let carrier = Detector::mqtt();
        let domains = BTreeSet::from(["vm-gui", "sys-usb", "vm-scan"].map(name));
        let mut ids = Ids::default();
        ids.know(domains.clone());
        Self {
            tunnel: Tunnel::new(name("vm-gui"), carrier, LIMIT, Duration::from_secs(60)),
            domains,
            ids,
            now: Duration::ZERO,
            link: Link::None,
            closing: Vec::new(),
            channel: Vec::new(),
            given: Vec::new(),
            broker: Vec::new(),
            told: Vec::new(),
            pushed: 0,
            out: 0,
            grown: 0,
            uncounted: false,
            there: true,
            over: false,
        }
    }

    fn receive(&mut self, bytes: &[u8], cut: u8) {
        for piece in Cuts::new(bytes, cut, 0) {
            self.channel.extend_from_slice(piece);
            self.pushed += piece.len();
            self.tunnel.receive(piece, &mut self.ids, self.now);
            self.obey();
            if self.over {
                return;
            }
        }
    }

    fn obey(&mut self) {
        for order in self.tunnel.take_orders() {
            match order {
                Order::Open => {
                    assert_eq!(self.link, Link::None, "one connection at a time");
                    assert!(self.closing.len() <= 1, "one is closed at a time");
                    self.link = Link::Opening;
                    self.broker.clear();
                    self.told.clear();
                    self.given.clear();
                }
                Order::Close(left) => {
                    assert_ne!(self.link, Link::None);
                    self.closing.push(left.len());
                    self.given.extend_from_slice(&left);
                    self.out += left.len();
                    self.check_given();
                    match self.growth(&self.given) {
                        Some(growth) => self.grown += growth,
                        None => self.uncounted = true,
                    }
                    self.link = Link::None;
                }
                Order::Arrived(_) | Order::Healing(_) => {}
                Order::Refused(refusal) => {
                    if refusal.reason == Reason::SpoofedSource {
                        self.uncounted = true;
                        self.told.clear();
                    }
                    assert!(refusal.detail.len() <= 1024 && refusal.head.len() <= 1024);
                }
                Order::Legacy(bytes) => {
                    self.out += bytes.len();
                    assert!(self.channel.ends_with(&bytes) || self.tunnel.held() > 0);
                    self.over = true;
                }
            }
        }
    }

    /// The lengths of the domain's CONNECTs of which this one may have been made: what follows them on the
    /// channel is the same.
    fn made_of(&self, made: &[u8], follows: &[u8]) -> BTreeSet<usize> {
        let said = memchr::memchr_iter(FIRST, &self.channel).filter_map(|at| {
            let rest = &self.channel[at..];
            let Found::Whole(size) = find(rest) else { return None };
            let (packet, after) = rest.split_at(size);
            let connect = Connect::read(bytes::Bytes::copy_from_slice(packet))?;
            let is_it = connect.as_user(&name("vm-gui"), None) == made;
            (is_it && after.starts_with(follows)).then_some(size)
        });
        said.collect()
    }

    /// By how much a connection's CONNECT has grown; `None`: it was not given whole, or it may be one of
    /// several.
    fn growth(&self, given: &[u8]) -> Option<isize> {
        let end = *ends(given).0.first()?;
        let (made, follows) = given.split_at(end);
        let sizes = self.made_of(made, follows);
        let size = sizes.first().filter(|_| sizes.len() == 1)?;
        Some(made.len() as isize - *size as isize)
    }

    /// What the broker is given begins with the domain's CONNECT, from the domain, and goes on with what
    /// the domain said after it.
    fn check_given(&self) {
        let (ends, _) = ends(&self.given);
        let Some(&end) = ends.first() else { return };
        let (made, follows) = self.given.split_at(end);
        assert!(!self.made_of(made, follows).is_empty(), "word for word");
        let first = bytes::Bytes::copy_from_slice(made);
        let id = Connect::read(first).expect("a CONNECT comes first").client_id;
        let allowed = match DomainName::parse(&id) {
            Ok(name) if name.is_dom0() || name.is_everyone() => false,
            Ok(name) => id == "vm-gui" || !self.domains.contains(&name),
            Err(_) => true,
        };
        assert!(allowed && id != OWN, "{id:?}");
    }

    /// As much is written to the broker as it takes.
    fn write_to_broker(&mut self, most: usize) {
        let chunk = self.tunnel.to_broker().unwrap_or_default();
        let count = most.min(chunk.len());
        self.given.extend_from_slice(&chunk[..count]);
        self.out += count;
        self.tunnel.written_to_broker(count, self.now);
    }

    fn write_to_domain(&mut self, most: usize) {
        let chunk = self.tunnel.to_domain().unwrap_or_default();
        let count = most.min(chunk.len());
        self.told.extend_from_slice(&chunk[..count]);
        self.tunnel.written_to_domain(count);
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kind = u.int_in_range(0..=15u8)?;
        match kind {
            0..=6 if self.there && self.tunnel.has_room() => {
                let cut = u.arbitrary()?;
                let mut bytes = Vec::new();
                while !u.is_empty() {
                    bytes.extend(said(u)?);
                }
                self.receive(&bytes, cut);
            }
            7..=8 if self.link == Link::Opening => {
                self.closed();
                match kind {
                    7 => self.link = Link::Open,
                    _ => self.tunnel.not_opened(self.now),
                }
            }
            7..=8 if !self.closing.is_empty() => self.closed(),
            7 if self.link == Link::Open => self.from_broker(u)?,
            8 if self.link == Link::Open => self.tunnel.broker_gone(self.now),
            9..=10 if self.link == Link::Open => self.write_to_broker(u.int_in_range(0..=900)?),
            11..=12 if self.there => self.write_to_domain(u.int_in_range(0..=900)?),
            13 if !self.there => {
                self.there = true;
                self.tunnel.channel_back();
            }
            13 => {
                self.there = false;
                self.uncounted |= self.tunnel.held() > 0;
                // What its CONNECT has grown by is known no more.
                self.uncounted |= self.link != Link::None;
                self.tunnel.channel_gone();
                self.channel.clear();
                self.told.clear();
                // What was left for the broker has been said on the channel that is gone.
                let mut left = self.tunnel.take_orders();
                left.retain(|order| !matches!(order, Order::Arrived(_)));
                assert!(left.len() <= 1);
                if let Some(Order::Close(left)) = left.first() {
                    self.out += left.len();
                    self.closing.push(left.len());
                    self.link = Link::None;
                }
            }
            14 => self.tunnel.set_limit(u.int_in_range(1..=LIMIT)?, self.now),
            _ => {
                self.now += Duration::from_secs(u.int_in_range(0..=61)?);
                self.tunnel.wake(self.now, true);
            }
        }
        if !self.over {
            self.tunnel.go_on(&mut self.ids, self.now);
            self.obey();
        }
        self.check();
        Ok(())
    }

    fn closed(&mut self) {
        self.closing.clear();
        self.tunnel.closed();
    }

    /// The broker speaks, while the domain has been given all that it said before.
    fn from_broker(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.tunnel.to_domain().is_some() {
            return Ok(());
        }
        if self.broker.is_empty() {
            let first = *u.choose(&[0x20u8, 0x30, 0xD0])?;
            self.broker = packet(first, &vec![b'x'; u.int_in_range(0..=300)?]);
        }
        let count = u.int_in_range(1..=self.broker.len())?;
        let bytes: Vec<u8> = self.broker.drain(..count).collect();
        self.tunnel.receive_from_broker(&bytes, self.now);
        Ok(())
    }

    fn check(&mut self) {
        let tunnel = &self.tunnel;
        let to_broker = tunnel.to_broker().unwrap_or_default().len();
        let to_domain = tunnel.to_domain().unwrap_or_default();
        assert!(to_broker <= LIMIT + LARGEST, "{to_broker} bytes for the broker");
        assert!(to_domain.len() <= 320, "{} bytes for the domain", to_domain.len());
        let dropped = usize::try_from(tunnel.dropped()).expect("a small number");
        let closing: usize = self.closing.iter().sum();
        let carried = tunnel.held() - to_broker - to_domain.len() - closing;
        let counted = self.out + to_broker + dropped + carried;
        let now = [&self.given[..], tunnel.to_broker().unwrap_or_default()].concat();
        let growth = match self.link {
            Link::None => Some(0),
            _ => self.growth(&now),
        };
        self.uncounted |= growth.is_none();
        let pushed = self.pushed as isize + self.grown + growth.unwrap_or_default();
        assert!(self.uncounted || counted as isize == pushed, "{counted} bytes of {pushed}");
        // Lines that have begun wait until the connection before is closed.
        let is_idle = self.link == Link::None || self.over;
        let waits = tunnel.waits_for_connect();
        assert!(waits == is_idle || is_idle && !self.closing.is_empty(), "{waits}");
        let told = [&self.told[..], to_domain].concat();
        let (ends, sound) = ends(&told);
        assert!(sound.is_ok(), "{told:?}");
        let starts = std::iter::once(0).chain(ends).filter_map(|at| told.get(at));
        for first in starts {
            assert!(matches!(first, 0x20 | 0x30 | 0xD0 | 0xE0), "{first:#x} in {told:?}");
        }
    }
}

/// Something that a domain says.
fn said(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=15u8)? {
        0..=4 => {
            let level = *u.choose(&[4u8, 5, 3, 6, 0x84])?;
            connect(level, if u.arbitrary()? { 2 } else { 0 }, u.choose(&IDS)?)
        }
        5..=7 => packet(0x30, &vec![b'p'; u.int_in_range(0..=400)?]),
        8 => packet(0xC0, &[]),
        9 => packet(0xE0, &[]),
        10 => LINE.to_vec(),
        11 => b"{\"".to_vec(),
        12 => vec![0x10, u.arbitrary()?],
        13 => vec![u.arbitrary()?],
        14 => b"\n".to_vec(),
        _ => u.bytes(u.len())?.to_vec(),
    })
}

fuzz_target!(|data: &[u8]| {
    let mut play = Play::new();
    for part in data.split(|b| *b == SEPARATOR) {
        if play.step(&mut Unstructured::new(part)).is_err() {
            continue;
        }
        if play.over {
            return;
        }
    }
});
