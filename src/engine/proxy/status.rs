//! What a channel's reporter is shown of its proxy.

use super::Proxy;
use crate::engine::name::DomainName;
use crate::engine::status::{Carries, Losses, Utterance, View};

impl Proxy {
    /// Whom the status shows for this channel: its domain; behind a serial line, Dom0, through whose
    /// router everything comes.
    #[must_use]
    pub fn shown_as(&self) -> DomainName {
        self.rules.shown_as()
    }

    /// What there is to report.
    #[must_use]
    pub fn view(&self, connected: bool) -> View<'_> {
        View {
            connected,
            fault: None,
            carries: Carries::Lines,
            is_heard: self.input.heard().is_heard(),
            has_news: !self.input.heard().is_empty(),
            calls: self.calls.counted(),
            held: 0,
            counters: &self.counters,
            dropped: 0,
            published: 0,
            store: self.store_use(),
            losses: Losses::default(),
        }
    }

    /// What was heard on the channel since this was last called.
    pub fn take_heard(&mut self) -> Vec<Utterance> {
        self.input.take_heard()
    }
}
