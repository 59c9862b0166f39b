//! What a channel's reporter is shown of its proxy.

use super::Proxy;
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use crate::engine::status::{Carries, Utterance, View};

impl Proxy {
    /// Whom the status shows for this channel: its domain; behind a serial line, Dom0, through whose
    /// router everything comes.
    #[must_use]
    pub fn shown_as(&self) -> DomainName {
        match &self.identity {
            Identity::Domain(name) => name.clone(),
            Identity::Behind { .. } => DomainName::dom0(),
        }
    }

    /// What there is to report.
    #[must_use]
    pub fn view(&self, connected: bool) -> View<'_> {
        View {
            connected,
            fault: None,
            carries: Carries::Lines,
            is_heard: self.heard.is_heard(),
            has_news: !self.heard.is_empty(),
            calls: self.asked.counted() + self.given.len(),
            counters: &self.counters,
            dropped: 0,
        }
    }

    /// What was heard on the channel since this was last called.
    pub fn take_heard(&mut self) -> Vec<Utterance> {
        self.heard.take()
    }
}
