//! Input that means harm, from either side. Whatever comes, the gateway stays small, the others go on,
//! and each refusal is told and counted with its reason.

mod bytes;
mod calls;
mod connects;
mod flood;
mod names;
mod others;
mod packets;
mod payloads;

use crate::peers::legacy::LegacyDomain;
use crate::peers::mqtt_peer::Message;
use crate::peers::{Broker, DEADLINE, Dom0, ERROR, Gateway, Line, Missing, MqttPeer};
use crate::setting::{Outcome, setting_with};
use others::Others;
use serde_json::json;
use std::collections::BTreeMap;

/// What the gateway may have in memory: its byte budget, and the program itself.
const MOST: usize = 64 << 20;
const CREATE: &str = "system/disks/create_file";

/// The gateway, others who go on talking, and somebody who reads what is refused.
struct Scene {
    dom0: Dom0,
    others: Others,
    reader: MqttPeer,
}

impl Scene {
    async fn start() -> Outcome<Self> {
        Self::start_with(Broker::start().await?, |gateway| gateway).await
    }

    async fn start_with(
        broker: Broker,
        configure: impl FnOnce(Gateway) -> Gateway,
    ) -> Outcome<Self> {
        let with_rows = |gateway: Gateway| configure(gateway.with_rows("rows.toml", others::ROWS));
        let mut dom0 = setting_with(broker, with_rows).await?;
        let reader = MqttPeer::connect(&dom0.broker.socket(), "reader", &[ERROR]).await?;
        let mut others = Others::start(&mut dom0).await?;
        others.go_on().await?;
        Ok(Self { dom0, others, reader })
    }

    /// A domain of the MVP.
    async fn legacy(&self, name: &str) -> Result<LegacyDomain, Missing> {
        self.dom0.legacy(name).await
    }

    /// A program on MQTT, which reads the answers to its name.
    async fn mqtt(&self, name: &str) -> Result<MqttPeer, Missing> {
        let answers = format!("system/+/+/response/{name}");
        MqttPeer::connect(&self.dom0.broker.socket(), name, &[&answers]).await
    }

    /// The gateway has stayed small and the others are answered; everybody on MQTT was told of so many
    /// refusals, and so many were counted, by reason; nothing is left under way.
    async fn end(mut self, expected: &[(&str, u64)]) -> Outcome {
        self.read_all(expected).await?;
        self.end_flooded(expected).await
    }

    /// The same after so many refusals that not all could be told everybody.
    async fn end_flooded(self, expected: &[(&str, u64)]) -> Outcome {
        let expected = expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
        assert_eq!(self.end_counted().await?, expected.collect());
        Ok(())
    }

    /// The same; what was refused, by reason.
    async fn end_counted(mut self) -> Outcome<BTreeMap<String, u64>> {
        self.others.go_on().await?;
        self.others.finish().await?;
        let peak = self.dom0.gateway.peak_memory()?;
        eprintln!("peak: {} KiB", peak >> 10);
        assert!(peak < MOST, "{peak} bytes");
        self.dom0.gateway.terminate()?;
        self.dom0.gateway.ended().await?;
        let log = self.dom0.gateway.log();
        let end = log.lines().rfind(|line| line.contains("passerelle has ended"));
        let end = end.ok_or_else(|| Missing::new("no counters at the end"))?;
        assert!(end.contains(" open=0"), "{end}");
        let mut counted = BTreeMap::new();
        for word in end.split_whitespace() {
            let refused = word.strip_prefix("refused[").and_then(|rest| rest.split_once("]="));
            if let Some((reason, count)) = refused {
                counted.insert(reason.to_owned(), count.parse()?);
            }
        }
        Ok(counted)
    }

    /// Reads notices until they tell of so many refusals of each reason.
    async fn read_all(&mut self, expected: &[(&str, u64)]) -> Outcome {
        let mut left: BTreeMap<&str, u64> = expected.iter().copied().collect();
        while left.values().any(|count| *count > 0) {
            let notice = self.reader.inbox.next(&format!("notices of {left:?}")).await?;
            let said = notice.json()["description"].as_str().unwrap_or_default().to_owned();
            let reason = said.split(':').next().unwrap_or_default();
            let Some(rest) = left.get_mut(reason) else {
                return Err(Missing::new(format!("one refusal too many: {said}")).into());
            };
            let many = said.split(" such since the last)").next().filter(|before| *before != said);
            let count = many.and_then(|before| before.rsplit('(').next()?.parse().ok());
            let count: u64 = count.unwrap_or(1);
            *rest = rest
                .checked_sub(count)
                .ok_or_else(|| Missing::new(format!("{count} too many: {said}")))?;
        }
        Ok(())
    }
}

/// Whether a line tells its receiver of a refusal with this reason.
fn refused(line: &Line, reason: &str) -> bool {
    let message = line.data()["message"].as_str().unwrap_or_default();
    line.tells("erreur")
        && line.data()["module"] == "passerelle"
        && message.starts_with(&format!("{reason}: "))
}

/// Waits until a domain is told that what it asked for was refused.
async fn told(domain: &mut LegacyDomain, reason: &str) -> Result<Line, Missing> {
    domain.expect(reason, |line| refused(line, reason)).await
}

/// Everything that `to` was sent before this has arrived when it returns.
async fn fence(from: &LegacyDomain, to: &mut LegacyDomain) -> Result<(), Missing> {
    from.tell(&to.name, "test", &json!({"fence": true}));
    let fence = |line: &Line| line.tells("test") && line.data()["fence"] == true;
    to.expect("the fence", fence).await.map(drop)
}

/// A request with a payload that need not be one.
fn request(root: &str, from: &str, payload: impl Into<::bytes::Bytes>) -> Message {
    Message::new(format!("{root}/request"), payload).answered_to(root, from, "c").from(from)
}

/// Waits for the answer that says that a request came to nothing.
async fn failed(peer: &mut MqttPeer) -> Result<Message, Missing> {
    let error = json!({"status": "error"});
    let wanted = |m: &Message| m.topic.contains("/response/") && m.json() == error;
    peer.inbox.expect_within(DEADLINE, "an error", wanted).await
}
