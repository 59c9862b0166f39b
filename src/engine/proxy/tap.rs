//! What crosses here, for whoever watches. What a message becomes is seen from what handling it has added: nothing
//! that handles it knows of this.

use super::call::CallStage;
use super::{Action, Forwarded, Proxy};
use crate::engine::clock::Now;
use crate::engine::publish::{Publish, Received};
use crate::engine::queue::{DeliveryId, Purpose, QueuedLine};
use crate::engine::refusal::Refusal;
use crate::engine::tap::{Crossing, Ending, Form};
use bytes::Bytes;

/// How everything stood before a message was handled.
struct Before {
    actions: usize,
    queue: usize,
    /// The last number that was given.
    number: u64,
}

impl Proxy {
    /// From now on what crosses is told, by [`Action::Crossed`]; or no more.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// A whole line, counted as received.
    pub(super) fn line(&mut self, line: Bytes, now: Now) {
        if !self.watched {
            return self.take_line(line, now);
        }
        let before = self.before();
        let came = Form::line(&line, self.rules.limits.depth);
        self.take_line(line, now);
        let became = self.published_since(&before, came.is_command());
        self.crossed(&before, came, became, now);
    }

    /// A message from MQTT that is for this channel.
    #[allow(clippy::wrong_self_convention, reason = "where it comes from, not what it becomes")]
    pub(super) fn from_mqtt(&mut self, message: Received, delivery: DeliveryId, now: Now) {
        if !self.watched {
            return self.take_message(message, delivery, now);
        }
        let before = self.before();
        let came = Form::received(&message);
        self.take_message(message, delivery, now);
        let became = self.written_since(&before);
        self.crossed(&before, came, became, now);
    }

    fn before(&mut self) -> Before {
        self.calls.answered_since = None;
        let number = self.calls.last();
        Before { actions: self.actions.len(), queue: self.queue.len(), number }
    }

    /// What a line was published as. An answer may have the next request published too, which is another
    /// message.
    fn published_since(&self, before: &Before, is_command: bool) -> Vec<Form> {
        let its = |publish: &&Publish| is_command || publish.response_topic.is_none();
        let publishes =
            self.actions.iter().skip(before.actions).filter_map(|action| match action {
                Action::Publish(publish) => Some(publish.clone()),
                Action::Store(token, message) => Some(message.publish(*token, None)),
                _ => None,
            });
        let held = self.calls.outgoing.iter().filter(|call| call.id > before.number);
        let held = held.filter_map(|call| call.held.clone());
        publishes.chain(held).filter(|publish| its(&publish)).map(|p| Form::published(&p)).collect()
    }

    /// The lines that a message from MQTT was written as, or will be when it is its turn. An answer may have the
    /// next command written too, which is another message.
    fn written_since(&self, before: &Before) -> Vec<Form> {
        let is_its = |entry: &&QueuedLine| match entry.purpose {
            Purpose::Call(id) => id > before.number,
            Purpose::Message { .. } | Purpose::Notice => true,
        };
        let written = self.queue.iter().skip(before.queue).filter(is_its).map(|entry| &entry.line);
        let held = self.calls.incoming.iter().filter(|call| call.id > before.number);
        let held = held.filter_map(|call| match &call.state {
            CallStage::Held(line) => Some(line),
            CallStage::Queued | CallStage::Open { .. } => None,
        });
        written.chain(held).map(|line| Form::line(line, self.rules.limits.depth)).collect()
    }

    fn crossed(&mut self, before: &Before, came: Form, became: Vec<Form>, now: Now) {
        let new = self.actions.get(before.actions..).unwrap_or_default();
        // A line may be several messages, each told of already.
        if new.iter().any(|action| matches!(action, Action::Crossed(_))) {
            return;
        }
        let direct = |action: &Action| {
            matches!(action, Action::Pass(_, Forwarded::Line { .. }) | Action::PassAll(_))
        };
        let ignored = new.iter().any(|action| matches!(action, Action::Ignored(..)));
        let crosses = !became.is_empty() || new.iter().any(direct);
        let refused = new.iter().position(|action| matches!(action, Action::Refused(_)));
        let (at, outcome) = match refused.filter(|_| !crosses) {
            Some(at) => match new.get(at) {
                Some(Action::Refused(Refusal { reason, detail, .. })) => {
                    (before.actions + at, Ending::Refused(*reason, detail.clone()))
                }
                _ => return,
            },
            None if ignored && !crosses => return,
            None => (before.actions, Ending::Crossed),
        };
        let took = self.calls.answered_since.map(|since| now.monotonic.saturating_sub(since));
        let from = self.name().clone();
        let crossing = Crossing { at: now.wall, from, came, became, took, outcome };
        // Before what it is about, so that a refusal that is told so is not told twice.
        self.actions.insert(at, Action::Crossed(Box::new(crossing)));
    }
}
