//! A Mosquitto of one's own, on a UNIX socket in a directory that goes with it.
#![allow(clippy::disallowed_methods, reason = "tests play the edges")]
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod session;

use bytes::Bytes;
use passerelle::config::Address;
use passerelle::engine::publish::{Publish, Qos, Token};
use passerelle::engine::session::{Filter, Replay, SessionEvent};
pub use session::{Session, Settings};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A broker; killed when it is dropped.
pub struct Broker {
    directory: TempDir,
    child: Option<Child>,
}

impl Broker {
    /// Starts one with these lines added to its configuration. `{data}` is its directory.
    pub async fn start(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("broker.sock");
        let data = directory.path().display();
        let text = format!(
            "listener 0 {}\nallow_anonymous true\nuser root\npersistence_location {data}/\n{more}\n",
            socket.display()
        );
        let text = text.replace("{data}", &data.to_string());
        std::fs::write(directory.path().join("mosquitto.conf"), text).unwrap();
        std::fs::write(directory.path().join("acl"), "topic read allowed\n").unwrap();
        let mut broker = Self { directory, child: None };
        broker.run().await;
        broker
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("broker.sock")
    }

    /// Runs it (again), until it accepts connections.
    pub async fn run(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let program = std::env::var_os("MOSQUITTO");
        let mut command = Command::new(program.unwrap_or_else(|| "/usr/sbin/mosquitto".into()));
        command.arg("-c").arg(self.directory.path().join("mosquitto.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let ready = async {
            // Paces the attempts.
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while tokio::net::UnixStream::connect(self.socket()).await.is_err() {
                pace.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Settings for a session here.
    pub fn settings(&self, id: &str, filters: &[&str]) -> Settings {
        let filter = |topic: &&str| Filter {
            topic: (*topic).to_owned(),
            no_local: false,
            retained: Replay::WhenNew,
        };
        Settings {
            client_id: id.to_owned(),
            address: Address::Unix(self.socket()),
            credentials: None,
            keep_alive: Duration::from_secs(10),
            session_expiry: Duration::from_secs(300),
            max_packet: 32 << 20,
            filters: filters.iter().map(filter).collect(),
            gone: BTreeSet::new(),
            will: None,
            stuck: Duration::from_secs(30),
        }
    }

    /// A session that is ready.
    pub async fn session(&self, id: &str, filters: &[&str]) -> Session {
        let mut session = Session::new(self.settings(id, filters));
        ready(&mut session).await;
        session
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The next event.
pub async fn next(session: &mut Session) -> SessionEvent {
    tokio::time::timeout(PATIENCE, session.next()).await.unwrap()
}

/// Waits for `Ready`, past failed attempts and what the broker had kept.
pub async fn ready(session: &mut Session) {
    loop {
        match next(session).await {
            SessionEvent::Ready => return,
            SessionEvent::Received(..) | SessionEvent::Lost { contested: false, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A publish of QoS 1.
pub fn publish(token: u64, topic: &str, payload: impl Into<Bytes>) -> Publish {
    Publish {
        token: Token(token),
        topic: topic.to_owned(),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        response_topic: None,
        correlation: None,
        source: None,
        mark: None,
        id: None,
        expiry: None,
    }
}
