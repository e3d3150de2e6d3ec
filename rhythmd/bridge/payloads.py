"""What the bridge publishes: the daemon's own messages with the device's name and an id. Pure; needs msgspec alone.

`python -m rhythmd.bridge.asyncapi docs/asyncapi.yaml` writes the description of topics and payloads.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from daemon.messages import SCHEMA, Alert, Answered, Durable, Message, Status

Utc = Annotated[datetime, Meta(tz=True)]


class AlertPayload(Alert, frozen=True, kw_only=True):
    """An alert or event that opened or closed, as `alert.json` describes it."""

    message_id: str  # the same message never has another, and another message never this one
    device: str
    daemon: str  # as the bridge's configuration calls it; `patch` is what it calls itself


class AnsweredPayload(Answered, frozen=True, kw_only=True):
    """Somebody has acknowledged an alarm or silenced those that call."""

    message_id: str
    device: str
    daemon: str


class StatusPayload(Status, frozen=True, kw_only=True):
    """How the daemon is; the broker keeps the newest."""

    message_id: str
    device: str
    daemon: str


class StripPayload(Struct, frozen=True, kw_only=True):
    """The cleaned ECG around an alert."""

    schema: int = SCHEMA
    message_id: str
    device: str
    daemon: str
    patch: str
    alert: str  # its id
    kind: str
    begins: Utc  # of the first sample
    rate_hz: float
    counts_per_mv: int
    missing: int  # the value that marks a lost sample
    counts: tuple[int, ...]


class OnlinePayload(Struct, frozen=True, kw_only=True):
    """Whether the device's bridge is connected: the broker itself says that it is not (last will)."""

    schema: int = SCHEMA
    device: str
    online: bool
    version: str


Payload = AlertPayload | AnsweredPayload | StatusPayload
PAYLOADS: dict[type[Message], type[Payload]] = {
    Alert: AlertPayload,
    Answered: AnsweredPayload,
    Status: StatusPayload,
}


def payload_of(
    topic: str, message: Message, *, device: str, daemon: str
) -> AlertPayload | AnsweredPayload | StatusPayload:
    """The message as it is published."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return PAYLOADS[type(message)](**fields, message_id=id_of(topic, message), device=device, daemon=daemon)


def id_of(topic: str, message: Message) -> str:
    """Of the daemon's message: numbers may begin again with a new ledger, but not in the same millisecond."""
    serial = f":{message.serial}" if isinstance(message, Durable) else ""
    return f"{message.patch}:{topic}:{message.seq}{serial}:{round(1000 * message.utc.timestamp())}"


def encode(payload: Struct) -> bytes:
    return msgspec.json.encode(payload)
