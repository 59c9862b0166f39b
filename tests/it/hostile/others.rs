//! Those who have nothing to do with it: legacy domains and one on MQTT, who call each other all the time.

use crate::peers::legacy::response;
use crate::peers::mqtt_peer::Message;
use crate::peers::{DEADLINE, Dom0, LegacyDomain, Missing, MqttPeer};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A command for either direction.
pub const ROWS: &str = r#"dialect = "psec"
requester_member = "source"
[[command]]
name = "SCAN"
legacy = "scan"
topic = "business/scan"
handler = "vm-scan"
[[command.answer]]
reponse = "scan"
[[command]]
name = "PING"
legacy = "ping"
topic = "business/ping"
handler = "vm-calm"
[[command.answer]]
reponse = "ping"
"#;

/// They go on until they are told to stop.
pub struct Others {
    rounds: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<(), Missing>>>,
}

impl Others {
    pub async fn start(dom0: &mut Dom0) -> Result<Self, Missing> {
        let (calm, near) = (dom0.legacy("vm-calm").await?, dom0.legacy("vm-near").await?);
        let topics = ["business/scan/request", "business/ping/response/vm-scan"];
        let scan = MqttPeer::connect(&dom0.broker.socket(), "vm-scan", &topics).await?;
        dom0.broker.subscribed("vm-calm", ["business/ping/request"]).await?;
        let (counter, rounds) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Talk { calm, near, scan }.run(counter, stopped));
        Ok(Self { rounds, stop, task: Some(task) })
    }

    /// Waits until they have begun and ended a round of calls, all of them answered.
    pub async fn go_on(&mut self) -> Result<(), Missing> {
        let begun = *self.rounds.borrow_and_update();
        let round = self.rounds.wait_for(|rounds| *rounds >= begun + 2);
        if tokio::time::timeout(2 * DEADLINE, round).await.is_ok_and(|round| round.is_ok()) {
            return Ok(());
        }
        Err(self.finish().await.err().unwrap_or_else(|| Missing::new("the others have stopped")))
    }

    /// Lets them end the round that they are in.
    pub async fn finish(&mut self) -> Result<(), Missing> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => task.await.map_err(|e| Missing::new(e.to_string()))?,
            None => Ok(()),
        }
    }
}

struct Talk {
    calm: LegacyDomain,
    near: LegacyDomain,
    scan: MqttPeer,
}

impl Talk {
    async fn run(
        mut self,
        counter: watch::Sender<usize>,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), Missing> {
        // Paces them: they are no flood themselves.
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while !*stopped.borrow() {
            pace.tick().await;
            let number = json!({"n": *counter.borrow()});
            self.legacy_asks_mqtt(&number).await?;
            self.mqtt_asks_legacy(&number).await?;
            self.legacy_asks_legacy(&number).await?;
            counter.send_modify(|rounds| *rounds += 1);
        }
        Ok(())
    }

    async fn legacy_asks_mqtt(&mut self, number: &Value) -> Result<(), Missing> {
        self.calm.ask("vm-scan", "scan", number);
        let asked = |m: &Message| m.topic == "business/scan/request";
        let asked = self.scan.expect("a request", asked).await?;
        let topic = asked.response_topic.unwrap_or_default();
        let answer = Message::new(topic, number.to_string());
        self.scan.publish(Message { correlation: asked.correlation, ..answer }).await?;
        self.calm.expect("the answer", |l| l.answers("scan") && l.data() == number).await.map(drop)
    }

    async fn mqtt_asks_legacy(&mut self, number: &Value) -> Result<(), Missing> {
        let call = self.scan.ask("business/ping", number).await?;
        self.calm.expect("a command", |line| line.asks("ping")).await?;
        self.calm.line(&response("vm-calm", "vm-scan", "ping", number));
        let answer = |m: &Message| m.correlation.as_ref() == Some(&call) && m.json() == *number;
        self.scan.expect("the answer", answer).await.map(drop)
    }

    async fn legacy_asks_legacy(&mut self, number: &Value) -> Result<(), Missing> {
        self.calm.ask("vm-near", "zzz", number);
        self.near.expect("a command", |l| l.asks("zzz") && l.arguments() == number).await?;
        self.near.line(&response("vm-near", "vm-calm", "zzz", number));
        self.calm.expect("the answer", |l| l.answers("zzz") && l.data() == number).await.map(drop)
    }
}
