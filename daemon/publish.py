"""The publisher: numbers what goes out, and tells late joiners how things stand. And where addresses are."""

from __future__ import annotations

import logging
import os
from copy import copy
from pathlib import Path

import msgspec
import zmq

from daemon.doors import QUEUED_MESSAGES, Doors
from daemon.ledger import Numbers
from daemon.messages import Message

log = logging.getLogger(__name__)

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
    """Sends to all who subscribed. Sending never waits."""

    def __init__(self, doors: Doors, numbers: Numbers) -> None:
        self._doors = doors
        self._numbers = numbers
        self._state: dict[str, list[bytes]] = {}  # what a late joiner is told: key -> frames
        self._subscriptions: set[bytes] = set()
        self._of = ""  # the patch that this speaks for, where there are several

    def of(self, patch: str) -> Publisher:
        """The same one, as it speaks for one of several patches: with numbers and a state of that patch alone."""
        mine = copy(self)
        mine._of = f" {patch}"  # noqa: SLF001 - it is one of us
        return mine

    @property
    def slow(self) -> int:
        """How often a subscriber fell so far behind that it loses messages, until it reads again."""
        return self._doors.slow

    def next_seq(self, topic: str) -> int:
        """The number of the next message of this topic."""
        return self._numbers.next(f"{topic}{self._of}")

    def send(self, topic: str, message: Message, *more: bytes) -> list[bytes]:
        return self.send_frames([topic.encode(), msgspec.json.encode(message), *more])

    def send_frames(self, frames: list[bytes]) -> list[bytes]:
        try:
            self._doors.publisher.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:  # someone is too far behind to take it; the others get it all the same
            self._doors.publisher.setsockopt(zmq.XPUB_NODROP, 0)
            self._doors.publisher.send_multipart(frames)
            self._doors.publisher.setsockopt(zmq.XPUB_NODROP, 1)
            self._doors.slow += 1
            log.warning("a subscriber is %d messages behind and loses what comes next", QUEUED_MESSAGES)
        return frames

    def remember(self, key: str, frames: list[bytes]) -> None:
        """A late joiner who wants this topic gets these frames, as they were first sent."""
        self.forget(key)  # it comes after all that was told before it
        self._state[f"{key}{self._of}"] = frames

    def forget(self, key: str) -> None:
        self._state.pop(f"{key}{self._of}", None)

    def wanted(self, topic: str) -> bool:
        """Whether anyone subscribes to this topic."""
        return topic.encode().startswith(tuple(self._subscriptions))

    def welcome(self) -> None:
        """Answer the subscriptions that came in: send the state again. Who had it already knows it by its `seq`."""
        while True:
            try:
                request = self._doors.publisher.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(request[:1], request[1:])

    def all_left(self) -> None:
        """The doors were closed and opened again: who may still come in subscribes anew."""
        self._subscriptions.clear()

    def _answer(self, verb: bytes, prefix: bytes) -> None:
        if verb == b"\x00":  # told once: when the last of those who wanted it has left
            self._subscriptions.discard(prefix)
        elif verb == b"\x01":
            self._subscriptions.add(prefix)
            for frames in sorted(self._state.values(), key=lambda frames: frames[0] == b"status"):  # says: all is told
                if frames[0].startswith(prefix):
                    self.send_frames(frames)
