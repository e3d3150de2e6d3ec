"""The published language: every message, as subscribers decode it. Needs msgspec alone.

docs/alerts.md explains the fields; `python -m daemon.messages docs/schema` writes the JSON Schemas of these classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SCHEMA = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""

Category = Literal["physiological", "technical"]
Priority = Literal["high", "medium", "low"]
Action = Literal["alarm", "record"]
BeatClass = Literal["N", "S", "V", "Q"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message carries."""

    schema: int = SCHEMA
    seq: int  # of this topic and patch; goes on after a restart. A jump means loss: after a crash, by no more than 256
    patch: str  # its name; a daemon that reads several publishes all of them
    sample: int  # index at the patch's own rate that the message speaks of
    utc: Annotated[datetime, Meta(tz=True)]  # of that sample


class Durable(Message, frozen=True, kw_only=True):
    """What is on disk before it is sent, and can be asked for again (`rhythmd listen --since`)."""

    serial: int = 0  # place in the daemon's ledger: grows over restarts, with jumps; 0: from an analysis, in no ledger
    previous: int = 0  # serial of the entry before it, whatever its topic; who has not had that has missed something


class Alert(Durable, frozen=True, kw_only=True):
    """`alert.<kind>` and `event.<kind>`: sent when it opens, and again, with the same id, when it closes."""

    id: str
    kind: str
    category: Category
    priority: Priority
    action: Action  # alarm: topic alert.*; record: topic event.*
    state: Literal["open", "closed"]
    latching: bool  # keep signalling after it closed until someone has acknowledged it
    onset_sample: int  # where the condition began
    raised_sample: int  # the newest sample that the decision to raise it needed
    end_sample: int | None  # where the condition ended; null while open
    ended_by: Literal["ended", "interrupted"] | None  # interrupted: the daemon stopped while it was open
    evidence: dict[str, float | int | str]


class Answered(Durable, frozen=True, kw_only=True):
    """`answered`: somebody has answered alarms; `sample` is the newest one received then."""

    how: Literal["acknowledged", "silenced"]
    by: str
    id: str | None  # of the alarm; null where all that called were silenced
    for_s: float | None = None  # how long they are silent; 0 ends a silence


class Beat(Message, frozen=True, kw_only=True):
    """`beat`: one for each heartbeat; `sample` is its R peak."""

    beat: BeatClass  # normal, supraventricular, ventricular, not classifiable
    probability: float  # that the network gives to this class, and a referee may choose an unlikely one; 0 for Q
    rr_s: float | None  # to the beat before; null for the first, and where samples are missing between
    heart_rate_bpm: float | None
    decided_sample: int  # the newest sample that the decision needed


class LinkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What came over the wire since the start, and what was lost on the way."""

    frames: int = 0
    samples: int = 0
    lost_samples: int = 0  # by sequence number: never arrived, or were dropped because the daemon was behind
    damaged_frames: int = 0
    skipped_bytes: int = 0  # that belonged to no frame
    dropped_bytes: int = 0  # read and thrown away because the daemon was behind
    connections: int = 0  # how often the port was opened
    restarts: int = 0  # of the patch, by sequence numbers that no loss explains


class Queues(msgspec.Struct, frozen=True, kw_only=True):
    """What waits now, and what was given up or turned away since the start. Every queue has a bound."""

    readings: int = 0  # for the dsp room, of 4,096
    windows: int = 0  # windows, signal and changes of its quality for the judge room
    unstored: int = 0  # alerts and answers that wait in memory for the disk, of 10,000
    given_up: int = 0  # of those, the oldest, when there were more
    slow_subscribers: int = 0  # how often one fell 10,000 messages behind and lost what came next; `seq` tells it
    refused_connections: int = 0
    refused_requests: int = 0  # at the desk


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Over about the last minute; null before there was anything to time."""

    engine_p50_ms: float | None  # one window through the network
    engine_p99_ms: float | None
    read_to_sent_p50_ms: float | None  # from the port's read to all that it brought being judged and published
    read_to_sent_p99_ms: float | None

    @classmethod
    def of(cls, *, engine_ms: Collection[float], read_to_sent_ms: Collection[float]) -> Latency:
        engine, whole = _p50_p99(engine_ms), _p50_p99(read_to_sent_ms)
        return cls(
            engine_p50_ms=engine[0],
            engine_p99_ms=engine[1],
            read_to_sent_p50_ms=whole[0],
            read_to_sent_p99_ms=whole[1],
        )


def _p50_p99(times_ms: Collection[float]) -> tuple[float | None, float | None]:
    if len(times_ms) < 2:
        return (None, None)
    percentiles = quantiles(times_ms, n=100, method="inclusive")
    return round(percentiles[49], 3), round(percentiles[98], 3)


class Status(Message, frozen=True, kw_only=True):
    """`status`: once a second, whether or not the patch sends; `sample` is the newest one received."""

    port: Literal["open", "absent"]
    silent: bool  # the port is open and nothing comes
    quality: str
    battery_low: bool
    rhythm: str  # as in the annotation files: N, AFIB, SVTA, VT, VF, ASYS, NOISE
    heart_rate_bpm: float | None
    open_alerts: tuple[str, ...]  # ids
    calling: tuple[str, ...] = ()  # ids of the alarms that nobody has acknowledged or silenced: to be signalled now
    ledger: str = ""  # which one: serials of another say nothing here
    serial: int = 0  # of its newest entry
    engine: str  # the backend in use
    model: str
    link: LinkCounts
    latency: Latency
    uptime_s: float
    queues: Queues = Queues()
    sample_age_s: float | None = None  # since samples last came; null before the first
    unfit_s: float = 0.0  # how long the quality has not been good
    technical: tuple[str, ...] = ()  # kinds of the technical conditions that stand, alerted or not
    storage: str = ""  # why alerts are not on disk; empty is well
    patches: int = 1  # how many the daemon reads; each has its own status every second
    engine_asked: str = ""  # the configured one; another than `engine` where that one failed


class Clock(Message, frozen=True, kw_only=True):
    """`clock`: UTC was set anew. Any sample's is `utc` + (its index - `sample`) / `rate_hz` seconds."""

    why: Literal["start", "session", "stepped", "drifted"]
    rate_hz: float
    by_s: float = 0.0  # how far the same sample's UTC moved; 0 where a session begins
    origin: str = ""  # of this run of the daemon: its alerts' ids begin with it, its sample counts are its own


class Wave(Message, frozen=True, kw_only=True):
    """`wave`: the cleaned signal. A third frame follows: `samples` little-endian int16."""

    rate_hz: int
    samples: int
    counts_per_mv: int
    missing: int  # the value that marks a lost sample


TOPICS: dict[str, type[Message]] = {
    "alert.": Alert,
    "event.": Alert,
    "answered": Answered,
    "beat": Beat,
    "clock": Clock,
    "status": Status,
    "wave": Wave,
}
"""What a topic that begins so carries."""


def type_of(topic: str) -> type[Message] | None:
    """The class of a topic's messages; None for one that this version does not know."""
    return next((kind for prefix, kind in TOPICS.items() if topic.startswith(prefix)), None)


def schemas() -> dict[str, str]:
    """The JSON Schema of each message, by file name."""
    return {
        f"{kind.__name__.lower()}.json": json.dumps(msgspec.json.schema(kind), indent=2) + "\n"
        for kind in (Alert, Answered, Beat, Clock, Status, Wave)
    }


if __name__ == "__main__":
    for file, schema in schemas().items():
        (Path(sys.argv[1]) / file).write_text(schema)
