"""Follows daemons, each in a thread of its own, for a program that deals with all that they tell in one thread.

What was heard comes with the place reached in the daemon's ledger. A program that stores the two together deals with
every alert, whichever side dies; a program that is slow is waited for, and the daemon never waits for either.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from daemon.config import ConfigError
from daemon.publish import reachable
from rhythmd.desk import read_keys
from rhythmd.settings import Source
from rhythmd.subscriber import Mark, Received, Subscriber

TOPICS = ("alert.", "event.", "answered", "status")
POLL_S = 0.25
MOST_WAITING = 1000
"""Messages that were heard and not dealt with, of each daemon: then ZeroMQ keeps them, and after 10,000 the ledger."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the daemon of this name."""

    daemon: str
    received: Received
    mark: Mark | None  # everything up to it has been heard


@dataclass(frozen=True, slots=True)
class Broken:
    """A bug: the program ends with it."""

    error: BaseException


class Follower(threading.Thread):
    """Follows one daemon until it is told to stop."""

    def __init__(self, source: Source, since: Mark | None, inbox: SimpleQueue[Any], topics: tuple[str, ...]) -> None:
        super().__init__(name=f"follow {source.name}", daemon=True)
        self._source, self._since, self._inbox, self._topics = source, since, inbox, topics
        self._places = threading.Semaphore(MOST_WAITING)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            with subscribe(self._source, self._topics, self._since) as subscriber:
                while not self._stop_asked.is_set():
                    if received := subscriber.receive(POLL_S):
                        self._hand_over(Heard(self._source.name, received, subscriber.mark))
        except Exception as error:
            self._inbox.put(Broken(error))

    def _hand_over(self, heard: Heard) -> None:
        while not self._stop_asked.is_set():
            if self._places.acquire(timeout=POLL_S):
                self._inbox.put(heard)
                return

    def dealt_with(self, count: int) -> None:
        """So many of those handed over are stored."""
        for _ in range(count):
            self._places.release()

    def stop(self) -> None:
        self._stop_asked.set()


def subscribe(source: Source, topics: tuple[str, ...], since: Mark | None) -> Subscriber:
    """Raises ConfigError when the address or the file of keys is none."""
    try:
        keys = read_keys(Path(source.keys)) if source.keys else None
        return Subscriber(reachable(source.connect), topics, since=since, keys=keys)
    except ValueError as error:
        raise ConfigError(f"daemon {source.name}: {error}") from None


def check_sources(sources: Iterable[Source]) -> None:
    """That each could be followed."""
    for source in sources:
        with suppress(OSError):
            subscribe(source, ("status",), None).close()


class Following:
    """The followers of all daemons."""

    def __init__(
        self,
        sources: Iterable[Source],
        marks: dict[str, Mark],
        inbox: SimpleQueue[Any],
        topics: tuple[str, ...] = TOPICS,
    ) -> None:
        self._followers = {each.name: Follower(each, marks.get(each.name), inbox, topics) for each in sources}

    def __enter__(self) -> Following:  # noqa: PYI034 typing.Self comes with Python 3.11
        for follower in self._followers.values():
            follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        for follower in self._followers.values():
            follower.stop()
        for follower in self._followers.values():
            follower.join()

    def dealt_with(self, heard: Iterable[Heard]) -> None:
        for each in heard:
            self._followers[each.daemon].dealt_with(1)
