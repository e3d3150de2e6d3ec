"""Alerts on their way out: into the ledger, then to whoever listens, then remembered for who joins late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
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

Left = tuple[Entry, Alert | Answered]


def left_in(ledger: Ledger) -> Iterator[Left]:
    """What still stood when the daemon before ended, oldest first. One spoiled entry must not keep us from watching."""
    for entry in ledger.standing():
        try:
            kind: type[Alert | Answered] = Answered if entry.topic == "answered" else Alert
            yield entry, msgspec.json.decode(entry.payload, type=kind)
        except msgspec.DecodeError as error:
            log.error("%s with serial %d cannot be read and is left out: %s", entry.topic, entry.serial, error)


class Announcer:
    """Commits before it publishes."""

    def __init__(self, publisher: Publisher, ledger: Ledger) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self.attention = Attention()
        self._given_up: tuple[str, ...] = ()  # at the start; the ledger is told with the next alert

    def alert(self, topic: str, alert: Alert) -> None:
        """An alert that opened or closed."""
        given_up = (*self._given_up, *self.attention.alert(alert, monotonic()))
        self._given_up = ()
        stands = alert.state == "open" or self.attention.kept(alert.id)
        self._tell(topic, alert, alert.id, over=given_up if stands else (alert.id, *given_up))

    def answered(self, request: Acknowledge | Silence, stamp: Stamp) -> str | None:
        """What a subscriber says of the alarms: an error, or None when it is done."""
        now_s = monotonic()
        if isinstance(request, Silence):
            self.attention.silence(now_s, request.for_s)
            answer = Answered(how="silenced", by=request.by, id=None, for_s=request.for_s, **stamp("answered"))  # type: ignore[arg-type]
            self._publisher.remember("silence", self._commit("answered", answer))
        elif self.attention.acknowledge(request.id):
            answer = Answered(how="acknowledged", by=request.by, id=request.id, **stamp("answered"))  # type: ignore[arg-type]
            over = () if self.attention.kept(request.id) else (request.id,)
            self._tell("answered", answer, _answer_to(request.id), over=over)
        else:
            return f"no alarm {request.id!r} stands or calls; `rhythmd listen` shows those that do"
        log.info("%s by %s: %s", answer.how, answer.by, answer.id or f"all that call, for {answer.for_s:g} s")
        return None

    def go_on(self, left: Iterable[Left], stamp: Stamp) -> None:
        """To be called first, with what still stood when the daemon before ended, oldest first.

        What nobody has acknowledged calls again; what it left open, because it died, is closed as interrupted.
        """
        left_open: list[tuple[str, Alert]] = []
        for entry, message in left:
            if isinstance(message, Answered):
                name = _answer_to(str(message.id))
                self.attention.acknowledge(str(message.id))
            else:
                name = message.id
                self._given_up += self.attention.alert(message, monotonic())
                if message.state == "open":
                    left_open.append((entry.topic, message))
            self._publisher.remember(name, [entry.topic.encode(), entry.payload])
        for name in _names(self._given_up):
            self._publisher.forget(name)
        for topic, alert in left_open:
            ended = {"state": "closed", "ended_by": "interrupted", "end_sample": alert.raised_sample}
            self.alert(topic, msgspec.structs.replace(alert, seq=stamp(topic)["seq"], **ended))

    def _tell(self, topic: str, message: Durable, name: str, *, over: tuple[str, ...]) -> None:
        """Told now, and again to whoever joins late or starts anew, until the alert is over."""
        ends = _names(over)
        frames = self._commit(topic, message, None if name in ends else name, ends)
        self._publisher.remember(name, frames)
        for each in ends:
            self._publisher.forget(each)

    def _commit(
        self, topic: str, message: Durable, stands: str | None = None, ends: tuple[str, ...] = ()
    ) -> list[bytes]:
        previous, serial = self._ledger.newest, self._ledger.numbers.next("serial")
        payload = msgspec.json.encode(msgspec.structs.replace(message, serial=serial, previous=previous))
        self._ledger.add(Entry(serial, topic, payload, stands, ends))
        return self._publisher.send_frames([topic.encode(), payload])


def _names(alert_ids: tuple[str, ...]) -> tuple[str, ...]:
    """All under which these alarms may stand."""
    return tuple(name for alert_id in alert_ids for name in (alert_id, _answer_to(alert_id)))


def _answer_to(alert_id: str) -> str:
    """The name under which it stands that somebody acknowledged this alarm."""
    return f"{alert_id} answered"
