//! The task of one relayed channel: it owns the connection to the domain, the socket that is offered
//! in its place, and the router's connection. It does to the router what a console's backend does,
//! and passes every byte on as it came.

use super::backlog::Backlog;
use super::learner::Ear;
use super::pipe::{CHUNK, read, read_out, rest_of, write};
use crate::edge::channel::{Channel, drain, is_absent};
use crate::edge::clock::wait;
use crate::edge::offered::{OfferFolder, Offered, offer};
use crate::engine::coverage::Speaker;
use crate::engine::limits::Limits;
use bytes::{Buf as _, BytesMut};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long to wait before trying a socket again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// At the end: how long nothing must have come for everything to have come.
const QUIET: Duration = Duration::from_millis(20);

/// What a relay is told.
pub(super) enum Control {
    /// The domain's socket is there; maybe a new one.
    Appeared,
    /// It is gone.
    Disappeared,
    /// The socket that is offered to the router may have been removed.
    Look,
    /// Log what has passed.
    Report,
    /// Pass on what is there, until then at most, and end.
    Finish(Instant),
}

/// One channel.
pub(super) struct Relay {
    /// The channel's name in the log: the domain's.
    pub name: String,
    /// The domain's own socket.
    pub own: PathBuf,
    /// The one that is offered to the router.
    pub offered: PathBuf,
    /// That one's folder.
    pub folder: OfferFolder,
    pub control: mpsc::UnboundedReceiver<Control>,
    pub ear: Ear,
    pub limits: Limits,
    life: RelayState,
}

/// The parts that change.
struct RelayState {
    /// Whether there is anything to connect to, as far as is known.
    present: bool,
    finish: Option<Instant>,
    /// A router that reads the last of a domain that is gone.
    last: Option<JoinHandle<()>>,
    from_domain: u64,
    from_router: u64,
    discarded: u64,
    /// Whether the last that was logged is that bytes are discarded.
    discarding: bool,
}

/// What there is while the domain is connected.
struct RelayLink {
    domain: UnixStream,
    offer: Option<Offered>,
    /// When to offer the socket (again).
    offer_at: Option<Instant>,
    /// Why it cannot be offered, as was told.
    fault: Option<String>,
    router: Option<UnixStream>,
    /// For the router.
    backlog: Backlog,
    /// For the domain. While there is some, the router is not read: a domain that does not read
    /// holds up its own messages, as it always did.
    pending: BytesMut,
}

enum RelayEvent {
    Domain(io::Result<usize>),
    ToDomain(io::Result<usize>),
    Router(io::Result<usize>),
    ToRouter(io::Result<usize>),
    Client(io::Result<UnixStream>),
    Control(Control),
    Offer,
    /// The end: nothing more comes, or the time is up.
    Over,
}

/// Where bytes are read to.
struct Buffers {
    domain: Vec<u8>,
    router: Vec<u8>,
}

impl Relay {
    /// A relay whose domain's socket has just appeared.
    pub fn new(
        (name, own, offered): (String, PathBuf, PathBuf),
        folder: OfferFolder,
        control: mpsc::UnboundedReceiver<Control>,
        ear: Ear,
        limits: Limits,
    ) -> Self {
        let life = RelayState {
            present: true,
            finish: None,
            last: None,
            from_domain: 0,
            from_router: 0,
            discarded: 0,
            discarding: false,
        };
        Self { name, own, offered, folder, control, ear, limits, life }
    }

    /// Runs until it is told to finish.
    pub async fn run(mut self) {
        let mut pause = Duration::ZERO;
        while let Some(domain) = self.attach(pause).await {
            tracing::info!(domain = %self.name, "channel connected");
            self.serve(domain).await;
            pause = RETRY.0;
        }
        if let (Some(limit), Some(last)) = (self.life.finish, self.life.last.take()) {
            let _ = timeout_at(limit, last).await;
        }
    }

    /// Connects to the domain as soon as there is anything to connect to. `None`: it is to end.
    async fn attach(&mut self, mut pause: Duration) -> Option<UnixStream> {
        while self.life.finish.is_none() {
            let try_at = self.life.present.then(|| Instant::now() + pause);
            tokio::select! {
                control = self.control.recv() => {
                    self.control(control?);
                    pause = Duration::ZERO;
                    continue;
                }
                () = wait(try_at) => {}
            }
            match UnixStream::connect(&self.own).await {
                Ok(domain) => return Some(domain),
                Err(error) => {
                    tracing::debug!(domain = %self.name, %error, "no channel yet");
                    self.life.present = !is_absent(&error, &self.own);
                }
            }
            pause = (pause * 2).clamp(RETRY.0, RETRY.1);
        }
        None
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Appeared => self.life.present = true,
            Control::Disappeared => self.life.present = false,
            Control::Look => {}
            Control::Report => self.report(),
            Control::Finish(limit) => self.life.finish = Some(limit),
        }
    }

    fn report(&self) {
        let RelayState { from_domain, from_router, discarded, .. } = self.life;
        tracing::info!(domain = %self.name, from_domain, from_router, discarded, "bytes relayed");
    }

    /// Passes everything on for as long as the domain is connected.
    async fn serve(&mut self, domain: UnixStream) {
        let mut link = RelayLink {
            domain,
            offer: None,
            offer_at: self.life.present.then(Instant::now),
            fault: None,
            router: None,
            backlog: Backlog::new(self.limits.queue),
            pending: BytesMut::new(),
        };
        let mut buffers = Buffers { domain: vec![0; CHUNK], router: vec![0; CHUNK] };
        self.ear.opened(Speaker::Domain);
        let why = loop {
            let ended = match self.turn(&mut link, &mut buffers).await {
                RelayEvent::Domain(Ok(0)) => Some("closed by the other side".to_owned()),
                RelayEvent::Domain(Err(error)) => Some(error.to_string()),
                RelayEvent::ToDomain(Err(error)) => {
                    // It has closed its end, after it had spoken.
                    let rest = rest_of(&link.domain);
                    self.domain_said(&rest, &mut link);
                    Some(error.to_string())
                }
                RelayEvent::Over => return self.finish(link).await,
                turn => {
                    self.take(turn, &mut link, &buffers).await;
                    None
                }
            };
            if let Some(why) = ended {
                break why;
            }
        };
        tracing::info!(domain = %self.name, why, not_taken = link.pending.len(), "channel lost");
        self.let_go(link);
    }

    async fn turn(&mut self, link: &mut RelayLink, buffers: &mut Buffers) -> RelayEvent {
        let finishing = self.life.finish.is_some();
        let idle =
            link.pending.is_empty() && (link.router.is_none() || link.backlog.chunk().is_empty());
        let quiet = (finishing && idle).then(|| Instant::now() + QUIET);
        let (mut domain, domain_writer) = link.domain.split();
        let (reader, writer) = link.router.as_mut().map(UnixStream::split).unzip();
        let client = link.offer.as_ref().filter(|_| reader.is_none() && !finishing);
        let reader = reader.filter(|_| link.pending.is_empty());
        tokio::select! {
            read = domain.read(&mut buffers.domain) => RelayEvent::Domain(read),
            read = read(reader, &mut buffers.router) => RelayEvent::Router(read),
            wrote = write(Some(domain_writer), &link.pending) => RelayEvent::ToDomain(wrote),
            wrote = write(writer, link.backlog.chunk()) => RelayEvent::ToRouter(wrote),
            client = accept(client) => RelayEvent::Client(client),
            Some(control) = self.control.recv() => RelayEvent::Control(control),
            () = wait(link.offer_at.filter(|_| !finishing)) => RelayEvent::Offer,
            () = wait(quiet) => RelayEvent::Over,
            () = wait(self.life.finish) => RelayEvent::Over,
        }
    }

    async fn take(&mut self, turn: RelayEvent, link: &mut RelayLink, buffers: &Buffers) {
        match turn {
            RelayEvent::Domain(read) => {
                let bytes = buffers.domain.get(..read.unwrap_or(0)).unwrap_or_default();
                self.domain_said(bytes, link);
            }
            RelayEvent::Router(Ok(read)) if read > 0 => {
                self.router_said(buffers.router.get(..read).unwrap_or_default(), link);
            }
            RelayEvent::Router(_) => self.router_left(link),
            RelayEvent::ToDomain(wrote) => link.pending.advance(wrote.unwrap_or(0)),
            RelayEvent::ToRouter(Ok(wrote)) => link.backlog.taken(wrote),
            RelayEvent::ToRouter(Err(_)) => {
                // It has closed its end, after it had written: that is still the domain's.
                let rest = link.router.as_ref().map(rest_of).unwrap_or_default();
                self.router_said(&rest, link);
                self.router_left(link);
            }
            RelayEvent::Client(Ok(router)) => {
                tracing::info!(domain = %self.name, "router connected");
                self.ear.opened(Speaker::Router);
                link.router = Some(router);
            }
            RelayEvent::Client(Err(error)) => {
                tracing::warn!(domain = %self.name, %error, help = "raise the limit of open files, if it is that", "the router could not be let in: it may connect again");
                link.offer = None;
                link.offer_at = Some(Instant::now() + RETRY.1);
            }
            RelayEvent::Offer => self.offer(link).await,
            RelayEvent::Control(control) => {
                self.offer_as_told(&control, link);
                self.control(control);
            }
            RelayEvent::Over => {}
        }
    }

    fn domain_said(&mut self, bytes: &[u8], link: &mut RelayLink) {
        self.life.from_domain += count(bytes);
        link.backlog.push(bytes);
        self.ear.heard(Speaker::Domain, bytes);
        let discarded = link.backlog.take_discarded();
        if discarded > 0 {
            self.discarded(
                discarded,
                if link.router.is_some() { "it reads too slowly" } else { "there is none" },
            );
        }
    }

    fn router_said(&mut self, bytes: &[u8], link: &mut RelayLink) {
        self.life.from_router += count(bytes);
        link.pending.extend_from_slice(bytes);
        self.ear.heard(Speaker::Router, bytes);
    }

    /// Bytes for the router are lost: told when it begins, and counted.
    fn discarded(&mut self, bytes: u64, why: &str) {
        self.life.discarded += bytes;
        self.ear.discarded(bytes);
        if !std::mem::replace(&mut self.life.discarding, true) {
            let limit = self.limits.queue;
            tracing::warn!(domain = %self.name, why, limit, help = "start the router, or find out what it waits for", "what the router does not read is discarded");
        }
    }

    /// What is told of the domain's socket may be old: the connection may be one to its newest already.
    fn offer_as_told(&self, control: &Control, link: &mut RelayLink) {
        match control {
            Control::Disappeared | Control::Finish(_) => (link.offer, link.offer_at) = (None, None),
            Control::Appeared if link.offer.is_none() => link.offer_at = Some(Instant::now()),
            Control::Look if link.offer.as_ref().is_some_and(|offer| !offer.is_there()) => {
                let path = self.offered.display();
                tracing::warn!(domain = %self.name, %path, "the relay's socket was removed: made anew");
                (link.offer, link.offer_at) = (None, Some(Instant::now()));
            }
            Control::Appeared | Control::Look | Control::Report => {}
        }
    }

    async fn offer(&mut self, link: &mut RelayLink) {
        link.offer_at = None;
        let opened = match self.folder.make() {
            Ok(()) => offer(self.offered.clone(), &self.own).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(offer) => {
                (link.offer, link.fault) = (Some(offer), None);
                tracing::info!(domain = %self.name, path = %self.offered.display(), "offered to the router");
            }
            Err(error) => {
                link.offer_at = Some(Instant::now() + RETRY.1);
                let fault = error.to_string();
                // The domain's own socket may have gone meanwhile.
                if self.own.exists() && link.fault.as_ref() != Some(&fault) {
                    tracing::error!(domain = %self.name, %error, help = "have the folder of `observe.relay` belong to the gateway: it is tried again", "cannot be offered to the router yet");
                    link.fault = Some(fault);
                }
            }
        }
    }

    fn router_left(&mut self, link: &mut RelayLink) {
        link.router = None;
        link.backlog.reader_left();
        self.life.discarding = false;
        let discarded = link.backlog.take_discarded();
        tracing::info!(domain = %self.name, discarded_of_a_line = discarded, "router disconnected");
        self.life.discarded += discarded;
        self.ear.discarded(discarded);
    }

    /// The domain is gone. Its router reads what was said before that, while a new one may come.
    fn let_go(&mut self, link: RelayLink) {
        drop(link.offer);
        let left = link.backlog.chunk().len();
        match link.router {
            Some(router) => {
                let last = read_out(router, link.backlog, self.limits.stuck, self.name.clone());
                if let Some(before) = self.life.last.replace(tokio::spawn(last)) {
                    before.abort();
                }
            }
            None if left > 0 => self.discarded(count(link.backlog.chunk()), "its domain is gone"),
            None => {}
        }
        self.life.discarding = false;
    }

    /// The gateway ends: what the domain was sent must have reached it before its connection closes.
    async fn finish(&mut self, mut link: RelayLink) {
        let limit = self.life.finish.unwrap_or_else(Instant::now);
        link.offer = None;
        let (for_router, for_domain) = (link.backlog.chunk().len(), link.pending.len());
        if for_router + for_domain > 0 {
            tracing::warn!(domain = %self.name, for_router, for_domain, help = "end the router before the gateway, so that it has read all", "the gateway ends, and this was not read: it is lost");
        }
        let domain = Channel::Unix(link.domain);
        drain(&domain, limit.saturating_duration_since(Instant::now())).await;
        self.report();
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

async fn accept(offer: Option<&Offered>) -> io::Result<UnixStream> {
    match offer {
        Some(offer) => offer.accept().await,
        None => std::future::pending().await,
    }
}
