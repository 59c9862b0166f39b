//! A connection to the broker: this moves bytes, and [`crate::engine::session`] decides what is said
//! on it.

mod connection;
mod input;
mod output;
mod remembered;
mod retained;
mod wire;

pub use connection::Connection;
pub use input::ReadRoom;
pub use remembered::{Remembered, load};
pub use retained::Retained;

use crate::engine::session::Input;

/// What happens next on a connection, if there is one. Cancel-safe.
pub async fn next(connection: &mut Option<Connection>) -> Input {
    let Some(open) = connection else { return std::future::pending().await };
    let input = open.next().await;
    if matches!(input, Input::Lost(_)) {
        *connection = None;
    }
    input
}
