//! Ends on MQTT: rumqttc's event loop in a thread of its own, and nothing around it.

use crate::Res;
use crate::messages::{Command, MOVED_PAYLOAD, Server};
use bytes::Bytes;
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// As many as the gateway has under way.
const WINDOW: u16 = 100;

/// A client on MQTT 5, driven by the thread that uses it.
pub struct MqttEnd {
    pub name: String,
    runtime: Runtime,
    client: AsyncClient,
    events: EventLoop,
}

impl MqttEnd {
    /// Connects and subscribes at QoS 1.
    pub fn connect(socket: &Path, name: &str, filters: &[String]) -> Res<Self> {
        let mut options = MqttOptions::new(name, socket.to_string_lossy(), 0);
        options.set_transport(Transport::unix());
        options.set_clean_start(true);
        options.set_max_packet_size(Some(64 << 20));
        // Nobody polls an end that has nothing to do.
        options.set_keep_alive(Duration::from_secs(3600));
        options.set_outgoing_inflight_upper_limit(WINDOW);
        let (client, events) = AsyncClient::new(options, 2 * usize::from(WINDOW));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut end = Self { name: name.to_owned(), runtime, client, events };
        end.until(|packet| matches!(packet, Packet::ConnAck(_)))?;
        if !filters.is_empty() {
            let all = filters.iter().map(|path| Filter::new(path.as_str(), QoS::AtLeastOnce));
            end.client.try_subscribe_many(all)?;
            end.until(|packet| matches!(packet, Packet::SubAck(_)))?;
        }
        Ok(end)
    }

    /// A requester; it subscribes to the answers to it.
    pub fn requester(socket: &Path, name: &str) -> Res<Self> {
        let servers = [Server::Mqtt, Server::Legacy];
        let roots = Command::ALL.iter().flat_map(|c| servers.map(|s| c.root(s)));
        let filters: Vec<_> = roots.map(|root| format!("{root}/response/{name}")).collect();
        Self::connect(socket, name, &filters)
    }

    fn until(&mut self, wanted: impl Fn(&Packet) -> bool) -> Res {
        let events = &mut self.events;
        drive(&self.runtime, async {
            loop {
                if let Event::Incoming(packet) = events.poll().await?
                    && wanted(&packet)
                {
                    return Ok(());
                }
            }
        })
    }

    /// Makes `count` calls with so many in flight, and says how long each took.
    pub fn calls(
        &mut self,
        (command, server): (Command, Server),
        count: usize,
        in_flight: usize,
    ) -> Res<Vec<Duration>> {
        let payload = Bytes::from(command.payload(&self.name));
        let topic = format!("{}/request", command.root(server));
        let reply = format!("{}/response/{}", command.root(server), self.name);
        let (client, events, name) = (&self.client, &mut self.events, &self.name);
        let mut begun: Vec<Instant> = Vec::with_capacity(count);
        let mut times = Vec::with_capacity(count);
        let send = |begun: &mut Vec<Instant>| -> Res {
            let properties = PublishProperties {
                response_topic: Some(reply.clone()),
                correlation_data: Some(Bytes::copy_from_slice(&begun.len().to_be_bytes())),
                user_properties: vec![("source".to_owned(), name.clone())],
                message_expiry_interval: Some(30),
                ..PublishProperties::default()
            };
            begun.push(Instant::now());
            let (topic, payload) = (topic.as_str(), payload.clone());
            let qos = QoS::AtLeastOnce;
            Ok(client.try_publish_with_properties(topic, qos, false, payload, properties)?)
        };
        drive(&self.runtime, async {
            while begun.len() < in_flight.min(count) {
                send(&mut begun)?;
            }
            while times.len() < count {
                let Event::Incoming(Packet::Publish(answer)) = events.poll().await? else {
                    continue;
                };
                let Some(start) = number(&answer).and_then(|i| begun.get(i)) else { continue };
                times.push(start.elapsed());
                if begun.len() < count {
                    send(&mut begun)?;
                }
            }
            Ok(times)
        })
    }

    /// Publishes so many notifications, as fast as their acknowledgements allow.
    pub fn publish(&mut self, count: usize, topic: &str) -> Res {
        let (client, events, name) = (&self.client, &mut self.events, &self.name);
        let (mut sent, mut acknowledged) = (0, 0);
        drive(&self.runtime, async {
            while acknowledged < count {
                while sent < count {
                    let properties = PublishProperties {
                        user_properties: vec![("source".to_owned(), name.clone())],
                        ..PublishProperties::default()
                    };
                    let (qos, payload) = (QoS::AtLeastOnce, MOVED_PAYLOAD);
                    let taken =
                        client.try_publish_with_properties(topic, qos, false, payload, properties);
                    if taken.is_err() {
                        break;
                    }
                    sent += 1;
                }
                if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
                    acknowledged += 1;
                }
            }
            Ok(())
        })
    }

    /// Receives so many messages, and counts them in `arrived`.
    pub fn receive(&mut self, count: usize, arrived: &AtomicUsize) -> Res {
        let events = &mut self.events;
        drive(&self.runtime, async {
            while arrived.load(Ordering::Relaxed) < count {
                if let Event::Incoming(Packet::Publish(_)) = events.poll().await? {
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        })
    }
}

/// Lets it go on for as long as anything may take.
fn drive<T>(runtime: &Runtime, work: impl Future<Output = Res<T>>) -> Res<T> {
    runtime.block_on(async { timeout(DEADLINE, work).await? })
}

fn number(answer: &Publish) -> Option<usize> {
    let data = answer.properties.as_ref()?.correlation_data.as_ref()?;
    Some(usize::from_be_bytes(data.as_ref().try_into().ok()?))
}

/// Starts the server on MQTT, in a thread that lives as long as the program.
pub fn serve(socket: &Path) -> Res {
    let server = Server::Mqtt;
    let filters: Vec<_> =
        Command::ALL.iter().map(|c| format!("{}/request", c.root(server))).collect();
    let mut end = MqttEnd::connect(socket, server.name(), &filters)?;
    let answers: HashMap<String, Bytes> = Command::ALL
        .iter()
        .filter_map(|c| Some((format!("{}/request", c.root(server)), Bytes::from(c.answer()?))))
        .collect();
    thread::spawn(move || {
        let (client, events) = (&end.client, &mut end.events);
        // The broker's end ends it. If anything else did, calls would run out of time.
        let _: Res = end.runtime.block_on(async {
            loop {
                if let Event::Incoming(Packet::Publish(request)) = events.poll().await? {
                    answer(client, &answers, request)?;
                }
            }
        });
    });
    Ok(())
}

fn answer(client: &AsyncClient, answers: &HashMap<String, Bytes>, request: Publish) -> Res {
    let topic = std::str::from_utf8(&request.topic)?;
    let Some(payload) = answers.get(topic) else { return Ok(()) };
    let asked = request.properties.unwrap_or_default();
    let Some(reply) = asked.response_topic else { return Ok(()) };
    let properties = PublishProperties {
        correlation_data: asked.correlation_data,
        user_properties: vec![("source".to_owned(), Server::Mqtt.name().to_owned())],
        ..PublishProperties::default()
    };
    let (qos, payload) = (QoS::AtLeastOnce, payload.clone());
    Ok(client.try_publish_with_properties(reply, qos, false, payload, properties)?)
}
