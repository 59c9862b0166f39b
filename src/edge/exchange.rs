//! What passes between domains: each has a mailbox with room for so many bytes, and nobody waits for
//! another.

use crate::translate::name::DomainName;
use crate::translate::proxy::{OwnCall, Passed};
use crate::translate::refusal::{Reason, Refusal, head};
use crate::translate::roster::Roster;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What every letter takes besides its content.
const ENVELOPE: usize = 256;

/// Something passed to a domain, with its share of the mailbox's room.
pub(super) struct Letter {
    pub passed: Passed,
    _room: OwnedSemaphorePermit,
}

/// The sending end of a domain's mailbox. Its room bounds it.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    letters: mpsc::UnboundedSender<Letter>,
    room: Arc<Semaphore>,
    size: u32,
}

/// Why a letter was not taken, and the letter.
pub(super) enum NotTaken {
    /// There is no room.
    Full(Passed),
    /// The domain is not here any more.
    Gone(Passed),
}

/// A mailbox with room for `size` bytes, or for one letter, if that is larger.
pub(super) fn mailbox(size: usize) -> (Mailbox, mpsc::UnboundedReceiver<Letter>) {
    let (letters, receiver) = mpsc::unbounded_channel();
    let size = u32::try_from(size).unwrap_or(u32::MAX).max(1);
    let room = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1)));
    (Mailbox { letters, room, size }, receiver)
}

impl Mailbox {
    /// Has room for `size` bytes from now on; if that is less than what is in, as soon as that is out.
    pub fn resize(&mut self, size: usize) {
        let size = u32::try_from(size).unwrap_or(u32::MAX).max(1);
        let places = |n: u32| usize::try_from(n).unwrap_or(0);
        self.room.add_permits(places(size.saturating_sub(self.size)));
        let fewer = self.size.saturating_sub(size);
        let taken = places(fewer) - self.room.forget_permits(places(fewer));
        if let Some(taken) = u32::try_from(taken).ok().filter(|t| *t > 0) {
            let room = Arc::clone(&self.room);
            tokio::spawn(async move {
                if let Ok(places) = room.acquire_many_owned(taken).await {
                    places.forget();
                }
            });
        }
        self.size = size;
    }

    /// Puts a letter in, at once or not at all.
    pub fn put(&self, passed: Passed) -> Result<(), NotTaken> {
        let bytes = u32::try_from(size_of(&passed)).unwrap_or(u32::MAX).min(self.size);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else {
            return Err(NotTaken::Full(passed));
        };
        let sent = self.letters.send(Letter { passed, _room: room });
        sent.map_err(|e| NotTaken::Gone(e.0.passed))
    }
}

fn size_of(passed: &Passed) -> usize {
    ENVELOPE
        + match passed {
            Passed::Line { line, .. }
            | Passed::Copy(line)
            | Passed::Notice(line)
            | Passed::Returned(line)
            | Passed::Own(OwnCall { line, .. }) => line.len(),
            Passed::Event { line, payload, .. } => line.len() + payload.len(),
        }
}

/// Who is a legacy domain here, and where its mailbox is. Never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub roster: Arc<Roster>,
    pub mailboxes: BTreeMap<DomainName, Mailbox>,
}

impl Directory {
    /// The directory of legacy domains with a mailbox, and of the others.
    pub fn new(mailboxes: BTreeMap<DomainName, Mailbox>, others: Roster) -> Arc<Self> {
        let legacy = mailboxes.keys().cloned().collect();
        Arc::new(Self { roster: Arc::new(Roster { legacy, ..others }), mailboxes })
    }

    /// Puts a letter into a domain's mailbox.
    pub fn put(&self, to: &DomainName, passed: Passed) -> Result<(), NotTaken> {
        match self.mailboxes.get(to) {
            Some(mailbox) => mailbox.put(passed),
            None => Err(NotTaken::Gone(passed)),
        }
    }

    /// Puts a letter into every mailbox; gives a refusal for each that has no room. The message itself
    /// is counted by whoever sends it.
    pub fn put_all(&self, passed: &Passed) -> Vec<Refusal> {
        let line = match passed {
            Passed::Copy(line) | Passed::Event { line, .. } => line.as_ref(),
            Passed::Line { .. } | Passed::Notice(_) | Passed::Returned(_) | Passed::Own(_) => b"",
        };
        let not_given = |(name, mailbox): (&DomainName, &Mailbox)| {
            let full = matches!(mailbox.put(passed.clone()), Err(NotTaken::Full(_)));
            full.then(|| Refusal {
                reason: Reason::DomainStuck,
                from: name.clone(),
                detail: format!("{name} has no room for what is for everyone"),
                head: head(line),
            })
        };
        self.mailboxes.iter().filter_map(not_given).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_full_by_its_bytes_and_takes_one_large_letter() {
        let (mailbox, mut letters) = mailbox(1000);
        let line = |n: usize| Passed::Copy(vec![b'x'; n].into());
        assert!(mailbox.put(line(5000)).is_ok());
        assert!(matches!(mailbox.put(line(1)), Err(NotTaken::Full(_))));
        drop(letters.try_recv());
        assert!(mailbox.put(line(300)).is_ok());
        drop(letters);
        assert!(matches!(mailbox.put(line(1)), Err(NotTaken::Gone(_))));
    }

    #[tokio::test]
    async fn a_mailbox_grows_at_once_and_shrinks_as_it_empties() {
        let (mut mailbox, mut letters) = mailbox(1000);
        let line = |n: usize| Passed::Copy(vec![b'x'; n].into());
        assert!(mailbox.put(line(700)).is_ok());
        mailbox.resize(2000);
        assert!(mailbox.put(line(700)).is_ok());
        mailbox.resize(1100);
        assert!(matches!(mailbox.put(line(100)), Err(NotTaken::Full(_))));
        drop(letters.recv().await);
        // The place that was given up has to be taken by the task that waits for it.
        while mailbox.room.available_permits() > 1100 - 956 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(mailbox.put(line(100)), Err(NotTaken::Full(_))));
        drop(letters.recv().await);
        assert_eq!(mailbox.room.available_permits(), 1100);
        assert!(mailbox.put(line(5000)).is_ok(), "as large as all of it");
    }

    #[test]
    fn a_mailbox_without_room_for_what_is_for_everyone_is_a_refusal() {
        let names = ["vm-full", "vm-empty"].map(|n| DomainName::parse(n).unwrap());
        let boxes = names.clone().map(|name| (name, mailbox(1000)));
        let line = Passed::Copy(vec![b'x'; 900].into());
        assert!(boxes[0].1.0.put(line.clone()).is_ok());
        let all = boxes.iter().map(|(name, (mailbox, _))| (name.clone(), mailbox.clone()));
        let refusals = Directory::new(all.collect(), Roster::default()).put_all(&line);
        let from: Vec<_> = refusals.iter().map(|r| (&r.from, r.reason)).collect();
        assert_eq!(from, [(&names[0], Reason::DomainStuck)]);
    }
}
