"""What the page is told: the daemon's messages with all places in seconds of patch time, as server-sent events."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from daemon.messages import Alert, Beat, BeatClass, Priority, Status


class ShownAlert(Struct, frozen=True, kw_only=True):
    """An alert or event as it stands now; the same id comes again when it changes."""

    patch: str
    id: str
    serial: int
    kind: str
    category: str
    priority: Priority
    action: str
    state: str
    latching: bool
    ended_by: str | None
    evidence: dict[str, float | int | str]
    onset_s: float
    raised_s: float
    end_s: float | None
    onset_utc: datetime
    answered_by: str = ""

    @property
    def is_over(self) -> bool:
        """Nothing is to be seen or heard of it any more."""
        return self.state == "closed" and (bool(self.answered_by) or not self.latching)

    @classmethod
    def of(cls, alert: Alert, rate_hz: float, answered_by: str) -> ShownAlert:
        return cls(
            patch=alert.patch,
            id=alert.id,
            serial=alert.serial,
            kind=alert.kind,
            category=alert.category,
            priority=alert.priority,
            action=alert.action,
            state=alert.state,
            latching=alert.latching,
            ended_by=alert.ended_by,
            evidence=alert.evidence,
            onset_s=alert.onset_sample / rate_hz,
            raised_s=alert.raised_sample / rate_hz,
            end_s=None if alert.end_sample is None else alert.end_sample / rate_hz,
            onset_utc=alert.utc + timedelta(seconds=(alert.onset_sample - alert.sample) / rate_hz),
            answered_by=answered_by,
        )


class ShownBeat(Struct, frozen=True, kw_only=True):
    patch: str
    at_s: float
    beat: BeatClass
    rr_s: float | None
    heart_rate_bpm: float | None

    @classmethod
    def of(cls, beat: Beat, rate_hz: float) -> ShownBeat:
        at_s = beat.sample / rate_hz
        return cls(patch=beat.patch, at_s=at_s, beat=beat.beat, rr_s=beat.rr_s, heart_rate_bpm=beat.heart_rate_bpm)


class ShownWave(Struct, frozen=True, kw_only=True):
    patch: str
    at_s: float
    rate_hz: int
    counts_per_mv: int
    counts: tuple[int | None, ...]


class Silence(Struct, frozen=True, kw_only=True):
    """Somebody silenced the alarms that call."""

    patch: str
    by: str
    left_s: float


class Strip(Struct, frozen=True, kw_only=True):
    """The signal around an alert, as far as it is there."""

    id: str
    at_s: float
    rate_hz: int
    counts_per_mv: int
    counts: tuple[int | None, ...]
    beats: tuple[ShownBeat, ...]
    complete: bool  # nothing more will come


class Hello(Struct, frozen=True, kw_only=True):
    """How everything stands: the first event of a stream. Later ones change it."""

    guard: str  # to be shown with each answer: another site's page cannot read it
    version: str
    patch: str | None  # whose waves and beats follow; None: that of the first who is heard
    statuses: tuple[Status, ...]  # of every patch that is known
    alerts: tuple[ShownAlert, ...]  # of all patches, the oldest first
    silences: tuple[Silence, ...]
    beats: tuple[ShownBeat, ...]
    wave: ShownWave | None


class Tick(Struct, frozen=True, kw_only=True):
    """Nothing came for a second, but the server is there."""

    silent_s: float  # since the daemon was last heard


def event(name: str, value: Struct) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))
