"""A room: one thread, one bounded inbox, and everything that it opened closed again when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from queue import Empty
from time import monotonic
from typing import Any, Final, Protocol

STOP: Final = object()
"""Always the last item down a queue."""

Work = Callable[[list[Any]], Iterable[Any]]
"""All that waits in the inbox, in order, or nothing for IDLE_S; yields what goes on to the next room, as it is done."""

IDLE_S = 0.5
"""After so long without anything a room gets a turn all the same: the judge says how things stand, whatever comes."""


class Source(Protocol):
    """Where a room takes what waits: a queue, or `daemon.turns.Turns`."""

    def get(self, *, timeout: float) -> Any: ...

    def get_nowait(self) -> Any: ...


class Sink(Protocol):
    """Where it puts what it made; waits while that is full."""

    def put(self, item: Any) -> object: ...


class Room(threading.Thread):
    """Takes what waits, works on it, hands on the results, and waits when the next room is full.

    What waits is taken together: a room that fell behind catches up with fewer, larger steps.
    """

    def __init__(
        self,
        name: str,
        opens: Callable[[], AbstractContextManager[Work]],
        inbox: Source,
        outbox: Sink | None,
        broken: Callable[[], object],
    ) -> None:
        super().__init__(name=name)
        self._opens, self._inbox, self._outbox, self._broken = opens, inbox, outbox, broken
        self.ready = threading.Event()
        self.busy_since_s: float | None = None  # None while waiting for work
        self.error: BaseException | None = None
        self.left = 0  # items at most that came and were not worked on
        self._hurried = threading.Event()

    def hurry(self) -> None:
        """Work on nothing more: the daemon must end, and what still waits would take too long."""
        self._hurried.set()

    def run(self) -> None:
        items: list[Any] = []
        try:
            with self._opens() as work:  # sockets and CUDA contexts live and die in this thread
                self.ready.set()
                while STOP not in items:
                    items = self._take()
                    self._do(work, [item for item in items if item is not STOP])
        except Exception as error:  # a bug, or an engine with no way out: the process ends, systemd restarts it
            self.error = error
            self._broken()
            while STOP not in items:  # let upstream finish rather than wait for us
                items = self._take()
        finally:
            if self._outbox is not None:
                self._outbox.put(STOP)

    def _do(self, work: Work, items: list[Any]) -> None:
        self.busy_since_s = monotonic()
        for result in [] if self._hurried.is_set() else work(items):
            if self._outbox is not None:
                self.busy_since_s = None  # waiting for the next room is not being stuck
                self._outbox.put(result)  # full: wait. Only the reader may lose data
            self.busy_since_s = monotonic()  # slow is not stuck
            if self._hurried.is_set():
                break
        self.busy_since_s = None
        self.left += len(items) if self._hurried.is_set() else 0

    def _take(self) -> list[Any]:
        items: list[Any] = []
        with suppress(Empty):
            items.append(self._inbox.get(timeout=IDLE_S))
            while items[-1] is not STOP:
                items.append(self._inbox.get_nowait())
        return items
