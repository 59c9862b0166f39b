//! What a tunnel wants done.

use super::Refusal;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

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
    /// Log how a loss of the broker goes on.
    Healing(Healing),
    /// Whether the domain has made its subscriptions: requests to it find it from here on, or no longer.
    Arrived(bool),
    /// The channel carries lines again, of which these bytes are the first: the tunnel is over.
    Legacy(Bytes),
}

/// How a loss of the broker goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healing {
    /// The domain is kept, and knows nothing of it.
    Begins,
    /// It is over, and the domain still knows nothing of it.
    Healed {
        /// How long it has taken.
        away: Duration,
        /// How many packets were said again.
        repeated: u64,
        /// How many subscriptions were made again.
        subscribed: u64,
    },
    /// The domain is told, for this reason.
    Failed(&'static str),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Arrived(there) => f.debug_tuple("Arrived").field(there).finish(),
            // A CONNECT may be among them, with its password.
            Self::Close(left) => write!(f, "Close({} bytes)", left.len()),
            Self::Healing(how) => f.debug_tuple("Healing").field(how).finish(),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Legacy(bytes) => f.debug_tuple("Legacy").field(bytes).finish(),
        }
    }
}
