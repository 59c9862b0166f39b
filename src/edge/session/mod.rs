//! A connection to the broker: this moves bytes, and [`crate::engine::session`] decides what is said
//! on it.

mod connection;
mod input;
mod output;
mod remembered;
mod retained;
mod wire;

pub use input::ReadRoom;
pub use remembered::load;
pub use retained::Retained;

use crate::edge::broker::Dialer;
use crate::engine::name::DomainName;
use crate::engine::session::{Packet, SessionEffect, SessionInput};
use connection::Connection;
use remembered::Remembered;
use std::path::PathBuf;

/// A session's pump: its connection, while there is one, and what is remembered of it.
pub struct SessionPump {
    /// Whose it is; the gateway's own, if nobody's.
    domain: Option<DomainName>,
    broker: Dialer,
    room: ReadRoom,
    connection: Option<Connection>,
    remembered: Remembered,
}

impl SessionPump {
    /// The pump of a domain's session, or of the gateway's own. It is remembered in this folder, if there is one.
    #[must_use]
    pub fn new(
        domain: Option<DomainName>,
        broker: Dialer,
        room: ReadRoom,
        state_dir: Option<PathBuf>,
    ) -> Self {
        Self { domain, broker, room, connection: None, remembered: Remembered::new(state_dir) }
    }

    /// Does what the session wants done. After a DISCONNECT that takes until the broker has read it, within
    /// about a second: whoever has the client id next must not throw out this connection, nor be thrown out by it.
    pub async fn carry_out(&mut self, effect: SessionEffect) {
        match effect {
            SessionEffect::Dial(connect) => {
                let room = self.room.clone();
                self.connection = Some(Connection::open(*connect, &self.broker, room));
            }
            SessionEffect::Send(packet) => {
                let ends = matches!(packet, Packet::Disconnect { .. });
                if let Some(connection) = &mut self.connection {
                    connection.send(packet);
                }
                if ends && let Some(connection) = self.connection.take() {
                    connection.end().await;
                }
            }
            SessionEffect::HangUp => self.connection = None,
            SessionEffect::Remember { client_id, held } => self.remembered.write(&client_id, &held),
            SessionEffect::Warn(what) => match &self.domain {
                Some(domain) => tracing::warn!(%domain, "{what}"),
                None => tracing::warn!("{what}"),
            },
        }
    }

    /// What happens next. Cancel-safe.
    pub async fn next(&mut self) -> SessionInput {
        tokio::select! {
            input = next(&mut self.connection) => input,
            () = self.remembered.written() => SessionInput::Remembered,
        }
    }
}

async fn next(connection: &mut Option<Connection>) -> SessionInput {
    let Some(open) = connection else { return std::future::pending().await };
    let input = open.next().await;
    if matches!(input, SessionInput::Lost(_)) {
        *connection = None;
    }
    input
}
