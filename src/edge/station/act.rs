//! What the proxy wants done, done.

use super::super::exchange::NotTaken;
use super::super::hub::ToHub;
use super::super::refusals;
use super::super::session::{Filter, Session};
use super::{Life, Station};
use crate::translate::name::DomainName;
use crate::translate::proxy::{Action, Passed};
use crate::translate::publish::Publish;
use crate::translate::refusal::Refusal;
use std::sync::Arc;

impl Station {
    /// Does what the proxy wants done, in its order.
    pub(super) async fn act(&mut self, life: &mut Life) {
        loop {
            let actions = self.proxy.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.do_one(action, life).await;
            }
        }
    }

    async fn do_one(&mut self, action: Action, life: &mut Life) {
        match action {
            Action::Publish(publish) => self.publish(publish, life).await,
            Action::Store(token, message) => self.keep_apart(token, message, life),
            Action::Hold(token, message) => self.keep_held(token, *message, life),
            Action::Over(token) => self.over(token, life),
            Action::Subscribe(filters) => {
                let filters = Filter::others(filters);
                self.settings.set_filters(filters.clone());
                if let Some(session) = &mut life.session {
                    session.set_filters(filters);
                }
            }
            Action::Withdraw(token) => {
                if life.session.as_mut().is_none_or(|s| s.withdraw(token)) {
                    self.proxy.withdrawn(token);
                    self.landed(token, life);
                }
            }
            Action::Acknowledge(delivery) => {
                let delivery = life.deliveries.remove(&delivery);
                if let (Some(session), Some(delivery)) = (&mut life.session, delivery) {
                    session.acknowledge(delivery);
                }
            }
            Action::Queued => {}
            Action::Pass(to, passed) => {
                self.pass(&to, passed);
                life.passed = true;
            }
            Action::PassAll(passed) => {
                let directory = self.directory.borrow().clone();
                for refusal in directory.put_all(&passed) {
                    self.refused(refusal);
                }
            }
            Action::HandOver(call) => {
                let _ = self.hub.send(ToHub::HandOver(call)).await;
            }
            Action::Tell(publish) => {
                let _ = self.hub.send(ToHub::Tell(publish)).await;
            }
            Action::Refused(refusal) => self.refused(refusal),
            Action::Ignored(why, from) => {
                tracing::debug!(domain = %self.name, %from, why = why.as_str(), "ignored");
            }
            Action::Retire => self.retire_soon(life),
        }
    }

    async fn publish(&mut self, publish: Publish, life: &mut Life) {
        let (topic, call) = (&publish.topic, publish.token.0);
        tracing::debug!(domain = %self.name, topic, call, "publish");
        if life.removed && life.session.is_none() {
            // What is in the store is sent from there.
            if !self.is_kept(publish.token, life) {
                self.publish_for_it(publish).await;
            }
            return;
        }
        self.keep(&publish, life);
        let new = || Session::new(self.settings.clone());
        life.session.get_or_insert_with(new).publish(publish);
    }

    fn refused(&mut self, refusal: Refusal) {
        refusals::log(&refusal);
        // A full mailbox holds enough notices; the counters have them all.
        let _ = self.hub.try_send(ToHub::Refused(refusal));
    }

    fn pass(&mut self, to: &DomainName, passed: Passed) {
        let now = self.clock.now();
        let directory = self.directory.borrow().clone();
        tracing::debug!(domain = %self.name, %to, "pass on");
        match directory.put(to, passed) {
            Ok(()) => {}
            Err(NotTaken::Full(passed)) => self.proxy.not_passed(to, passed, now),
            Err(NotTaken::Gone(Passed::Line { line, .. })) => {
                // It left in this moment: the next look at the roster finds the line another way.
                self.proxy.set_roster(Arc::clone(&self.directory.borrow().roster));
                self.proxy.accept(Passed::Returned(line), now);
            }
            Err(NotTaken::Gone(passed)) => self.proxy.not_passed(to, passed, now),
        }
    }
}
