//! What has arrived at a peer, and waiting for it.

use super::DEADLINE;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// Something did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

impl Missing {
    /// Says what did not come.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The arrivals of one peer, in order. What is not taken stays.
pub struct Inbox<T> {
    name: String,
    incoming: UnboundedReceiver<T>,
    kept: VecDeque<T>,
}

impl<T: fmt::Display> Inbox<T> {
    /// An inbox for what comes through `incoming`.
    pub fn new(name: impl Into<String>, incoming: UnboundedReceiver<T>) -> Self {
        Self { name: name.into(), incoming, kept: VecDeque::new() }
    }

    /// Takes the first arrival that `wanted` accepts, now or until the deadline.
    pub async fn expect(
        &mut self,
        what: &str,
        wanted: impl FnMut(&T) -> bool,
    ) -> Result<T, Missing> {
        self.expect_within(DEADLINE, what, wanted).await
    }

    /// The same, with a deadline of its own.
    pub async fn expect_within(
        &mut self,
        deadline: Duration,
        what: &str,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<T, Missing> {
        if let Some(at) = self.kept.iter().position(&mut wanted) {
            return self.kept.remove(at).ok_or_else(|| Missing::new("nothing kept there"));
        }
        let search = async {
            while let Some(arrival) = self.incoming.recv().await {
                if wanted(&arrival) {
                    return Some(arrival);
                }
                self.kept.push_back(arrival);
            }
            None
        };
        match tokio::time::timeout(deadline, search).await {
            Ok(Some(arrival)) => Ok(arrival),
            Ok(None) => Err(self.missing(what, "its end is closed")),
            Err(_) => Err(self.missing(what, &format!("nothing for {deadline:?}"))),
        }
    }

    /// Takes the next arrival, whatever it is.
    pub async fn next(&mut self, what: &str) -> Result<T, Missing> {
        self.expect(what, |_| true).await
    }

    /// How many of the arrivals so far `wanted` accepts; they stay.
    ///
    /// To show that something does *not* come, first wait for something that would come after it.
    pub fn count(&mut self, mut wanted: impl FnMut(&T) -> bool) -> usize {
        while let Ok(arrival) = self.incoming.try_recv() {
            self.kept.push_back(arrival);
        }
        self.kept.iter().filter(|arrival| wanted(arrival)).count()
    }

    /// Forgets what came so far.
    pub fn clear(&mut self) {
        self.count(|_| false);
        self.kept.clear();
    }

    fn missing(&self, what: &str, why: &str) -> Missing {
        let mut text = format!("{}: waited for {what}: {why}; it has:", self.name);
        for arrival in self.kept.iter().rev().take(10).rev() {
            let shown: String = arrival.to_string().chars().take(300).collect();
            text.push_str("\n    ");
            text.push_str(&shown);
        }
        if self.kept.is_empty() {
            text.push_str(" nothing");
        }
        Missing(text)
    }
}
