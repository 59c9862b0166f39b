//! The end of a station: what was written is let out, and what is left is handed over.

use super::super::channel::{Channel, drain, read_rest};
use super::super::clock::Clock;
use super::super::hub::ToHub;
use super::super::session::Event;
use super::{CHUNK, End, Life, Station, ToSupervisor};
use crate::translate::publish::Publish;
use crate::translate::status::State;
use crate::translate::tunnel::carrier::{Carrier, Piece};
use crate::translate::tunnel::connect::Connect;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a channel that is closed may take to hand on what was written.
const DRAIN: Duration = Duration::from_secs(2);
/// How much may have come that was not read yet: more than a socket holds.
const REST: usize = 1024 * 1024;
/// How long the broker may take to acknowledge the last that a proxy said.
const SETTLE: Duration = Duration::from_secs(1);
/// The least that it may take.
const MOMENT: Duration = Duration::from_millis(100);

impl Station {
    pub(super) async fn end(mut self, mut life: Life) -> End {
        life.skipped.end(&self.name);
        let connected = life.port.is_connected();
        let (mut channel, connect) = (life.port.take(), life.connect.take());
        let mut carrier = std::mem::take(&mut life.carrier);
        if life.removed {
            let (clock, most) = (self.clock, self.proxy.limits().outbox);
            let (supervisor, name, told) = (self.supervisor.clone(), self.name.clone(), life.told);
            let tell = |held| {
                let _ = supervisor.send(ToSupervisor::Holds(name.clone(), told + held));
            };
            tokio::select! {
                () = self.retire(&mut life, connect.as_ref()) => {}
                () = collect(channel.as_mut(), &mut carrier, most, clock, tell) => {}
            }
        } else {
            while let Ok(letter) = self.mailbox.try_recv() {
                self.proxy.accept(letter.passed, self.clock.now());
            }
            self.act(&mut life).await;
        }
        if let (Some(channel), None) = (&channel, &connect) {
            drain(channel, self.time_left(DRAIN)).await;
            if life.keeper.is_some() {
                self.hear_the_rest(channel, &mut carrier);
            }
        }
        // A disk that hangs is not worth more than the domain's end.
        if !life.removed && timeout(DRAIN, self.suspend(&mut life)).await.is_err() {
            tracing::error!(domain = %self.name, "the store takes too long");
        }
        let migrated = channel.zip(connect).map(|(channel, connect)| (channel, carrier, connect));
        if let Some(session) = life.session.take() {
            // A good-bye that the broker does not take is not worth more than the grace period.
            let _ = timeout(self.time_left(DRAIN), session.close()).await;
        }
        let state = if migrated.is_some() { State::Mqtt } else { State::Absent };
        self.report_the_end(state).await;
        let left = self.proxy.left();
        let counters = self.proxy.counters().clone();
        End { name: self.name, counters, left, connected, migrated }
    }

    /// What the domain has said and nobody has read yet is for the next run.
    fn hear_the_rest(&mut self, channel: &Channel, carrier: &mut Carrier) {
        carrier.push(&read_rest(channel, REST), self.clock.now().monotonic);
        while let Some(Piece::Legacy(bytes)) = carrier.next() {
            self.proxy.receive_later(&bytes);
        }
    }

    /// Whether the domain goes on with the session that its proxy had.
    fn is_resumed_by(&self, connect: &Connect) -> bool {
        connect.client_id == self.settings.client_id && !connect.clean_start
    }

    /// `most`, or what is left of the grace period, but a moment at least.
    fn time_left(&self, most: Duration) -> Duration {
        let left = self.limit.borrow().map(|limit| limit.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| left.clamp(MOMENT, most))
    }

    /// The domain is no longer a legacy domain here. The session of one that is away the broker forgets
    /// by itself: to make it forget would take a connection under the domain's name, which may be the
    /// domain's own by now. That of one that comes over to MQTT is the domain's, if it resumes it; or
    /// else nothing more must come to it, for nobody would be there.
    async fn retire(&mut self, life: &mut Life, connect: Option<&Connect>) {
        let resumed = connect.is_some_and(|connect| self.is_resumed_by(connect));
        let until = Instant::now() + SETTLE;
        self.settle(life, connect.is_some() && !resumed, until).await;
        self.see_directory();
        self.proxy.retire(resumed, self.clock.now());
        self.act(life).await;
        self.settle(life, false, until).await;
        if let Some(session) = life.session.take() {
            let unacknowledged = session.unacknowledged();
            session.close().await;
            for publish in self.leave_store(life, unacknowledged).await {
                self.publish_for_it(publish).await;
            }
        }
        self.leave_store(life, Vec::new()).await;
        tracing::info!(domain = %self.name, "no longer a legacy domain here");
    }

    /// Waits until the broker has acknowledged what it was sent: another session that sent it again
    /// would double it. If the subscriptions are to end, what came for them is taken in; or else it
    /// stays with the broker, for whoever resumes the session.
    async fn settle(&mut self, life: &mut Life, ends: bool, until: Instant) {
        if let Some(session) = life.session.as_mut().filter(|_| ends) {
            session.set_filters(Vec::new());
        }
        while let Some(session) = life.session.as_mut().filter(|session| session.is_connected()) {
            if session.outbox().0 == 0 && (session.is_ready() || !ends) {
                return;
            }
            match timeout_at(until, session.next()).await {
                Ok(Event::Ready) => {}
                Ok(Event::Received(..)) if !ends => {}
                Ok(event) => {
                    self.event(event, life);
                    self.act(life).await;
                }
                Err(_) => {
                    return tracing::debug!(domain = %self.name, "the broker is not waited for");
                }
            }
        }
    }

    /// What the domain said goes out by the gateway's own session.
    pub(super) async fn publish_for_it(&mut self, publish: Publish) {
        let token = publish.token;
        if self.hub.send(ToHub::Publish(publish)).await.is_ok() {
            self.proxy.acknowledged(token, true, self.clock.now());
        }
    }
}

/// Goes on reading a channel, as far as there is room: it never ends.
async fn collect(
    channel: Option<&mut Channel>,
    carrier: &mut Carrier,
    most: usize,
    clock: Clock,
    tell: impl Fn(usize),
) {
    let mut buffer = vec![0; CHUNK];
    if let Some(channel) = channel {
        let waits = |carrier: &Carrier| carrier.waits_until(clock.now().monotonic).is_some();
        while carrier.held() < most && !waits(carrier) {
            match channel.read(&mut buffer).await {
                Ok(size @ 1..) => {
                    let bytes = buffer.get(..size).unwrap_or_default();
                    carrier.push(bytes, clock.now().monotonic);
                    tell(carrier.held());
                }
                // Whoever has the channel next finds out.
                Ok(0) | Err(_) => break,
            }
        }
    }
    std::future::pending().await
}
