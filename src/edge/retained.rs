//! Reading what the broker has retained, and what is published there from then on.

use super::broker::Dialer;
use super::secrets;
use super::session::Retained;
use crate::config::Bare;
use crate::engine::publish::Received;
use crate::engine::session::ConnectPacket;
use crate::engine::status::Board;
use std::time::Duration;
use tokio::time::timeout;

/// How long the broker may take to hand over everything.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest message that is taken; the gateway's have some hundred bytes for each mapping file.
const LARGEST: u32 = 1024 * 1024;

/// A look at the status of a configuration's gateway: what the broker has of it, and the changes.
pub struct Look {
    retained: Retained,
    /// Where it looks.
    broker: String,
}

impl Look {
    /// Connects with the configuration's address and user, under a client id of its own, and gives
    /// everything that is retained.
    ///
    /// # Errors
    /// A line that names the broker and says why it is out of reach.
    pub async fn begin(config: &Bare) -> Result<(Self, Vec<Received>), String> {
        let credentials = secrets::read(&config.broker, &config.state_dir)?.own();
        let dialer = Dialer::new(&config.broker, &config.state_dir)?;
        let connect = ConnectPacket {
            client_id: format!("passerelle-{}-look-{}", config.instance, std::process::id()),
            clean_start: true,
            keep_alive: config.broker.keep_alive.as_secs().try_into().unwrap_or(u16::MAX),
            session_expiry: 0,
            max_packet: LARGEST,
            credentials,
            will: None,
        };
        let instance = &config.instance;
        let topics = vec![Board::state_topic(instance), Board::domains_filter(instance)];
        let retained = Retained::open(connect.clone(), &dialer, topics);
        let mut look = Self { retained, broker: config.broker.shown() };
        let mut messages = look.all().await?;
        let state = messages.iter().find(|message| message.topic == Board::state_topic(instance));
        let mut listed = state.map_or_else(Vec::new, |m| Board::listed(instance, &m.payload));
        listed.retain(|topic| messages.iter().all(|message| message.topic != *topic));
        if !listed.is_empty() {
            let client_id = format!("{}-more", connect.client_id);
            let connect = ConnectPacket { client_id, ..connect };
            let retained = Retained::open(connect, &dialer, listed);
            let mut more = Self { retained, broker: config.broker.shown() };
            messages.extend(more.all().await?);
        }
        Ok((look, messages))
    }

    /// Everything that is retained.
    async fn all(&mut self) -> Result<Vec<Received>, String> {
        let mut messages = Vec::new();
        loop {
            match timeout(PATIENCE, self.retained.next()).await {
                Ok(Ok(Some(message))) => messages.push(message),
                Ok(Ok(None)) => return Ok(messages),
                Ok(Err(why)) => return Err(self.out_of_reach(&why)),
                Err(_) => return Err(self.out_of_reach("it does not answer")),
            }
        }
    }

    /// The next change. Cancel-safe.
    ///
    /// # Errors
    /// A line that names the broker and says why the connection is lost.
    pub async fn next(&mut self) -> Result<Received, String> {
        loop {
            match self.retained.next().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(why) => return Err(self.out_of_reach(&why)),
            }
        }
    }

    fn out_of_reach(&self, why: &str) -> String {
        format!(
            "the broker at {} is out of reach: {why}; does it run, and may this user use it?",
            self.broker
        )
    }
}
