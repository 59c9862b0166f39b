//! The pump of one domain: it moves the bytes of its channel, of its MQTT session or its own MQTT, and of
//! its log. The engine decides.

mod end;
mod link;
mod log;
mod port;
mod socket;

use super::clock::wait;
use super::handle::Handle;
use super::journal::{Journal, back};
use super::refusals;
use super::session::{ReadRoom, SessionPump};
use super::store::StoreFolder;
use crate::edge::broker::Dialer;
use crate::engine::clock::Now;
use crate::engine::gateway::{Effect, Gateway, Pump};
use crate::engine::name::DomainName;
use crate::engine::session::SessionInput;
use link::{FromBroker, Link};
pub(super) use port::Place;
use port::Port;
pub(super) use socket::{Offers, SocketPump};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What every pump needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub engine: Arc<Handle>,
    pub broker: Dialer,
    pub read_room: ReadRoom,
    /// Where sessions are remembered, if there is such a folder.
    pub state_dir: Option<PathBuf>,
    /// Where logs are, if there is a store.
    pub store: Option<StoreFolder>,
    /// How long a channel that is closed may take to hand on what was written, and the broker to take a good-bye.
    pub farewell: Duration,
}

impl Shared {
    /// The pump of a domain's session, or of the gateway's own.
    pub fn session(&self, domain: Option<DomainName>) -> SessionPump {
        SessionPump::new(
            domain,
            self.broker.clone(),
            self.read_room.clone(),
            self.state_dir.clone(),
        )
    }
}

/// One domain's pump.
pub(super) struct DomainPump {
    shared: Shared,
    name: DomainName,
    me: Pump,
    notify: Arc<Notify>,
    port: Port,
    session: SessionPump,
    link: Link,
    journal: Option<Journal>,
    /// Others have been given something: it is their turn before the broker's.
    passed_on: bool,
}

/// What has happened.
enum PumpEvent {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    Session(SessionInput),
    Broker(FromBroker),
    HungUp,
    Stored,
    LogBack(io::Result<()>),
    Sync,
    Time,
    Woken,
}

impl DomainPump {
    pub fn new(shared: Shared, name: DomainName, place: Place) -> Self {
        let me = Pump::Domain(name.clone());
        let notify = shared.engine.enter(me.clone());
        Self {
            port: Port::new(place),
            session: shared.session(Some(name.clone())),
            link: Link::default(),
            journal: None,
            passed_on: false,
            shared,
            name,
            me,
            notify,
        }
    }

    /// Runs until the domain is nobody's any more, or the gateway ends.
    pub async fn run(mut self) {
        // Memory that nothing was written to is none: most domains are idle.
        let (mut from_domain, mut from_broker) = (Vec::new(), Vec::new());
        loop {
            if self.carry_out().await {
                return;
            }
            if self.ask(|gateway, name| gateway.is_through(name)) {
                return self.end().await;
            }
            if self.write_at_once() {
                continue;
            }
            if std::mem::take(&mut self.passed_on) {
                turn_over().await;
            }
            let event = self.event(&mut from_domain, &mut from_broker).await;
            self.take(event, &from_domain, &from_broker).await;
        }
    }

    fn ask<R>(&self, ask: impl FnOnce(&Gateway, &DomainName) -> R) -> R {
        self.shared.engine.ask(|gateway| ask(gateway, &self.name))
    }

    /// Tells the engine something, which first sees how much room the log has.
    fn tell<R>(&mut self, tell: impl FnOnce(&mut Gateway, &DomainName, Now) -> R) -> R {
        let room = self.journal.as_ref().map(Journal::room);
        let (result, others) = self.shared.engine.tell(Some(&self.me), |gateway, now| {
            if let Some(room) = room {
                gateway.set_room(&self.name, room, now);
            }
            tell(gateway, &self.name, now)
        });
        self.passed_on |= others;
        result
    }

    /// Does what the engine wants done, in its order, until it wants nothing more. Says whether the pump is to
    /// end.
    async fn carry_out(&mut self) -> bool {
        loop {
            while let Some(effect) = self.shared.engine.next_effect(&self.me) {
                if self.do_one(effect).await {
                    return true;
                }
            }
            if !self.write_log().await {
                return false;
            }
        }
    }

    async fn do_one(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Open => self.open().await,
            Effect::Close => self.closed("gone, and it has said too much"),
            Effect::PutRight => {
                if self.port.is_replaced() {
                    self.closed("its path leads to another port now");
                } else {
                    self.put_right();
                }
            }
            Effect::Session(effect) => self.session.carry_out(effect).await,
            Effect::Dial => self.link.dial(&self.shared.broker),
            Effect::HangUp(left) => {
                if !self.link.hang_up(left, &self.name) {
                    self.tell(Gateway::hung_up);
                }
            }
            Effect::OpenLog => self.open_log().await,
            Effect::Keep { token, message, only } => {
                if let Some(journal) = &mut self.journal {
                    journal.keep(token, message, only);
                }
            }
            Effect::Landed(token) => {
                if let Some(journal) = &mut self.journal {
                    journal.landed(token);
                }
            }
            Effect::Over(token) => {
                if let Some(journal) = &mut self.journal {
                    journal.over(token);
                }
            }
            Effect::LeaveLog => self.leave_log().await,
            Effect::Refused(refusal) => refusals::log(&refusal),
            Effect::Ignored(why, from) => {
                tracing::debug!(domain = %self.name, %from, why = why.as_str(), "ignored");
            }
            Effect::End => return self.shared.engine.leave(&self.me),
            // They say what is so; what is to be written is asked for when it can be.
            Effect::Write | Effect::Mode(_) | Effect::Retry(_) => {}
            // They are the gateway's own pump's.
            Effect::Sent { .. } | Effect::RemoveLog(_) | Effect::Remember(_) => {}
        }
        false
    }

    async fn open(&mut self) {
        match self.port.open().await {
            Ok(()) => self.tell(Gateway::opened),
            Err(error) => self.tell(|gateway, name, now| gateway.not_opened(name, error, now)),
        }
    }

    /// Writes what waits for the channel, as far as it takes it now. Says whether there was anything.
    fn write_at_once(&mut self) -> bool {
        let engine = Arc::clone(&self.shared.engine);
        let Some(wrote) = self.port.write_now(&engine, &self.name) else { return false };
        self.wrote(wrote);
        true
    }

    async fn event(&mut self, from_domain: &mut Vec<u8>, from_broker: &mut Vec<u8>) -> PumpEvent {
        let engine = Arc::clone(&self.shared.engine);
        let (most, room, stored) = self.ask(|gateway, name| {
            (gateway.may_read(name), gateway.may_read_broker(name), gateway.wants_stored(name))
        });
        let deadline = engine.deadline(&self.me);
        let sync = self.journal.as_ref().and_then(Journal::deadline);
        let stored = stored && self.journal.as_ref().is_some_and(|j| j.shelf.here().is_some());
        let (reader, writer) = self.port.ends();
        let (link, hanging_up) = self.link.parts();
        tokio::select! {
            wrote = writer.write(&engine, &self.name) => PumpEvent::Wrote(wrote),
            input = self.session.next() => PumpEvent::Session(input),
            read = reader.read(from_domain, most.unwrap_or(0)), if most.is_some() => PumpEvent::Read(read),
            event = link.next(from_broker, room, &engine, &self.name) => PumpEvent::Broker(event),
            () = hanging_up.ended() => PumpEvent::HungUp,
            () = std::future::ready(()), if stored => PumpEvent::Stored,
            ended = back(&mut self.journal) => PumpEvent::LogBack(ended),
            () = self.notify.notified() => PumpEvent::Woken,
            () = wait(sync) => PumpEvent::Sync,
            () = wait(deadline) => PumpEvent::Time,
        }
    }

    async fn take(&mut self, event: PumpEvent, from_domain: &[u8], from_broker: &[u8]) {
        match event {
            // One whose settings say not to wait (VMIN) only seems closed.
            PumpEvent::Read(Ok(0)) if self.put_right() => {}
            PumpEvent::Read(Ok(0)) => self.closed("closed by the other side"),
            PumpEvent::Read(Ok(n)) => {
                // Echo gives all that comes back to its sender, and one who sends copies says it again.
                self.put_right();
                let bytes = from_domain.get(..n).unwrap_or_default();
                let more = self.port.was_full();
                self.tell(|gateway, name, now| gateway.received(name, bytes, more, now));
                // A flood is taken in piece by piece: it is everybody else's turn.
                self.passed_on |= more;
            }
            PumpEvent::Read(Err(error)) => self.closed(&error.to_string()),
            PumpEvent::Wrote(wrote) => self.wrote(wrote),
            PumpEvent::Session(input) => {
                let me = self.me.clone();
                self.tell(|gateway, _, now| gateway.session(&me, input, now));
            }
            PumpEvent::Broker(event) => self.broker_did(event, from_broker),
            PumpEvent::HungUp => self.tell(Gateway::hung_up),
            PumpEvent::Stored => self.take_stored().await,
            PumpEvent::LogBack(ended) => {
                if let Some(journal) = &mut self.journal {
                    journal.back(&ended);
                }
            }
            PumpEvent::Sync => self.sync_log().await,
            PumpEvent::Time => {
                let me = self.me.clone();
                self.tell(|gateway, _, now| gateway.wake(&me, now));
            }
            PumpEvent::Woken => {}
        }
    }

    fn wrote(&mut self, wrote: io::Result<usize>) {
        match wrote {
            Ok(n) => self.tell(|gateway, name, now| gateway.written(name, n, now)),
            // What the domain said before it went is still to be read.
            Err(error) => self.port.takes_no_more(&error),
        }
    }

    /// Puts a serial port's settings right. Says whether they were wrong.
    fn put_right(&mut self) -> bool {
        let was_wrong = self.port.put_right();
        if was_wrong {
            self.tell(Gateway::was_put_right);
        }
        was_wrong
    }

    fn closed(&mut self, why: &str) {
        self.port.close();
        self.tell(|gateway, name, now| gateway.closed(name, why, now));
    }

    fn broker_did(&mut self, event: FromBroker, bytes: &[u8]) {
        match event {
            FromBroker::Opened => self.tell(Gateway::hung_up),
            FromBroker::NotOpened(error) => {
                let why = error.to_string();
                self.tell(|gateway, name, now| gateway.not_dialled(name, &why, now));
            }
            FromBroker::Read(n) => {
                let bytes = bytes.get(..n).unwrap_or_default();
                self.tell(|gateway, name, now| gateway.from_broker(name, bytes, now));
            }
            FromBroker::Wrote(n) => {
                self.tell(|gateway, name, now| gateway.written_to_broker(name, n, now));
            }
            FromBroker::TakesNoMore => self.tell(Gateway::not_written_to_broker),
            FromBroker::Closed => self.tell(Gateway::broker_gone),
        }
    }
}

/// Lets everybody else have a turn who can do something now. Unlike the runtime's own way, this does not
/// ask the kernel for more of them.
async fn turn_over() {
    let mut turned = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut turned, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
