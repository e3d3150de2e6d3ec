"""Alerts on their way out: into the ledger, then to whoever listens, then remembered for who joins late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic

import msgspec

from daemon.attention import Attention
from daemon.ledger import Entry, Ledger
from daemon.messages import Alert, Answered, Durable
from daemon.publish import Publisher
from daemon.requests import Acknowledge, Silence

log = logging.getLogger(__name__)

Stamp = Callable[[str], dict[str, object]]
"""From a topic to what every message of it carries: seq, patch, sample, utc."""


class Announcer:
    """Commits before it publishes."""

    def __init__(self, publisher: Publisher, ledger: Ledger) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self.attention = Attention()

    def alert(self, topic: str, alert: Alert) -> None:
        """An alert that opened or closed."""
        opens, closes = (alert.id, None) if alert.state == "open" else (None, alert.id)
        frames = self._commit(topic, alert, opens=opens, closes=closes)
        self.attention.alert(alert, monotonic())
        if alert.state == "open" or self.attention.kept(alert.id):
            self._publisher.remember(alert.id, frames)
        else:
            self._forget(alert.id)

    def answered(self, request: Acknowledge | Silence, stamp: Stamp) -> str | None:
        """What a subscriber says of the alarms: an error, or None when it is done."""
        now_s = monotonic()
        if isinstance(request, Silence):
            self.attention.silence(now_s, request.for_s)
            answer = Answered(how="silenced", by=request.by, id=None, for_s=request.for_s, **stamp("answered"))  # type: ignore[arg-type]
            self._publisher.remember("silence", self._commit("answered", answer))
        elif self.attention.acknowledge(request.id):
            answer = Answered(how="acknowledged", by=request.by, id=request.id, **stamp("answered"))  # type: ignore[arg-type]
            frames = self._commit("answered", answer)
            if self.attention.kept(request.id):
                self._publisher.remember(f"{request.id} answered", frames)
            else:
                self._forget(request.id)
        else:
            return f"no alarm {request.id!r} stands or calls; `rhythmd listen` shows those that do"
        log.info("%s by %s: %s", answer.how, answer.by, answer.id or f"all that call, for {answer.for_s:g} s")
        return None

    def interrupted(self, left_open: Iterable[Entry], stamp: Stamp) -> None:
        """Close what a daemon left open that died."""
        for entry in left_open:
            left = msgspec.json.decode(entry.payload, type=Alert)
            closed = msgspec.structs.replace(
                left,
                state="closed",
                ended_by="interrupted",
                end_sample=left.raised_sample,
                seq=stamp(entry.topic)["seq"],
            )
            self.alert(entry.topic, closed)

    def _commit(
        self, topic: str, message: Durable, *, opens: str | None = None, closes: str | None = None
    ) -> list[bytes]:
        previous, serial = self._ledger.newest, self._ledger.numbers.next("serial")
        payload = msgspec.json.encode(msgspec.structs.replace(message, serial=serial, previous=previous))
        self._ledger.add(Entry(serial, topic, payload, opens, closes))
        return self._publisher.send_frames([topic.encode(), payload])

    def _forget(self, alert_id: str) -> None:
        self._publisher.forget(alert_id)
        self._publisher.forget(f"{alert_id} answered")
