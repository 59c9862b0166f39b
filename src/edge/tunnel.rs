//! The task of one channel that carries MQTT: the domain's bytes to the broker, and the broker's back.

use super::broker::{self, Broker};
use super::channel::{self, drain};
use super::clock::Clock;
use super::hub::{ToHub, wait};
use super::ids::SharedIds;
use super::port::Port;
use super::refusals;
use super::station::{self, CHUNK, Control, ToSupervisor};
use crate::config::Address;
use crate::translate::name::DomainName;
use crate::translate::refusal::Counters;
use crate::translate::status::{Carries, Report, Reporter, State, View};
use crate::translate::tunnel::carrier::Carrier;
use crate::translate::tunnel::connect::Connect;
use crate::translate::tunnel::{Order, Tunnel};
use bytes::Bytes;
use std::future::ready;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a channel that is closed may take to hand on what was written.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that a tunnel's task needs.
pub(super) struct Task {
    pub name: DomainName,
    pub tunnel: Tunnel,
    pub port: Port,
    pub address: Address,
    /// Whose the client ids are.
    pub ids: SharedIds,
    /// How many bytes may wait for the broker before no more are read.
    pub limit: usize,
    pub control: mpsc::UnboundedReceiver<Control>,
    pub hub: mpsc::Sender<ToHub>,
    pub supervisor: mpsc::UnboundedSender<ToSupervisor>,
    pub level: watch::Receiver<Option<usize>>,
    pub clock: Clock,
    pub until: watch::Receiver<Option<Instant>>,
    /// Who spoke last, and when: legacy domains that say very much are held back meanwhile.
    pub spoken: watch::Sender<Option<(DomainName, Duration)>>,
}

/// A channel that carries MQTT from here on, and the CONNECT that says so.
pub(super) type Channel = (channel::Channel, Carrier, Connect);

/// How a tunnel ended.
pub(super) struct End {
    pub name: DomainName,
    /// The channel carries lines again, of which these are the first bytes.
    pub legacy: Option<station::Channel>,
}

/// The parts that change.
struct Life {
    link: Link,
    /// The last connection, which is being closed.
    closing: Option<JoinHandle<()>>,
    /// The first bytes of lines that the channel carries again.
    legacy: Option<Bytes>,
    told: usize,
    /// Decides when the status is told.
    reporter: Reporter,
    finishing: bool,
}

/// A connection that is being made.
type Opening = Pin<Box<dyn Future<Output = io::Result<Broker>> + Send>>;

/// The connection to the broker.
enum Link {
    None,
    Opening(Opening),
    Open(ReadHalf<Broker>, WriteHalf<Broker>),
}

enum Turn {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    Opened(io::Result<Broker>),
    Closed,
    FromBroker(io::Result<usize>),
    ToBroker(io::Result<usize>),
    Control(Control),
    Level,
    Time,
    Retry,
    Limit,
    Again,
}

impl Task {
    /// Begins with the CONNECT by which the domain came over to MQTT, or waits for one.
    pub async fn run(mut self, connect: Option<Connect>) -> End {
        if let Some(connect) = connect {
            self.tunnel.connect(connect, &mut self.ids.lock(), self.clock.now().monotonic);
        }
        let mut life = Life {
            link: Link::None,
            closing: None,
            legacy: None,
            told: 0,
            reporter: Reporter::default(),
            finishing: false,
        };
        let (mut from_domain, mut from_broker) =
            (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
        loop {
            self.obey(&mut life);
            self.tell_what_is_held(&mut life);
            self.report(&mut life);
            if life.legacy.is_some() || (life.finishing && self.is_through(&life)) {
                break;
            }
            let turn = self.turn(&mut life, &mut from_domain, &mut from_broker).await;
            match turn {
                Turn::Limit => break,
                turn => self.take(turn, &mut life, &from_domain, &from_broker).await,
            }
        }
        self.end(life).await
    }

    async fn turn(
        &mut self,
        life: &mut Life,
        from_domain: &mut Vec<u8>,
        from_broker: &mut Vec<u8>,
    ) -> Turn {
        let deadlines = self.tunnel.deadline().into_iter().chain(life.reporter.deadline());
        let deadline = deadlines.min().map(|d| self.clock.at(d));
        let limit = *self.until.borrow();
        let (to_domain, to_broker) = (self.tunnel.to_domain(), self.tunnel.to_broker());
        let retry = self.port.retry();
        let reads = !life.finishing && self.tunnel.has_room();
        let (reader, writer) = self.port.ends();
        tokio::select! {
            read = reader.read(from_domain, CHUNK), if reads => Turn::Read(read),
            wrote = writer.write(to_domain) => Turn::Wrote(wrote),
            turn = life.link.turn(from_broker, to_broker, to_domain.is_none()) => turn,
            () = closed(&mut life.closing) => Turn::Closed,
            Some(control) = self.control.recv() => Turn::Control(control),
            Ok(()) = self.level.changed() => Turn::Level,
            () = wait(deadline) => Turn::Time,
            () = wait(retry) => Turn::Retry,
            () = wait(limit) => Turn::Limit,
            Ok(()) = self.until.changed() => Turn::Again,
        }
    }

    async fn take(&mut self, turn: Turn, life: &mut Life, from_domain: &[u8], from_broker: &[u8]) {
        match turn {
            Turn::Read(Ok(0)) => self.down("closed by the other side"),
            Turn::Read(Ok(n)) => {
                let now = self.clock.now().monotonic;
                self.spoken.send_replace(Some((self.name.clone(), now)));
                self.receive(from_domain.get(..n).unwrap_or_default());
            }
            Turn::Wrote(Ok(n)) => self.tunnel.written_to_domain(n),
            Turn::Read(Err(error)) | Turn::Wrote(Err(error)) => self.down(&error.to_string()),
            Turn::Opened(Ok(broker)) => {
                self.tunnel.closed();
                let (reader, writer) = split(broker);
                life.link = Link::Open(reader, writer);
            }
            Turn::Opened(Err(error)) => {
                life.link = Link::None;
                tracing::warn!(domain = %self.name, %error, "the broker is out of reach");
                self.tunnel.closed();
                self.tunnel.not_opened();
            }
            Turn::Closed => {
                life.closing = None;
                self.tunnel.closed();
            }
            Turn::FromBroker(Ok(n @ 1..)) => {
                let (bytes, now) = (from_broker.get(..n), self.clock.now().monotonic);
                self.tunnel.receive_from_broker(bytes.unwrap_or_default(), now);
            }
            Turn::ToBroker(Ok(n)) => {
                self.tunnel.written_to_broker(n, self.clock.now().monotonic);
            }
            // What the broker said before it closed is still to be read.
            Turn::ToBroker(Err(_)) => self.tunnel.not_written_to_broker(),
            Turn::FromBroker(_) => {
                life.link = Link::None;
                tracing::info!(domain = %self.name, "the broker has closed the domain's connection");
                self.tunnel.broker_gone();
            }
            Turn::Control(control) => self.control(control, life),
            Turn::Level => self.set_limit(),
            Turn::Time => self.tunnel.wake(self.clock.now().monotonic),
            Turn::Retry => {
                if self.port.connect().await {
                    self.tunnel.channel_back(self.clock.now().monotonic);
                }
            }
            Turn::Limit | Turn::Again => {}
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.tunnel.receive(bytes, &mut self.ids.lock(), self.clock.now().monotonic);
    }

    fn go_on(&mut self) {
        self.tunnel.go_on(&mut self.ids.lock(), self.clock.now().monotonic);
    }

    fn set_limit(&mut self) {
        let level = *self.level.borrow_and_update();
        let limit = level.map_or(self.limit, |level| level.min(self.limit));
        self.tunnel.set_limit(limit, self.clock.now().monotonic);
    }

    fn control(&mut self, control: Control, life: &mut Life) {
        match control {
            Control::Appeared => self.port.appeared(),
            Control::Disappeared => {
                self.port.disappeared();
                // What a domain that is gone has said too fast would be worked off for hours.
                if self.tunnel.rests() {
                    self.down("gone, and it has said too much");
                }
            }
            Control::Finish(_) => life.finishing = true,
            Control::Count(reply) => {
                let _ = reply.send((Counters::default(), 0));
            }
            Control::Reload(again) => {
                self.limit = again.setting.limits.outbox;
                self.tunnel.set_away(again.setting.limits.away);
                self.tunnel.set_password(again.password);
                self.set_limit();
            }
            Control::Removed | Control::End => {}
        }
    }

    fn down(&mut self, why: &str) {
        self.port.down();
        self.tunnel.channel_gone();
        tracing::info!(domain = %self.name, why, "channel lost");
    }

    /// Has the tunnel go on, and does what it wants done, in its order.
    fn obey(&mut self, life: &mut Life) {
        while life.legacy.is_none() {
            self.go_on();
            let orders = self.tunnel.take_orders();
            if orders.is_empty() {
                return;
            }
            self.do_all(orders, life);
        }
    }

    fn do_all(&mut self, orders: Vec<Order>, life: &mut Life) {
        for order in orders {
            match order {
                Order::Open => {
                    let (address, closing) = (self.address.clone(), life.closing.take());
                    life.link = Link::Opening(Box::pin(async move {
                        // The same client id may be used again: what was left comes first.
                        if let Some(closing) = closing {
                            let _ = closing.await;
                        }
                        broker::connect(&address).await
                    }));
                }
                Order::Close(left) => self.close(left, life),
                Order::Refused(refusal) => {
                    refusals::log(&refusal);
                    // A full mailbox holds enough notices.
                    let _ = self.hub.try_send(ToHub::Refused(refusal));
                }
                Order::Arrived(there) => {
                    let told = ToSupervisor::Arrived(self.name.clone(), there);
                    let _ = self.supervisor.send(told);
                }
                Order::Legacy(bytes) => life.legacy = Some(bytes),
            }
        }
    }

    fn close(&mut self, left: Bytes, life: &mut Life) {
        let opened: Opening = match std::mem::replace(&mut life.link, Link::None) {
            Link::None if life.closing.is_none() => return self.tunnel.closed(),
            Link::None => return,
            // A program may say all that it has to say without waiting for the broker.
            Link::Opening(opening) => opening,
            Link::Open(reader, writer) => Box::pin(ready(Ok(reader.unsplit(writer)))),
        };
        let (before, domain) = (life.closing.take(), self.name.clone());
        life.closing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            match opened.await {
                Ok(broker) => broker::close(broker, &left).await,
                Err(error) => {
                    let bytes = left.len();
                    tracing::warn!(%domain, bytes, %error, "dropped: the broker is out of reach");
                }
            }
        }));
    }

    /// Keeps the supervisor's account near enough to what is held.
    fn tell_what_is_held(&self, life: &mut Life) {
        const STEP: usize = 32 * 1024;
        let held = self.tunnel.held();
        if held / STEP != life.told / STEP {
            life.told = held;
            let _ = self.supervisor.send(ToSupervisor::Holds(self.name.clone(), held));
        }
    }

    /// Reports, if there is something new.
    fn report(&self, life: &mut Life) {
        let now = self.clock.now().monotonic;
        let view = View {
            connected: self.port.is_connected(),
            carries: match self.tunnel.waits_for_connect() {
                true => Carries::NothingYet,
                false => Carries::Mqtt,
            },
            is_heard: false,
            has_news: false,
            calls: 0,
            counters: &Counters::default(),
            dropped: self.tunnel.dropped(),
        };
        if !life.reporter.is_due(view, now) {
            return;
        }
        match self.hub.try_reserve() {
            Ok(room) => {
                let report = life.reporter.report(view, Vec::new(), now);
                room.send(ToHub::Domain(self.name.clone(), report));
            }
            // A full mailbox has refusals to publish first. The next report has it all.
            Err(_) => life.reporter.hold_back(now),
        }
    }

    /// The last report. If the channel carries lines again, who has it next says what they are.
    async fn report_the_end(&self, goes_on: bool) {
        let (counters, dropped) = (Counters::default(), self.tunnel.dropped());
        let state = if goes_on { State::Silent } else { State::Absent };
        let (calls, heard) = (0, Vec::new());
        let report = Report { state, calls, counters, dropped, heard, ended: true };
        let _ = self.hub.send(ToHub::Domain(self.name.clone(), report)).await;
    }

    /// Whether everything is out: then the domain is told, if it can be, and that goes out as well.
    fn is_through(&mut self, life: &Life) -> bool {
        if matches!(life.link, Link::Open(..)) && self.tunnel.to_broker().is_none() {
            self.tunnel.broker_gone();
        }
        self.tunnel.waits_for_connect()
            && (self.tunnel.to_domain().is_none() || !self.port.is_connected())
    }

    async fn end(mut self, life: Life) -> End {
        self.report_the_end(life.legacy.is_some() && self.port.is_connected()).await;
        let channel = self.port.take();
        if let (Some(channel), None) = (&channel, &life.legacy) {
            drain(channel, DRAIN).await;
        }
        // Whoever has the channel next may come back at once, and begin another.
        let mut closing = life.closing;
        while closing.is_some() {
            let limit = *self.until.borrow_and_update();
            tokio::select! {
                () = closed(&mut closing) => closing = None,
                () = wait(limit) => break,
                Ok(()) = self.until.changed() => {}
            }
        }
        let carrier = self.tunnel.into_carrier();
        let legacy = channel.zip(life.legacy).map(|(channel, bytes)| (channel, carrier, bytes));
        End { name: self.name, legacy }
    }
}

/// Waits until the last connection is closed, if it is being closed.
async fn closed(closing: &mut Option<JoinHandle<()>>) {
    match closing {
        Some(closing) => drop(closing.await),
        None => std::future::pending().await,
    }
}

impl Link {
    /// Reads from the broker, if there is `room`, and writes to it. Cancel-safe.
    async fn turn(&mut self, buffer: &mut Vec<u8>, chunk: Option<&[u8]>, room: bool) -> Turn {
        buffer.clear();
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(opening) => Turn::Opened(opening.await),
            Self::Open(reader, writer) => tokio::select! {
                read = reader.read_buf(buffer), if room => Turn::FromBroker(read),
                wrote = write(writer, chunk) => Turn::ToBroker(wrote),
            },
        }
    }
}

async fn write(writer: &mut WriteHalf<Broker>, chunk: Option<&[u8]>) -> io::Result<usize> {
    match chunk {
        Some(chunk) => writer.write(chunk).await,
        None => std::future::pending().await,
    }
}
