//! A short look at what the broker has retained, without a session that it would keep.

use super::error::Error;
use super::settings::{Settings, options};
use super::wire;
use crate::translate::publish::Received;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
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
        let mut options = options(settings);
        options.set_clean_start(true);
        let (client, event_loop) = AsyncClient::new(options, 16);
        let (sender, messages) = mpsc::channel(WAITING);
        let poller = tokio::spawn(poll(event_loop, client, filters, sender));
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
    mut event_loop: EventLoop,
    client: AsyncClient,
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
    let all = |rule: RetainForwardRule| -> Vec<Filter> {
        filters.iter().map(|f| subscription(f, rule.clone())).collect()
    };
    let mut answers = 0;
    loop {
        let next = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let _ = client.try_subscribe_many(all(RetainForwardRule::OnEverySubscribe));
                continue;
            }
            Ok(Event::Incoming(Packet::SubAck(suback))) => {
                let refused =
                    |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                answers += 1;
                match suback.return_codes.iter().find(|code| refused(code)) {
                    Some(code) => Err(format!("it refuses a subscription ({code:?})")),
                    // The broker answers in order: the retained messages of the first subscription
                    // come before the answer to the second.
                    None if answers == 1 => {
                        let _ = client.try_subscribe_many(all(RetainForwardRule::Never));
                        continue;
                    }
                    None => Ok(None),
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Ok(Some(wire::received(publish))),
            Ok(_) => continue,
            Err(error) => Err(Error::from(error).to_string()),
        };
        let last = next.is_err();
        if messages.send(next).await.is_err() || last {
            return;
        }
    }
}
