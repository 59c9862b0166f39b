//! Whether a domain's channel is there, and when it is tried again.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long to wait before a channel is tried again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A socket that nobody accepts on is no fault for so long: a console backend is being started.
const STARTS: Duration = Duration::from_secs(1);
/// How often the settings of a serial port are looked at, although nothing is amiss.
const LOOK: Duration = Duration::from_secs(5);
/// How often that they were wrong is told.
const TELL: Duration = Duration::from_secs(60);

/// Why a channel could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenError {
    /// There is nothing to open.
    pub absent: bool,
    /// There is, and it only may not be ready yet.
    pub starting: bool,
    /// The cause, for a person.
    pub why: String,
}

/// One domain's channel. That it is there is never taken for granted: to open it is to look.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Channel {
    open: bool,
    opening: bool,
    /// It was lost, and whether it is there all the same has not been seen.
    is_unseen: bool,
    /// When it is tried again.
    retry: Option<Duration>,
    pause: Duration,
    /// Whether somebody tells when it appears.
    watched: bool,
    /// Since when it cannot be opened although it is there.
    failing: Option<Duration>,
    fault: Option<String>,
    /// The last that was written to it were packets.
    after_packets: bool,
    settings: PortSettings,
}

/// The settings of a serial port, which another program may change.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PortSettings {
    /// When they are looked at next.
    look: Option<Duration>,
    /// How often they were wrong, how often that was when it was told, and when it may be told again.
    wrong: u64,
    told: u64,
    tell: Duration,
    /// What the status says of it.
    note: Option<String>,
}

impl PortSettings {
    fn take_note(&mut self) {
        self.note = Some(format!(
            "another program has changed the settings of its port, and they were put right (so often so far: {}); \
             lines may have been torn: stop that program",
            self.wrong
        ));
    }

    fn untold(&mut self, now: Duration) -> Option<u64> {
        if self.wrong == self.told || self.tell > now {
            return None;
        }
        (self.told, self.tell) = (self.wrong, now.saturating_add(TELL));
        Some(self.wrong)
    }
}

impl Channel {
    pub fn new(watched: bool) -> Self {
        Self {
            open: false,
            opening: false,
            is_unseen: false,
            retry: None,
            pause: PAUSE.0,
            watched,
            failing: None,
            fault: None,
            after_packets: false,
            settings: PortSettings::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it was lost, and nobody has seen yet whether it is there all the same.
    pub fn is_unseen(&self) -> bool {
        self.is_unseen
    }

    /// Whether somebody tries to open it now.
    pub fn is_opening(&self) -> bool {
        self.opening
    }

    /// Whether it is there, as far as was seen.
    pub fn is_there(&self) -> bool {
        self.open || self.opening || self.retry.is_some()
    }

    /// Why it cannot be opened although it is there; or what is wrong with it while it is open.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref().or(self.settings.note.as_deref())
    }

    /// It is to be opened now. Says whether nobody is about to.
    pub fn look(&mut self) -> bool {
        if self.open || self.opening {
            return false;
        }
        (self.opening, self.retry) = (true, None);
        true
    }

    /// It has appeared, maybe anew.
    pub fn appeared(&mut self) -> bool {
        self.pause = PAUSE.0;
        self.look()
    }

    /// It is gone, as far as somebody has seen; one that is open ends by itself.
    pub fn vanished(&mut self) {
        (self.retry, self.is_unseen) = (None, false);
        (self.failing, self.fault) = (None, None);
    }

    pub fn opened(&mut self, now: Duration) {
        (self.open, self.opening, self.is_unseen) = (true, false, false);
        self.after_packets = false;
        self.settings.look = (!self.watched).then(|| now.saturating_add(LOOK));
        self.pause = PAUSE.0;
        (self.failing, self.fault) = (None, None);
    }

    /// It could not be opened. Gives the cause if it is a new one, for the log.
    pub fn not_opened(&mut self, error: OpenError, now: Duration) -> Option<String> {
        (self.opening, self.is_unseen) = (false, false);
        if error.absent && self.watched {
            self.vanished();
            return None;
        }
        self.retry = Some(now.saturating_add(self.pause));
        self.pause = (self.pause * 2).min(PAUSE.1);
        let since = *self.failing.get_or_insert(now);
        if error.absent || (error.starting && now.saturating_sub(since) < STARTS) {
            return None;
        }
        let is_new = self.fault.as_deref() != Some(&error.why);
        self.fault = Some(error.why);
        self.fault.clone().filter(|_| is_new)
    }

    /// It is lost, and may be there all the same.
    pub fn closed(&mut self, now: Duration) {
        (self.open, self.is_unseen) = (false, true);
        (self.settings.look, self.settings.note) = (None, None);
        self.pause = PAUSE.0;
        self.retry = Some(now.saturating_add(self.pause));
    }

    /// Packets were written to it.
    pub fn took_packets(&mut self) {
        self.after_packets = true;
    }

    /// Whether the next that is written to it, if that is a line, has to be set apart from packets.
    pub fn is_after_packets(&self) -> bool {
        self.after_packets
    }

    /// Something was written that is no packet. Says whether it was what sets lines apart from packets.
    pub fn took_lines(&mut self) -> bool {
        std::mem::take(&mut self.after_packets)
    }

    /// Another program had changed its settings. Gives how often, if that is to be told.
    pub fn was_put_right(&mut self, now: Duration) -> Option<u64> {
        self.settings.wrong = self.settings.wrong.saturating_add(1);
        if self.settings.note.is_none() {
            self.settings.take_note();
        }
        self.settings.untold(now)
    }

    /// Whether it is time to look at its settings; and how often they were wrong, if that is to be told.
    pub fn is_to_be_checked(&mut self, now: Duration) -> (bool, Option<u64>) {
        if self.settings.look.is_none_or(|at| at > now) {
            return (false, None);
        }
        self.settings.look = Some(now.saturating_add(LOOK));
        if self.settings.note.is_some() {
            self.settings.take_note();
        }
        (true, self.settings.untold(now))
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.retry.into_iter().chain(self.settings.look).min()
    }

    /// When it is tried again.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether it is time to look.
    pub fn is_due(&mut self, now: Duration) -> bool {
        self.retry.is_some_and(|at| at <= now) && self.look()
    }
}
