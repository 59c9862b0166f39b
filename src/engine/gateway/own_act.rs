//! What the gateway's own session has done, and what its hub wants done.

use super::Gateway;
use super::act::hand_on;
use super::effect::{Effect, Pump};
use crate::engine::clock::Now;
use crate::engine::proxy::Action;
use crate::engine::session::{Delivery, Filter, SessionEvent};

impl Gateway {
    /// Carries out what the gateway's own session wants.
    pub(super) fn run_own(&mut self, now: Now) {
        loop {
            self.own.publish_board(now);
            let actions = self.own.hub.take_actions();
            let session = &mut self.own.session;
            let events: Vec<_> = std::iter::from_fn(|| session.next_event()).collect();
            if actions.is_empty() && events.is_empty() {
                break;
            }
            for event in events {
                self.own_event(event, now);
            }
            for action in actions {
                self.own_act(action, now);
            }
        }
        self.own.clear_logs(&mut self.effects);
        self.own.remember(&mut self.effects, now);
        hand_on(&mut self.effects, &Pump::Own, &mut self.own.session);
        self.finish_own(now);
    }

    fn own_event(&mut self, event: SessionEvent, now: Now) {
        let own = &mut self.own;
        match event {
            SessionEvent::Ready => {
                own.board.connected(now);
                own.log.ready();
            }
            SessionEvent::Lost { why, contested, times } => {
                own.board.lost_for(&why);
                own.log.lost(&why, contested, times);
            }
            SessionEvent::Received(message, delivery) if own.board.is_domains(&message.topic) => {
                own.board.found(&message.topic, message.payload.is_empty());
                own.session.acknowledge(delivery);
            }
            SessionEvent::Received(message, delivery) if own.board.is_own(&message.topic) => {
                if let Some(process) = own.board.found_state(&message.payload, now) {
                    tracing::warn!(
                        %process,
                        help = "stop one of them, or give each its own `instance`",
                        "another gateway of this name is online"
                    );
                }
                own.session.acknowledge(delivery);
            }
            // The domains are given nothing more: the broker keeps it.
            SessionEvent::Received(..) if self.finishing.is_some() => {}
            SessionEvent::Received(message, delivery) => {
                own.hub.deliver(&message, delivery.number(), now)
            }
            SessionEvent::Acknowledged { token, matched } => {
                if !own.landed(token, &mut self.effects) {
                    own.hub.acknowledged(token, matched, now);
                }
            }
            SessionEvent::Refused { token, reason, why } => {
                tracing::warn!(
                    why,
                    help = "let the gateway's user publish it: `passerelle acl` writes the rules",
                    "the broker refused a publish of the gateway's own"
                );
                if !own.landed(token, &mut self.effects) {
                    own.hub.not_published(token, reason, &why);
                }
            }
        }
    }

    fn own_act(&mut self, action: Action, now: Now) {
        match action {
            Action::Publish(publish) => {
                self.own.publish(publish, now);
                hand_on(&mut self.effects, &Pump::Own, &mut self.own.session);
            }
            Action::Withdraw(token) => drop(self.own.session.withdraw(token)),
            Action::Subscribe(filters) => {
                let mut filters = Filter::others(filters);
                filters.extend(self.own.board.own_filters().map(Filter::each_time));
                self.own.session.set_filters(filters, now.monotonic);
            }
            Action::PassAll(passed) => {
                if !self.pass_all(&passed, now) {
                    self.own.hub.nobody_there(&passed);
                }
            }
            Action::Crossed(crossing) => self.watch.crossed(*crossing),
            Action::Acknowledge(delivery) => self.own.session.acknowledge(Delivery::of(delivery)),
            Action::Refused(refusal) => self.refused(&Pump::Own, refusal, now),
            Action::Ignored(why, from) => self.effects.push(&Pump::Own, Effect::Ignored(why, from)),
            Action::Pass(..)
            | Action::Queued
            | Action::Store(..)
            | Action::Hold(..)
            | Action::Over(_)
            | Action::HandOver(_)
            | Action::Tell(_)
            | Action::Retire => {}
        }
    }
}
