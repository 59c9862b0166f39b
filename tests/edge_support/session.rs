//! A session and its connection, driven together as the gateway's pumps drive them.

use passerelle::config::{self, Address};
use passerelle::edge::broker::Dialer;
use passerelle::edge::session::{ReadRoom, SessionPump};
use passerelle::engine::password::Credentials;
use passerelle::engine::publish::{Publish, Token};
use passerelle::engine::session::{self, Delivery, Filter, SessionEvent, Will};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Everything that a session and its connections must know.
#[derive(Clone)]
pub struct Settings {
    pub client_id: String,
    pub address: Address,
    pub credentials: Option<Credentials>,
    pub keep_alive: Duration,
    pub session_expiry: Duration,
    pub max_packet: u32,
    pub filters: Vec<Filter>,
    /// Filters of before, which the broker may still have from an earlier connection.
    pub gone: BTreeSet<String>,
    pub will: Option<Will>,
    pub stuck: Duration,
}

impl Settings {
    /// From now on these subscriptions are wanted.
    pub fn set_filters(&mut self, filters: Vec<Filter>) {
        self.gone.extend(self.filters.drain(..).map(|filter| filter.topic));
        self.filters = filters;
        for filter in &self.filters {
            self.gone.remove(&filter.topic);
        }
    }
}

/// One session. Dropping it without [`Session::close`] cuts the connection, and the will is sent.
pub struct Session {
    session: session::Session,
    pump: SessionPump,
    start: Instant,
}

impl Session {
    /// A session that connects when [`Session::next`] is first polled.
    pub fn new(settings: Settings) -> Self {
        let of_session = session::Settings {
            client_id: settings.client_id,
            broker: settings.address.to_string(),
            credentials: settings.credentials,
            keep_alive: settings.keep_alive,
            session_expiry: settings.session_expiry,
            max_packet: settings.max_packet,
            filters: settings.filters,
            held: Some(settings.gone),
            will: settings.will,
            stuck: settings.stuck,
            seed: 7,
        };
        let broker = config::Broker {
            addresses: vec![settings.address],
            tls: None,
            user: None,
            password_file: None,
            passwords: None,
            keep_alive: settings.keep_alive,
            session_expiry: settings.session_expiry,
        };
        Self {
            session: session::Session::new(of_session, Duration::ZERO),
            pump: SessionPump::new(
                None,
                Dialer::new(&broker, Path::new("")).unwrap(),
                ReadRoom::new(settings.max_packet),
                None,
            ),
            start: Instant::now(),
        }
    }

    pub fn publish(&mut self, publish: Publish) {
        self.session.publish(publish, self.start.elapsed());
    }

    pub fn withdraw(&mut self, token: Token) -> bool {
        self.session.withdraw(token)
    }

    pub fn set_filters(&mut self, filters: Vec<Filter>) {
        self.session.set_filters(filters, self.start.elapsed());
    }

    pub fn set_credentials(&mut self, credentials: Option<Credentials>) {
        self.session.set_credentials(credentials, self.start.elapsed());
    }

    pub fn set_expiry(&mut self, expiry: Duration) {
        self.session.set_expiry(expiry);
    }

    pub fn acknowledge(&mut self, delivery: Delivery) {
        self.session.acknowledge(delivery);
    }

    pub fn outbox(&self) -> (usize, usize) {
        self.session.outbox()
    }

    pub fn unacknowledged(&self) -> Vec<Publish> {
        self.session.publishes().filter(|p| p.response_topic.is_none()).cloned().collect()
    }

    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    pub fn is_ready(&self) -> bool {
        self.session.is_ready()
    }

    /// The next event. It may be cancelled at any time.
    pub async fn next(&mut self) -> SessionEvent {
        loop {
            self.carry_out().await;
            if let Some(event) = self.session.next_event() {
                return event;
            }
            let deadline = self.session.deadline().map(|deadline| self.start + deadline);
            tokio::select! {
                () = sleep_until(deadline.unwrap_or(self.start)), if deadline.is_some() => {
                    self.session.wake(self.start.elapsed());
                }
                input = self.pump.next() => self.session.take(input, self.start.elapsed()),
            }
        }
    }

    /// Leaves the broker, which keeps the session for the expiry that it knows.
    pub async fn close(mut self) {
        self.session.close();
        self.carry_out().await;
    }

    /// Leaves the broker, which keeps the session for the expiry of [`Session::set_expiry`].
    pub async fn leave(mut self) {
        self.session.leave();
        self.carry_out().await;
    }

    async fn carry_out(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            self.pump.carry_out(effect).await;
        }
    }
}
