//! The pump of one socket that Dom0's program is offered: it moves bytes. The engine decides.

use super::Shared;
use crate::edge::channel::{Channel, drain};
use crate::edge::offered::{OfferFolder, Offered, offer};
use crate::engine::clock::Now;
use crate::engine::gateway::{CHUNK, Effect, Gateway, Pump};
use crate::engine::name::DomainName;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWrite as _;
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How often it is looked whether the socket is still there, and tried again if it cannot be made.
const LOOK: Duration = Duration::from_secs(5);
/// How long the program may take to read the last.
const LAST: Duration = Duration::from_secs(2);

/// Where Dom0's program looks for sockets.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Offers {
    pub folder: OfferFolder,
    /// Whoever may connect to this may connect to them.
    pub like: PathBuf,
}

/// One socket's pump.
pub(in crate::edge) struct SocketPump {
    shared: Shared,
    name: DomainName,
    me: Pump,
    notify: Arc<Notify>,
    offers: Offers,
    /// Why it cannot be offered, as was told.
    fault: Option<String>,
    is_over: bool,
}

impl SocketPump {
    pub fn new(shared: Shared, name: DomainName, offers: Offers) -> Self {
        let me = Pump::Socket(name.clone());
        let notify = shared.engine.enter(me.clone());
        Self { shared, name, me, notify, offers, fault: None, is_over: false }
    }

    /// Runs until the socket is not wanted any more, or the gateway ends.
    pub async fn run(mut self) {
        let mut offered = None;
        while !self.is_over() {
            if offered.as_ref().is_none_or(|offered: &Offered| !offered.is_there()) {
                offered = self.offer().await;
            }
            if let Some(program) = self.accept(offered.as_ref()).await {
                self.tell(|gateway, name, now| gateway.socket_opened(name, now));
                let why = self.serve(program).await;
                self.tell(|gateway, name, now| gateway.socket_closed(name, &why, now));
            }
        }
    }

    fn tell(&self, tell: impl FnOnce(&mut Gateway, &DomainName, Now)) {
        self.shared.engine.tell(Some(&self.me), |gateway, now| tell(gateway, &self.name, now));
    }

    fn is_over(&mut self) -> bool {
        let engine = &self.shared.engine;
        while let Some(effect) = engine.next_effect(&self.me) {
            self.is_over |= effect == Effect::End && engine.leave(&self.me);
        }
        self.is_over || engine.ask(Gateway::are_sockets_through)
    }

    async fn offer(&mut self) -> Option<Offered> {
        let path = self.offers.folder.at(format!("{}-msg.sock", self.name).as_ref());
        let made = self.offers.folder.make();
        let like =
            if self.offers.like.exists() { &self.offers.like } else { self.offers.folder.path() };
        let offered = match made {
            Ok(()) => offer(path.clone(), like).await,
            Err(error) => Err(error),
        };
        let fault = offered.as_ref().err().map(|error| format!("{}: {error}", path.display()));
        if fault != self.fault {
            let folder = self.offers.folder.path().display().to_string();
            if let Some(error) = &fault {
                tracing::warn!(socket = %self.name, error, "not offered to Dom0's program: tried again");
            }
            self.fault.clone_from(&fault);
            self.tell(|gateway, _, now| gateway.folder_failing(folder, fault, now));
        }
        offered.ok()
    }

    /// The program, if it comes before there is something else to do.
    async fn accept(&self, offered: Option<&Offered>) -> Option<UnixStream> {
        let program = async {
            match offered {
                Some(offered) => offered.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            program = program => program,
            () = self.notify.notified() => None,
            () = sleep(LOOK) => None,
        }
    }

    /// Moves bytes until one side ends. Says why.
    async fn serve(&mut self, mut program: UnixStream) -> String {
        let ended = self.move_bytes(&mut program).await;
        drain(&Channel::Unix(program), LAST).await;
        ended
    }

    async fn move_bytes(&mut self, program: &mut UnixStream) -> String {
        let (reader, mut writer) = program.split();
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut takes_more = true;
        loop {
            if self.is_over() {
                return "the gateway ends".to_owned();
            }
            let most = self.shared.engine.ask(Gateway::may_read_sockets);
            tokio::select! {
                wrote = self.write(&mut writer), if takes_more => match wrote {
                    Ok(count) => self.tell(|gateway, name, now| gateway.socket_written(name, count, now)),
                    // What the program said before it went is still to be read.
                    Err(_) => takes_more = false,
                },
                read = read(&reader, &mut buffer, most.unwrap_or_default()), if most.is_some() => match read {
                    Ok(0) => return "closed by the other side".to_owned(),
                    Ok(count) => {
                        let more = Some(count) == most;
                        self.tell(|gateway, name, now| gateway.socket_received(name, &buffer, more, now));
                    }
                    Err(error) => return error.to_string(),
                },
                () = self.notify.notified() => {}
            }
        }
    }

    /// Writes some of what the engine has for the socket. Cancel-safe.
    async fn write(&self, program: &mut WriteHalf<'_>) -> io::Result<usize> {
        poll_fn(|context| {
            self.shared.engine.ask(|gateway| match gateway.to_socket(&self.name) {
                Some(chunk) => Pin::new(&mut *program).poll_write(context, chunk),
                // Whoever gives the engine something for it wakes this pump.
                None => Poll::Pending,
            })
        })
        .await
    }
}

/// Reads some bytes, so many at most. Cancel-safe.
async fn read(program: &ReadHalf<'_>, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    loop {
        program.readable().await?;
        buffer.clear();
        buffer.resize(most, 0);
        match program.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.inspect(|count| buffer.truncate(*count)),
        }
    }
}
