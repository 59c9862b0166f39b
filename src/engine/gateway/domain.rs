//! One domain: its channel, what the channel carries, and its session.

use super::channel::Channel;
use super::skipped::Skipped;
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use crate::engine::proxy::Proxy;
use crate::engine::publish::Publish;
use crate::engine::refusal::Counters;
use crate::engine::session::{Session, SessionLog};
use crate::engine::status::{Carries, Losses, Report, Reporter, State, StoreUse, View};
use crate::engine::tunnel::Tunnel;
use crate::engine::tunnel::connect::Connect;
use crate::engine::tunnel::detector::Detector;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the channel carries. The changes from one to another are in `mode.rs`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Mode {
    /// Nobody's: the domain has been away for too long.
    Gone,
    /// The domain is legacy here.
    Legacy(Legacy),
    /// Its proxy leaves the broker, for the domain speaks MQTT from here on or is away.
    Leaving(Leaving),
    /// The domain's own MQTT goes through.
    Mqtt(Box<Tunnel>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Legacy {
    pub proxy: Box<Proxy>,
    pub detector: Detector,
    /// The first bytes of its lines, which came over the tunnel.
    pub first: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Leaving {
    pub proxy: Box<Proxy>,
    /// Takes what the channel carries meanwhile.
    pub detector: Detector,
    /// The CONNECT by which the domain comes over to MQTT.
    pub connect: Option<Connect>,
    /// Whether the domain takes up the proxy's session.
    pub resumed: bool,
    /// The broker is not waited for any longer.
    pub until: Duration,
    pub step: LeavingStep,
    /// What the proxy said and the broker has not acknowledged.
    pub unacknowledged: Vec<Publish>,
}

/// How far the leaving has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LeavingStep {
    /// The broker is to acknowledge what it was sent.
    Settling,
    /// The proxy has given up what was pending, and that is to be acknowledged.
    Retired,
    /// The log is being left.
    LeavingLog,
}

/// The domain's log on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Log {
    None,
    /// What an earlier run has left in it comes before anything else.
    Opening,
    Open,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Domain {
    pub name: DomainName,
    pub identity: Identity,
    /// Tells which was here first.
    pub order: u64,
    pub channel: Channel,
    pub mode: Mode,
    pub session: Option<Session>,
    pub session_log: SessionLog,
    pub log: Log,
    /// Whether it has made its subscriptions on MQTT.
    pub arrived: bool,
    /// It has been away for too long, and the channel is looked at once more.
    pub retiring: bool,
    /// It says very much, and is held back: in small pieces, and until then not at all.
    pub slow: bool,
    pub paused: Option<Duration>,
    /// What its channel has carried that is neither lines nor MQTT.
    pub skipped: Skipped,
    /// How many bytes of messages it holds.
    pub held: usize,
    pub reporter: Reporter,
    /// The state that was told last.
    pub told: Option<State>,
    /// The one that was shown last, as [`Effect::Mode`](super::Effect::Mode).
    pub shown: State,
    /// Everything is out that can be, for the gateway ends.
    pub through: bool,
}

impl Domain {
    pub fn new(name: DomainName, identity: Identity, order: u64) -> Self {
        let watched = matches!(identity, Identity::Domain(_));
        Self {
            identity,
            order,
            channel: Channel::new(watched),
            mode: Mode::Gone,
            session: None,
            session_log: SessionLog::new(Some(name.clone())),
            log: Log::None,
            arrived: false,
            retiring: false,
            slow: false,
            paused: None,
            skipped: Skipped::default(),
            held: 0,
            reporter: Reporter::default(),
            told: None,
            shown: State::Legacy,
            through: false,
            name,
        }
    }

    /// A detector for a new connection of a legacy channel: behind a serial line is the MVP's Dom0, which
    /// speaks nothing else.
    pub fn detector(&self) -> Detector {
        match self.identity {
            Identity::Domain(_) => Detector::new(),
            Identity::Behind { .. } => Detector::of_lines(),
        }
    }

    /// The tunnel, while its own MQTT goes through.
    pub fn tunnel(&self) -> Option<&Tunnel> {
        match &self.mode {
            Mode::Mqtt(tunnel) => Some(tunnel),
            Mode::Gone | Mode::Legacy(_) | Mode::Leaving(_) => None,
        }
    }

    /// The proxy, while there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        match &self.mode {
            Mode::Legacy(Legacy { proxy, .. }) | Mode::Leaving(Leaving { proxy, .. }) => {
                Some(proxy)
            }
            Mode::Gone | Mode::Mqtt(_) => None,
        }
    }

    pub fn proxy_mut(&mut self) -> Option<&mut Proxy> {
        match &mut self.mode {
            Mode::Legacy(Legacy { proxy, .. }) | Mode::Leaving(Leaving { proxy, .. }) => {
                Some(proxy)
            }
            Mode::Gone | Mode::Mqtt(_) => None,
        }
    }

    /// Whether others' lines are for its proxy.
    pub fn is_legacy(&self) -> bool {
        matches!(self.mode, Mode::Legacy(_))
    }

    /// Whether it has come over to MQTT, or is about to.
    pub fn is_on_mqtt(&self) -> bool {
        match &self.mode {
            Mode::Mqtt(_) => true,
            Mode::Leaving(leaving) => leaving.connect.is_some(),
            Mode::Gone | Mode::Legacy(_) => false,
        }
    }

    /// How many publishes and bytes of them the broker has not acknowledged.
    pub fn unacknowledged(&self) -> (usize, usize) {
        self.session.as_ref().map_or((0, 0), Session::outbox)
    }

    pub fn count_held(&self) -> usize {
        match &self.mode {
            Mode::Gone => 0,
            Mode::Legacy(legacy) => legacy.proxy.held() + legacy.detector.held(),
            Mode::Leaving(leaving) => {
                let connect = leaving.connect.as_ref().map_or(0, |connect| connect.packet.len());
                leaving.proxy.held() + leaving.detector.held() + connect
            }
            Mode::Mqtt(tunnel) => tunnel.held(),
        }
    }

    /// Whether messages in the log alone have room in memory.
    pub fn wants_stored(&self) -> bool {
        self.log == Log::Open && self.proxy().is_some_and(Proxy::wants_stored)
    }

    /// Under which name the status shows it.
    pub fn shown_as(&self) -> DomainName {
        match &self.identity {
            Identity::Domain(name) => name.clone(),
            Identity::Behind { .. } => DomainName::dom0(),
        }
    }

    fn view<'v>(&'v self, none: &'v Counters) -> View<'v> {
        let connected = self.channel.is_open();
        let fault = self.channel.fault();
        let idle = View {
            connected,
            fault,
            carries: Carries::Lines,
            is_heard: false,
            has_news: false,
            calls: 0,
            held: self.held,
            counters: none,
            dropped: self.skipped.all(),
            published: 0,
            store: StoreUse::default(),
            losses: Losses::default(),
        };
        match &self.mode {
            Mode::Gone => idle,
            Mode::Leaving(leaving) if leaving.connect.is_some() => {
                let dropped = self.skipped.all();
                View {
                    carries: Carries::Mqtt,
                    held: self.held,
                    dropped,
                    ..leaving.proxy.view(connected)
                }
            }
            Mode::Legacy(Legacy { proxy, .. }) | Mode::Leaving(Leaving { proxy, .. }) => View {
                fault,
                held: self.held,
                dropped: self.skipped.all(),
                ..proxy.view(connected)
            },
            Mode::Mqtt(tunnel) => View {
                carries: match tunnel.waits_for_connect() {
                    true => Carries::NothingYet,
                    false => Carries::Mqtt,
                },
                dropped: tunnel.dropped().saturating_add(self.skipped.all()),
                published: tunnel.published(),
                losses: tunnel.losses(),
                ..idle
            },
        }
    }

    /// What its channel is doing.
    pub fn state(&mut self, now: Now) -> State {
        let none = Counters::default();
        let mut reporter = std::mem::take(&mut self.reporter);
        let state = reporter.state(self.view(&none), now.monotonic);
        self.reporter = reporter;
        state
    }

    /// What there is to report, if it is time.
    pub fn report(&mut self, now: Now) -> Option<Report> {
        if self.channel.is_unseen() {
            return None;
        }
        let none = Counters::default();
        let mut reporter = std::mem::take(&mut self.reporter);
        let due = reporter.is_due(self.view(&none), now.monotonic);
        self.reporter = reporter;
        due.then(|| self.report_now(now))
    }

    /// The report, whether it is time or not.
    pub fn report_now(&mut self, now: Now) -> Report {
        let none = Counters::default();
        let mut reporter = std::mem::take(&mut self.reporter);
        let heard = self.proxy_mut().map(Proxy::take_heard).unwrap_or_default();
        let report = reporter.report(self.view(&none), heard, now.monotonic);
        self.reporter = reporter;
        report
    }

    /// The last report of a proxy or a tunnel: what comes next counts from 0.
    pub fn last_report(&mut self) -> Report {
        let none = Counters::default();
        let heard = self.proxy_mut().map(Proxy::take_heard).unwrap_or_default();
        let view = self.view(&none);
        let (calls, held, counters) = (view.calls, view.held, view.counters.clone());
        let (dropped, published, losses) = (view.dropped, view.published, view.losses);
        // What is left in its log is no longer this domain's to send.
        let store = StoreUse::default();
        self.skipped.count_anew();
        let state = self.told.unwrap_or(State::Absent);
        Report {
            state,
            cause: None,
            calls,
            held,
            counters,
            dropped,
            published,
            store,
            losses,
            heard,
            ended: true,
        }
    }

    /// When [`Gateway::wake`](super::Gateway::wake) has something to do for it.
    pub fn deadline(&self) -> Option<Duration> {
        let mode = match &self.mode {
            Mode::Gone => None,
            Mode::Legacy(legacy) => legacy.proxy.deadline().filter(|_| !self.retiring),
            Mode::Leaving(leaving) => {
                (leaving.step != LeavingStep::LeavingLog).then_some(leaving.until)
            }
            Mode::Mqtt(tunnel) => tunnel.deadline(),
        };
        let session = self.session.as_ref().and_then(Session::deadline);
        let (channel, skipped) = (self.channel.deadline(), self.skipped.deadline());
        let reporter = self.reporter.deadline().filter(|_| !self.channel.is_unseen());
        let others = [mode, session, channel, skipped, reporter, self.paused];
        others.into_iter().flatten().min()
    }
}
