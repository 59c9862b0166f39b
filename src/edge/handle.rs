//! The one engine, as the pumps share it.
//!
//! All pumps run in one thread and the engine never waits, so its lock is always free. It is a lock all
//! the same, for a task of the runtime has to be `Send`; taking it costs some nanoseconds.

use super::clock::Clock;
use super::recorder::{RECORDS, Recorder, Recording};
use super::store::StoreLog;
use super::taps::{Taps, Watcher};
use crate::engine::clock::Now;
use crate::engine::gateway::{Effect, Gateway, Pump};
use crate::engine::name::DomainName;
use crate::engine::tap::Wanted;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The engine, and whom to wake.
pub(super) struct Handle {
    inner: Mutex<Inner>,
    pub clock: Clock,
}

struct Inner {
    gateway: Gateway,
    pumps: BTreeMap<Pump, Arc<Notify>>,
    /// The pumps that are to be there and are not yet.
    born: Vec<Pump>,
    /// Logs that their domains have left, on the way to the pump that sends what is in them.
    left: VecDeque<(DomainName, StoreLog)>,
    /// Wakes whoever starts pumps.
    births: Arc<Notify>,
    /// Whoever watches what crosses, while anybody does.
    taps: Option<Taps>,
    /// Whoever records, while somebody does.
    recorder: Option<Recorder>,
}

impl Inner {
    /// Shows what has crossed to whoever watches, for as long as anybody does.
    fn show(&mut self) {
        let Some(taps) = &mut self.taps else { return };
        let mut crossings = self.gateway.take_crossings().into_iter();
        if !crossings.all(|crossing| taps.give(crossing)) {
            self.taps = None;
            self.gateway.watch(false);
            tracing::debug!("nobody watches what crosses any more");
        }
    }

    /// Hands what is recorded to whoever records, for as long as somebody does.
    fn hand_on(&mut self) {
        let Some(recorder) = &mut self.recorder else { return };
        if recorder.is_over() {
            self.recorder = None;
            self.gateway.set_recorded(false);
            tracing::info!("nobody records any more");
        } else {
            recorder.hand_on(&mut self.gateway);
        }
    }
}

impl Handle {
    pub fn new(gateway: Gateway, clock: Clock) -> Arc<Self> {
        let inner = Inner {
            gateway,
            pumps: BTreeMap::new(),
            born: Vec::new(),
            left: VecDeque::new(),
            births: Arc::default(),
            taps: None,
            recorder: None,
        };
        Arc::new(Self { inner: Mutex::new(inner), clock })
    }

    /// Asks the gateway something.
    pub fn ask<R>(&self, ask: impl FnOnce(&Gateway) -> R) -> R {
        ask(&self.lock().gateway)
    }

    /// Tells the gateway something, and wakes the pumps that have to do with it; `me` is the caller's, which
    /// looks by itself. Says whether others were woken too.
    pub fn tell<R>(
        &self,
        me: Option<&Pump>,
        tell: impl FnOnce(&mut Gateway, Now) -> R,
    ) -> (R, bool) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let result = tell(&mut inner.gateway, now);
        if inner.taps.is_some() {
            inner.show();
        }
        inner.hand_on();
        let mut others = false;
        for pump in inner.gateway.take_woken() {
            if Some(&pump) == me {
                continue;
            }
            others = true;
            match (inner.pumps.get(&pump), pump) {
                (Some(notify), _) => notify.notify_one(),
                (None, pump) if inner.gateway.has(&pump) => {
                    if !inner.born.contains(&pump) {
                        inner.born.push(pump);
                    }
                    inner.births.notify_one();
                }
                (None, _) => {}
            }
        }
        (result, others)
    }

    /// Somebody watches what crosses from now on.
    ///
    /// # Errors
    /// As many do as may.
    pub fn watch(&self, wanted: Wanted) -> Result<Watcher, String> {
        let mut inner = self.lock();
        let watcher = inner.taps.get_or_insert_default().add(wanted)?;
        inner.gateway.watch(true);
        tracing::debug!("somebody watches what crosses");
        Ok(watcher)
    }

    /// Somebody records what the gateway is told from now on.
    ///
    /// # Errors
    /// Somebody does already.
    pub fn record(&self) -> Result<Recording, String> {
        let mut inner = self.lock();
        if inner.recorder.as_ref().is_some_and(|recorder| !recorder.is_over()) {
            return Err(RECORDS.to_owned());
        }
        let (recorder, recording) = Recorder::begin(&mut inner.gateway);
        inner.recorder = Some(recorder);
        inner.hand_on();
        tracing::info!("somebody records");
        Ok(recording)
    }

    /// The next effect of a pump.
    pub fn next_effect(&self, pump: &Pump) -> Option<Effect> {
        self.lock().gateway.next_effect(pump)
    }

    /// When a pump has to wake the gateway.
    pub fn deadline(&self, pump: &Pump) -> Option<Instant> {
        let deadline = self.lock().gateway.deadline(pump);
        deadline.map(|at| self.clock.at(at))
    }

    /// A pump that is to be there.
    pub async fn born(&self) -> Pump {
        let births = Arc::clone(&self.lock().births);
        loop {
            if let Some(pump) = self.lock().born.pop() {
                return pump;
            }
            births.notified().await;
        }
    }

    /// A pump begins.
    pub fn enter(&self, pump: Pump) -> Arc<Notify> {
        Arc::clone(self.lock().pumps.entry(pump).or_default())
    }

    /// A pump ends, unless its domain, or its socket, is there again.
    pub fn leave(&self, pump: &Pump) -> bool {
        let mut inner = self.lock();
        let ends = !inner.gateway.has(pump);
        if ends {
            inner.pumps.remove(pump);
        }
        ends
    }

    /// A domain has left its log.
    pub fn leave_log(&self, name: DomainName, log: StoreLog) {
        let mut inner = self.lock();
        inner.left.push_back((name, log));
        if let Some(own) = inner.pumps.get(&Pump::Own) {
            own.notify_one();
        }
    }

    /// A log that its domain has left.
    pub fn take_left_log(&self) -> Option<(DomainName, StoreLog)> {
        self.lock().left.pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing panics with the lock held, and if it did, the program would end.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
