"""Opens each alert once and closes it once. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from daemon import config as cfg
from daemon.moment import Evidence, Finding


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An alert as it opens or closes; sample indices at 250 Hz."""

    id: str
    kind: str
    action: Literal["alarm", "record"]
    onset: int
    raised: int  # the newest sample that the decision needed
    evidence: Evidence
    end: int | None = None
    ended_by: Literal["ended", "interrupted"] | None = None


class AlertBook:
    """Which alerts are open."""

    def __init__(self, alerts: cfg.Alerts, origin: str) -> None:
        self._alerts = alerts
        self._origin = origin  # makes ids unique among daemons and sessions
        self._opened = 0
        self._open: dict[str, AlertEvent] = {}

    @property
    def open(self) -> tuple[AlertEvent, ...]:
        return tuple(self._open.values())

    def note(self, kind: str, finding: Finding | None, at: int) -> list[AlertEvent]:
        """What `finding` changes: nothing, an alert that opens, one that closes, or one that did both."""
        standing = self._open.get(kind)
        if standing:
            end = at if finding is None else finding.end
            return [] if end is None else [self._close(standing, end)]
        if finding is None:
            return []
        action = self._alerts.action(kind)
        if action == "silent":
            return []
        self._opened += 1
        event = AlertEvent(f"{self._origin}-{self._opened}", kind, action, finding.onset, at, finding.evidence)
        self._open[kind] = event
        return [event] if finding.end is None else [event, self._close(event, finding.end)]

    def interrupt(self, at: int) -> list[AlertEvent]:
        """The daemon stops: what is open is closed, and says why."""
        return [self._close(event, at, "interrupted") for event in self.open]

    def _close(self, event: AlertEvent, end: int, by: Literal["ended", "interrupted"] = "ended") -> AlertEvent:
        del self._open[event.kind]
        return replace(event, end=max(event.onset, end), ended_by=by)  # a beat found late may lie before the onset
