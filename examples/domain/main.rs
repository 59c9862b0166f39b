//! A migrated `sys-usb` in small: it lists its disks, announces a file, and asks who is there.
//! `domain SOCKET`, with the socket that leads to its message port.

#![allow(clippy::disallowed_methods, reason = "a program, and no part of the gateway")]

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde_json::{Value, from_slice, json};
use std::{env, error::Error, str, time::Duration};

type Outcome = Result<(), Box<dyn Error>>;

const ME: &str = "sys-usb";

fn main() -> Outcome {
    let socket = env::args().nth(1).ok_or("usage: domain SOCKET")?;
    let mut options = MqttOptions::new(ME, socket, 0);
    options.set_transport(Transport::unix()).set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = Client::new(options, 100);
    for event in events.iter() {
        match event? {
            Event::Incoming(Packet::ConnAck(_)) => connected(&client)?,
            Event::Incoming(Packet::Publish(message)) => received(&client, message)?,
            _ => {}
        }
    }
    Ok(())
}

fn say(to: &Client, topic: &str, payload: &Value, mut more: PublishProperties) -> Outcome {
    more.user_properties = vec![("source".to_owned(), ME.to_owned())];
    Ok(to.publish_with_properties(topic, AtLeastOnce, false, payload.to_string(), more)?)
}

fn connected(client: &Client) -> Outcome {
    client.subscribe("system/disks/list_disks/request", AtLeastOnce)?;
    client.subscribe("system/disks/list_disks/request/+", AtLeastOnce)?;
    client.subscribe("system/components/discover/response/sys-usb", AtLeastOnce)?;
    let file = json!({"disk": "KEY", "filepath": "/a.doc", "size_in_bytes": 3});
    say(client, "system/disk/new_file/notification", &file, PublishProperties::default())?;
    let answer = PublishProperties {
        response_topic: Some("system/components/discover/response/sys-usb".to_owned()),
        correlation_data: Some("1".into()),
        ..PublishProperties::default()
    };
    say(client, "system/components/discover/request/sys-usb", &json!({}), answer)
}

fn received(client: &Client, message: Publish) -> Outcome {
    let topic = str::from_utf8(&message.topic)?;
    if topic.starts_with("system/components/discover") {
        println!("{}", from_slice::<Value>(&message.payload)?);
        return Ok(());
    }
    let mut asked = message.properties.unwrap_or_default();
    let to = asked.response_topic.take().unwrap_or_else(|| topic.replace("/request", "/response"));
    let disks = json!({"disks": [{"id": "KEY", "label": "KEY"}]});
    let correlation_data = asked.correlation_data;
    say(client, &to, &disks, PublishProperties { correlation_data, ..PublishProperties::default() })
}
