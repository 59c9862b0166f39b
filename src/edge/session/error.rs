//! How a connection ends, as far as the session must tell the ways apart.

use rumqttc::v5::mqttbytes::Error as WireError;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use rumqttc::v5::{ConnectionError, StateError};
use std::io::ErrorKind;

/// The end of a connection, or of the attempt to make one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The broker closed it without a reason, or because another client took the session.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker answered a publish with a PUBACK reason that the library does not know. The
    /// library gives up over it, so it must not be sent again.
    #[error("the broker refused a publish (reason {0:#04x})")]
    UnknownReason(u8),
    /// Everything else.
    #[error("{0}")]
    Other(Box<ConnectionError>),
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        use ConnectionError::MqttState;
        let hung_up = |kind| {
            let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            ends.contains(&kind) || kind == ErrorKind::UnexpectedEof
        };
        match error {
            MqttState(StateError::ConnectionAborted) => Self::Closed,
            MqttState(StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            }) => Self::Closed,
            MqttState(
                StateError::Io(ref e) | StateError::Deserialization(WireError::Io(ref e)),
            ) if hung_up(e.kind()) => Self::Closed,
            // The only other packet with such reasons is DISCONNECT, and there the library knows
            // every code of the standard.
            MqttState(StateError::Deserialization(WireError::InvalidConnectReturnCode(code))) => {
                Self::UnknownReason(code)
            }
            error => Self::Other(Box::new(error)),
        }
    }
}
