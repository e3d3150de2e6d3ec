"""The publisher: owns the ZeroMQ sockets, numbers what goes out, and tells late joiners how things stand."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import zmq

from daemon.config import ConfigError
from daemon.ledger import Numbers
from daemon.messages import Message
from daemon.requests import LARGEST_REQUEST, desk_of

QUEUED_MESSAGES = 10_000
"""Per subscriber. A subscriber that falls further behind loses messages, sees it by `seq`, and stalls no one."""


QUEUED_PAGES = 50
"""Per client of the desk, each way."""

SERVICE_DIRECTORY = Path("/run/rhythmd")
"""systemd's runtime directory for the installed service."""


def runtime_directory() -> Path:
    """Where sockets live: systemd's runtime directory, else the user's own."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/rhythmd-{os.getuid()}") / "rhythmd"  # noqa: S108 its owner alone may enter


def resolve(address: str) -> str:
    return address.replace("{runtime}", str(runtime_directory()))


def reachable(address: str) -> str:
    """Like `resolve`, for who looks for a daemon: the installed service's socket comes before one's own."""
    of_service = Path(address.removeprefix("ipc://").replace("{runtime}", str(SERVICE_DIRECTORY)))
    return f"ipc://{of_service}" if address.startswith("ipc://") and of_service.exists() else resolve(address)


class Publisher:
    """An XPUB socket. Sending never waits."""

    def __init__(self, socket: zmq.Socket[bytes], numbers: Numbers) -> None:
        self._socket = socket
        self._numbers = numbers
        self._state: dict[str, list[bytes]] = {}  # what a late joiner is told: key -> frames
        self._subscriptions: set[bytes] = set()

    def next_seq(self, topic: str) -> int:
        """The number of the next message of this topic."""
        return self._numbers.next(topic)

    def send(self, topic: str, message: Message, *more: bytes) -> list[bytes]:
        return self.send_frames([topic.encode(), msgspec.json.encode(message), *more])

    def send_frames(self, frames: list[bytes]) -> list[bytes]:
        self._socket.send_multipart(frames)
        return frames

    def remember(self, key: str, frames: list[bytes]) -> None:
        """A late joiner who wants this topic gets these frames, as they were first sent."""
        self._state[key] = frames

    def forget(self, key: str) -> None:
        self._state.pop(key, None)

    def wanted(self, topic: str) -> bool:
        """Whether anyone subscribes to this topic."""
        return topic.encode().startswith(tuple(self._subscriptions))

    def welcome(self) -> None:
        """Answer the subscriptions that came in: send the state again. Who had it already knows it by its `seq`."""
        while True:
            try:
                request = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(request[:1], request[1:])

    def _answer(self, verb: bytes, prefix: bytes) -> None:
        if verb == b"\x00":  # told once: when the last of those who wanted it has left
            self._subscriptions.discard(prefix)
        elif verb == b"\x01":
            self._subscriptions.add(prefix)
            for frames in self._state.values():
                if frames[0].startswith(prefix):
                    self._socket.send_multipart(frames)


@contextmanager
def open_sockets(addresses: tuple[str, ...]) -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """The XPUB socket on every address, and the desk's ROUTER beside it."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        with context.socket(zmq.XPUB) as publisher, context.socket(zmq.ROUTER) as desk:
            publisher.setsockopt(zmq.XPUB_VERBOSE, 1)  # a second subscriber to a topic is a late joiner too
            publisher.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
            publisher.setsockopt(zmq.LINGER, 1000)  # ms: the last words of a daemon that stops
            desk.setsockopt(zmq.SNDHWM, QUEUED_PAGES)
            desk.setsockopt(zmq.RCVHWM, QUEUED_PAGES)
            desk.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an answer that cannot go out is an error, not a silence
            desk.setsockopt(zmq.LINGER, 0)
            for each in (publisher, desk):
                each.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)
            for address in addresses:
                _bind(publisher, resolve(address))
                _bind(desk, desk_of(resolve(address)))
            yield publisher, desk
    finally:
        context.term()


def _bind(publisher: zmq.Socket[Any], address: str) -> None:
    try:
        if address.startswith("ipc://"):
            path = Path(address.removeprefix("ipc://"))
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if _is_answered(path):  # ZeroMQ would take it away from the one who has it
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            publisher.bind(address)
            path.chmod(0o660)
        else:
            publisher.bind(address)
    except (zmq.ZMQError, OSError) as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "is another rhythmd running? `rhythmd doctor` looks" if taken else "choose an address of this machine"
        raise ConfigError(f"publish.bind: {address}: {error}; {remedy}") from None


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
