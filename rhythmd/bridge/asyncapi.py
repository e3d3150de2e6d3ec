"""Topics and payloads as AsyncAPI 3: `python -m rhythmd.bridge.asyncapi docs/asyncapi.yaml` writes the file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from rhythmd import __version__
from rhythmd.bridge.payloads import AlertPayload, AnsweredPayload, OnlinePayload, StatusPayload, StripPayload

REF = "#/components/schemas/{name}"
PARAMETERS = {
    "prefix": {"description": "The fleet's name; may have several levels.", "default": "rhythmd"},
    "device": {"description": "The device on which the bridge runs."},
    "daemon": {
        "description": "One of the device's daemons, as the bridge's configuration calls it; of one that reads several "
        "patches (`several = true`) the patch's name is one more level behind it."
    },
    "kind": {"description": "Of the alert; docs/alerts.md lists them."},
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One family of topics."""

    address: str
    payload: type[Struct]
    about: str
    retain: bool = False


CHANNELS = {
    "alert": Channel("{prefix}/{device}/{daemon}/alert/{kind}", AlertPayload, "An alarm opened or closed."),
    "event": Channel("{prefix}/{device}/{daemon}/event/{kind}", AlertPayload, "For the report: nobody is called."),
    "answered": Channel("{prefix}/{device}/{daemon}/answered", AnsweredPayload, "Somebody has answered alarms."),
    "strip": Channel(
        "{prefix}/{device}/{daemon}/strip/{kind}", StripPayload, "The ECG around an alert, once it is whole."
    ),
    "status": Channel("{prefix}/{device}/{daemon}/status", StatusPayload, "How the daemon is.", retain=True),
    "online": Channel(
        "{prefix}/{device}/online", OnlinePayload, "Whether the bridge is there; last will.", retain=True
    ),
}

ABOUT = (
    "What `rhythmd bridge` publishes over MQTT 3.1.1 (docs/fleet.md). Not a medical device. "
    "QoS 1: each message comes at least once; one that comes twice has the same `message_id` both times. "
    "Ignore fields and topics that you do not know; `schema` is raised when a field changes its meaning."
)


def description() -> dict[str, Any]:
    """The whole document."""
    kinds = tuple({channel.payload for channel in CHANNELS.values()})
    _, schemas = msgspec.json.schema_components(sorted(kinds, key=lambda kind: kind.__name__), ref_template=REF)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rhythmd bridge",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "broker.example:8883", "protocol": "secure-mqtt", "protocolVersion": "3.1.1"},
        },
        "channels": {name: _channel(name, channel) for name, channel in CHANNELS.items()},
        "operations": {f"send_{name}": _operation(name, channel) for name, channel in CHANNELS.items()},
        "components": {
            "messages": {name: _message(name, channel) for name, channel in CHANNELS.items()},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _channel(name: str, channel: Channel) -> dict[str, Any]:
    named = {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in channel.address}
    return {
        "address": channel.address,
        "description": channel.about,
        "parameters": named,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation(name: str, channel: Channel) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _message(name: str, channel: Channel) -> dict[str, Any]:
    return {"name": name, "payload": {"$ref": REF.format(name=channel.payload.__name__)}}


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(msgspec.yaml.encode(description()))
