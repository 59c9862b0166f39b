//! A bare connection to the broker: for a session, or for a domain's own MQTT.

use crate::config::Address;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, sink};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::either::Either;

/// Bytes to the broker and from it.
pub(super) type Broker = Either<UnixStream, TcpStream>;

/// How long the broker may take to accept a connection, or to take what is left for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects.
///
/// # Errors
/// Those of `connect(2)`, and a broker that does not accept in time.
pub(super) async fn connect(address: &Address) -> io::Result<Broker> {
    let connected = async {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Either::Left),
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Either::Right(stream))
            }
        }
    };
    timeout(PATIENCE, connected).await?
}

/// Writes what is left, and waits until the broker has read it and closed.
pub(super) async fn close(mut broker: Broker, left: &[u8]) {
    let closed = async {
        broker.write_all(left).await?;
        broker.shutdown().await?;
        tokio::io::copy(&mut broker, &mut sink()).await
    };
    if !matches!(timeout(PATIENCE, closed).await, Ok(Ok(_))) {
        tracing::warn!(
            bytes = left.len(),
            help = "look whether the broker hangs",
            "a connection to the broker did not end in time: the last of a domain may be lost"
        );
    }
}
