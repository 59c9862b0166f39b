//! The program in the guest: it plays what it is told to on `/dev/hvc2`, and reports.

use crate::bridge::Bridge;
use crate::control::Control;
use crate::listing;
use crate::peers::legacy::{LegacyDomain, Line, notification};
use crate::peers::mqtt_peer::Message;
use crate::peers::{
    Broker, DEADLINE, Dialect, Disks, ERROR, Gateway, Missing, MqttPeer, MqttServer, MvpServer,
    NEW_FILE, ROOTS,
};
use crate::tty::Tty;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// The port that the gateway is about.
const PORT: &str = "/dev/hvc2";

/// What runs in the guest.
struct Agent {
    program: PathBuf,
    mappings: PathBuf,
    disks: Disks,
    role: Role,
}

/// Who has the port.
enum Role {
    Nobody,
    /// A program of the MVP: the gateway is on Dom0.
    Mvp(Box<MvpServer>),
    /// A program that has moved: it speaks MQTT there.
    Mqtt {
        // Dropping them ends the program, and closes the port.
        _server: Box<MqttServer>,
        _bridge: Bridge,
    },
    /// The gateway, with a broker and an application that has moved already.
    DomU(Box<DomU>),
}

struct DomU {
    application: MqttPeer,
    gateway: Gateway,
    broker: Broker,
}

/// Obeys until the order to end.
pub async fn run(control: &Path, program: PathBuf, mappings: PathBuf) -> Result<(), Missing> {
    let (reader, writer) = Tty::open(control).await?.raw()?.split()?;
    let mut control = Control::new(reader, writer);
    let disks = listing::disks()?;
    let mut agent = Agent { program, mappings, disks, role: Role::Nobody };
    let broken = |e| Missing::new(format!("the control port: {e}"));
    control.say(Ok(json!("ready"))).await.map_err(broken)?;
    loop {
        let order = control.receive().await.map_err(broken)?;
        let outcome = agent.obey(&order).await.map_err(|missing| agent.with_log(&missing));
        control.say(outcome).await.map_err(broken)?;
        if order["do"] == "end" {
            return Ok(());
        }
    }
}

impl Agent {
    async fn obey(&mut self, order: &Value) -> Result<Value, Missing> {
        match text(order, "do") {
            "mvp" => self.mvp(text(order, "name"), text(order, "first")).await,
            "mqtt" => self.mqtt(text(order, "name")).await,
            "cooked" => cooked(text(order, "until")).await,
            "domu" => self.domu(Path::new(text(order, "port"))).await,
            "subscribed" => self.domu_is_ready().await,
            "tried" => self.tried().await,
            "restart" => self.restart().await,
            "close" | "end" => self.close().await,
            "ask" => self.ask(order).await,
            "tell" => {
                self.server()?.domain.tell("tous", text(order, "event"), &order["data"]);
                Ok(Value::Null)
            }
            "write" => self.write(order["bytes"].as_u64().unwrap_or_default()).await,
            "heard" => self.heard(order).await,
            "heard_in_order" => self.heard_in_order(order).await,
            "read" => {
                let domain = &self.server()?.domain;
                if order["on"] == true {
                    domain.read_again()
                } else {
                    domain.stop_reading()
                }
                Ok(Value::Null)
            }
            "call" => self.call(order).await,
            "publish" => {
                let message = Message::new(text(order, "topic"), order["payload"].to_string());
                self.domu_role()?.application.publish(message).await.map(Value::from)
            }
            "received" => self.received(order).await,
            unknown => Err(Missing::new(format!("no such order: {unknown:?}"))),
        }
    }

    /// What is missing, and what the gateway says, if it is here.
    fn with_log(&self, missing: &Missing) -> Missing {
        match &self.role {
            Role::DomU(domu) => Missing::new(format!("{missing}\n{}", domu.gateway.log())),
            Role::Nobody | Role::Mvp(_) | Role::Mqtt { .. } => Missing::new(missing.to_string()),
        }
    }

    /// A program of the MVP opens the port, as it must: in raw mode. What it says first is of use.
    async fn mvp(&mut self, name: &str, first: &str) -> Result<Value, Missing> {
        let tty = Tty::open(Path::new(PORT)).await?;
        let echoed = tty.echoed;
        let (reader, writer) = tty.raw()?.split()?;
        let domain = LegacyDomain::over(name, reader, writer);
        domain.tell("tous", "erreur", &json!({"niveau": 20, "message": first}));
        self.role = Role::Mvp(Box::new(MvpServer::over(domain, self.disks.clone())));
        Ok(json!({ "echoed": echoed }))
    }

    /// A program that has moved opens the port; it is connected and subscribed when this returns.
    async fn mqtt(&mut self, name: &str) -> Result<Value, Missing> {
        let bridge = Bridge::start(PORT)?;
        let disks = self.disks.clone();
        let server = MqttServer::start(&bridge.socket(), name, Dialect::Psec, disks).await?;
        self.role = Role::Mqtt { _server: Box::new(server), _bridge: bridge };
        Ok(Value::Null)
    }

    /// The gateway, with everything that belongs to it in a DomU.
    async fn domu(&mut self, port: &Path) -> Result<Value, Missing> {
        let broker = Broker::start().await?;
        let filters = ["system/+/+/response/vm-gui", NEW_FILE, ERROR, &discover()];
        let application = MqttPeer::connect(&broker.socket(), "vm-gui", &filters).await?;
        let gateway = Gateway::new(&self.program, &self.mappings, &broker.gate())?
            .in_domu(port, "vm-gui")
            .with("[log]\nlevel = \"debug\"\n")
            .start()?;
        self.role = Role::DomU(Box::new(DomU { application, gateway, broker }));
        Ok(Value::Null)
    }

    /// Waits until the gateway has the port and takes requests.
    async fn domu_is_ready(&mut self) -> Result<Value, Missing> {
        let DomU { gateway, broker, .. } = self.domu_role()?;
        let subscribed = async {
            broker.subscribed("*", ROOTS.map(|root| format!("{root}/request"))).await?;
            broker.subscribed("passerelle-dom0", [NEW_FILE, ERROR]).await
        };
        let ready = tokio::select! {
            ready = subscribed => ready,
            gave_up = gateway.gave_up() => Err(gave_up),
        };
        ready?;
        // Debian's kernels have Landlock, if not all of it.
        gateway.logged("INFO confined holds=\"files", 1).await?;
        Ok(Value::Null)
    }

    /// Waits until the gateway has tried the port in vain.
    async fn tried(&mut self) -> Result<Value, Missing> {
        let gateway = &self.domu_role()?.gateway;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let tried = async {
            // ENODEV
            while !gateway.log().contains("os error 19") {
                pace.tick().await;
            }
        };
        match tokio::time::timeout(DEADLINE, tried).await {
            Ok(()) => Ok(Value::Null),
            Err(_) => Err(Missing::new("the gateway does not try the port")),
        }
    }

    /// The gateway ends and starts again.
    async fn restart(&mut self) -> Result<Value, Missing> {
        let gateway = &mut self.domu_role()?.gateway;
        gateway.terminate()?;
        let status = gateway.ended().await?;
        if !status.success() {
            return Err(Missing::new(format!("the gateway ended: {status}")));
        }
        gateway.run().map_err(|e| Missing::new(format!("not started again: {e}")))?;
        self.domu_is_ready().await
    }

    /// The port is closed, and what ran is gone.
    async fn close(&mut self) -> Result<Value, Missing> {
        match std::mem::replace(&mut self.role, Role::Nobody) {
            Role::Mvp(mut server) => server.domain.stop().await?,
            Role::DomU(mut domu) => {
                domu.gateway.terminate()?;
                domu.gateway.ended().await?;
                domu.broker.kill().await?;
            }
            Role::Mqtt { .. } | Role::Nobody => {}
        }
        Ok(Value::Null)
    }

    async fn ask(&mut self, order: &Value) -> Result<Value, Missing> {
        let domain = &mut self.server()?.domain;
        let (to, answer) = (text(order, "to"), text(order, "answer"));
        let line = domain.call(to, text(order, "command"), &order["arguments"], answer).await?;
        Ok(summary(line.data(), line.bytes.len()))
    }

    /// A line of an error message with so many bytes in it is written to its end. A second opening
    /// of the port waits until the kernel has taken it, as the MVP's programs do.
    async fn write(&mut self, bytes: u64) -> Result<Value, Missing> {
        let message = "y".repeat(usize::try_from(bytes).unwrap_or_default());
        let data = json!({"niveau": 30, "message": message});
        let line = notification(&self.server()?.domain.name, "tous", "erreur", &data) + "\n";
        let written = tokio::task::spawn_blocking(move || {
            let mut port = File::options().write(true).open(PORT)?;
            port.write_all(line.as_bytes())?;
            rustix::termios::tcdrain(&port).map_err(std::io::Error::from)
        });
        match tokio::time::timeout(DEADLINE, written).await {
            Ok(Ok(Ok(()))) => Ok(Value::Null),
            Ok(other) => Err(Missing::new(format!("{PORT}: not written: {other:?}"))),
            Err(_) => Err(Missing::new(format!("{PORT} takes nothing"))),
        }
    }

    async fn heard(&mut self, order: &Value) -> Result<Value, Missing> {
        let domain = &mut self.server()?.domain;
        let (event, part) = (text(order, "event"), text(order, "part"));
        let wanted = |line: &Line| line.tells(event) && line.text().contains(part);
        let line = domain.expect(&format!("the event {event} with {part}"), wanted).await?;
        Ok(json!({ "bytes": line.bytes.len() }))
    }

    /// `count` errors of which each begins with its number; other lines do not matter.
    async fn heard_in_order(&mut self, order: &Value) -> Result<Value, Missing> {
        let domain = &mut self.server()?.domain;
        let message = |line: &Line| line.data()["message"].as_str().unwrap_or_default().to_owned();
        let numbered = |line: &Line| {
            line.tells("erreur") && message(line).starts_with(|c: char| c.is_ascii_digit())
        };
        for number in 0..order["count"].as_u64().unwrap_or_default() {
            let next = message(&domain.expect("a numbered error", numbered).await?);
            if !next.starts_with(&format!("{number} ")) {
                let head: String = next.chars().take(80).collect();
                return Err(Missing::new(format!("number {number} is {head:?}")));
            }
        }
        Ok(Value::Null)
    }

    async fn call(&mut self, order: &Value) -> Result<Value, Missing> {
        let application = &mut self.domu_role()?.application;
        let answer = application.call(text(order, "root"), &order["payload"]).await?;
        Ok(summary(&answer.json(), answer.payload.len()))
    }

    /// Waits for a message; if it is a request, and there is an answer to give, gives it.
    async fn received(&mut self, order: &Value) -> Result<Value, Missing> {
        let application = &mut self.domu_role()?.application;
        let (topic, part) = (text(order, "topic"), text(order, "part"));
        let wanted = |m: &Message| m.topic == topic && m.text().contains(part);
        let message = application.expect(&format!("{topic} with {part}"), wanted).await?;
        if let (Some(to), false) = (message.response_topic, order["answer"].is_null()) {
            let answer = Message::new(to, order["answer"].to_string());
            application.publish(Message { correlation: message.correlation, ..answer }).await?;
        }
        let more = application.inbox.count(wanted);
        Ok(json!({ "more": more }))
    }

    fn server(&mut self) -> Result<&mut MvpServer, Missing> {
        match &mut self.role {
            Role::Mvp(server) => Ok(server),
            _ => Err(Missing::new("no program of the MVP runs here")),
        }
    }

    fn domu_role(&mut self) -> Result<&mut DomU, Missing> {
        match &mut self.role {
            Role::DomU(domu) => Ok(domu),
            _ => Err(Missing::new("no gateway runs here")),
        }
    }
}

/// A program opens the port and leaves the kernel's echo on, reads until `part` has come, and ends.
async fn cooked(part: &str) -> Result<Value, Missing> {
    let tty = Tty::open(Path::new(PORT)).await?;
    let echoed = tty.echoed;
    let (mut reader, _writer) = tty.split()?;
    let mut heard = Vec::new();
    let wanted = async {
        while !heard.windows(part.len()).any(|window| window == part.as_bytes()) {
            reader.read_buf(&mut heard).await?;
        }
        std::io::Result::Ok(())
    };
    match tokio::time::timeout(DEADLINE, wanted).await {
        Ok(Ok(())) => Ok(json!({ "echoed": echoed, "bytes": heard.len() })),
        Ok(Err(e)) => Err(Missing::new(format!("{PORT}: {e}"))),
        Err(_) => Err(Missing::new(format!("{part:?} has not come, but {} bytes", heard.len()))),
    }
}

fn discover() -> String {
    format!("{}/request", ROOTS[8])
}

/// What is told of an answer: all of it, or of a listing its size and digest.
fn summary(answer: &Value, bytes: usize) -> Value {
    match answer.get("files") {
        Some(files) => json!({ "listing": listing::digest(files), "bytes": bytes }),
        None => json!({ "answer": answer, "bytes": bytes }),
    }
}

fn text<'a>(order: &'a Value, member: &str) -> &'a str {
    order[member].as_str().unwrap_or_default()
}
