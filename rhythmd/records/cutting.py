"""A stretch of ECG with what was decided of it, cut from the hours on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from daemon.messages import Alert
from dsp.signal import RATE_HZ
from ec57.annotations import Annotation
from rhythmd.records.form import MISSING, About, Counts
from rhythmd.records.hour import Hour
from rhythmd.records.naming import LATE_S, Episode, named, rhythm_named_by

BEFORE_S, AFTER_S = 30.0, 30.0
"""Around an alert: before its onset, and after what the decision to raise it needed."""

LONGEST_S = 300.0
"""From the onset to the decision; of a longer one the end is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """Some ECG; sample indices from its beginning, at 250 Hz."""

    about: About
    counts: Counts  # (n,) MISSING where there is none
    marks: tuple[Annotation, ...]  # beats, rhythm changes, signal quality, notes, in order
    alert: Alert | None = None
    whole: bool = True  # false where more is to come, or never came
    awaited: bool = False  # more is to come

    @property
    def rate_hz(self) -> float:
        return float(RATE_HZ)

    @property
    def begins(self) -> datetime:
        """UTC."""
        return self.about.begins

    @property
    def ecg_mv(self) -> NDArray[np.float64]:
        """(n,) millivolts; NaN where missing."""
        return np.where(self.counts == MISSING, np.nan, self.counts / self.about.counts_per_mv)

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.asarray(self.counts == MISSING)


def life_of(alert: Alert) -> str:
    """The run of the daemon that raised it: sample counts of another say nothing of it."""
    return alert.id.rpartition("-")[0]


def onset_utc(alert: Alert, rate_hz: float) -> datetime:
    return alert.utc + timedelta(seconds=(alert.onset_sample - alert.sample) / rate_hz)


def span(alert: Alert, rate_hz: float) -> tuple[int, int]:
    """(first sample, one past the last) of its strip, as the patch counts; the first may be one that never was."""
    onset = max(alert.onset_sample, alert.raised_sample - round(LONGEST_S * rate_hz))
    return onset - round(BEFORE_S * rate_hz), alert.raised_sample + round(AFTER_S * rate_hz)


def around(alert: Alert, closed: Alert | None, among: Sequence[Hour]) -> Strip | None:
    """The strip of an alert as far as there is signal; None where there is none."""
    ours = [hour for hour in among if hour.about.life == life_of(alert)]
    if not ours:
        return None
    rate_hz = ours[-1].about.patch_rate_hz
    first, last = span(alert, rate_hz)
    origin = replace(ours[-1].about, first_sample=first, begins=ours[-1].about.utc(first))
    placed = [(hour, origin.position(hour.about.first_sample)) for hour in ours]
    cut = _cut(origin, placed, origin.position(last))
    return cut and _with_alert(cut, alert, closed or alert)


def between(begin: datetime, end: datetime, among: Sequence[Hour]) -> Strip | None:
    """What there is from one time to another; None where nothing is. What no hour has is missing."""
    begin = begin.astimezone(timezone.utc)
    length = round((end - begin).total_seconds() * RATE_HZ)
    placed = [(hour, round((hour.about.begins - begin).total_seconds() * RATE_HZ)) for hour in among]
    placed = [(hour, at) for hour, at in placed if at < length and at + hour.length > 0]
    if not placed:
        return None
    about = placed[0][0].about
    first = about.first_sample - round(placed[0][1] * about.patch_rate_hz / RATE_HZ)
    return _cut(replace(about, first_sample=first, begins=begin), placed, length, trim=False)


def _cut(about: About, placed: Iterable[tuple[Hour, int]], length: int, *, trim: bool = True) -> Strip | None:
    """`length` samples from `about`'s first; trimmed to those between the first and the last that is there."""
    counts = np.full(length, MISSING, np.int16)
    marks: list[Annotation] = []
    for hour, at in placed:
        first, last = max(0, -at), min(hour.length, length - at)
        if first >= last:
            continue
        piece = hour.counts(first, last)
        counts[at + first : at + first + len(piece)] = piece
        marks += [mark._replace(sample=mark.sample + at) for mark in _held(hour.marks(), first, last)]
    there = np.flatnonzero(counts != MISSING)
    if not len(there):
        return None
    begin, end = (int(there[0]), int(there[-1]) + 1) if trim else (0, length)
    marks = [mark for mark in marks if mark.sample < end and (mark.sample >= begin or mark.symbol in "+~")]
    marks = [mark._replace(sample=max(0, mark.sample - begin)) for mark in marks]
    about = replace(
        about,
        begins=about.begins + timedelta(seconds=begin / RATE_HZ),
        first_sample=about.first_sample + round(begin * about.patch_rate_hz / RATE_HZ),
    )
    return Strip(about, counts[begin:end], tuple(_in_order(marks)), whole=len(there) > length - RATE_HZ)


def _held(marks: list[Annotation], first: int, last: int) -> list[Annotation]:
    """The marks from `first` on, and what held when it began."""
    before = [mark for mark in marks if mark.sample < first]
    held = [next((mark for mark in reversed(before) if mark.symbol == symbol), None) for symbol in "+~"]
    inside = [mark for mark in marks if first <= mark.sample < last]
    return [mark._replace(sample=first) for mark in held if mark] + inside


def _in_order(marks: list[Annotation]) -> list[Annotation]:
    """By time; of those that hold, each change once, and at one place the last."""
    marks = sorted(marks, key=lambda mark: mark.sample)
    kept: list[Annotation] = []
    held: dict[str, Annotation] = {}
    for mark in marks:
        last = held.get(mark.symbol)
        if mark.symbol in "+~":
            if last and last.aux == mark.aux and last.subtype == mark.subtype:
                continue
            if last and last.sample == mark.sample:
                kept.remove(last)
            held[mark.symbol] = mark
        kept.append(mark)
    return kept


def _with_alert(strip: Strip, alert: Alert, newest: Alert) -> Strip:
    """With a note where it began, and its rhythm from its onset on, which nobody knew at the time."""
    onset = max(0, strip.about.position(alert.onset_sample))
    end = len(strip.counts) if newest.end_sample is None else strip.about.position(newest.end_sample)
    marks = [mark for mark in strip.marks if not (mark.symbol == '"' and mark.aux.endswith(f", {alert.id}"))]
    note = Annotation(onset, '"', aux=f"{alert.action} {alert.kind} open, {alert.id}")
    if rhythm := rhythm_named_by(alert):
        changes = [(mark.sample, mark.aux.lstrip("(")) for mark in marks if mark.symbol == "+"]
        episode = Episode(onset, end, rhythm)
        marks = [mark for mark in marks if mark.symbol != "+"]
        names = named(changes or [(0, "N")], [episode], late=LATE_S * RATE_HZ)
        marks += [Annotation(int(at), "+", aux=f"({name}") for at, name in names if at < len(strip.counts)]
    return replace(strip, alert=newest, marks=tuple(_in_order([*marks, note])))
