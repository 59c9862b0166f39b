//! Requests to a domain that is only just coming over to MQTT, or going back: for a moment nobody subscribes to
//! them.

use super::{Action, Proxy, Sent};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;
use crate::engine::publish::{Publish, Token};
use std::time::Duration;

impl Proxy {
    /// What has to be kept of a request, should nobody be there for it.
    pub(super) fn kept(
        &self,
        publish: &Publish,
        to: Option<&DomainName>,
        now: Now,
    ) -> Option<(Duration, Publish)> {
        let comes = to.is_some_and(|to| self.rules.roster.mqtt.contains(to));
        comes.then(|| (now.monotonic, publish.clone()))
    }

    /// Publishes a request, once the domain that it is for has made its subscriptions.
    pub(super) fn publish_request(&mut self, mut publish: Publish, mut sent: Sent, now: Now) {
        if let Some(at) = self.waits_until(&sent, now) {
            self.unacked.retry_at(at, publish.token);
            self.set_id(&mut publish, &mut sent);
            self.unacked.insert(&publish, sent);
            self.keep_for_later(&publish);
        } else {
            self.publish(publish, sent);
        }
    }

    fn waits_until(&self, sent: &Sent, now: Now) -> Option<Duration> {
        let ((made, _), to) = (sent.again.as_ref()?, sent.to.as_ref()?);
        self.rules.roster.waits_until(to, *made, now.monotonic)
    }

    fn again_at(&self, sent: &Sent, now: Now) -> Option<Duration> {
        let ((made, _), to) = (sent.again.as_ref()?, sent.to.as_ref()?);
        self.rules.roster.again_at(to, *made, now.monotonic)
    }

    /// What was never published, though nobody waits for an answer to it, when the proxy ends.
    pub(super) fn publish_what_waits(&mut self) {
        for token in self.unacked.take_retries() {
            let uncalled = self.unacked.get(token).filter(|sent| sent.call.is_none());
            let Some(sent) = uncalled else { continue };
            self.actions.extend(sent.again.clone().map(|(_, publish)| Action::Publish(publish)));
        }
    }

    /// Nobody was there for a publish: says whether it is worth another try.
    pub(super) fn is_to_try_again(&mut self, token: Token, now: Now) -> bool {
        let at = self.unacked.get(token).and_then(|sent| self.again_at(sent, now));
        if let Some(at) = at {
            self.unacked.retry_at(at, token);
        }
        at.is_some()
    }

    /// Publishes again what nobody was there for.
    pub(super) fn ask_again(&mut self, now: Now) {
        while let Some(token) = self.unacked.take_retry(now.monotonic) {
            let Some(sent) = self.unacked.get(token) else { continue };
            let is_over = |id: u64| self.calls.outgoing_at(id).is_none();
            if sent.call.is_some_and(is_over) {
                self.unacked.remove(token);
                continue;
            }
            if let Some(at) = self.waits_until(sent, now) {
                self.unacked.retry_at(at, token);
                continue;
            }
            let Some((made, mut publish)) = sent.again.clone() else { continue };
            let waited = now.monotonic.saturating_sub(made);
            publish.expiry = publish.expiry.map(|expiry| expiry.saturating_sub(waited));
            self.actions.push(Action::Publish(publish));
        }
    }
}
