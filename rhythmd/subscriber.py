"""Receives what a daemon publishes: decoded, each message once, losses counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any

import msgspec
import zmq

from daemon.messages import Alert, Message, type_of

ADDRESS = "tcp://127.0.0.1:8251"
ALERTS = ("alert.", "event.")
LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    topic: str
    message: Message
    data: bytes = b""  # the samples of a `wave`


class Subscriber:
    """Iterate over it, or call `receive`; on joining it is told what is open now.

    with Subscriber() as alerts:
        for received in alerts:
            print(received.topic, received.message)
    """

    def __init__(self, address: str = ADDRESS, topics: tuple[str, ...] = ALERTS) -> None:
        self.lost = 0  # messages that this subscriber's topics had and it did not get
        self._last: dict[str, Message] = {}  # of each topic
        self._seen: dict[tuple[str, str], None] = {}  # (id, state) of alerts, oldest first
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ValueError(f"{address!r} is no address of a daemon ({error}); {ADDRESS} is the default") from None

    def receive(self, timeout_s: float | None = None) -> Received | None:
        """The next message; None when none came in time."""
        deadline_s = None if timeout_s is None else monotonic() + min(timeout_s, LONGEST_WAIT_S)
        while self._socket.poll(None if deadline_s is None else max(0, int(1000 * (deadline_s - monotonic())))):
            received = self._decode(self._socket.recv_multipart())
            if received is not None:
                return received
        return None

    def __iter__(self) -> Iterator[Received]:
        while (received := self.receive()) is not None:
            yield received

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Subscriber:  # noqa: PYI034 typing.Self comes with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, frames: list[bytes]) -> Received | None:
        topic = frames[0].decode()
        kind = type_of(topic)
        if kind is None:
            return None  # a later version's topic
        message = msgspec.json.decode(frames[1], type=kind)
        if self._is_repeated(topic, message):
            return None
        return Received(topic, message, b"".join(frames[2:]))

    def _is_repeated(self, topic: str, message: Message) -> bool:
        """The state that a late joiner is told reaches everyone: what was here already is not given out again."""
        last = self._last.get(topic)
        if isinstance(message, Alert):
            key = (message.id, message.state)
            if key in self._seen:
                return True
            self._seen[key] = None
            if len(self._seen) > 10_000:
                del self._seen[next(iter(self._seen))]
        elif message == last:
            return True
        if last is not None and message.seq > last.seq:  # else the daemon has started again
            self.lost += message.seq - last.seq - 1
        self._last[topic] = message
        return False
