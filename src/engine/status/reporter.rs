//! When a channel has something to report: a new state at once, figures once a second, and nothing
//! while nothing changes.

use super::{Losses, Report, State, StoreUse, Utterance};
use crate::engine::refusal::Counters;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long figures may wait to be reported.
const EVERY: Duration = Duration::from_secs(1);
/// How long a session must stand until its name counts as its own again: two clients with one name
/// throw each other out within a moment.
const SETTLED: Duration = Duration::from_secs(5);

/// What a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Lines, or nothing yet.
    Lines,
    /// MQTT, which goes through.
    Mqtt,
    /// MQTT, which does not go through before the next CONNECT.
    NothingYet,
}

/// What a reporter looks at.
#[derive(Debug, Clone, Copy)]
pub struct View<'v> {
    /// Whether the channel is connected.
    pub connected: bool,
    /// Why it cannot be, although it is there; or what is wrong with it while it is.
    pub fault: Option<&'v str>,
    /// What it carries.
    pub carries: Carries,
    /// Whether anything was heard on it since then.
    pub is_heard: bool,
    /// Whether anything was heard on it since the last report.
    pub has_news: bool,
    /// The calls that are pending.
    pub calls: usize,
    /// Bytes of messages that are held.
    pub held: usize,
    /// How messages have ended.
    pub counters: &'v Counters,
    /// Bytes of MQTT that went nowhere.
    pub dropped: u64,
    /// What is kept on disk for it.
    pub store: StoreUse,
    /// Messages that the domain has published by its own MQTT.
    pub published: u64,
    /// What has become of connections that the broker has lost.
    pub losses: Losses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Contest {
    No,
    Yes,
    /// The session stands; if it still does then, there is none.
    MayEnd(Duration),
}

/// What was last reported.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    state: State,
    cause: Option<String>,
    calls: usize,
    counters: Counters,
    dropped: u64,
    published: u64,
    store: StoreUse,
    losses: Losses,
}

/// Decides when a channel reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reporter {
    contest: Contest,
    told: Option<Told>,
    /// When figures that have changed are reported.
    due: Option<Duration>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self { contest: Contest::No, told: None, due: None }
    }
}

impl Reporter {
    /// The domain's session is ready.
    pub fn session_ready(&mut self, now: Duration) {
        if self.contest == Contest::Yes {
            self.contest = Contest::MayEnd(now.saturating_add(SETTLED));
        }
    }

    /// The domain's session is lost; `contested` says whether another client seems to have its name.
    pub fn session_lost(&mut self, contested: bool) {
        self.contest = match self.contest {
            _ if contested => Contest::Yes,
            // It was thrown out at once: nothing has changed.
            Contest::MayEnd(_) => Contest::Yes,
            other => other,
        };
    }

    /// The domain's session has been ended on purpose.
    pub fn session_left(&mut self) {
        self.contest = Contest::No;
    }

    /// What the channel is doing now.
    pub fn state(&mut self, view: View<'_>, now: Duration) -> State {
        if matches!(self.contest, Contest::MayEnd(at) if at <= now) {
            self.contest = Contest::No;
        }
        match view.carries {
            _ if !view.connected && view.fault.is_some() => State::Unavailable,
            _ if !view.connected => State::Absent,
            Carries::Mqtt => State::Mqtt,
            Carries::NothingYet => State::WaitingForConnect,
            Carries::Lines if self.contest != Contest::No => State::Contested,
            Carries::Lines if view.is_heard => State::Legacy,
            Carries::Lines => State::Silent,
        }
    }

    /// Whether there is something to [`Reporter::report`] now.
    pub fn is_due(&mut self, view: View<'_>, now: Duration) -> bool {
        let state = self.state(view, now);
        let same = |told: &&Told| told.state == state && told.cause.as_deref() == view.fault;
        let Some(told) = self.told.as_ref().filter(same) else { return true };
        if self.due.is_none() {
            let same = told.calls == view.calls
                && told.counters == *view.counters
                && told.dropped == view.dropped
                && told.published == view.published
                && told.store == view.store
                && told.losses == view.losses;
            let changed = !same || view.has_news;
            self.due = changed.then(|| now.saturating_add(EVERY));
        }
        self.due.is_some_and(|due| due <= now)
    }

    /// The report, with what was heard since the last one.
    pub fn report(&mut self, view: View<'_>, heard: Vec<Utterance>, now: Duration) -> Report {
        let (state, calls, counters) = (self.state(view, now), view.calls, view.counters.clone());
        let (held, dropped, losses) = (view.held, view.dropped, view.losses);
        let (published, store) = (view.published, view.store);
        let cause = view.fault.map(str::to_owned);
        let told = (cause.clone(), counters.clone());
        self.told = Some(Told {
            state,
            cause: told.0,
            calls,
            counters: told.1,
            dropped,
            published,
            store,
            losses,
        });
        self.due = None;
        Report {
            state,
            cause,
            calls,
            held,
            counters,
            dropped,
            published,
            store,
            losses,
            heard,
            ended: false,
        }
    }

    /// When [`Reporter::is_due`] may say something else, though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let contest = match self.contest {
            Contest::MayEnd(at) => Some(at),
            Contest::No | Contest::Yes => None,
        };
        self.due.into_iter().chain(contest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::Now;
    use crate::engine::status::{Heard, Spoke};
    use std::time::SystemTime;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A channel as its reporter sees it.
    #[derive(Default)]
    struct Watched {
        reporter: Reporter,
        connected: bool,
        tunnel: Option<Carries>,
        heard: Heard,
        counters: Counters,
    }

    impl Watched {
        fn at(&mut self, now: u64) -> Option<(State, usize)> {
            let view = View {
                connected: self.connected,
                fault: None,
                carries: self.tunnel.unwrap_or(Carries::Lines),
                is_heard: self.heard.is_heard(),
                has_news: !self.heard.is_empty(),
                calls: 0,
                held: 0,
                counters: &self.counters,
                dropped: 0,
                published: 0,
                store: StoreUse::default(),
                losses: Losses::default(),
            };
            let due = self.reporter.is_due(view, seconds(now));
            let report = due.then(|| self.reporter.report(view, self.heard.take(), seconds(now)));
            report.map(|r| (r.state, r.heard.len()))
        }

        fn speak(&mut self, now: u64) {
            let wall = SystemTime::UNIX_EPOCH;
            self.heard.note(Spoke::Command, "a", Now { monotonic: seconds(now), wall });
            self.counters.received += 1;
        }
    }

    #[test]
    fn a_new_state_is_reported_at_once_and_figures_after_a_moment() {
        let mut channel = Watched::default();
        assert_eq!(channel.at(0), Some((State::Absent, 0)));
        assert_eq!((channel.at(1), channel.reporter.deadline()), (None, None));
        channel.connected = true;
        assert_eq!(channel.at(2), Some((State::Silent, 0)));
        channel.speak(3);
        assert_eq!(channel.at(3), Some((State::Legacy, 1)));
        channel.speak(4);
        assert_eq!(channel.at(4), None);
        assert_eq!(channel.reporter.deadline(), Some(seconds(5)));
        channel.speak(4);
        assert_eq!(channel.at(4), None);
        assert_eq!(channel.at(5), Some((State::Legacy, 1)));
        // Idle: nothing to wake up for.
        assert_eq!((channel.at(100), channel.reporter.deadline()), (None, None));
    }

    #[test]
    fn a_contest_is_over_when_the_session_has_stood_for_a_while() {
        let mut channel = Watched { connected: true, ..Watched::default() };
        channel.speak(0);
        assert_eq!(channel.at(0), Some((State::Legacy, 1)));
        channel.reporter.session_lost(false);
        assert_eq!(channel.at(1), None);
        channel.reporter.session_lost(true);
        assert_eq!(channel.at(1), Some((State::Contested, 0)));
        channel.reporter.session_ready(seconds(60));
        channel.reporter.session_lost(false);
        assert_eq!((channel.at(70), channel.reporter.deadline()), (None, None));
        channel.reporter.session_ready(seconds(120));
        assert_eq!(channel.at(120), None);
        assert_eq!(channel.reporter.deadline(), Some(seconds(125)));
        assert_eq!(channel.at(125), Some((State::Legacy, 0)));
        assert_eq!(channel.reporter.deadline(), None);
    }

    #[test]
    fn a_tunnel_is_told() {
        let mut channel = Watched { connected: true, ..Watched::default() };
        channel.tunnel = Some(Carries::Mqtt);
        assert_eq!(channel.at(1), Some((State::Mqtt, 0)));
        channel.tunnel = Some(Carries::NothingYet);
        assert_eq!(channel.at(2), Some((State::WaitingForConnect, 0)));
        channel.tunnel = None;
        assert_eq!(channel.at(3), Some((State::Silent, 0)));
    }
}
