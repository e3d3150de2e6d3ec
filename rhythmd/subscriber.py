"""Receives what a daemon publishes: decoded, each message once, what was missed fetched, losses counted.

Needs pyzmq and msgspec alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Any

import msgspec
import zmq

from daemon.messages import Durable, Message, Status, type_of
from daemon.requests import Since, desk_of
from rhythmd.desk import Access, Desk, DeskError, show_keys

log = logging.getLogger(__name__)

ADDRESS = "tcp://127.0.0.1:8251"
Key = tuple[int, datetime, str | None]
ALERTS = ("alert.", "event.")
DURABLE = ("alert.", "event.", "answered")
LONGEST_WAIT_S = 86_400.0
QUEUED_MESSAGES = 10_000
MOST_EARLY = 100_000
ASK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    topic: str
    message: Message
    data: bytes = b""  # the samples of a `wave`


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a daemon's ledger: everything up to it has been dealt with. Keep it to go on from there."""

    ledger: str
    serial: int


class Subscriber:
    """Iterate over it, or call `receive`.

    with Subscriber() as alerts:
        for received in alerts:
            print(received.topic, received.message)

    Alerts and events come in the order of the daemon's ledger, each once; one that was missed on the way is fetched
    from the daemon's desk. `since` says where to begin: None with what stands open now, 0 with the oldest that the
    daemon keeps, a `Mark` after that place. `mark` is the place reached: store it together with what you made of a
    message, and nothing is lost or done twice, whichever of the two programs dies.
    `keys` opens the door of a daemon on another machine (`rhythmd keys`).
    `patch` is the one to follow of a daemon that reads several; None: all of them, and each message says whose it is.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        topics: tuple[str, ...] = ALERTS,
        *,
        since: Mark | int | None = None,
        keys: Access | None = None,
        patch: str | None = None,
    ) -> None:
        self.lost = 0  # messages that this subscriber's topics had and that nobody can give again: beats, waves
        self.unread = 0  # messages that came and could not be read: spoiled, or another version's
        self.mark: Mark | None = None
        self._topics = topics
        self.patch = patch
        self._durable = tuple(topic for topic in topics if topic.startswith(DURABLE) or _covers(topic, DURABLE))
        self._ledger = since.ledger if isinstance(since, Mark) else None
        self._known = since.serial if isinstance(since, Mark) else since  # nothing up to here is missing
        self._joined = 0  # the ledger's newest when we joined: of what is older, what stands open is told as it is
        self._first: Status | None = None  # until all that stands was told
        self._fetch_due_s = float("inf") if since is None else 0.0
        self._ready: deque[Received] = deque()
        self._early: dict[Key, None] = {}  # beyond `known`, or from before we joined, and handed out; oldest first
        self._last: dict[tuple[str, str], Message] = {}  # of each topic that is not durable, and each patch
        self._context: zmq.Context[Any] = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.SUB)
            self._socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
            show_keys(self._socket, keys)
            for topic in {*topics, "status"} if self._durable else topics:  # status tells of alerts that were missed
                self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
            self._socket.connect(address)
            self._desk = Desk(self._context, desk_of(address), keys)
        except (zmq.ZMQError, ValueError) as error:
            self.close()
            raise ValueError(
                f"--connect: {address!r} is no address of a daemon ({error}); {ADDRESS} is the default"
            ) from None

    def receive(self, timeout_s: float | None = None) -> Received | None:
        """The next message; None when none came in time."""
        deadline_s = monotonic() + min(LONGEST_WAIT_S if timeout_s is None else timeout_s, LONGEST_WAIT_S)
        while not self._ready:
            now_s = monotonic()
            if now_s >= self._fetch_due_s:
                self._fetch()
            elif self._socket.poll(_ms(min(deadline_s, self._fetch_due_s) - now_s)):
                self._take(self._socket.recv_multipart())
            elif now_s >= deadline_s and timeout_s is not None:
                return None
        received = self._ready.popleft()
        if isinstance(received.message, Durable) and received.message.serial <= (self._known or 0):
            self._reached(received.message.serial)
        return received

    def __iter__(self) -> Iterator[Received]:
        while (received := self.receive()) is not None:
            yield received

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> Subscriber:  # noqa: PYI034 typing.Self comes with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, frames: list[bytes]) -> None:
        topic = frames[0].decode()
        message = self._read(topic, frames[1])
        if message is None:
            return
        if isinstance(message, Durable):
            self._take_durable(Received(topic, message), message)
            return
        if isinstance(message, Status) and self._durable:
            self._compare(message)
        last = self._last.get((topic, message.patch))
        if message == last:
            return  # the state that a late joiner is told reaches everyone
        if last is not None and message.seq > last.seq:
            self.lost += message.seq - last.seq - 1
        self._last[topic, message.patch] = message
        if topic.startswith(self._topics):
            self._give(Received(topic, message, b"".join(frames[2:])))

    def _read(self, topic: str, payload: bytes) -> Message | None:
        """None for a later version's topic, and for what cannot be read: who ended there would never get past it."""
        kind = type_of(topic)
        try:
            return msgspec.json.decode(payload, type=kind) if kind else None
        except msgspec.DecodeError as error:
            if not self.unread:
                log.warning("a message of topic %s cannot be read and is left out: %s", topic, error)
            self.unread += 1
            return None

    def _give(self, received: Received) -> None:
        if self.patch in (None, received.message.patch):
            self._ready.append(received)

    def _take_durable(self, received: Received, message: Durable) -> None:
        if self._known is None or message.serial <= self._joined:
            self._give_early(received, message)
        elif message.serial > self._known:
            if message.previous > self._known:
                self._fetch()
            if message.previous <= self._known < message.serial:
                self._known = message.serial
                self._give(received)
            elif message.serial > self._known:  # the desk does not answer: an alarm does not wait for it
                self._give_early(received, message)

    def _give_early(self, received: Received, message: Durable) -> None:
        if _key(message) in self._early:
            return
        self._early[_key(message)] = None
        if len(self._early) > MOST_EARLY:
            del self._early[next(iter(self._early))]
        self._give(received)

    def _compare(self, status: Status) -> None:
        """Whether the daemon's ledger has anything that did not come."""
        if self._known is None:  # just joined
            self._ledger, self._known, self._joined = status.ledger, status.serial, status.serial
            self._first = status
        if self._first and self._all_stands_told(status, self._first):
            self._first = None
        if self._ledger is None:
            self._ledger = status.ledger
        if status.ledger != self._ledger or status.serial > self._known or self._went_back(status):
            self._fetch()
        elif not self._ready:
            self._reached(self._known)

    def _all_stands_told(self, status: Status, first: Status) -> bool:
        """Since we joined: a status may come before the alerts that stand, and then nothing is reached."""
        told = {alert_id for _, _, alert_id in self._early}
        named = status.patches == 1 and told.issuperset({*status.open_alerts, *status.calling})
        return named or (status.patch == first.patch and status.seq > first.seq)

    def _went_back(self, status: Status) -> bool:
        """Whether the daemon died with a full disk: what was told then is lost, and its serials are given again."""
        before = self._last.get(("status", status.patch))
        return isinstance(before, Status) and status.ledger == before.ledger and status.serial < before.serial

    def _reached(self, serial: int) -> None:
        behind = self.mark is not None and self.mark.ledger == self._ledger and self.mark.serial > serial
        if self._ledger and not behind and not self._first:
            self.mark = Mark(self._ledger, serial)

    def _fetch(self) -> None:
        """Ask the desk for all after `known`; on failure, again later."""
        if monotonic() < self._fetch_due_s < float("inf") and self._socket.poll(0):
            return  # it did not answer just now: what waits is not to wait for it once more
        self._fetch_due_s = float("inf")
        more = True
        while more:
            request = Since(serial=self._known or 0, topics=self._durable, ledger=self._ledger)
            try:
                answer, entries = self._desk.ask(request)
            except DeskError:
                self._fetch_due_s = monotonic() + ASK_AGAIN_S
                return
            for topic, payload in entries:
                message = self._read(topic, payload)
                if isinstance(message, Durable) and _key(message) not in self._early:
                    self._give(Received(topic, message))
            if answer.ledger != self._ledger or answer.upto < request.serial:  # it begins anew
                self._early.clear()
                self._joined, self._first, self.mark = 0, None, None
            self._ledger, self._known, more = answer.ledger, answer.upto, answer.more


def _key(message: Durable) -> Key:
    """Another ledger has the same serials."""
    return message.serial, message.utc, getattr(message, "id", None)


def _covers(prefix: str, topics: tuple[str, ...]) -> bool:
    return any(topic.startswith(prefix) for topic in topics)


def _ms(seconds: float) -> int:
    return max(0, min(int(1000 * seconds) + 1, 1000 * 86_400))
