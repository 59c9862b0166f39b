//! A short look at what the broker has retained, without a session that it would keep.

use super::connection::Connection;
use super::settings::Settings;
use super::wire;
use crate::translate::publish::Received;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, RetainForwardRule, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::{Event, Request};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How many messages wait to be taken.
const WAITING: usize = 64;

/// The retained messages of some filters, then one `None`, then what is published from then on.
pub struct Retained {
    messages: mpsc::Receiver<Result<Option<Received>, String>>,
    _poller: AbortOnDropHandle<()>,
}

impl Retained {
    /// Begins to connect. The filters of the settings are not used, but `filters`, at QoS 0: with
    /// that, no window of unacknowledged messages can hold anything up.
    #[must_use]
    pub fn open(settings: &Settings, filters: Vec<String>) -> Self {
        let (sender, messages) = mpsc::channel(WAITING);
        let poller = tokio::spawn(poll(Connection::open(settings, true), filters, sender));
        Self { messages, _poller: AbortOnDropHandle::new(poller) }
    }

    /// The next one; `None` once everything that was retained has come. Cancel-safe.
    ///
    /// # Errors
    /// Why there is no connection, or no more. Nothing follows.
    pub async fn next(&mut self) -> Result<Option<Received>, String> {
        self.messages.recv().await.unwrap_or_else(|| Err("the connection has ended".into()))
    }
}

async fn poll(
    mut connection: Connection,
    filters: Vec<String>,
    messages: mpsc::Sender<Result<Option<Received>, String>>,
) {
    let subscription = |path: &String, retain_forward_rule| Filter {
        path: path.clone(),
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: true,
        retain_forward_rule,
    };
    let all = |rule: RetainForwardRule| {
        let filters = filters.iter().map(|f| subscription(f, rule.clone()));
        Request::Subscribe(Subscribe::new_many(filters, None))
    };
    let mut answers = 0;
    loop {
        let next = match connection.event().await {
            Some(Ok(Event::Incoming(Packet::ConnAck(_)))) => {
                connection.request(all(RetainForwardRule::OnEverySubscribe));
                continue;
            }
            Some(Ok(Event::Incoming(Packet::SubAck(suback)))) => {
                let refused =
                    |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                answers += 1;
                match suback.return_codes.iter().find(|code| refused(code)) {
                    Some(code) => Err(format!("it refuses a subscription ({code:?})")),
                    // The broker answers in order: the retained messages of the first subscription
                    // come before the answer to the second.
                    None if answers == 1 => {
                        connection.request(all(RetainForwardRule::Never));
                        continue;
                    }
                    None => Ok(None),
                }
            }
            Some(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                Ok(Some(wire::received(publish)))
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => Err(error.to_string()),
            None => return,
        };
        let last = next.is_err();
        if messages.send(next).await.is_err() || last {
            return;
        }
    }
}
