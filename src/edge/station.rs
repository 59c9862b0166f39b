//! The task of one channel: it owns the domain's bytes, its state machine and its MQTT session.

mod act;
mod end;
mod event;
mod keep;
mod keeper;
mod leave;
mod pace;
mod report;
mod skipped;

use super::channel;
use super::clock::Clock;
use super::exchange::{Directory, Letter};
use super::hub::{ToHub, wait};
use super::port::{Place, Port};
use super::session::{self, Delivery, Event, Session};
use super::store::Folder;
use super::supervisor::Again;
use super::tunnel;
use crate::translate::name::DomainName;
use crate::translate::proxy::Proxy;
use crate::translate::refusal::Counters;
use crate::translate::status::Reporter;
use crate::translate::tunnel::carrier::{Carrier, Piece};
use crate::translate::tunnel::connect::Connect;
use bytes::Bytes;
use keeper::{Keeper, back};
use skipped::Skipped;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

/// The bytes that are read at a time: so many of them that nobody else waits long meanwhile.
pub(super) const CHUNK: usize = 8 * 1024;
/// A channel that has carried MQTT and carries lines again, and their first bytes.
pub(super) type Channel = (channel::Channel, Carrier, Bytes);

/// What a station tells the supervisor.
pub(super) enum ToSupervisor {
    /// It wants to end.
    Retired(DomainName),
    /// It holds so many bytes of messages.
    Holds(DomainName, usize),
    /// The domain has made its subscriptions on MQTT, or they are gone.
    Arrived(DomainName, bool),
}

/// What a station is told by the supervisor.
pub(super) enum Control {
    /// The socket is there; maybe a new one.
    Appeared,
    /// The socket is gone.
    Disappeared,
    /// It has left the directory: it may end.
    Removed,
    /// Its counters are wanted: the messages that it counted, and those under way.
    Count(oneshot::Sender<(Counters, usize)>),
    /// Other things hold from now on.
    Reload(Box<Again>),
    /// Take nothing more in; this is dropped when nothing more is passed on.
    Finish(mpsc::Sender<Infallible>),
    /// Nobody passes anything on any more: end when everything is out.
    End,
}

/// Everything a station needs.
pub(super) struct Station {
    pub name: DomainName,
    pub place: Place,
    /// The channel, if the domain has had a tunnel over it.
    pub channel: Option<Channel>,
    pub proxy: Proxy,
    /// Where its log is, if there is a store.
    pub store: Option<Folder>,
    pub settings: session::Settings,
    pub directory: watch::Receiver<Arc<Directory>>,
    pub mailbox: mpsc::UnboundedReceiver<Letter>,
    pub control: mpsc::UnboundedReceiver<Control>,
    pub hub: mpsc::Sender<ToHub>,
    pub supervisor: mpsc::UnboundedSender<ToSupervisor>,
    /// The most bytes that a domain may hold for now.
    pub level: watch::Receiver<Option<usize>>,
    pub clock: Clock,
    pub limit: watch::Receiver<Option<Instant>>,
    /// Who spoke last that does not say very much, and when.
    pub spoken: watch::Sender<Option<(DomainName, Duration)>>,
}

/// How a station ended.
pub(super) struct End {
    pub name: DomainName,
    pub counters: Counters,
    /// Messages that it still had.
    pub left: usize,
    /// Whether its channel was there, so that it has to be taken up again.
    pub connected: bool,
    /// The domain has come over to MQTT: its channel, and how it began.
    pub migrated: Option<tunnel::Channel>,
}

/// The parts that change.
struct Life {
    port: Port,
    carrier: Carrier,
    /// The domain speaks MQTT: from here on its bytes are not for the proxy, nor the proxy's for it.
    connect: Option<Connect>,
    session: Option<Session>,
    keeper: Option<Keeper>,
    /// Whether the last that was logged of the session is that it was lost.
    lost: bool,
    deliveries: HashMap<u64, Delivery>,
    next_delivery: u64,
    /// What the supervisor was last told that is held.
    told: usize,
    /// A line has been passed to another domain.
    passed: bool,
    /// It says very much, and is held back.
    slow: bool,
    /// Nothing is read before then.
    pause: Option<Duration>,
    /// What was neither lines nor MQTT.
    skipped: Skipped,
    /// Decides when the status is told.
    reporter: Reporter,
    retiring: bool,
    removed: bool,
    finishing: bool,
    ending: bool,
}

enum Turn {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    Session(Event),
    Letter(Letter),
    Control(Control),
    Directory,
    Level,
    Stored,
    Back(io::Result<()>),
    Sync,
    Time,
    Retry,
    Limit,
}

impl Station {
    /// Runs until the domain has been away for too long, or the gateway ends.
    pub async fn run(mut self) -> End {
        self.see_directory();
        let mut life = self.begin().await;
        // Memory that nothing was written to is none: most domains are idle.
        let mut buffer = Vec::with_capacity(CHUNK);
        self.act(&mut life).await;
        self.write_store(&mut life).await;
        loop {
            let most = self.most(&life);
            let turn = self.turn(&mut life, &mut buffer, most).await;
            if matches!(turn, Turn::Limit) {
                break;
            }
            let read = matches!(turn, Turn::Read(_));
            let more = matches!(turn, Turn::Read(Ok(n)) if n == most);
            // Who came before what was read counts before it, also if the disk was waited for meanwhile.
            if self.directory.has_changed().unwrap_or_default() {
                self.see_directory();
            }
            self.see_store(&life);
            self.take(turn, &mut life, &buffer).await;
            if read {
                self.pause(&mut life, more);
            }
            self.act(&mut life).await;
            // What one reading of the channel passes on, to this domain too, is many letters: they must
            // not pile up behind the next reading.
            while let Ok(letter) = self.mailbox.try_recv() {
                self.proxy.accept(letter.passed, self.clock.now());
                self.act(&mut life).await;
            }
            self.write_store(&mut life).await;
            self.leave_if_empty(&mut life).await;
            self.tell_what_is_held(&mut life);
            self.report(&mut life);
            life.skipped.tell(&self.name, self.clock.now().monotonic);
            // A flood is taken in piece by piece, and a domain that waits for a line has it before the
            // broker has its copy: it is everybody else's turn.
            if more || std::mem::take(&mut life.passed) {
                yield_now().await;
            }
            let through = life.removed && self.mailbox.is_empty();
            if through || (life.ending && self.is_idle(&life)) {
                break;
            }
        }
        self.end(life).await
    }

    async fn begin(&mut self) -> Life {
        let (channel, carrier, bytes) = match self.channel.take() {
            Some((channel, carrier, bytes)) => (Some(channel), carrier, bytes),
            None => (None, self.carrier(), Bytes::new()),
        };
        let mut life = Life {
            port: Port::new(self.name.clone(), self.place.clone(), channel),
            carrier,
            connect: None,
            session: None,
            keeper: None,
            lost: false,
            deliveries: HashMap::new(),
            next_delivery: 0,
            told: 0,
            passed: false,
            slow: false,
            pause: None,
            skipped: Skipped::default(),
            reporter: Reporter::default(),
            retiring: false,
            removed: false,
            finishing: false,
            ending: false,
        };
        if self.store.is_some() {
            // What the domain writes while nobody is connected may be lost: the disk can wait.
            if !life.port.is_connected() {
                life.port.connect().await;
            }
            self.open_store(&mut life).await;
        }
        if life.port.is_connected() {
            self.up(&mut life);
            self.proxy.receive(&bytes, self.clock.now());
            self.take_pieces(&mut life);
        }
        life
    }

    /// Behind a serial line is the MVP's Dom0, which speaks nothing else.
    fn carrier(&self) -> Carrier {
        match self.place {
            Place::Unix(_) => Carrier::new(),
            Place::Serial(_) => Carrier::of_lines(),
        }
    }

    fn see_directory(&mut self) {
        let roster = Arc::clone(&self.directory.borrow_and_update().roster);
        self.proxy.set_roster(roster);
    }

    async fn turn(&mut self, life: &mut Life, buffer: &mut Vec<u8>, most: usize) -> Turn {
        let deadline = self.proxy.deadline().filter(|_| !life.retiring);
        let others = [life.reporter.deadline(), life.pause, life.skipped.deadline()];
        let deadlines = deadline.into_iter().chain(others.into_iter().flatten());
        let deadline = deadlines.min().map(|d| self.clock.at(d));
        let limit = *self.limit.borrow();
        let chunk = self.proxy.chunk();
        let chunk = chunk.filter(|_| life.connect.is_none());
        let reads = !life.finishing
            && life.pause.is_none()
            && life.carrier.held() <= self.proxy.limits().outbox;
        let retry = life.port.retry();
        let sync = life.keeper.as_ref().and_then(Keeper::deadline);
        let stored = self.wants_stored(life);
        let (reader, writer) = life.port.ends();
        tokio::select! {
            event = next(&mut life.session) => Turn::Session(event),
            read = reader.read(buffer, most), if reads => Turn::Read(read),
            wrote = writer.write(chunk) => Turn::Wrote(wrote),
            Some(letter) = self.mailbox.recv() => Turn::Letter(letter),
            Some(control) = self.control.recv() => Turn::Control(control),
            Ok(()) = self.directory.changed() => Turn::Directory,
            Ok(()) = self.level.changed() => Turn::Level,
            () = std::future::ready(()), if stored => Turn::Stored,
            ended = back(&mut life.keeper) => Turn::Back(ended),
            () = wait(sync) => Turn::Sync,
            () = wait(deadline) => Turn::Time,
            () = wait(retry) => Turn::Retry,
            () = wait(limit) => Turn::Limit,
            Ok(()) = self.limit.changed() => Turn::Directory,
        }
    }

    async fn take(&mut self, turn: Turn, life: &mut Life, buffer: &[u8]) {
        let now = self.clock.now();
        match turn {
            Turn::Read(Ok(0)) => self.down(life, "closed by the other side"),
            Turn::Read(Ok(n)) => {
                life.carrier.push(buffer.get(..n).unwrap_or_default(), now.monotonic);
                self.take_pieces(life);
            }
            Turn::Wrote(Ok(n)) => self.proxy.written(n, now),
            Turn::Read(Err(error)) => self.down(life, &error.to_string()),
            // What the domain said before it went is still to be read.
            Turn::Wrote(Err(error)) => life.port.takes_no_more(&error),
            Turn::Session(event) => self.event(event, life),
            Turn::Letter(letter) => self.proxy.accept(letter.passed, now),
            Turn::Control(control) => self.control(control, life).await,
            Turn::Directory => self.see_directory(),
            Turn::Level => {
                let level = *self.level.borrow_and_update();
                self.proxy.set_level(level, now);
            }
            Turn::Stored => self.take_stored(life).await,
            Turn::Back(ended) => self.store_is_back(&ended, life),
            Turn::Sync => self.sync_store(life).await,
            Turn::Time => {
                life.pause = life.pause.filter(|until| *until > now.monotonic);
                self.proxy.wake(now);
            }
            Turn::Retry => {
                if life.port.connect().await {
                    self.up(life);
                }
            }
            Turn::Limit => {}
        }
    }

    async fn control(&mut self, control: Control, life: &mut Life) {
        let now = self.clock.now();
        match control {
            Control::Appeared => life.port.appeared(),
            Control::Disappeared => life.port.disappeared(),
            Control::Removed => {
                while let Ok(letter) = self.mailbox.try_recv() {
                    self.proxy.accept(letter.passed, now);
                }
                self.mailbox.close();
                life.removed = true;
            }
            Control::Count(reply) => {
                let _ = reply.send((self.proxy.counters().clone(), self.proxy.under_way()));
            }
            Control::Reload(again) => {
                let Again { setting, kept, credentials, .. } = *again;
                self.proxy.reload(&setting, now);
                self.settings.credentials = credentials.clone();
                self.settings.session_expiry = kept;
                if let Some(session) = &mut life.session {
                    session.set_credentials(credentials);
                    session.set_expiry(kept);
                }
            }
            Control::Finish(busy) => {
                life.finishing = true;
                drop(busy);
            }
            Control::End => life.ending = true,
        }
    }

    fn up(&mut self, life: &mut Life) {
        self.proxy.connected(self.clock.now());
        if life.session.is_none() {
            life.session = Some(Session::new(self.settings.clone()));
        }
    }

    fn down(&mut self, life: &mut Life, why: &str) {
        life.port.down();
        life.skipped.end(&self.name);
        life.carrier = life.carrier.then(self.carrier());
        let lost = self.proxy.disconnected(self.clock.now());
        tracing::info!(domain = %self.name, why, bytes_of_a_torn_line = lost, "channel lost");
    }

    /// Sorts out what the channel carries.
    fn take_pieces(&mut self, life: &mut Life) {
        while life.connect.is_none()
            && let Some(piece) = life.carrier.next()
        {
            match piece {
                Piece::Legacy(bytes) => self.proxy.receive(&bytes, self.clock.now()),
                Piece::Torn(more) => life.skipped.add(self.proxy.forget_line() + more),
                Piece::Skipped(bytes) => life.skipped.add(bytes),
                Piece::Mqtt(_) => {} // There is none before its CONNECT.
                Piece::Connect(connect) => {
                    tracing::info!(domain = %self.name, client_id = connect.client_id, "speaks MQTT");
                    life.connect = Some(connect);
                    self.retire_soon(life);
                }
            }
        }
    }
}

async fn next(session: &mut Option<Session>) -> Event {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}
