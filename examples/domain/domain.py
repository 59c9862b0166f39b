#!/usr/bin/env python3
"""A migrated sys-usb in small: it lists its disks, announces a file, and asks who is there.

domain.py SOCKET, with the socket that leads to its message port. It needs paho-mqtt 2.
"""
import json
import sys

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(topic, payload, **more):
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = ("source", "sys-usb")
    for name, value in more.items():
        setattr(properties, name, value)
    client.publish(topic, json.dumps(payload), qos=1, properties=properties)


def connected(*_):
    client.subscribe("system/disks/list_disks/request", qos=1)
    client.subscribe("system/disks/list_disks/request/+", qos=1)
    client.subscribe("system/components/discover/response/sys-usb", qos=1)
    say("system/disk/new_file/notification", {"disk": "KEY", "filepath": "/a.doc", "size_in_bytes": 3})
    say("system/components/discover/request/sys-usb", {},
        ResponseTopic="system/components/discover/response/sys-usb", CorrelationData=b"1")


def received(_client, _userdata, message):
    if message.topic.startswith("system/components/discover"):
        print(message.payload.decode(), flush=True)
        return
    asked = vars(message.properties)
    to = asked.get("ResponseTopic", message.topic.replace("/request", "/response"))
    correlation = {name: asked[name] for name in ("CorrelationData",) if name in asked}
    say(to, {"disks": [{"id": "KEY", "label": "KEY"}]}, **correlation)


client = Client(CallbackAPIVersion.VERSION2, "sys-usb", protocol=MQTTv5, transport="unix")
client.on_connect, client.on_message = connected, received
client.connect(sys.argv[1], keepalive=30)
client.loop_forever()
