//! Another mapping and other limits, while calls are pending.

use super::{Action, Proxy, Setting};
use crate::engine::clock::Now;
use crate::engine::subscriptions;
use std::collections::BTreeSet;

impl Proxy {
    /// From now on the mapping, the policy and the limits of `setting` hold; its names do not change. Pending calls
    /// go on under the rows that they began with, and what waits already stays, whatever its size.
    pub fn reload(&mut self, setting: &Setting, now: Now) {
        let (old, new) = (&self.rules.limits, &setting.limits);
        if (old.rate, old.pace) != (new.rate, new.pace) {
            self.input.set_rate(new);
        }
        self.rules.reload(setting);
        self.queue.set_limit(setting.limits.queue);
        self.unacked.set_limit(setting.limits.outbox);
        self.set_level(self.level, now);
        let wanted = subscriptions::of_channel(&self.rules.table, &self.rules.identity);
        let answers = self
            .calls
            .outgoing
            .iter()
            .map(|a| subscriptions::of_answers(&a.row, &self.rules.identity));
        self.surplus = answers.filter(|filter| !wanted.contains(filter)).collect();
        self.subscribe(wanted);
    }

    /// The last call that needed a filter of an earlier mapping may have ended.
    pub(super) fn subscribe_to_less(&mut self) {
        if self.surplus.is_empty() {
            return;
        }
        let (asked, identity) = (&self.calls.outgoing, &self.rules.identity);
        let before = self.surplus.len();
        self.surplus.retain(|filter| {
            asked.iter().any(|a| subscriptions::of_answers(&a.row, identity) == *filter)
        });
        if self.surplus.len() < before {
            self.subscribe(subscriptions::of_channel(&self.rules.table, &self.rules.identity));
        }
    }

    fn subscribe(&mut self, wanted: BTreeSet<String>) {
        let filters = wanted.union(&self.surplus).cloned().collect();
        self.actions.push(Action::Subscribe(filters));
    }
}
