//! The task of the gateway's own session.

mod drain;

pub(super) use drain::{Drains, Left};

use super::clock::Clock;
use super::exchange::Directory;
use super::refusals;
use super::session::{Delivery, Event, Filter, Session};
use super::status::Status;
use super::store::Log;
use super::supervisor::Reloaded;
use crate::translate::hub::Hub;
use crate::translate::name::DomainName;
use crate::translate::proxy::{Action, HandedOver};
use crate::translate::publish::Publish;
use crate::translate::refusal::{Counters, Refusal};
use crate::translate::status::Report;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// What the hub is told by the rest of the gateway.
pub(super) enum ToHub {
    /// A refusal, to be published.
    Refused(Refusal),
    /// Says that a request to a domain, of too many, came to nothing.
    Tell(Box<Publish>),
    /// A publish of a domain that is gone.
    Publish(Publish),
    /// A call that a domain that is gone was never given.
    HandOver(Box<HandedOver>),
    /// Configuration and mapping were loaded anew, or could not be.
    Reloaded(Box<Reloaded>),
    /// What a domain's channel is doing.
    Domain(DomainName, Report),
    /// The store does not take what comes from a domain, or does again.
    Store(DomainName, Option<String>),
    /// What is in this log is to be sent: its domain has left it.
    Drain(DomainName, Box<Log>),
    /// Give the domains nothing more: the broker keeps it. This is dropped when that is so.
    Finish(mpsc::Sender<Infallible>),
    /// Its counters are wanted.
    Count(oneshot::Sender<Counters>),
}

/// How long the good-bye to the broker may take beyond the grace period.
const GOODBYE: Duration = Duration::from_millis(100);

pub(super) struct Task {
    pub hub: Hub,
    pub session: Session,
    pub status: Status,
    pub drains: Drains,
    /// Logs that an earlier run has left.
    pub left: Option<Left>,
    pub directory: watch::Receiver<Arc<Directory>>,
    pub mail: mpsc::Receiver<ToHub>,
    pub clock: Clock,
    pub stop: CancellationToken,
    /// Whether the last that was logged of the session is that it was lost.
    pub lost: bool,
    pub finishing: bool,
}

/// The most bytes of notices that wait for the broker.
const NOTICES: usize = 1024 * 1024;

/// The most bytes that wait for it before the callers of a flood are told nothing.
const TOLD: usize = 4 * 1024 * 1024;

/// Tokens of publishes that are handed over begin here, so that they differ from the hub's own.
const HANDED_OVER: u64 = 1 << 63;

impl Task {
    /// Runs until it is stopped, and then until its outbox is empty or `limit` has come.
    pub async fn run(mut self, limit: watch::Receiver<Option<Instant>>) -> usize {
        let mut limit = limit;
        self.open_left().await;
        loop {
            let deadlines = self.hub.deadline().into_iter().chain(self.status.deadline());
            let deadline = deadlines.min().map(|d| self.clock.at(d));
            let until = *limit.borrow();
            if self.stop.is_cancelled() && self.mail.is_empty() && self.left() == 0 {
                if !self.status.bid_farewell(self.clock.now()) {
                    break;
                }
                self.publish_status();
            }
            tokio::select! {
                event = self.session.next() => self.event(event),
                Some(mail) = self.mail.recv() => match mail {
                    ToHub::Refused(refusal) => self.hub.refused(refusal, self.clock.now()),
                    ToHub::HandOver(call) => {
                        // Who has left, and for where, is known by now.
                        self.hub.set_roster(Arc::clone(&self.directory.borrow().roster));
                        self.hub.hand_over(call, self.clock.now());
                    }
                    ToHub::Tell(mut publish) => {
                        if self.session.outbox().1 < TOLD {
                            publish.token = self.drains.token();
                            self.session.publish(*publish);
                        }
                    }
                    ToHub::Publish(mut publish) => {
                        publish.token = self.drains.token();
                        self.session.publish(publish);
                    }
                    ToHub::Reloaded(reloaded) => {
                        if let Ok(applied) = &reloaded.outcome {
                            self.session.set_credentials(applied.own.clone());
                            self.hub.reload(&applied.setting, self.clock.now());
                        }
                        self.status.reloaded(reloaded.outcome, self.clock.now());
                    }
                    ToHub::Domain(name, report) => {
                        self.status.report(&name, &report, self.clock.now());
                    }
                    ToHub::Store(name, error) => self.status.board.store(&name, error),
                    ToHub::Finish(busy) => {
                        self.finishing = true;
                        drop(busy);
                    }
                    ToHub::Drain(name, log) => self.drains.add(name, *log),
                    ToHub::Count(reply) => {
                        let _ = reply.send(self.hub.counters().clone());
                    }
                },
                () = wait(deadline) => {
                    self.hub.wake(self.clock.now());
                    self.status.wake(self.clock.now());
                }
                Ok(()) = self.directory.changed() => {
                    let directory = self.directory.borrow_and_update().clone();
                    self.hub.set_roster(Arc::clone(&directory.roster));
                }
                () = self.status.changed() => {}
                () = self.stop.cancelled(), if !self.stop.is_cancelled() => {}
                () = wait(until), if until.is_some() => break,
                Ok(()) = limit.changed() => {}
            }
            self.act(None);
            self.drain().await;
            self.publish_status();
        }
        let left = self.left();
        let until = limit.borrow().unwrap_or_else(Instant::now) + GOODBYE;
        // Without a good-bye the broker sends the will, which says what could not be said.
        if left == 0 && !self.status.owes_farewell() {
            let _ = timeout_at(until, self.session.close()).await;
        }
        self.status.end(self.clock.now()).await;
        left
    }

    /// How many publishes the broker has not taken, or nobody was there for.
    fn left(&self) -> usize {
        // What is in a log is sent by the next run.
        self.session.outbox().0.saturating_sub(self.drains.under_way()) + self.hub.unheard()
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ready => {
                self.lost = false;
                self.status.board.connected(self.clock.now());
                tracing::info!("the gateway's own session is ready");
            }
            Event::Received(message, delivery) if self.status.takes(&message) => {
                self.session.acknowledge(delivery);
            }
            Event::Received(..) if self.finishing => {}
            Event::Received(message, delivery) => {
                self.hub.deliver(&message, 0, self.clock.now());
                self.act(Some(delivery));
            }
            Event::Acknowledged { token, .. } if self.drains.landed(token) => {}
            Event::Acknowledged { token, matched } => {
                self.hub.acknowledged(token, matched, self.clock.now());
            }
            Event::Refused { token, reason, why } => {
                tracing::warn!(why, "the broker refused a publish of the gateway's own");
                self.drains.landed(token);
                self.hub.not_published(token, reason, &why);
            }
            Event::Lost { why, contested } => {
                self.status.board.lost();
                if !self.lost || contested {
                    tracing::warn!(why, contested, "the gateway's own session is lost");
                }
                self.lost = true;
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let now = self.clock.now();
        refusals::log(&refusal);
        self.hub.refused(refusal, now);
    }

    /// Publishes a call that was handed over, or a notice, unless there are too many notices that the
    /// broker has not taken: the log has all.
    fn publish(&mut self, publish: Publish) {
        if self.hub.has_call(publish.token) || self.session.outbox().1 < NOTICES {
            self.session.publish(publish);
        }
    }

    /// Publishes what is new on the board. It cannot pile up, for each domain has one token; but what
    /// others have left on the board's topics may be much.
    fn publish_status(&mut self) {
        for publish in self.status.publishes() {
            match publish.payload.is_empty() {
                true => self.publish(publish),
                false => self.session.publish(publish),
            }
        }
    }

    fn act(&mut self, delivery: Option<Delivery>) {
        let directory = self.directory.borrow().clone();
        for action in self.hub.take_actions() {
            match action {
                Action::Publish(publish) => self.publish(publish),
                Action::Withdraw(token) => {
                    self.session.withdraw(token);
                }
                Action::Subscribe(filters) => {
                    let mut filters = Filter::others(filters);
                    filters.push(self.status.filter());
                    self.session.set_filters(filters);
                }
                Action::PassAll(passed) => {
                    for refusal in directory.put_all(&passed) {
                        self.refused(refusal);
                    }
                }
                Action::Acknowledge(_) => {
                    if let Some(delivery) = delivery {
                        self.session.acknowledge(delivery);
                    }
                }
                Action::Refused(refusal) => {
                    self.refused(refusal);
                }
                Action::Ignored(why, from) => {
                    tracing::debug!(%from, why = why.as_str(), "ignored");
                }
                other => tracing::error!(?other, "the hub has no such thing to do"),
            }
        }
        for action in self.hub.take_actions() {
            if let Action::Publish(publish) = action {
                self.publish(publish);
            }
        }
    }
}

/// Waits until then, or for ever.
pub(super) async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
