"""What was seen of one wearer over some time, wherever it comes from: what a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from daemon.messages import Alert
from rhythmd.records.cutting import Strip

Seconds = NDArray[np.float64]
TOUCHING_S = 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from the beginning."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Event:
    """An alert, alarmed or recorded, in seconds from the beginning."""

    alert: Alert
    onset_s: float
    end_s: float | None  # None: it still stood

    @property
    def length_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.onset_s


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """All of it. Beats and events are in order of time."""

    title: str
    begins: datetime  # UTC
    dated: bool  # false: the recording names no date, and times are counted from its beginning
    duration_s: float
    beat_s: Seconds  # (n,) of each R peak
    beat_kind: NDArray[np.str_]  # (n,) N S V Q
    rhythms: tuple[tuple[float, str], ...]  # (from, name as in the annotation files), the first at 0
    events: tuple[Event, ...]
    received: tuple[Span, ...]  # where there is signal, whatever it is worth
    strip: Callable[[Span], Strip | None]
    facts: dict[str, str]  # about the recording and who judged it

    def clock(self, at_s: float, *, seconds: bool = True) -> str:
        """A moment, for people: UTC, or hours from the beginning where there is no date."""
        form = "%H:%M:%S" if seconds else "%H:%M"
        if self.dated:
            return (self.begins + timedelta(seconds=at_s)).strftime(form)
        whole = int(at_s)
        shown = f"{whole // 3600}:{whole // 60 % 60:02d}"
        return f"{shown}:{whole % 60:02d}" if seconds else shown

    def moment(self, at_s: float) -> str:
        """The same with its day, where more than one day is shown."""
        days = (self.begins + timedelta(seconds=self.duration_s)).date() != self.begins.date()
        day = f"{self.begins + timedelta(seconds=at_s):%d %b} " if self.dated and days else ""
        return day + self.clock(at_s)


def cut_out(spans: tuple[Span, ...], holes: tuple[Span, ...]) -> tuple[Span, ...]:
    """What of `spans` lies in no hole. Both in order."""
    left = list(spans)
    for hole in holes:
        parts = []
        for span in left:
            if hole.end_s <= span.begin_s or span.end_s <= hole.begin_s:
                parts.append(span)
                continue
            if span.begin_s < hole.begin_s:
                parts.append(Span(span.begin_s, hole.begin_s))
            if hole.end_s < span.end_s:
                parts.append(Span(hole.end_s, span.end_s))
        left = parts
    return tuple(left)


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """What lies in any of them; where one ends another may begin."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.begin_s):
        if found and span.begin_s <= found[-1].end_s + TOUCHING_S:
            found[-1] = Span(found[-1].begin_s, max(found[-1].end_s, span.end_s))
        else:
            found.append(span)
    return tuple(found)


def total_s(spans: tuple[Span, ...]) -> float:
    return sum(span.length_s for span in spans)
