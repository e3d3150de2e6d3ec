"""From one subscriber to many pages: each gets all that it needs, and one that does not read is shown out."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from time import monotonic

from daemon.messages import Status
from rhythmd import __version__
from rhythmd.monitor.bedside import Bedside
from rhythmd.monitor.shown import Hello, ShownAlert, ShownBeat, ShownWave, Silence, Tick, event
from rhythmd.subscriber import Received

MOST_VIEWERS = 48
QUEUED_EVENTS = 200
"""A quarter of a minute. Who is further behind starts anew with a whole picture, which is less than what he missed."""

TICK_S = 1.0

NAMES = {ShownAlert: "alert", ShownBeat: "beat", ShownWave: "wave", Silence: "silence", Status: "status"}


class CrowdedError(Exception):
    """There are as many viewers as can be served."""


class Viewer:
    """One page's stream of events."""

    def __init__(self, patch: str | None) -> None:
        self.patch = patch  # whose waves and beats it gets; None: the first that is heard
        self.behind = False
        self._events: Queue[bytes] = Queue(QUEUED_EVENTS)

    def put(self, data: bytes) -> None:
        try:
            self._events.put_nowait(data)
        except Full:
            self.behind = True

    def take(self, wait_s: float) -> bytes:
        """All that waits; empty when nothing came in time."""
        waiting = []
        with suppress(Empty):
            waiting.append(self._events.get(timeout=wait_s))
            while True:
                waiting.append(self._events.get_nowait())
        return b"".join(waiting)


class Relay:
    """What is known of every patch, and who looks on. Written by the subscriber's thread, read by the viewers'."""

    def __init__(self) -> None:
        self.guard = secrets.token_urlsafe(16)
        self._lock = threading.Lock()
        self._bedsides: dict[str, Bedside] = {}
        self._viewers: set[Viewer] = set()
        self._heard_s = monotonic()

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def take(self, received: Received) -> None:
        """A message came from the daemon."""
        now_s, patch = monotonic(), received.message.patch
        with self._lock:
            self._heard_s = now_s
            bedside = self._bedsides.setdefault(patch, Bedside(patch))
            for each in bedside.take(received.message, received.data, now_s):
                data = event(NAMES[type(each)], each)
                of_one = isinstance(each, ShownBeat | ShownWave)
                for viewer in self._viewers:
                    viewer.patch = viewer.patch or patch
                    if not of_one or viewer.patch == patch:
                        viewer.put(data)

    @contextmanager
    def viewer(self, patch: str | None) -> Iterator[Viewer]:
        """A new viewer, who is told first how everything stands."""
        with self._lock:
            if len(self._viewers) >= MOST_VIEWERS:
                raise CrowdedError
            viewer = Viewer(patch or next(iter(self._bedsides), None))  # never another's heart than the one asked for
            viewer.put(event("hello", self._hello(viewer.patch)))
            self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            with self._lock:
                self._viewers.discard(viewer)

    def events(self, viewer: Viewer) -> Iterator[bytes]:
        """What to send him, at least once a second, until he is too far behind."""
        while not viewer.behind:
            yield viewer.take(TICK_S) or event("tick", Tick(silent_s=round(monotonic() - self._heard_s, 1)))

    def strip(self, alert_id: str) -> bytes | None:
        """As JSON."""
        with self._lock:
            found = (bedside.strip(alert_id) for bedside in self._bedsides.values())
            return next((strip for strip in found if strip), None)

    def _hello(self, patch: str | None) -> Hello:
        bedsides, now_s = self._bedsides.values(), monotonic()
        chosen = self._bedsides.get(patch or "")
        return Hello(
            guard=self.guard,
            version=__version__,
            patch=patch,
            statuses=tuple(bedside.status for bedside in bedsides if bedside.status),
            alerts=tuple(alert for bedside in bedsides for alert in bedside.alerts.values()),
            silences=tuple(silence for bedside in bedsides if (silence := bedside.silence(now_s))),
            beats=chosen.beats() if chosen else (),
            wave=chosen.wave() if chosen else None,
        )
