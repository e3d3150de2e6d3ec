"""Follows several daemons as if they were one. Needs pyzmq and msgspec alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType

from rhythmd.desk import Access
from rhythmd.subscriber import ALERTS, Mark, Received, Subscriber

POLL_S = 0.25
MOST_WAITING = 1000
"""Messages that nobody has asked for yet, of all together: then ZeroMQ keeps them, and after 10,000 the ledgers."""


class Subscribers:
    """Iterate over it, or call `receive`, as with one `Subscriber`: each daemon has one, in a thread of its own.

    with Subscribers(["tcp://10.0.0.14:8251", "tcp://10.0.0.15:8251"]) as alerts:
        for received in alerts:
            print(received.message.patch, received.topic)

    The messages of each come in its order; one that is away keeps nobody waiting. `since` says by address where to
    begin, `marks` how far each has come with what `receive` gave away. A message tells its patch: give each a name of
    its own.
    """

    def __init__(
        self,
        connect: Sequence[str],
        topics: tuple[str, ...] = ALERTS,
        *,
        since: Mapping[str, Mark | int] | None = None,
        keys: Mapping[str, Access] | None = None,
        patch: str | None = None,
    ) -> None:
        self.marks: dict[str, Mark] = {}
        self._came: Queue[tuple[str, Received | Exception, Mark | None]] = Queue(MOST_WAITING)
        self._stop_asked = threading.Event()
        self._each: list[Subscriber] = []
        self._threads: list[threading.Thread] = []
        since, keys = since or {}, keys or {}
        try:
            for address in connect:
                each = Subscriber(address, topics, since=since.get(address), keys=keys.get(address), patch=patch)
                self._each.append(each)
        except ValueError:
            self.close()
            raise
        self._threads = [
            threading.Thread(target=self._follow, args=pair, daemon=True)
            for pair in zip(connect, self._each, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def lost(self) -> int:
        """Messages that nobody can give again, of all daemons."""
        return sum(each.lost for each in self._each)

    def receive(self, timeout_s: float | None = None) -> Received | None:
        """The next message of any; None when none came in time."""
        try:
            address, received, mark = self._came.get(timeout=timeout_s)
        except Empty:
            return None
        if isinstance(received, Exception):  # a bug: not to be taken for silence
            raise received
        if mark:
            self.marks[address] = mark
        return received

    def __iter__(self) -> Iterator[Received]:
        while (received := self.receive()) is not None:
            yield received

    def close(self) -> None:
        self._stop_asked.set()
        for thread in self._threads:
            thread.join()
        for each in self._each:
            each.close()

    def __enter__(self) -> Subscribers:  # noqa: PYI034 typing.Self comes with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, address: str, subscriber: Subscriber) -> None:
        try:
            while not self._stop_asked.is_set():
                if received := subscriber.receive(POLL_S):
                    self._hand_over((address, received, subscriber.mark))
        except Exception as error:
            self._hand_over((address, error, None))

    def _hand_over(self, came: tuple[str, Received | Exception, Mark | None]) -> None:
        while not self._stop_asked.is_set():
            with suppress(Full):
                self._came.put(came, timeout=POLL_S)
                return
