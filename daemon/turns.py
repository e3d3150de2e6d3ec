"""An inbox for one room that many rooms feed: each has a bounded queue of its own, and they take turns."""

from __future__ import annotations

from collections import deque
from queue import Empty, Queue
from threading import Event
from typing import Any, NamedTuple

from daemon.room import STOP

SHARE = 16
"""Items of each in a turn. Who floods waits behind his own; the others wait for so many of his at most."""


class Of(NamedTuple):
    """An item, and the place of the one it came from."""

    place: int
    item: Any


class Inbox:
    """The end where one of them puts. It waits while its own queue is full, whatever becomes of the others'."""

    def __init__(self, bound: int, come: Event) -> None:
        self.queue: Queue[Any] = Queue(bound)
        self._come = come

    def put(self, item: Any) -> None:
        self.queue.put(item)
        self._come.set()


class Turns:
    """The end where the room takes, like a queue's: `get` begins a turn, which `get_nowait` raising Empty ends.

    A turn has up to SHARE items of each, one of each at a time; another begins every turn. STOP comes when all have
    sent theirs.
    """

    def __init__(self, count: int, bound: int) -> None:
        self._come = Event()
        self.inboxes = [Inbox(bound, self._come) for _ in range(count)]
        self._order = deque(range(count))
        self._going = count  # that have not sent STOP
        self._turn: deque[Any] = deque()

    def get(self, *, timeout: float | None = None) -> Any:
        while not self._turn:
            if not self._come.wait(timeout):
                raise Empty
            self._come.clear()  # before looking: what comes while we look sets it again
            self._begin()
        return self._turn.popleft()

    def get_nowait(self) -> Any:
        if not self._turn:
            raise Empty
        return self._turn.popleft()

    def _begin(self) -> None:
        waiting = list(self._order)
        self._order.rotate(-1)
        for _ in range(SHARE):
            waiting = [place for place in waiting if self._take(place)]
        if waiting:
            self._come.set()  # there may be more
        if not self._going:
            self._turn.append(STOP)

    def _take(self, place: int) -> bool:
        try:
            item = self.inboxes[place].queue.get_nowait()
        except Empty:
            return False
        if item is STOP:
            self._going -= 1
        else:
            self._turn.append(Of(place, item))
        return True
