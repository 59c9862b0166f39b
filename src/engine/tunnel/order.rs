//! What a tunnel wants done.

use super::Refusal;
use bytes::Bytes;
use std::fmt;

/// What a tunnel wants done, in this order.
#[derive(Clone, PartialEq, Eq)]
pub enum Order {
    /// Connect to the broker, once the connection before is closed: then [`Tunnel::to_broker`] has something
    /// for it.
    Open,
    /// Cut the connection to the broker, as soon as it has these last bytes; then [`Tunnel::closed`].
    Close(Bytes),
    /// Log and publish a refusal.
    Refused(Refusal),
    /// Whether the domain has made its subscriptions: requests to it find it from here on, or no longer.
    Arrived(bool),
    /// The channel carries lines again, of which these bytes are the first: the tunnel is over.
    Legacy(Bytes),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Arrived(there) => f.debug_tuple("Arrived").field(there).finish(),
            // A CONNECT may be among them, with its password.
            Self::Close(left) => write!(f, "Close({} bytes)", left.len()),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Legacy(bytes) => f.debug_tuple("Legacy").field(bytes).finish(),
        }
    }
}
