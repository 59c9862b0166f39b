//! Copies of what passes, for learning: in a thread of their own, so that what they cost delays nobody.

use crate::edge::clock::Clock;
use crate::edge::lock::{Lock, unusable};
use crate::edge::recorder::{RECORDS, Recording, Transcript};
use crate::edge::{private, regular};
use crate::engine::coverage::{Book, Coverage, Speaker, read, write};
use crate::engine::gateway::GatewayInput;
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

/// The file's name in `state_dir`.
pub const FILE: &str = "coverage.json";
/// How long after a change the file is written.
const SOON: Duration = Duration::from_secs(2);
/// How many bytes of a domain may wait to be learnt from.
const WAITING: u32 = 4 * 1024 * 1024;
/// What a copy weighs beside its bytes.
const WEIGHT: usize = 256;

enum What {
    /// A connection has begun.
    Opened(Speaker),
    /// Bytes pass.
    Bytes(Speaker, Bytes),
    /// Bytes have passed without being copied.
    Missed(Speaker, u64),
    /// Bytes were not passed on.
    Discarded(u64),
}

enum Letter {
    Heard {
        domain: DomainName,
        what: What,
        /// Room for others of the domain once this is learnt.
        _room: OwnedSemaphorePermit,
    },
    /// What has been learnt is asked for, as it is written.
    Asked(oneshot::Sender<String>),
    /// Somebody records.
    Record(oneshot::Sender<Result<Recording, String>>),
}

/// Takes copies of what passes in one channel. It never waits: what finds no room is counted.
pub(super) struct Ear {
    /// `None`: the socket's name is no domain's, and nothing is learnt from it.
    domain: Option<DomainName>,
    learner: Sender<Letter>,
    room: Arc<Semaphore>,
    /// What found no room.
    missed_domain: u64,
    missed_router: u64,
    discarded: u64,
}

impl Ear {
    /// A connection has begun.
    pub fn opened(&mut self, from: Speaker) {
        if !self.send(What::Opened(from), 0) {
            *self.missed(from) += 1;
        }
    }

    /// Bytes pass.
    pub fn heard(&mut self, from: Speaker, bytes: &[u8]) {
        let missed = std::mem::take(self.missed(from));
        // Without word of what is missing, what follows would be taken for its end.
        let told = missed == 0 || self.send(What::Missed(from, missed), 0);
        if !told {
            *self.missed(from) = missed;
        }
        if !(told && self.send(What::Bytes(from, Bytes::copy_from_slice(bytes)), bytes.len())) {
            *self.missed(from) += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
    }

    /// Bytes of the domain were not passed on.
    pub fn discarded(&mut self, bytes: u64) {
        self.discarded += bytes;
        if self.discarded > 0 && self.send(What::Discarded(self.discarded), 0) {
            self.discarded = 0;
        }
    }

    fn missed(&mut self, from: Speaker) -> &mut u64 {
        match from {
            Speaker::Domain => &mut self.missed_domain,
            Speaker::Router => &mut self.missed_router,
        }
    }

    fn send(&self, what: What, size: usize) -> bool {
        let Some(domain) = self.domain.clone() else { return true };
        let weight = u32::try_from(size.saturating_add(WEIGHT)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight);
        room.is_ok_and(|room| {
            self.learner.send(Letter::Heard { domain, what, _room: room }).is_ok()
        })
    }
}

/// The learner: it ends when it and every [`Ear`] are dropped.
pub(super) struct Learner {
    letters: Sender<Letter>,
}

impl Learner {
    /// Goes on with what the file in `state_dir`, which is locked, says, or begins it.
    ///
    /// # Errors
    /// The file cannot be read or written; and the way out.
    pub fn start(
        setting: Setting,
        state_dir: &Path,
        lock: Lock,
        clock: Clock,
    ) -> Result<(Self, JoinHandle<()>), String> {
        let file = state_dir.join(FILE);
        let book = open(&file).map_err(|e| unusable(&file, &e))?;
        let text = write(&book);
        private::replace_whole(&file, text.as_bytes()).map_err(|e| unusable(&file, &e))?;
        let coverage = Coverage::new(setting, book);
        let (letters, incoming) = channel();
        let thread =
            Thread { coverage, file, clock, failing: false, transcript: None, _lock: lock };
        Ok((Self { letters }, tokio::task::spawn_blocking(|| thread.run(incoming))))
    }

    /// What has been learnt so far, by the mapping that the gateway runs with, as the file has it.
    ///
    /// # Errors
    /// Nobody learns any more.
    pub fn book(&self) -> impl Future<Output = Result<String, String>> + use<> {
        let (reply, book) = oneshot::channel();
        // Without a learner there is no reply.
        let _ = self.letters.send(Letter::Asked(reply));
        async {
            book.await.map_err(|_| "nothing is learnt any more: see the gateway's log".to_owned())
        }
    }

    /// Records what is said from now on.
    ///
    /// # Errors
    /// Somebody does already, or nobody listens any more.
    pub fn record(&self) -> impl Future<Output = Result<Recording, String>> + use<> {
        let (reply, recording) = oneshot::channel();
        let _ = self.letters.send(Letter::Record(reply));
        async {
            let ends = |_| Err("nothing is heard any more: see the gateway's log".to_owned());
            recording.await.unwrap_or_else(ends)
        }
    }

    /// An ear for a channel.
    pub fn ear(&self, domain: Option<DomainName>) -> Ear {
        let room = usize::try_from(WAITING).unwrap_or(Semaphore::MAX_PERMITS);
        Ear {
            domain,
            learner: self.letters.clone(),
            room: Arc::new(Semaphore::new(room)),
            missed_domain: 0,
            missed_router: 0,
            discarded: 0,
        }
    }
}

struct Thread {
    coverage: Coverage,
    file: PathBuf,
    clock: Clock,
    /// The file could not be written the last time.
    failing: bool,
    /// For whoever records, while somebody does.
    transcript: Option<Transcript>,
    _lock: Lock,
}

impl Thread {
    fn run(mut self, letters: Receiver<Letter>) {
        let mut due: Option<Instant> = None;
        loop {
            let left = due.map(|at| at.saturating_duration_since(Instant::now()));
            let next = match left {
                None => letters.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(left) => letters.recv_timeout(left),
            };
            match next {
                Ok(Letter::Heard { domain, what, .. }) => {
                    self.learn(&domain, &what);
                    due.get_or_insert_with(|| Instant::now() + SOON);
                }
                Ok(Letter::Asked(reply)) => {
                    // Who does not wait for it any more needs none.
                    let _ = reply.send(write(&self.coverage.judged(self.clock.now())));
                }
                Ok(Letter::Record(reply)) => drop(reply.send(self.record())),
                Err(RecvTimeoutError::Timeout) => {
                    due = None;
                    self.save();
                }
                Err(RecvTimeoutError::Disconnected) => return self.save(),
            }
        }
    }

    fn record(&mut self) -> Result<Recording, String> {
        if self.transcript.as_ref().is_some_and(|transcript| !transcript.is_over()) {
            return Err(RECORDS.to_owned());
        }
        let (transcript, recording) = Transcript::begin();
        self.transcript = Some(transcript);
        tracing::info!("somebody records");
        Ok(recording)
    }

    /// What is heard, as a gateway in the router's place would be told it.
    fn write_down(&mut self, domain: &DomainName, what: &What) {
        self.transcript = self.transcript.take().filter(|transcript| !transcript.is_over());
        let Some(transcript) = &mut self.transcript else { return };
        let of = domain.clone();
        let told = match what {
            What::Opened(Speaker::Domain) => GatewayInput::Opened { of },
            What::Opened(Speaker::Router) => GatewayInput::SocketOpened { of },
            What::Bytes(Speaker::Domain, bytes) => {
                GatewayInput::Received { of, bytes: bytes.clone(), more: false }
            }
            What::Bytes(Speaker::Router, bytes) => {
                GatewayInput::SocketReceived { of, bytes: bytes.clone(), more: false }
            }
            What::Missed(..) | What::Discarded(_) => return,
        };
        transcript.add(told, self.clock.now());
    }

    fn learn(&mut self, domain: &DomainName, what: &What) {
        self.write_down(domain, what);
        match what {
            What::Opened(from) => self.coverage.opened(domain, *from),
            What::Bytes(from, bytes) => {
                self.coverage.hear(domain, *from, bytes, self.clock.now());
            }
            What::Missed(from, bytes) => self.coverage.missed(domain, *from, *bytes),
            What::Discarded(bytes) => self.coverage.discarded(domain, *bytes),
        }
    }

    fn save(&mut self) {
        let saved = private::replace_whole(&self.file, write(self.coverage.book()).as_bytes());
        if let (Err(error), false) = (&saved, self.failing) {
            tracing::error!(file = %self.file.display(), %error, help = "make room in `state_dir`, or mend it: it is tried again", "what was learnt cannot be written");
        }
        self.failing = saved.is_err();
    }
}

/// The book that a file has. One that makes no sense is kept under another name: it must not keep the
/// router from its domains.
fn open(file: &Path) -> io::Result<Book> {
    let book = match regular::read(file) {
        Ok(bytes) => read(&String::from_utf8_lossy(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Book::new(SystemTime::now()));
        }
        Err(error) if regular::is_none(&error) => {
            tracing::error!(file = %file.display(), help = "find out who has put it there", "no regular file: it is replaced");
            return Ok(Book::new(SystemTime::now()));
        }
        Err(error) => return Err(error),
    };
    book.or_else(|error| {
        let kept = file.with_extension("json.bad");
        tracing::error!(file = %file.display(), error, kept = %kept.display(), help = "nothing need be done", "what was learnt is not understood: it is kept aside, and begun anew");
        fs::rename(file, kept)?;
        Ok(Book::new(SystemTime::now()))
    })
}
