"""What a recorder kept: hours, of which the signal may be gone, and strips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from daemon.messages import Alert
from dsp.signal import RATE_HZ
from rhythmd import __version__
from rhythmd.recording import RecordError
from rhythmd.records.cutting import Strip, between, life_of, onset_utc
from rhythmd.records.form import NO_SIGNAL
from rhythmd.records.hour import Hour, hours
from rhythmd.records.keeping import Kept, read_all, read_record
from rhythmd.records.naming import LATE_S, Episode, named, rhythm_named_by
from rhythmd.report.observed import Event, Observed, Span, joined

LONGEST = timedelta(days=1)
NEAR = timedelta(minutes=20)
"""No strip is so long."""


def observe(folder: Path, times: tuple[datetime, datetime] | None) -> Observed:
    """From one time to another; the last day that there is, if none are given."""
    there = hours(folder / "hours")
    if not there:
        raise RecordError(f"{folder}: nothing was recorded there; `rhythmd record` does it")
    begin, end = times or (max(there[0].about.begins, there[-1].ends - LONGEST), there[-1].ends)
    there = [hour for hour in there if hour.about.begins < end and hour.ends > begin]
    if not there:
        raise RecordError(f"{folder}: nothing was recorded between {begin:%Y-%m-%dT%H:%M:%S} and {end:%H:%M:%S}")
    length_s = (end - begin).total_seconds()
    kept = list(read_all(folder / "strips"))
    marks = sorted(_marks(there, begin, length_s), key=lambda mark: mark[0])  # UTC may have been set back
    beats = [(at, symbol) for at, symbol, _ in marks if symbol in "NSVQ"]
    events = tuple(_events(kept, there, begin, length_s))
    newest = there[-1].about
    return Observed(
        title=f"Patch {newest.patch}",
        begins=begin,
        dated=True,
        duration_s=length_s,
        beat_s=np.array([at for at, _ in beats]),
        beat_kind=np.array([symbol for _, symbol in beats], dtype=str),
        rhythms=tuple(_rhythms(marks, events)),
        events=events,
        received=joined(_received(there, begin, length_s)),
        strip=lambda span: _strip(folder / "strips", kept, there, begin, span),
        facts={
            "Source": f"patch {newest.patch}, {newest.patch_rate_hz:g} samples/s, kept by rhythmd record",
            "Judged by": "; ".join(sorted({hour.about.made_by for hour in there})),
            "Report by": f"rhythmd {__version__}",
            "Filter": "causal band-pass, 0.5 to 40 Hz",
        },
    )


def _marks(there: Sequence[Hour], begin: datetime, length_s: float) -> Iterator[tuple[float, str, str]]:
    for hour in there:
        offset_s = (hour.about.begins - begin).total_seconds()
        for mark in sorted(hour.marks(), key=lambda mark: mark.sample):
            at_s = offset_s + mark.sample / RATE_HZ
            if at_s < length_s and (at_s >= 0 or mark.symbol == "+"):
                yield max(0.0, at_s), mark.symbol, mark.aux


def _rhythms(marks: list[tuple[float, str, str]], events: tuple[Event, ...]) -> list[tuple[float, str]]:
    """By what the alerts say of beginning and end; what was not alerted, as it was called when it was noticed."""
    changes = [(at, aux.lstrip("(")) for at, symbol, aux in marks if symbol == "+"]
    episodes = [
        Episode(max(0.0, event.onset_s), event.end_s, rhythm)
        for event in events
        if (rhythm := rhythm_named_by(event.alert))
    ]
    return named(changes or [(0.0, "N")], episodes, late=LATE_S)


def _received(there: Sequence[Hour], begin: datetime, length_s: float) -> Iterator[Span]:
    """By the hours' own ends and the gaps noted in them, which outlive the signal."""
    for hour in there:
        offset_s = (hour.about.begins - begin).total_seconds()
        at_s, end_s = max(0.0, offset_s), min(length_s, offset_s + hour.length / RATE_HZ)
        for mark in hour.marks():
            if mark.aux.startswith(NO_SIGNAL):
                gap_s = offset_s + mark.sample / RATE_HZ
                if gap_s > at_s:
                    yield Span(at_s, gap_s)
                at_s = max(at_s, gap_s + float(mark.aux.removeprefix(NO_SIGNAL).removesuffix(" s")))
        if end_s > at_s:
            yield Span(at_s, end_s)


def _events(kept: list[Kept], there: Sequence[Hour], begin: datetime, length_s: float) -> Iterator[Event]:
    rates = {hour.about.life: hour.about.patch_rate_hz for hour in there}
    events = []
    for one in kept:
        rate_hz = rates.get(life_of(one.opened), float(RATE_HZ))
        onset_s = (onset_utc(one.opened, rate_hz) - begin).total_seconds()
        newest: Alert = one.newest
        end_s = None if newest.end_sample is None else onset_s + (newest.end_sample - newest.onset_sample) / rate_hz
        if onset_s < length_s and (end_s is None or end_s >= 0):
            events.append(Event(newest, onset_s, end_s))
    yield from sorted(events, key=lambda event: event.onset_s)


def _strip(folder: Path, kept: list[Kept], there: Sequence[Hour], begin: datetime, span: Span) -> Strip | None:
    """From the hours or, where their signal is gone, from a strip that covers it."""
    first, last = begin + timedelta(seconds=span.begin_s), begin + timedelta(seconds=span.end_s)
    found = between(first, last, [hour for hour in there if hour.has_signal])
    if found is not None and found.missing.mean() < 0.5:
        return found
    for one in kept:
        if abs(onset_utc(one.opened, RATE_HZ) - first) > NEAR:
            continue
        strip = read_record(folder / one.name, one)
        if strip and strip.begins <= first and last <= strip.begins + timedelta(seconds=len(strip.counts) / RATE_HZ):
            return _piece(strip, first, last)
    return found


def _piece(strip: Strip, first: datetime, last: datetime) -> Strip:
    at, end = (round((moment - strip.begins).total_seconds() * RATE_HZ) for moment in (first, last))
    held = [mark for mark in strip.marks if mark.symbol == "+" and mark.sample <= at][-1:]
    marks = [mark._replace(sample=0) for mark in held]
    marks += [mark._replace(sample=mark.sample - at) for mark in strip.marks if at < mark.sample < end]
    return replace(strip, about=replace(strip.about, begins=first), counts=strip.counts[at:end], marks=tuple(marks))
