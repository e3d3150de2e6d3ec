"""The connection to the broker, by paho. What happens on it is put into the program's inbox."""

from __future__ import annotations

import logging
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from daemon.config import ConfigError
from rhythmd.bridge.config import Broker, port_of
from rhythmd.bridge.topics import Post

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

MOST_ON_THE_WAY = 20
LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker lets us in."""


@dataclass(frozen=True, slots=True)
class Away:
    """It does not, or has gone."""

    why: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """It has the message that was sent under this number."""

    number: int


class Link:
    """Connects for as long as it is open, again and again; paho sends again by itself what was not confirmed."""

    def __init__(self, broker: Broker, client_id: str, will: Post, inbox: SimpleQueue[Any]) -> None:
        self._inbox = inbox
        self._client = _client(broker, client_id)
        self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = lambda _client, _data, _flags, reason, _properties: inbox.put(Away(str(reason)))
        self._client.on_publish = lambda _client, _data, number, *_: inbox.put(Confirmed(number))
        self._client.connect_async(broker.host, port_of(broker), keepalive=broker.keepalive_s)

    def _on_connect(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._inbox.put(Away(str(reason)) if reason.is_failure else Connected())

    def _on_connect_fail(self, *_: object) -> None:
        """Paho calls from where it has caught the error, and does not hand it on."""
        self._inbox.put(Away(str(sys.exc_info()[1] or "nobody answers")))

    def __enter__(self) -> Link:  # noqa: PYI034 typing.Self comes with Python 3.11
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, post: Post) -> int:
        """Send it, at least once. The number under which it will be confirmed."""
        return self._client.publish(post.topic, post.payload, qos=1, retain=post.retain).mid


def _client(broker: Broker, client_id: str) -> Client:
    try:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise ConfigError("rhythmd bridge needs paho-mqtt: pip install 'rhythmd[bridge]'") from None
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
    client.max_inflight_messages_set(MOST_ON_THE_WAY)
    client.reconnect_delay_set(1, LONGEST_RETRY_S)
    if broker.tls:
        client.tls_set_context(_tls(broker))
    if broker.user:
        client.username_pw_set(broker.user, _password(broker.password_file) if broker.password_file else None)
    return client


def _tls(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca or None)
    except OSError as error:
        raise ConfigError(f"broker.ca: {broker.ca}: {error}; is it a certificate in PEM form?") from None
    try:
        if broker.certificate:
            context.load_cert_chain(broker.certificate, broker.key)
    except OSError as error:
        raise ConfigError(
            f"broker.certificate and broker.key: {error}; are they in PEM form, and of one another?"
        ) from None
    return context


def _password(file: str) -> str:
    try:
        return Path(file).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise ConfigError(f"broker.password_file: {file}: {why}") from None
